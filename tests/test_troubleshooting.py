"""Every warning, remark and refusal of the code stands in docs/troubleshooting.md."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/troubleshooting.md").read_text()
# what each row says, in its first column: pieces that stand in the message in this order
ENTRIES = [
    [" ".join(part.split()) for part in phrase.split("…") if part.strip()]
    for row in re.findall(r"^\| (.*?) \|", PAGE, re.M)
    for phrase in re.findall(r"\*([^*]+)\*", row)
]
SAYS = ("evidence", "plausible", "unknown", "streaming")  # of jaxmia.evaluation
REFUSES = (
    "command", "data", "estimators", "evaluation", "privacy/audit.py", "privacy/pilots.py",
    "storage/sources.py", "work.py", "training/gradients.py", "cascade.py",
    "attacks/cascading.py", "attacks/anchors.py", "tuning.py", "training/start.py",
)  # fmt: skip
# of a library's caller, who reads the docstring; or a part of another message
CALLERS = re.compile(
    r"^(first|mislabelled|poisoned|synthetic|people): |^it ends too early|^is … …$|^init_from: …$"
    r"|^…: (needs a list of different numbers|… is not in the pool)"
)


def template(node):
    """The text of an expression, with … for what is not known before."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else "…"
    if isinstance(node, ast.JoinedStr):
        return "".join(template(value) for value in node.values)
    if isinstance(node, ast.BinOp):
        return template(node.left) + template(node.right)
    return "…"


def texts(tree):
    return [" ".join(template(node).split()) for node in ast.walk(tree)
            if isinstance(node, ast.JoinedStr | ast.Constant)]  # fmt: skip


def files(*places):
    for place in places:
        path = ROOT / "jaxmia" / place
        yield from [path] if path.suffix else sorted(path.glob("*.py"))


def refusals():
    """The messages of all errors that a user can meet."""
    for file in files(*REFUSES):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                for text in (" ".join(template(a).split()) for a in node.exc.args):
                    if re.search(r"[a-z]{3}", text) and not CALLERS.search(text):
                        yield file.name, text


def remarks():
    """The sentences of warnings and remarks: texts of several words that are no docstring."""
    files = [ROOT / f"jaxmia/evaluation/{name}.py" for name in SAYS]
    for file in [*files, ROOT / "jaxmia/report/table.py"]:
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr):
                node.value = ast.Constant(0)  # docstrings
        whole = [text for text in texts(tree) if len(text.split()) > 5]
        for text in whole:
            if not any(text != other and text in other for other in whole):
                yield file.name, text


def is_there(text):
    return any(re.search(".*".join(map(re.escape, pieces)), text) for pieces in ENTRIES if pieces)


@pytest.mark.parametrize("kind", [refusals, remarks])
def test_every_message_has_an_entry(kind):
    messages = list(kind())
    assert len(messages) > 10
    absent = [f"{file}: {text}" for file, text in messages if not is_there(text)]
    assert not absent, "\n".join(absent)


def test_every_entry_is_of_a_message():
    """No row of the page is left of a message that is gone."""
    every = [
        text for file in (ROOT / "jaxmia").rglob("*.py")
        for text in texts(ast.parse(file.read_text()))
    ]  # fmt: skip
    for pieces in ENTRIES:
        pattern = re.compile(".*".join(map(re.escape, pieces)))
        assert any(map(pattern.search, every)), pieces
