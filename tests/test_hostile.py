"""Hostile files and options: one clear line, no pickle opened, nothing written elsewhere."""

import io
import os
import sys
import tempfile
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxmia import design
from jaxmia.command import app
from jaxmia.report import write as reports

WATCH: dict = {"allowed": None, "wrong": []}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def is_cache(path):
    """Caches of libraries: compiled programs, fonts."""
    return "/.pytest_cache/" in path or "/matplotlib" in path


def watch(event, args):
    """Notes pickles and writes while a case runs; an audit hook cannot be taken away again."""
    allowed = WATCH["allowed"]
    if allowed is None:
        return
    if event == "pickle.find_class":
        WATCH["wrong"].append((event, args))
    elif event == "open" and isinstance(args[0], (str, bytes)) and (args[2] or 0) & WRITES:
        path = os.path.abspath(os.fsdecode(args[0]))
        if not path.startswith((*allowed, "/dev/null")) and not is_cache(path):
            WATCH["wrong"].append((event, path))
    elif event in ("os.mkdir", "os.rename", "os.remove", "os.system", "subprocess.Popen"):
        path = "" if event in ("os.system", "subprocess.Popen") else os.fsdecode(args[0])
        if not path or not (os.path.abspath(path).startswith(allowed) or is_cache(path)):
            WATCH["wrong"].append((event, args[0]))


sys.addaudithook(watch)

NAMES = st.one_of(
    st.sampled_from([
        "</script><script>alert(1)</script>", "../../x", "[/bad]", "$\\frac{$", "a" * 10_000, "",
        "\x1b[31m", "--", "-h-", "\u202e", "lira_online", "auto", "always", "nan", "-1", "1e999",
        "/etc/passwd",
    ]),
    st.text(max_size=20).filter(lambda t: "\0" not in t and "\ud800" not in t),
)  # fmt: skip
SHAPES = st.sampled_from(
    [(4, 6), (4, 6, 2), (4,), (6,), (4, 6, 3), (1, 6), (4, 1), (0, 6), (5, 6), ()]
)
NUMBERS = st.sampled_from([0.0, 1.0, np.nan, np.inf, -np.inf, 1e300, -0.0, 3.5])
GOOD = {
    "signals": np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32),
    "member": design.complementary_halves(0, 4, 6),
    "logits": np.random.default_rng(1).normal(size=(4, 6, 3)).astype(np.float32),
    "labels": np.arange(6) % 3,
}


