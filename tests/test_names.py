"""A name says what a thing is, not what happened to it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("jaxmia", "experiments", "tests")
# past participles that say nothing alone: a noun is at hand (scores, lines, answer, archive)
BARE = frozenset(
    "asked begun broken changed chosen done drawn found given gone got held kept known left lost "
    "made named seen shown spent taken told wanted written".split()
)
# a side beside its other one is a noun
SIDES = {"left": "right"}
PROMISED = {("jaxmia/data/synthetic.py", "known")}  # a setting of users' experiments
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def bound(node):
    """The names that one node of a syntax tree gives to something."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            return [name]
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.arg(arg=name) | ast.alias(asname=str(name)) | ast.MatchMapping(rest=str(name)):
            return [name]
        case (
            ast.ExceptHandler(name=str(name))
            | ast.MatchAs(name=str(name))
            | ast.MatchStar(name=str(name))
        ):
            return [name]
    return []


def scopes(node):
    """Of a file and of each function and class in it: line and name of all that it binds itself."""
    own, nodes = [], list(ast.iter_child_nodes(node))
    while nodes:
        child = nodes.pop()
        own += [(child.lineno, name) for name in bound(child)]
        if isinstance(child, SCOPES):
            yield from scopes(child)
        else:
            nodes += ast.iter_child_nodes(child)
    yield own


def participles(source):
    """Line and name of every bare participle that a file's text uses as a name."""
    for own in scopes(ast.parse(source)):
        beside = {name for _, name in own}
        for line, name in own:
            if name.strip("_").lower() in BARE and SIDES.get(name) not in beside:
                yield line, name


def test_no_name_is_a_bare_participle():
    """Variables, parameters, attributes that are set, functions, classes and modules."""
    wrong = []
    for path in sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")):
        place = path.relative_to(ROOT)
        if path.stem.strip("_") in BARE:
            wrong.append(f"{place}: the module")
        wrong += [
            f"{place}:{line}: {name}"
            for line, name in sorted(participles(path.read_text()))
            if (str(place), name) not in PROMISED
        ]
    assert not wrong, f"{len(wrong)} names are bare participles:\n" + "\n".join(wrong)


@pytest.mark.parametrize("source", [
    "found = 1", "for told in (): pass", "_, (seen, *_) = x", "[0 for known in x]",
    "x(y := 1, made := 2)", "with x as held: pass", "x._written = 1", "gone: int", "HELD = 1",
    "def _shown(): pass", "class Drawn: pass", "def f(*, asked=1): pass", "lambda chosen: 1",
    "import x as taken", "try: pass\nexcept E as lost: pass", "match x:\n case [*kept]: pass",
    "match x:\n case got: pass", "match x:\n case {**left}: pass", "right = 1\ndef f(): left = 1",
    "class A:\n def f(self):\n  async def done(): pass",
])  # fmt: skip
def test_every_kind_of_name_is_looked_at(source):
    assert len(list(participles(source))) == 1


def test_a_side_a_call_and_a_text_are_no_such_names():
    source = "left, right = x\nf(known=found.told)\nprint('held')\nfrom hypothesis import given"
    assert not list(participles(source))
