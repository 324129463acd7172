"""What an installation holds."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_wheel_has_every_file_of_the_package_and_says_that_it_is_typed():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert settings["packages"]["find"]["include"] == ["jaxmia*"]
    packed = set()
    for package, patterns in settings["package-data"].items():
        for pattern in patterns:
            files = set((ROOT / package.replace(".", "/")).glob(pattern))
            assert files, f"{package}: no {pattern}"
            packed |= files
    for folder in [ROOT / "jaxmia", *(ROOT / "jaxmia").iterdir()]:
        if not folder.is_dir() or folder.name == "__pycache__":
            continue
        assert (folder / "__init__.py").is_file(), folder
        others = {f for f in folder.iterdir() if f.is_file() and f.suffix != ".py"}
        assert others <= packed, others - packed
    assert ROOT / "jaxmia/py.typed" in packed
