"""What the documentation names is there, its pictures are small, and it runs as it is written."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.M | re.S)


def test_the_reference_names_modules_that_are_there():
    pages = [f.read_text() for f in (ROOT / "docs/reference").glob("*.md")]
    named = re.findall(r"^::: ([\w.]+)$", "\n".join(pages), re.M)
    assert "jaxmia.attacks" in named
    for name in named:
        assert importlib.util.find_spec(name), name


def test_pictures_are_small_and_are_all_there():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text()):
            assert (page.parent / target).is_file(), f"{page.name} shows {target}"
    for picture in (ROOT / "docs").glob("*.[sp][vn]g"):
        assert picture.stat().st_size < 300_000, picture.name


def blocks(name):
    """The files and the shell lines of a tutorial, in their order."""
    return FENCE.findall((ROOT / "docs" / f"{name}.md").read_text())


def follow(name, folder):
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}",
    }
    for language, title, text in blocks(name):
        if language == "python":
            (folder / title).write_text(text)
        if language == "sh":
            call = ["bash", "-ec", text]
            done = subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, (text, done.stderr[-2000:])


@pytest.mark.soak
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="no extra `bench`")
def test_the_tutorial_on_pytorch_runs_as_written(tmp_path):
    follow("tutorial_pytorch", tmp_path)
    page = (tmp_path / "report/report/index.html").read_text()
    assert "data:image/png" in page and "What more shadow models buy" in page
    assert (tmp_path / "target/report/index.html").is_file()


@pytest.mark.soak
def test_the_tutorial_on_flax_runs_as_written(tmp_path):
    follow("tutorial_flax", tmp_path)
    assert (tmp_path / "checkpoints/mine/report/index.html").is_file()
    assert "recipe.epochs" in (tmp_path / "comparison/index.html").read_text()
