"""Who may import whom, and what stays light."""

import ast
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jaxmia"
# a folder or module imports only what stands on a line above its own
FLOORS = (
    ("types", "values", "machine"),
    ("signals", "design", "augment", "metrics", "data", "allele_frequencies"),
    ("recipes", "tuning", "privacy", "attacks"),
    ("storage",),
    ("models",),
    ("training", "estimators"),
    ("defences", "federated", "imitation", "experiment", "options"),
    ("work", "roofline"),
    ("blocks", "fits", "evaluation"),
    ("report",),
    ("pipeline",),
    ("cascade",),
    ("command",),
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
# what only some may import at all, and what a module may import only where it is used
ONLY = {
    "flax": {"models"},
    "orbax": {"storage"},
    "tensorflow_datasets": {"data"},
    "optax": {"recipes", "training", "attacks"},
    "matplotlib": {"report"},
}
HEAVY = {*ONLY, "tensorflow", "sklearn", "torch", "pandas", "skops", "joblib"}
# what a folder's __init__ may load nevertheless: networks are Flax's, recipes are optax's
LOADS = {
    "models": {"flax", "optax"},
    "defences": {"optax"},
    "federated": {"flax", "optax"},
}
FILES = sorted(f for f in PACKAGE.rglob("*.py") if f != PACKAGE / "__init__.py")


def owner(file):
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(file):
    """Every module that a file imports, wherever in it, by its whole name."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file.name}: an import says where from, not how far up"
            names |= {f"{node.module}.{a.name}" for a in node.names}
    return names


def test_the_floors_name_every_folder_and_module():
    assert sorted(FLOOR) == sorted({owner(f) for f in FILES})
    assert len(FLOOR) == sum(len(names) for names in FLOORS)


@pytest.mark.parametrize("name", FLOOR)
def test_imports_only_what_stands_below(name):
    for file in FILES:
        if owner(file) != name:
            continue
        for imported in imports(file):
            top, *rest = imported.split(".")
            where = f"{file.relative_to(ROOT)} imports {imported}"
            assert top not in ("experiments", "tests"), where
            assert top not in ONLY or name in ONLY[top], where
            if top == "jaxmia" and rest[0] != name:
                assert rest[0] in FLOOR and FLOOR[rest[0]] < FLOOR[name], where


def loaded(code, *args, cwd=ROOT):
    """Which of the heavy packages a process has loaded at its end."""
    ask = f"import atexit, sys\natexit.register(lambda: print(*({HEAVY!r} & sys.modules.keys())))\n"
    call = [sys.executable, "-c", ask + code, *args]
    process = subprocess.run(call, cwd=cwd, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    return set(process.stdout.splitlines()[-1].split())


FOLDERS = sorted(f.parent.name for f in PACKAGE.glob("*/__init__.py"))


def test_to_import_a_folder_is_light():
    light = ", ".join(f"jaxmia.{name}" for name in FOLDERS if name not in LOADS)
    assert loaded(f"import {light}\nassert 'scipy.stats' not in sys.modules") == set()
    for folder, heavy in LOADS.items():
        assert loaded(f"import jaxmia.{folder}") == heavy


COMMAND = "from jaxmia.command.app import main\nmain(sys.argv[1:])"


def test_the_command_that_scores_is_light(tmp_path):
    rng = np.random.default_rng(0)
    member = rng.random((8, 60)) < 0.5
    np.save(tmp_path / "phi.npy", rng.normal(size=member.shape) + member)
    np.save(tmp_path / "member.npy", member)
    inputs = ["--signals", "phi.npy", "--member", "member.npy"]
    code = f"sys.path.insert(0, {str(ROOT)!r})\n{COMMAND}"
    with tarfile.open(ROOT / "tests/golden/run_0.1.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    for flags in ([*inputs, "--curve"], [*inputs, "--stream", "always"], ["--run", "small"]):
        heavy = loaded(code, "score", *flags, "--out", "out", cwd=tmp_path)
        assert heavy == {"matplotlib"}  # draws its figures as PNG
        assert (tmp_path / "out/summary.json").is_file()
    assert loaded(code, "score", "--help", cwd=tmp_path) == set()
