"""Who may import whom, and that scoring stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYER = {
    "types": 0, "values": 0, "machine": 0,
    "design": 1, "augment": 1, "signals": 1, "metrics": 1,
    "data": 1, "models": 1, "storage": 1,
    "privacy": 2, "attacks": 2, "allele_frequencies": 2, "training": 2,
    "recipes": 3, "defences": 3, "report": 3, "federated": 3, "experiment": 3, "evaluation": 3,
    "options": 4, "pipeline": 4, "command": 4,
}  # fmt: skip
HEAVY = {"flax": {"models"}, "tensorflow_datasets": {"data"}, "orbax": {"storage"}}
PURE: set[str] = set()


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{a.name}" for a in node.names}
    return found


FILES = [
    f
    for f in sorted((ROOT / "jaxmia").rglob("*.py"))
    if f.parent.name + f.name != "jaxmia__init__.py"
]


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_only_from_below(file):
    own = file.relative_to(ROOT / "jaxmia").parts[0].removesuffix(".py")
    for name in imports(file):
        first, *rest = name.split(".")
        if first in HEAVY:
            assert own in HEAVY[first], f"{own} imports {first}"
        if first != "jaxmia" or not rest or rest[0] not in LAYER or rest[0] == own:
            continue
        below = LAYER[rest[0]]
        assert (
            below < LAYER[own]
            or below == LAYER[own] == 4
            or (below == LAYER[own] == 3)
            or own == "training"
            or (own == "storage")
        ), f"{own} imports {rest[0]}"
        if own in PURE:
            assert rest[0] not in {"parallel", "storage", "data"}
        assert rest[0] != "experiments"


def test_the_layers_name_every_file():
    assert {f.relative_to(ROOT / "jaxmia").parts[0].removesuffix(".py") for f in FILES} == set(
        LAYER
    )


def test_scoring_is_light():
    code = (
        "import sys, jaxmia.attacks, jaxmia.metrics, jaxmia.signals, jaxmia.design\n"
        "heavy = {'flax', 'orbax', 'tensorflow_datasets', 'tensorflow', 'optax', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert 'scipy.stats' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
