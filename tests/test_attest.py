"""A run against limits that were chosen beforehand: what is not known does not pass."""

import importlib.util
import json
from datetime import date

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

import jaxmia
from jaxmia.command import app
from jaxmia.evaluation import policy
from jaxmia.report import attestation

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 2)), RNG.normal(size=60)
DAY = date(2026, 5, 1)


def text(review=0.9, refuse=0.95, figure="auc", attacks=("base",), day="2020-01-31", models=2):
    return (
        f'question = "May it go out?"\nby = "The office"\nchosen = {day}\n'
        f"attacks = {list(attacks)}\nmodels = {models}\n"
        f'[[limit]]\nfigure = "{figure}"\nreview = {review}\nrefuse = {refuse}\n'
    )


def read(tmp_path, **changes):
    file = tmp_path / "policy.toml"
    file.write_text(text(**changes))
    return policy.read(file)


def summary(low=0.5, value=0.6, high=0.7, **more):
    ends = None if low is None else [low, high]
    attack = {"auc": value, "tpr_at_fpr": {"0.001": None}, "intervals": {"auc": ends}}
    return {"models": 8, "attacks": {"base": attack}} | more


@pytest.mark.parametrize(
    "review, refuse, decision",
    [(0.7, 0.8, "pass"), (0.69, 0.7, "review"), (0.6, 0.69, "refuse"), (0.55, 0.58, "refuse")],
)
def test_a_figure_passes_by_the_upper_end_of_its_interval(tmp_path, review, refuse, decision):
    rules = read(tmp_path, review=review, refuse=refuse)
    assert policy.decide(rules, summary(), DAY).decision == decision


@pytest.mark.parametrize(
    "changes, run, day, says",
    [
        ({}, summary(), None, "does not say when"),
        ({}, summary(), date(2019, 1, 1), "after the run"),
        ({"attacks": ("base", "lira_online")}, summary(), DAY, "lira_online was not made"),
        ({"models": 9}, summary(), DAY, "8 shadow models, 9"),
        ({"models": 9}, summary(references=8) | {"models": 99}, DAY, "8 shadow models, 9"),
        ({}, summary(warnings=["no evidence"]), DAY, "doubted: no evidence"),
        ({}, summary(notes=["warning: signals are NaN"]), DAY, "doubted: warning: signals"),
        ({}, summary(low=None), DAY, "no interval"),
        ({"figure": "tpr_at_fpr.0.001", "review": 0.1}, summary(), DAY, "no interval"),
        ({"figure": "groups.0.01", "review": 0.1}, summary(), DAY, "not have this figure"),
        ({"figure": "structure.stored", "review": 0}, summary(), DAY, "not have this figure"),
    ],
)
def test_it_fails_closed(tmp_path, changes, run, day, says):
    of = policy.decide(read(tmp_path, **changes), run, day)
    assert of.decision == "refuse"
    assert any(says in line for line in [*of.reasons, *(v.reason for v in of.verdicts)])


@pytest.mark.parametrize(
    "old, new, says",
    [
        ('figure = "auc"', 'figure = "area"', "is not one of"),
        ("review = 0.9", "review = 0.99", "0 <= review <= refuse"),
        ("refuse = 0.95", "", "must have figure"), ("by =", "bye =", "lacks 'by'"),
        ("models = 2", "models = 2\nleast = 3", "no field called 'least'"),
        ("chosen = 2020-01-31", 'chosen = "soon"', "must be a date"), ("[[", "[", "TOML"),
        ("models = 2", "models = true", "must be a int"),
    ],
)  # fmt: skip
def test_a_policy_that_is_none_is_refused(tmp_path, old, new, says):
    file = tmp_path / "policy.toml"
    file.write_text(text().replace(old, new))
    with pytest.raises(ValueError, match=says):
        policy.read(file)


def attest(*words):
    with pytest.raises(SystemExit) as end:
        app.main(["attest", *map(str, words)])
        raise SystemExit(0)
    return end.value.code


def test_a_run_is_attested_and_one_whose_scores_were_changed_is_not(tmp_path, capsys, monkeypatch):
    """A document is written in either case."""
    if importlib.util.find_spec("typst") is None:  # without the extra all but the PDF is tried
        monkeypatch.setattr(attestation, "_pdf", lambda content: b"%PDF")
    run = jaxmia.audit(LinearRegression(), X, Y, models=8, jobs=1, quiet=True, out=tmp_path / "run")
    (tmp_path / "policy.toml").write_text(text(review=0.999, refuse=1))
    words = [run.path, "--policy", tmp_path / "policy.toml"]
    assert attest(*words) == 0
    content = json.loads((run.path / "attest/attestation.json").read_text())
    assert content["decision"] == "pass" and "summary.json" in content["digests"][0]
    assert "May it go out?" in (run.path / "attest/attestation.html").read_text()
    assert (run.path / "attest/attestation.pdf").read_bytes().startswith(b"%PDF")
    scores = dict(np.load(run.path / "scores.npz"))
    scores["base"] = scores["base"][::-1]
    np.savez(run.path / "scores.npz", **scores)
    assert attest(*words) == 1
    assert "the scores of base are others" in capsys.readouterr().err
