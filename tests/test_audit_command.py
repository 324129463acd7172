"""`jaxmia audit-dp`: verdicts, exit statuses, and one line for whatever does not fit."""

import json

import numpy as np
import pytest

from jaxmia import privacy
from jaxmia.command import app

DELTA = 1e-5
RNG = np.random.default_rng(0)
MEMBER = RNG.random(1000) < 0.5
NOISE = RNG.normal(size=1000)
LEAKY = NOISE + privacy.gaussian_mu(9.0, DELTA) * MEMBER  # a mechanism of epsilon 9


@pytest.fixture
def command(tmp_path, capsys):
    """Runs `audit-dp` on arrays: exit status, stdout, stderr."""

    def run(scores, member, *flags, status):
        for name, array in {"scores": scores, "member": member}.items():
            np.save(tmp_path / f"{name}.npy", array)
        files = [w for n in ("scores", "member") for w in (f"--{n}", str(tmp_path / f"{n}.npy"))]
        delta = [] if "--delta" in flags else ["--delta", "1e-5"]
        try:
            app.main(["audit-dp", *files, *delta, *flags])
            code = 0
        except SystemExit as end:
            code = end.code
        text = capsys.readouterr()
        assert code == status, text
        return text.out, text.err

    return run


def test_a_broken_promise_is_refuted_with_status_1(command):
    out, err = command(LEAKY, MEMBER, "--promised-epsilon", "4", status=1)
    assert "refuted: epsilon is at least" in " ".join(out.split()) and "not refuted" not in out
    assert "4 is promised" in " ".join(out.split()) and not err
    out, _ = command(LEAKY, MEMBER, "--promised-epsilon", "9", status=0)
    words = " ".join(out.split())
    assert "not refuted: " in words and "could have shown at most" in words
    assert "the runs are independent" in words and "asymptotically" in words


def test_json_has_the_numbers_of_the_library(command):
    flags = ["--promised-epsilon", "4", "--json", "--seed", "3", "--confidence", "0.9"]
    out, err = command(LEAKY, MEMBER, *flags, status=1)
    audit = json.loads(out)
    want = privacy.audit_trials(LEAKY, MEMBER, DELTA, 4.0, confidence=0.9, seed=3)
    assert audit["refuted"] is True and audit["decided_by"] == "joint"
    assert [b["epsilon"] for b in audit["bounds"]] == [b.epsilon for b in want.bounds]
    assert audit["ideal"] == want.ideal and "(90 %, joint" in audit["verdict"]
    assert "refuted" in err  # the table goes to stderr


def test_one_run(command):
    flags = ["--design", "one-run", "--json", "--promised-epsilon"]
    audit = json.loads(command(LEAKY, MEMBER, *flags, "9", status=0)[0])
    want = privacy.audit_one_run(LEAKY, MEMBER, DELTA, 9.0)
    assert [b["epsilon"] for b in audit["bounds"]] == [b.epsilon for b in want.bounds]
    own = ["--assume", "independent", "--guesses", "400"]
    audit = json.loads(command(LEAKY, MEMBER, *flags, "4", *own, status=1)[0])
    want = privacy.audit_one_run(LEAKY, MEMBER, DELTA, 4.0, "independent", guesses=400)
    assert audit["bounds"][2]["epsilon"] == want.deciding.epsilon
    assert "a fair coin of its own" in audit["conditions"]


def test_without_a_promise_there_is_no_verdict(command):
    out, _ = command(LEAKY, MEMBER, status=0)
    assert "no promise was named: epsilon is at least" in " ".join(out.split())
    audit = json.loads(command(LEAKY, MEMBER, "--json", status=0)[0])
    assert audit["refuted"] is None and audit["ideal"] is None


def test_arrays_of_any_type_and_a_last_axis_of_one(command):
    scores, member = np.round(LEAKY).astype(np.int8)[:, None], MEMBER.astype(np.float32)[:, None]
    audit = json.loads(command(scores, member, "--json", status=0)[0])
    want = privacy.audit_trials(np.round(LEAKY), MEMBER, DELTA)
    assert audit["bounds"][0]["epsilon"] == want.deciding.epsilon > 3


def test_doubts_stand_before_the_table(command):
    scores = np.where(np.arange(1000) < 10, np.nan, -LEAKY)
    out, _ = command(scores, MEMBER, "--promised-epsilon", "1", status=0)
    words = " ".join(out.split())
    assert words.index("WARNING: 10 scores are NaN") < words.index("asymptotically")
    assert "members have lower scores than non-members" in words
    apart = json.loads(command(1.0 * MEMBER, MEMBER, "--json", status=0)[0])
    assert apart["bounds"][1]["epsilon"] is None  # no NaN in JSON


@pytest.mark.parametrize(
    ("scores", "member", "flags", "words"),
    [
        (LEAKY, MEMBER[:9], (), "--member: has 9 entries, --scores has 1000"),
        (LEAKY, MEMBER | True, (), "no non-members among the 1000 scores"),
        (LEAKY, MEMBER * 2, (), "entries other than 0 and 1"),
        (LEAKY.reshape(500, 2), MEMBER, (), "one score a trial"),
        (LEAKY * np.nan, MEMBER, (), "all 1000 scores are NaN"),
        (LEAKY[:2], np.arange(2) < 1, (), "need 2 or more of each"),
        (LEAKY.astype("U3"), MEMBER, (), "needs float or whole or 0/1 numbers"),
        (LEAKY, MEMBER, ("--delta", "0"), "delta=0.0 must be above 0"),
        (LEAKY, MEMBER, ("--promised-epsilon", "-1"), "epsilon=-1.0 must be 0 or more"),
        (LEAKY, MEMBER, ("--promised-epsilon", "nan"), "epsilon=nan must be 0 or more"),
        (LEAKY, MEMBER, ("--confidence", "1"), "confidence=1.0 must be"),
        (LEAKY, MEMBER, ("--guesses", "5"), "--guesses needs --design one-run"),
        (LEAKY, MEMBER, ("--assume", "independent"), "--assume independent needs"),
        (LEAKY, MEMBER, ("--design", "one-run", "--guesses", "5000"), "inside=2500"),
        (LEAKY, np.arange(1000) < 700, ("--design", "one-run"), "700 of 1000 canaries are in"),
        (LEAKY, MEMBER, ("--design", "two-runs"), "trials"),
    ],
)
def test_what_does_not_fit_is_one_line_and_status_2(
    command, as_users_run, scores, member, flags, words
):
    out, err = command(scores, member, *flags, status=2)
    assert not out and len(err.strip().splitlines()) == 1 and words in err, err
