"""A metric that is added as a row is in every place that shows figures."""

import csv
import json

import numpy as np
import pytest

from jaxmia import metrics
from jaxmia.command import app
from jaxmia.evaluation import figures
from jaxmia.evaluation.figures import Figure
from jaxmia.report.table import table


def gini(curve):
    return 2 * metrics.auc_of(curve) - 1


def fpr_at_half(curve):
    """The least FPR at which half of the members are found."""
    return float(curve.fp[np.argmax(curve.tp >= curve.tp[-1] / 2)] / curve.fp[-1])


ADDED = (
    Figure("gini", gini, "Gini coefficient {}", "{:.3f}", "Gini coefficient", "Gini"),
    Figure("fpr_at_tpr", fpr_at_half, "FPR {} at 0.5 TPR", "{:.2%}", "FPR at 50 % TPR", "FPR@50%",
           "0.5"),
)  # fmt: skip


@pytest.fixture
def scored(tmp_path, monkeypatch, capsys):
    """What `jaxmia score` leaves with two more figures: from memory, and from disk."""
    monkeypatch.setattr(figures, "FIGURES", (*figures.FIGURES, *ADDED))
    rng = np.random.default_rng(2)
    half = rng.random((6, 300)) < 0.5
    member = np.concatenate([half, ~half])
    np.save(tmp_path / "member.npy", member)
    np.save(tmp_path / "phi.npy", (rng.normal(size=member.shape) + member).astype(np.float32))
    outputs = {}
    for stream in ("never", "always"):
        app.main([
            "score", "--signals", str(tmp_path / "phi.npy"), "--stream", stream, "--json",
            "--member", str(tmp_path / "member.npy"), "--out", str(tmp_path / stream),
            "--attacks", "lira_online",
        ])  # fmt: skip
        printed = capsys.readouterr()
        outputs[stream] = json.loads(printed.out), printed.err
    return tmp_path, member, outputs


def test_a_metric_is_one_row(scored):
    folder, member, outputs = scored
    summary, printed = outputs["never"]
    attack = summary["attacks"]["lira_online"]
    score = np.load(folder / "never" / "scores.npz")["lira_online"]
    assert np.isclose(attack["gini"], 2 * metrics.auc(score, member) - 1)
    inside = np.sort(score[member])[::-1]
    cut = inside[int(np.ceil(len(inside) / 2)) - 1]
    rate = (score[~member] >= cut).mean()
    assert np.isclose(attack["fpr_at_tpr"]["0.5"], rate)
    each = [2 * metrics.auc(s, m) - 1 for s, m in zip(score, member, strict=True)]
    np.testing.assert_allclose(attack["targets"]["gini"], [np.mean(each), np.std(each)])
    states = attack["states"]
    assert states["gini"].startswith(f"Gini coefficient {attack['gini']:.3f}. Attacked: every")
    assert states["fpr_at_tpr"]["0.5"].startswith(f"FPR {rate:.2%} at 0.5 TPR. Attacked: every")

    for words in ("Gini", f"{attack['gini']:.3f}", "FPR@50%", f"{100 * rate:.2f}"):
        assert words in printed
    with (folder / "never" / "report" / "attacks.csv").open() as file:
        rows = {row["figure"]: row for row in csv.DictReader(file)}
    assert rows["gini"]["value"] == f"{attack['gini']:.6g}" and rows["gini"]["low"] == ""
    assert rows["fpr_at_tpr_0.5"]["mean_over_targets"] == (
        f"{attack['targets']['fpr_at_tpr']['0.5'][0]:.6g}"
    )
    page = (folder / "never" / "report" / "index.html").read_text()
    assert page.count('<th scope="col">Gini coefficient</th>') == 2
    assert f'<td data-value="{attack["gini"]}">{attack["gini"]:.3f}</td>' in page


def test_the_streamed_evaluation_has_it_too(scored):
    _, _, outputs = scored
    whole, streamed = (outputs[k][0]["attacks"]["lira_online"] for k in ("never", "always"))
    assert np.isclose(streamed["gini"], whole["gini"], atol=1e-4)
    assert np.isclose(streamed["fpr_at_tpr"]["0.5"], whole["fpr_at_tpr"]["0.5"], atol=1e-3)
    np.testing.assert_allclose(streamed["targets"]["gini"], whole["targets"]["gini"], atol=1e-6)


def test_a_summary_without_it_is_shown_with_a_dash(scored):
    summary = scored[2]["never"][0]
    for tree in (of := summary["attacks"]["lira_online"], of["targets"]):
        del tree["gini"]
    rows = table(summary).columns[[f.name for f in figures.FIGURES].index("gini") + 1]
    assert list(rows.cells)[:2] == ["–", "–"]
