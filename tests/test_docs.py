"""What the documentation names is there, its pictures are small, and it runs as it is written."""

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxmia import privacy
from jaxmia.command import app

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.M | re.S)


def test_the_reference_names_modules_that_are_there():
    pages = [f.read_text() for f in (ROOT / "docs/reference").glob("*.md")]
    names = re.findall(r"^::: ([\w.]+)$", "\n".join(pages), re.M)
    assert "jaxmia.attacks" in names
    for name in names:
        assert importlib.util.find_spec(name), name


PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(ROOT / name for name in ("checkpoints/README.md", "experiments/results/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
MODULE = re.compile(r"(?<![\w/.-])((?:jaxmia|experiments)(?:\.\w+)+)(?!/)")
FILE = re.compile(r"(?<![\w/$}.])((?:jaxmia|experiments|tests|docs|\.ci)/[\w./-]*\w)")
CODE = re.compile(r"^```[^\n]*\n(.*?)^```$|`([^`\n]+)`", re.M | re.S)
LINK = re.compile(r"\]\(([^()#\s]+)[)#]")
COMMAND = re.compile(r"(?:^|&& )jaxmia ([a-z][\w-]*)(?: ([a-z]\w*))?", re.M)


def read(page):
    """A page as far as it names what is there: of a table of moves, where things are now."""
    text = page.read_text()
    if page.name != "CHANGELOG.md":
        return text
    return re.sub(r"^\| [^|]*\|", "|", text.split("\n## ")[1], flags=re.M)


def is_there(name):
    """Whether a dotted name is a module, or what one holds."""
    module, _, last = name.rpartition(".")
    try:
        if importlib.util.find_spec(name):
            return True
    except ModuleNotFoundError:  # its parent is no package
        pass
    return is_there(module) and hasattr(importlib.import_module(module), last)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page):
    text = read(page)
    titles = {title for _, title, _ in FENCE.findall(text) if title}  # written by the reader
    readers = {Path(title).stem for title in titles} | {"mine", "NAME"}
    for name in [*MODULE.findall(text), *re.findall(r"python -m ([\w.]+)", text)]:
        assert name.rpartition(".")[2] in readers or is_there(name), name
    for file in FILE.findall(text):
        assert file in titles or (ROOT / file).exists(), file
    for link in LINK.findall(CODE.sub("", text)):
        assert "://" in link or (page.parent / link).exists(), link
    code = "\n".join(block or words for block, words in CODE.findall(text))
    for first, second in COMMAND.findall(code):
        entries, name = (app.DATA, second) if first == "data" else (app.COMMANDS, first)
        assert name in entries, (first, second)


def test_the_commands_that_the_code_names_are_there():
    for folder in ("jaxmia", "experiments", "docs/cluster"):
        for file in (ROOT / folder).rglob("*.*"):
            if file.suffix in (".py", ".sh", ".html"):
                for name in re.findall(r"python -m ([\w.]*\w)", file.read_text()):
                    last = name.rpartition(".")[2]
                    assert last in ("mine", "NAME") or is_there(name), (file, name)


def test_pictures_are_small_and_are_all_there():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text()):
            assert (page.parent / target).is_file(), f"{page.name} shows {target}"
    for picture in (ROOT / "docs").glob("*.[sp][vn]g"):
        assert picture.stat().st_size < 300_000, picture.name


def blocks(name):
    """The files and the shell lines of a tutorial, in their order."""
    return FENCE.findall((ROOT / "docs" / f"{name}.md").read_text())


def shell(text, folder, **environment):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.run(
        ["bash", "-ec", text],
        cwd=folder, env=os.environ | {"PATH": path} | environment, capture_output=True, text=True,
    )  # fmt: skip
    assert process.returncode == 0, (text, process.stdout[-2000:], process.stderr[-2000:])


def follow(name, folder):
    for language, title, text in blocks(name):
        if language == "python":
            (folder / title).write_text(text)
        if language == "sh":
            shell(text, folder, PYTHONPATH=f"{ROOT}{os.pathsep}{folder}")


EXTENDING = re.split(r"^## ", (ROOT / "docs/extending.md").read_text(), flags=re.M)[1:]


# each copies the package and trains: one always, the others among the long checks
ALWAYS = ("An attack on φ",)
SECTIONS = [
    pytest.param(s, id=title, marks=() if title in ALWAYS else pytest.mark.soak)
    for s in EXTENDING
    if (title := s.split("\n")[0])
]


@pytest.mark.parametrize("section", SECTIONS)
def test_an_extension_runs_as_written(section, tmp_path):
    """Files without a folder lie in one of their own; the others go into a copy of jaxmia."""
    own, clone = tmp_path / "own", tmp_path / "clone"
    own.mkdir()
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("jaxmia", "experiments", "tests"):
        shutil.copytree(ROOT / name, clone / name, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", clone)
    for language, title, text in FENCE.findall(section):
        file = (clone if "/" in title else own) / title
        if language == "python":
            assert not file.exists()
            file.write_text(text)
        elif language == "diff":
            file.write_text(patched(file.read_text(), text))
        else:
            package = clone if "$JAXMIA" in text else ROOT
            shell(text, own, PYTHONPATH=f"{package}{os.pathsep}{own}", JAXMIA=str(clone))


def patched(text, diff):
    """A text after a change, whose place is told by lines that stand there once."""
    lines = diff.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[0] in " -")
    new = "".join(line[1:] for line in lines if line[0] in " +")
    assert text.count(old) == 1, old
    return text.replace(old, new)


@pytest.mark.soak
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="no extra `bench`")
def test_the_tutorial_on_pytorch_runs_as_written(tmp_path):
    follow("tutorial_pytorch", tmp_path)
    page = (tmp_path / "report/report/index.html").read_text()
    assert "data:image/png" in page and "What more shadow models buy" in page
    assert (tmp_path / "target/report/index.html").is_file()


@pytest.mark.soak
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="no extra `bench`")
def test_the_tutorial_on_audits_runs_as_written(tmp_path):
    follow("tutorial_dp", tmp_path)
    page = (ROOT / "docs/tutorial_dp.md").read_text()
    for name, refuted, line in (("right", False, "^not refuted"), ("wrong", True, "^refuted")):
        score, member = np.load(tmp_path / f"{name}.npy"), np.load(tmp_path / "member.npy")
        audit = privacy.audit_trials(score, member, 1e-5, 4.0)
        (least,) = re.findall(line + r": epsilon is at least ([\d.]+)", page, re.M)
        assert audit.refuted is refuted and abs(audit.deciding.epsilon - float(least)) < 0.05


@pytest.mark.soak
def test_the_tutorial_on_flax_runs_as_written(tmp_path):
    follow("tutorial_flax", tmp_path)
    assert (tmp_path / "checkpoints/mine/report/index.html").is_file()
    assert "recipe.epochs" in (tmp_path / "comparison/index.html").read_text()


@pytest.mark.soak
def test_the_tutorial_on_fine_tuning_runs_as_written(tmp_path):
    follow("fine_tuning", tmp_path)
    assert (tmp_path / "checkpoints/head/report/index.html").is_file()
    assert "tune" in (tmp_path / "comparison/index.html").read_text()
