"""Shadow models of other data: who is trained on what, the figures of losses, and their null."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import plain
import pytest
from row_pages import check_page
from scipy.ndimage import rotate

from experiments import paired
from experiments.pages import shifted as page
from experiments.studies import shifted as study
from experiments.studies.shifted_data import (
    DEGREES,
    FREQUENT,
    PART,
    RARE,
    SHIFTS,
    examples,
    halves_of_parts,
    shifted,
)
from jaxmia.types import Signals

ROOT = Path(__file__).parents[1]


def test_the_pool_is_queries_and_other_records_and_what_became_of_them():
    pool = shifted()()
    assert len(pool.y) == PART * (1 + len(SHIFTS))
    x, y = pool.x.reshape(-1, PART, 64), pool.y.reshape(-1, PART)
    _, others, turned, noisy, _ = x.astype(int)
    each = {row.tobytes() for row in x[0]}
    for part in (x[1], x[4]):
        assert not each & {row.tobytes() for row in part}  # no shadow model has seen a query
    assert (y[1] == y[2]).all() and (y[1] == y[3]).all()
    grey = (others > 6) & (others < 10)  # where noise is not cut off
    assert 2.5 < (noisy - others)[grey].std() < 3.2 and noisy.min() == 0 and noisy.max() == 16
    back = rotate(turned.reshape(-1, 8, 8).astype(float), -DEGREES, (1, 2), reshape=False, order=1)
    like = [np.corrcoef(scans.ravel(), others.ravel())[0, 1] for scans in (back, turned)]
    assert like[0] > max(0.85, like[1] + 0.05)
    np.testing.assert_array_equal(np.bincount(y[4]), [FREQUENT] * 5 + [RARE] * 5)


def test_models_are_trained_on_half_of_their_part_whatever_their_number():
    draw = halves_of_parts((3, 2, 2))
    member = draw(5, 7, 3 * PART)
    part = member.reshape(7, 3, PART).sum(2)
    np.testing.assert_array_equal(part.argmax(1), [0, 0, 0, 1, 1, 2, 2])
    assert (part.max(1) == PART // 2).all() and (part.sum(1) == PART // 2).all()
    np.testing.assert_array_equal(draw(5, 4, 3 * PART), member[:4])
    assert (member[0] != member[1]).any() and (draw(6, 1, 3 * PART) != member[:1]).any()
    assert examples(2).tolist() == [*range(PART), *range(2 * PART, 3 * PART)]


def simulated(effect, targets=8, references=16, seed=0):
    """Targets and shadow models of two parts, whose members are higher by an effect."""
    draw = halves_of_parts((targets + references, references))
    member = draw(seed, targets + 2 * references, 2 * PART)
    rng = np.random.default_rng(seed)
    phi = rng.normal(size=member.shape) + effect * member + rng.normal(size=2 * PART)
    whole = Signals(
        phi[..., None], rng.integers(0, 3, 2 * PART), features=rng.normal(size=(2 * PART, 3))
    )
    return whole, member


def is_half(figure):
    """Within about four standard errors."""
    return abs(figure["value"] - 0.5) < np.ptp(figure["interval"])


@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_losses_are_on_the_same_draws_and_the_null_is_one_half(effect):
    signals, member = simulated(effect)
    names = ("lira_offline", "lira_offline_imputed", "proxy_instance", "global_threshold")
    truth, weight = member[:8, :PART], paired.weights(8, 60)
    figures = []
    for part, rows in ((0, slice(8, 24)), (1, slice(24, 40))):
        case = study.Case("x", signals.models(rows), member[rows], examples(part), names)
        scores = case.scores(signals.models(slice(8)))
        figures.append({k: study.Figures.of(s, truth, weight) for k, s in scores.items()})
        for k, score in scores.items():
            assert np.isfinite(score).all() and is_half(study.null(score, truth, weight)), k
            own = figures[-1][k].row()["auc"]
            assert own["interval"][0] > 0.55 if effect else is_half(own), k
        own, score = figures[-1]["lira_offline"].values, scores["lira_offline"]
        assert own[0] == pytest.approx(plain.auc(score, truth), abs=1e-9)
        assert own[2] == plain.tpr_at_fpr(score, truth, 1e-3)
    matched, other = figures
    same = other["global_threshold"].below(matched["global_threshold"])
    assert all(v == {"value": 0.0, "interval": [0.0, 0.0]} for v in same.values())
    loss = other["lira_offline"].below(matched["lira_offline"])["auc"]["interval"]
    own = matched["lira_offline"].row()["auc"]["interval"]
    assert np.ptp(loss) < np.ptp(own)  # targets are the same on both sides


def call(tmp_path, *flags):
    return subprocess.run(
        [sys.executable, "-m", "experiments.studies.shifted", *flags, "--quiet", "--json",
         "--out", str(tmp_path / "out"), "--results", str(tmp_path / "rows")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_file_of_other_records_is_a_part_more_or_refused(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 17, (700, 64)).astype(np.uint8), rng.integers(0, 10, 700)
    np.savez(tmp_path / "x.npz", x=x, y=y)
    pool = shifted(str(tmp_path / "x.npz"))()
    assert len(pool.y) == PART * (2 + len(SHIFTS)) and pool.x.dtype == np.uint8
    rows = {row.tobytes() for row in x}
    assert all(row.tobytes() in rows for row in pool.x[-PART:])
    for name, wrong in (("few", x[:400]), ("narrow", x[:, :9])):
        np.savez(tmp_path / f"{name}.npz", x=wrong, y=y[: len(wrong)])
        with pytest.raises(ValueError, match=rf"^--shadow-data: {name}.npz has x \("):
            shifted(str(tmp_path / f"{name}.npz"))()


@pytest.mark.soak
def test_shifted_shadow_models_shrink(tmp_path, monkeypatch):
    small = ("--targets", "6", "--references", "24", "--epochs", "10", "--draws", "20")
    process = call(tmp_path, *small)
    assert process.returncode == 0, process.stderr[-2000:]
    lines = json.loads(process.stdout)
    names = (
        "the same records", "the same records, half as many", *SHIFTS, "a narrow network",
        "a third of the epochs",
    )  # fmt: skip
    assert tuple(dict.fromkeys(r["shadows"] for r in lines)) == names
    assert all(np.isfinite(r["auc"]["value"]) and r["scored"] == 6 * PART for r in lines)
    assert {r["cost"]["models"] for r in lines} == {6 + 24 * (2 + len(SHIFTS) + 4)}
    number = {r["shadows"]: r["references"] for r in lines}
    assert number["the same records"] == 48
    assert number["the same records, half as many"] == number["other records"] == 24
    check_page(page, "shifted", tmp_path / "rows", monkeypatch)
    process = call(tmp_path, *small, "--shadow-data", str(tmp_path / "absent.npz"))
    assert process.returncode == 2 and len(process.stderr.splitlines()) == 1
    process = call(tmp_path, "--targets", "1")
    assert process.returncode == 2 and "--targets 1" in process.stderr
