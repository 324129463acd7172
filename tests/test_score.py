import json
from pathlib import Path

import numpy as np
import pytest

from experiments.benchmarks import evaluation
from jaxmia import design, signals
from jaxmia.attacks import ATTACKS, lira
from jaxmia.command import app

M, N, C = 16, 60, 4
RNG = np.random.default_rng(0)
MEMBER = design.complementary_halves(0, M, N)
LABELS = RNG.integers(C, size=N)
LOGITS = RNG.normal(size=(M, N, C)).astype(np.float32)
LOGITS[np.arange(M)[:, None], np.arange(N), LABELS] += 1 + 2 * MEMBER
PHI = np.asarray(signals.phi(LOGITS, np.broadcast_to(LABELS, (M, N))))


@pytest.fixture
def files(tmp_path, as_users_run):
    arrays = {
        "phi": PHI, "views": np.stack([PHI, PHI + 0.1], -1), "member": MEMBER, "logits": LOGITS,
        "labels": LABELS, "target": PHI[0], "targets": PHI[:2], "rest": PHI[2:],
        "rest_member": MEMBER[2:], "target_member": MEMBER[0], "targets_member": MEMBER[:2],
        "population": RNG.normal(size=(M, 9)), "short": MEMBER[:, :-1], "twos": MEMBER * 2,
        "objects": np.array([{}, 1], object), "floats": LABELS + 0.5, "negative": LABELS - 1,
        "large": LABELS + 1, "one": PHI[:1], "one_member": MEMBER[:1], "empty": PHI[:0],
        "empty_member": MEMBER[:0], "text": np.array(["a"]), "binary": LOGITS[..., :1],
        "binary_labels": LABELS % 2, "flat": PHI.ravel(), "whole": MEMBER.astype(int),
    }  # fmt: skip
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=True)
    (tmp_path / "broken.npy").write_bytes((tmp_path / "phi.npy").read_bytes()[:200])
    np.savez(tmp_path / "several.npz", a=PHI, b=PHI)
    return tmp_path


def call(files, capsys, line):
    args = [str(files / f"{w}.npy") if (files / f"{w}.npy").exists() else w for w in line.split()]
    args = [str(files / w) if w.startswith("several") else w for w in args]
    code = 0
    try:
        app.main(["score", *args, "--out", str(files / "out")])
    except SystemExit as end:
        code = end.code
    out = capsys.readouterr()
    return code, out.out, out.err


def test_persons_are_scored_by_all_their_records(files, capsys):
    person = np.arange(N) // 3
    member = design.of_people(design.complementary_halves, person)(0, M, N)
    np.save(files / "person.npy", person)
    np.save(files / "people_in.npy", member)
    line = "--signals phi --member people_in --person person --json"
    code, out, err = call(files, capsys, line)
    assert code == 0, err
    people = json.loads(out)["people"]
    assert people["count"] == N // 3 and people["records"] == {"least": 3, "mean": 3.0, "most": 3}
    assert people["attacks"]["lira_online"]["members"] == member.sum() // 3
    code, _, err = call(files, capsys, "--signals phi --member member --person person")
    assert code == 2 and "in or out whole" in err and len(err.splitlines()) == 1


def test_every_model_in_turn(files, capsys):
    code, out, err = call(files, capsys, "--signals phi --member member --json")
    assert code == 0, err
    summary = json.loads(out)
    with np.load(files / "out/scores.npz") as archive:
        np.testing.assert_array_equal(archive["member"], MEMBER)
        np.testing.assert_allclose(archive["lira_online"], lira.leave_one_out(PHI, MEMBER))
    assert summary == json.loads((files / "out/summary.json").read_text())
    assert summary["attacks"]["lira_online"]["auc"] > 0.8
    assert {p.name for p in (files / "out/report").iterdir()} >= {"roc.svg", "phi.png"}