@st.composite
def contents(draw, good):
    """A .npy file: as it should be, of another shape or type, damaged, or no such file at all."""
    kind = draw(st.sampled_from(["good", "good", "other", "flip", "cut", "bytes", "pickle", "npz"]))
    out = io.BytesIO()
    if kind in ("good", "flip", "cut"):
        np.save(out, good)
    elif kind == "other":
        dtype = draw(st.sampled_from(["f4", "f8", "i4", "u1", "?", "U3", "c8", "M8[s]", "f2"]))
        array = np.full(draw(SHAPES), draw(NUMBERS))
        with np.errstate(all="ignore"):
            np.save(out, array.astype("f8").astype(dtype) if dtype != "M8[s]" else
                    np.zeros(array.shape, dtype))  # fmt: skip
    elif kind == "bytes":
        out.write(draw(st.binary(max_size=200)))
    elif kind == "pickle":
        np.save(out, np.array([Path, {}], object), allow_pickle=True)
    else:
        np.savez(out, a=good, b=good)
    content = bytearray(out.getvalue())
    if kind == "flip":
        content[draw(st.integers(0, len(content) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(content[: draw(st.integers(0, len(content)))] if kind == "cut" else content)


FILES = {"signals": "signals", "member": "member", "logits": "logits", "labels": "labels",
         "target": "signals", "target-member": "member", "population": "signals",
         "target-population": "signals", "pairs": "labels", "run": "signals"}  # fmt: skip


@st.composite
def cases(draw):
    """Files by name, and a command line that names them."""
    names = draw(st.lists(st.sampled_from(sorted(FILES)), max_size=3, unique=True))
    names = list(dict.fromkeys(["signals", "member", *names] if draw(st.booleans()) else names))
    files = {name: draw(contents(GOOD[FILES[name]])) for name in names}
    more = draw(
        st.lists(st.sampled_from(["--attacks", "--stream", "--curve", "--bogus"]), max_size=2)
    )
    flags = [w for flag in more for w in ([flag] if flag == "--curve" else [flag, draw(NAMES)])]
    return files, flags


def attempt(args, allowed):
    """Exit status and stderr of a command; whatever else it raises goes through."""
    err, out, code = io.StringIO(), io.StringIO(), 0
    before = sys.stdout, sys.stderr, sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # what an import keeps is no write of the command's
    WATCH["allowed"], WATCH["wrong"] = (str(allowed), tempfile.gettempdir() + "/jax"), []
    sys.stdout, sys.stderr = out, err
    try:
        app.main(args)
    except SystemExit as end:
        code = end.code
    finally:
        sys.stdout, sys.stderr, sys.dont_write_bytecode = before
        WATCH["allowed"] = None
    return code, err.getvalue()


def check(case):
    files, flags = case
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "out").mkdir()
        args = ["score", "--out", str(folder / "out" / "report")]
        for flag, content in files.items():
            (folder / f"{flag}.npy").write_bytes(content)
            args += [f"--{flag}", str(folder / f"{flag}.npy")]
        code, err = attempt([*args, *flags], folder / "out")
        assert code in (0, 2), (code, err)
        assert "Traceback" not in err and WATCH["wrong"] == [], (err, WATCH["wrong"])
        if code == 2:
            assert len(err.strip().splitlines()) == 1 and "\x1b" not in err, err
            assert not (folder / "out" / "report").exists()


@pytest.fixture
def plain(monkeypatch):
    """As users run it, without the drawing, which other tests look at."""
    for name in ("report", "report_from_disk"):
        monkeypatch.setattr(reports, name, lambda *args: [])
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


LOOSE = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


@settings(max_examples=200, derandomize=True, **LOOSE)
@given(case=cases())
def test_hundreds_of_hostile_cases(plain, case):
    check(case)


@pytest.mark.soak
@settings(max_examples=10_000, **LOOSE)
@given(case=cases())
def test_ten_thousand_hostile_cases(plain, case):
    check(case)


TRIALS = {
    "scores": np.random.default_rng(2).normal(size=40).astype(np.float32) + np.arange(40) % 2,
    "member": np.arange(40) % 2 == 1,
}
OF_AUDITS = {
    "--delta": ["1e-5", "0", "1", "0.5", "-1", "2", "nan", "inf", "1e-300"],
    "--promised-epsilon": ["4", "0", "-1", "nan", "inf", "1e9", "1e-9"],
    "--design": ["trials", "one-run", "both"],
    "--assume": ["gaussian", "any", "independent", ""],
    "--guesses": ["0", "1", "40", "41", "-1", "1e3"],
    "--confidence": ["0.95", "0", "1", "0.5", "nan", "0.999999999"],
    "--seed": ["1", "-1", "99999999999999999999"],
}


@st.composite
def audits(draw):
    """Canary scores and membership, sound or damaged, and options of the audit of a promise."""
    files = {name: draw(contents(good)) for name, good in TRIALS.items()}
    names = draw(st.lists(st.sampled_from(sorted(OF_AUDITS)), max_size=4, unique=True))
    values = [(n, draw(st.one_of(st.sampled_from(OF_AUDITS[n]), NAMES))) for n in names]
    return files, [word for pair in values for word in pair]


def check_audit(case):
    files, flags = case
    with tempfile.TemporaryDirectory() as name:
        args = ["audit-dp", *([] if "--delta" in flags else ["--delta", "1e-5"])]
        for flag, content in files.items():
            (Path(name) / f"{flag}.npy").write_bytes(content)
            args += [f"--{flag}", str(Path(name) / f"{flag}.npy")]
        code, err = attempt([*args, *flags], Path(name) / "nothing")
    assert code in (0, 1, 2), (code, err)
    assert "Traceback" not in err and WATCH["wrong"] == [], (err, WATCH["wrong"])
    if code == 2:
        assert len(err.strip().splitlines()) == 1 and "\x1b" not in err, err


@settings(max_examples=100, derandomize=True, **LOOSE)
@given(case=audits())
def test_a_hundred_hostile_audits(plain, case):
    check_audit(case)


@pytest.mark.soak
@settings(max_examples=5000, **LOOSE)
@given(case=audits())
def test_thousands_of_hostile_audits(plain, case):
    check_audit(case)


@pytest.mark.parametrize("words", [["report"], ["export"], ["data", "prepare"], ["nothing"], []])
@settings(max_examples=20, derandomize=True, **LOOSE)
@given(names=st.lists(NAMES.filter(lambda t: t not in ("-h", "--help", "lira_online")), max_size=3))
def test_hostile_words(plain, words, names, tmp_path_factory):
    code, err = attempt([*words, *names], tmp_path_factory.getbasetemp() / "none")
    assert code in (0, 2) and "Traceback" not in err and WATCH["wrong"] == [], (err, WATCH["wrong"])