def test_with_two_references_the_page_leads_with_base(files, capsys):
    member = design.complementary_halves(0, 4, 1000)
    easy = RNG.random(1000) > 0.1  # few are remembered, as on digits, and most are predicted surely
    phi = np.where(easy, 8, -1) + RNG.normal(size=1000) + np.where(easy, 0.5, 3) * member
    phi = phi + np.where(easy, 2, 0.8) * RNG.normal(size=member.shape)
    np.save(files / "few.npy", phi)
    np.save(files / "few_member.npy", member)
    code, out, err = call(files, capsys, "--signals few --member few_member --json")
    assert code == 0, err
    assert "; by base." in (files / "out/report/index.html").read_text()
    rates = {k: a["tpr_at_fpr"]["0.001"] for k, a in json.loads(out)["attacks"].items()}
    assert max(rates, key=rates.__getitem__) == "base" and len(rates) == 5


@pytest.mark.parametrize(
    "line",
    [
        "--signals views --member whole",
        "--signals phi --member member --attacks lira_online global_threshold",
        "--signals phi --member member --attacks rmia_online rmia_offline attack_r bavaria",
        "--logits logits --labels labels --member member --attacks shadow_classifier",
        "--logits logits --labels labels --member member --attacks correctness lira_offline",
        "--logits binary --labels binary_labels --member member",
        "--signals phi --member member --population population",
        "--signals rest --member rest_member --target target --target-member target_member",
        "--signals rest --member rest_member --target targets --target-member targets_member",
        "--signals rest --member rest_member --target target",
    ],
)
def test_accepts(files, capsys, line):
    code, _, err = call(files, capsys, line)
    assert code == 0, err
    assert (files / "out/summary.json").exists() and (files / "out/scores.npz").exists()


def test_a_given_target_is_scored_by_the_others(files, capsys):
    call(files, capsys, "--signals rest --member rest_member --target target")
    with np.load(files / "out/scores.npz") as archive:
        assert "member" not in archive.files
        want = lira.online(PHI[0], PHI[2:], MEMBER[2:])
        np.testing.assert_allclose(archive["lira_online"][0], want)


def test_a_diverged_model_is_named_not_averaged(files, capsys):
    phi = PHI.copy()
    phi[3] = np.nan
    np.save(files / "nan.npy", phi)
    code, out, err = call(files, capsys, "--signals nan --member member --json")
    assert code == 0 and json.loads(out)["diverged"] == [3], err
    with np.load(files / "out/scores.npz") as archive:
        assert np.isnan(archive["lira_online"][3]).all()
        assert np.isfinite(np.delete(archive["lira_online"], 3, 0)).all()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--signals phi", "--signals needs --member"),
        ("--member member", "give either --signals and --member, or --logits"),
        ("--signals phi --member absent.npy", "--member: absent.npy is no file"),
        ("--signals phi --member short", "--member: .*short.npy has shape"),
        ("--signals phi --member twos", "entries other than 0 and 1"),
        ("--signals objects --member member", "--signals: .*array of Python objects"),
        ("--signals broken --member member", "--signals: .*cannot be read"),
        ("--signals several.npz --member member", "holds several arrays"),
        ("--signals text --member member", "needs float numbers"),
        ("--signals flat --member member", "needs float numbers, 2 or 3 axes"),
        ("--signals labels --member member", "needs float numbers"),
        ("--signals empty --member empty_member", "--signals: .*empty"),
        ("--signals one --member one_member", "1 models and 60 examples, 2 of each"),
        ("--logits logits --member member", "--logits needs --labels"),
        (
            "--logits logits --labels floats --member member",
            "--labels: .*needs whole numbers",
        ),
        ("--logits logits --labels negative --member member", "labels: .*has label -1 in example"),
        ("--logits logits --labels large --member member", "labels: 4 is out of range"),
        ("--signals phi --member member --attacks shokri", "'shokri' is not one of"),
        ("--signals phi --member member --attacks correctness", "correctness needs margin"),
        ("--signals phi --member member --target short --target-member short", "--target"),
        ("--signals phi --member member --target target --target-member short", "--target-member"),
        (
            "--signals phi --member member --target-member target_member",
            "--target-member needs --target",
        ),
        ("--signals phi --member member --population labels", "--population"),
        ("--signals phi --member member --pairs phi", "--pairs"),
        ("--signals phi --member member --no-such-flag", "no-such-flag"),
    ],
)
def test_bad_input_is_one_clear_line_and_nothing_is_written(files, capsys, line, words):
    import re

    code, out, err = call(files, capsys, line)
    assert code == 2 and out == "", (code, err)
    assert len(err.strip().splitlines()) == 1 and re.search(words, err), err
    assert not Path(files / "out").exists()


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["nothing"],
        ["data"],
        ["report", "no/such/run"],
        ["[/bad]"],
        ["report", "a" * 300],
        ["export", "a" * 300, "--out", "b"],
    ],
)
def test_bad_commands_are_one_clear_line(args, capsys):
    with pytest.raises(SystemExit) as end:
        app.main(args)
    err = capsys.readouterr().err
    assert end.value.code == 2 and len(err.strip().splitlines()) == 1, err


def test_more_references_find_more(files, capsys):
    line = "--signals phi --member member --curve --attacks lira_online base --json"
    code, out, err = call(files, capsys, line)
    assert code == 0, err
    rows = json.loads(out)["curve"]
    assert [r["models"] for r in rows] == [2, 4, 8, 16]
    assert [r["references"] for r in rows] == [0, 2, 6, 14]
    assert [r["targets"] for r in rows] == [16, 16, 16, 16]
    assert rows[0]["attacks"] == {}  # nothing but the partner, who leaves
    whole = json.loads(out)["attacks"]["lira_online"]["auc"]
    assert np.isclose(rows[-1]["attacks"]["lira_online"]["auc"], whole)
    assert rows[-1]["attacks"]["base"]["auc"] > rows[1]["attacks"]["base"]["auc"] > 0.5
    assert (files / "out/report/curve.svg").exists()


def test_a_target_is_held_against_thresholds_of_the_references(files, capsys):
    line = "--signals rest --member rest_member --target target --target-member target_member"
    code, out, err = call(files, capsys, line + " --json")
    assert code == 0, err
    rates = json.loads(out)["attacks"]["lira_online"]["at_shadow_threshold"]["0.01"]
    assert 0 <= rates["fpr"] <= 1 and 0 < rates["tpr"] <= 1


@pytest.mark.parametrize("words", [["score", "--attacks", "help"], None])
def test_what_attacks_there_are_is_told_without_any_other_option(words, capsys):
    with pytest.raises(SystemExit) as end:
        app.main(words) if words else digits_help()
    out = capsys.readouterr().out
    assert end.value.code == 0
    for name, attack in ATTACKS.items():
        assert name in out.replace("\n", "") or name[:12] in out
        assert attack.paper.split()[0] in out


def digits_help():
    import jaxmia
    from experiments import digits

    jaxmia.cli(digits.experiment, ["--attacks", "help"])


def test_every_stage_is_named_and_measured(tmp_path, monkeypatch):
    """By the benchmark, whose rows rest on the lines that the command prints."""
    words = "evaluation --models 8 --examples 300 --rounds 1 --attacks lira_online --out"
    monkeypatch.setattr("sys.argv", [*words.split(), str(tmp_path / "rows.jsonl")])
    evaluation.main()
    row = json.loads((tmp_path / "rows.jsonl").read_text())
    stages = [
        "attacking 8 models", "measuring p-values", "measuring lira_online",
        "an attacker without the pool", "writing scores", "drawing",
    ]  # fmt: skip
    assert list(row["stages"]) == stages and sum(row["stages"].values()) < row["seconds"]
    assert row["peak_bytes"] > 1e8 and row["scores_bytes"] > 8 * 300 * 9
