"""The finite pool: how much of phi's variance is the data's, and what fresh data would leave."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nulls import failures
from row_pages import check_page

import jaxmia
from experiments.pages import finite_pool
from experiments.studies import finite_pool as study
from experiments.studies.finite_pool_queries import attacked
from experiments.studies.finite_pool_toy import figures, toy
from jaxmia import data, design, metrics, recipes
from jaxmia.attacks import ATTACKS, attack_every_model, leave_out
from jaxmia.command import app
from jaxmia.evaluation.finite_pool import (
    Sides,
    data_share,
    fresh_signals,
    inflation,
    sampling_fraction,
)
from jaxmia.evaluation.pool_knowledge import without_pool
from jaxmia.evaluation.summary import summarise
from jaxmia.models import mlp
from jaxmia.options import Options
from jaxmia.training.progress import Progress
from jaxmia.types import Signals


def anova(first, second, member):
    """f by the mean squares of a one-way analysis of variance, a record after the other."""
    sets, examples, queries = first.shape
    shares = []
    for side in (True, False):
        within = between = 0.0
        for i, q in itertools.product(range(examples), range(queries)):
            pairs = [
                (float(first[k, i, q]), float(second[k, i, q]))
                for k in range(sets)
                if member[k, i] == side and np.isfinite([first[k, i, q], second[k, i, q]]).all()
            ]
            if len(pairs) < 2:
                continue
            whole = sum(a + b for a, b in pairs) / (2 * len(pairs))
            inside = sum((x - (a + b) / 2) ** 2 for a, b in pairs for x in (a, b)) / len(pairs)
            across = sum(2 * ((a + b) / 2 - whole) ** 2 for a, b in pairs) / (len(pairs) - 1)
            within += inside
            between += (across - inside) / 2
        shares.append(between / (within + between))
    return shares


def repeated(rng, sets, examples, queries, data_variance, training_variance):
    """phi of sets that were trained twice, with variances of our own, IN and OUT."""
    member = design.complementary_halves(int(rng.integers(99)), sets, examples)
    of = [np.where(member, *pair)[..., None] for pair in (data_variance, training_variance)]
    shape = (sets, examples, queries)
    base = np.sqrt(of[0]) * rng.standard_normal(shape) + rng.standard_normal((1, *shape[1:]))
    first, second = (base + np.sqrt(of[1]) * rng.standard_normal(shape) for _ in range(2))
    return first, second, member


def test_the_share_is_that_of_an_analysis_of_variance():
    rng = np.random.default_rng(0)
    first, second, member = repeated(rng, 10, 40, 2, (1.0, 2.0), (1.0, 0.5))
    first[3] = np.nan
    second[5, 7] = np.nan
    share = data_share(first, second, member)
    np.testing.assert_allclose(share, anova(first, second, member), rtol=1e-12)


def test_the_share_is_the_one_that_was_put_in():
    first, second, member = repeated(np.random.default_rng(1), 16, 4000, 1, (1.0, 3.0), (1.0, 1.0))
    np.testing.assert_allclose(data_share(first, second, member), [0.5, 0.75], atol=0.02)
    assert np.isnan(data_share(first[:2], second[:2], member[:2])).all()  # one set on each side
    np.testing.assert_allclose(data_share(first, first, member), [1, 1])


def test_the_inflation_is_that_of_all_samples_of_a_small_pool():
    """Every sample of 3 of 6 and of 2 of 6 is looked at: no random number, no formula."""
    pool = np.array([0.3, -1.2, 2.5, 0.1, 4.0, -0.7])
    for size in (2, 3):
        means = [np.mean(s) for s in itertools.combinations(pool, size)]
        fresh = np.var(pool, ddof=1) / size
        rho = inflation(Sides(1.0, 1.0), size / len(pool))
        np.testing.assert_allclose(rho, fresh / np.var(means), rtol=1e-12)
    assert inflation(Sides(0.0, 0.5), 0.5) == (1.0, 1.5)
    wider = inflation(Sides(1.0, 1.0), 1 / 2, 1 / 9)  # to a larger pool, and on to fresh data
    rest = inflation(Sides(1.0, 1.0), 1 / 9)
    assert wider.inside * rest.inside == pytest.approx(2)
    for fraction, other in ((1.0, 0.0), (0.5, 0.6), (0.5, -0.1)):
        with pytest.raises(ValueError, match="must be 0 <= wider <= fraction < 1"):
            inflation(Sides(1.0, 1.0), fraction, other)


def test_fresh_signals_have_the_variance_and_the_mean_that_they_should():
    rng = np.random.default_rng(2)
    member = design.complementary_halves(0, 64, 3000)
    spread = np.exp(0.5 * rng.standard_normal((1, 3000, 1)))
    phi = spread * np.where(member, 1.0, 2.0)[..., None] * rng.standard_normal((64, 3000, 2))
    phi[5] = np.nan
    around = rng.standard_normal((64, 500, 2))
    signals = Signals(phi, population=around)
    fresh = fresh_signals(signals, member, Sides(1.5, 2.0))
    assert fresh.population is not None
    for side, rho in ((member, 1.5), (~member, 2.0)):
        finite = side[..., None] & np.isfinite(phi)
        before, after = (np.where(finite, a, np.nan) for a in (phi, fresh.phi))
        ratio = np.nanvar(after, 0, ddof=1).sum() / np.nanvar(before, 0, ddof=1).sum()
        assert ratio == pytest.approx(rho, rel=0.03)
        assert abs(np.nanmean(after - before)) < 0.02
    assert np.var(fresh.population) == pytest.approx(2, rel=0.05)
    assert np.isnan(fresh.phi[5]).all() and np.isfinite(np.delete(fresh.phi, 5, 0)).all()
    moves = np.asarray(fresh.phi - phi)  # one sign for all views of an example
    numbers = np.isfinite(moves)
    assert (np.sign(moves[..., 0]) == np.sign(moves[..., 1]))[numbers.all(-1)].all()
    again = fresh_signals(signals, member, Sides(1.0, 1.0))
    np.testing.assert_array_equal(again.phi, phi)
    with pytest.raises(ValueError, match="must be 1 or more"):
        fresh_signals(signals, member, Sides(0.9, 1.0))


@pytest.mark.parametrize("models", [8, 16, 64])
def test_where_nobody_leaks_the_correction_finds_nobody(models):
    """Noise is no membership: what tells the sides by their spread or their means does not pass."""
    rng = np.random.default_rng(models)
    member = design.complementary_halves(1, models, 4000)
    phi = np.exp(0.5 * rng.standard_normal((1, 4000, 1))) * rng.standard_normal((models, 4000, 1))
    fresh = fresh_signals(Signals(phi, population=phi[:, :400]), member, Sides(2.0, 2.0))
    scores = attack_every_model(fresh, member, ["lira_online", "lira_offline", "base"])
    for name, score in scores.items():
        assert failures(score, member) == [], name


def test_a_pool_is_one_where_all_are_members_equally_often():
    for make in (design.complementary_halves, design.fixed_size(100), design.poisson(0.25)):
        member = make(3, 32, 400)
        assert sampling_fraction(member) == pytest.approx(member.mean(), abs=1e-12)
    assert sampling_fraction(design.fixed_size(100)(3, 32, 400)) == pytest.approx(0.25)
    for make in (
        design.canaries(tuple(range(50))),
        design.one_unknown((1, 2, 3)),
        design.poisson(tuple(np.linspace(0.1, 0.9, 400).tolist())),
    ):
        assert sampling_fraction(make(3, 32, 400)) is None
    assert sampling_fraction(np.ones((4, 10), bool)) is None


def ratio_to_fresh(seeds, noise, **size):
    """TPR at 1 % and 0.1 % of the pool and of its correction, over those with fresh data."""
    rows = []
    for seed in seeds:
        one = toy(seed, noise, **size)
        rho = inflation(data_share(one.pool, one.again, one.member), 0.5)
        corrected = fresh_signals(Signals(one.pool), one.member, rho, seed).phi
        rows.append([figures(phi, one.member)[1:] for phi in (one.truth, one.pool, corrected)])
    truth, pool, corrected = np.mean(rows, 0)
    return pool / truth, corrected / truth


def test_the_corrected_toy_is_near_what_fresh_data_give():
    pool, corrected = ratio_to_fresh(range(3), 0.0, models=64, examples=720, size=150)
    assert (pool > 1.4).all() and (np.abs(corrected - 1) < [0.15, 0.35]).all(), (pool, corrected)


@pytest.mark.soak
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_the_corrected_toy_is_within_a_fifth_of_what_fresh_data_give(noise):
    pool, corrected = ratio_to_fresh(range(24), noise)
    assert pool[1] > 1.1 and (np.abs(corrected - 1) < 0.2).all(), (pool, corrected)


def test_the_summary_bounds_what_is_not_measured():
    one = toy(0, 1.0, models=32, examples=400, size=100)
    names = ["lira_online", "global_threshold"]
    scores = attack_every_model(Signals(one.pool), one.member, names)
    attacks = summarise(metrics.rank_all(scores, one.member), one.member, queries=1, about={})[
        "attacks"
    ]
    leaves = leave_out(one.member)
    bound = without_pool(Signals(one.pool), one.member, attacks, leaves)
    estimate = without_pool(Signals(one.pool), one.member, attacks, leaves, one.again[:16])
    assert bound is not None and estimate is not None
    assert (bound["kind"], bound["f_in"], bound["rho_in"]) == ("bound", None, 2.0)
    assert estimate["kind"] == "estimate" and estimate["repeat_sets"] == 16
    share = data_share(one.pool[:16], one.again[:16], one.member[:16])
    assert (estimate["f_in"], estimate["f_out"]) == share and 0.1 < share.outside < 0.6
    aucs = [of["attacks"]["lira_online"]["auc"] for of in (bound, estimate)]
    assert aucs[0] < aucs[1] < attacks["lira_online"]["auc"]
    low, high = estimate["attacks"]["lira_online"]["intervals"]["auc"]
    assert low < aucs[1] < high and "intervals" not in bound["attacks"]["lira_online"]
    json.dumps(estimate)
    few = without_pool(Signals(one.pool), one.member, attacks, leaves, one.again[:2])
    assert few is not None and few["kind"] == "bound"  # one set on a side says nothing
    marked = design.canaries(tuple(range(50)))(0, 32, 400)
    assert without_pool(Signals(one.pool), marked, attacks, leave_out(marked)) is None
    assert set(estimate["attacks"]) == set(names) and not ATTACKS["lira_online"].trains


def experiment(**changes):
    fields = {
        "name": "small",
        "data": data.first(data.digits(), 80, 40),
        "recipe": recipes.sgd(mlp(16), epochs=3, batch_size=16),
        "models": 8,
        "attacks": ("lira_online", "global_threshold"),
    }
    return jaxmia.Experiment(**fields | changes)


def run(path, shard=(0, 1), **changes):
    options = Options(
        workdir=path, width=1, block=4, progress=Progress(quiet=True), shard_index=shard[0],
        shard_count=shard[1],
    )  # fmt: skip
    return jaxmia.run(experiment(**changes), options)


def phi(run):
    return np.asarray(run.signals.phi)


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    """More models and more repeats than the other runs here."""
    return run(tmp_path_factory.mktemp("larger") / "run", repeat_sets=6, models=10)


def test_repeats_change_nothing_else_and_are_what_seed_and_number_say(tmp_path, larger):
    plain = run(tmp_path / "run")
    assert plain.repeats is None and plain.summary["finite_pool"]["kind"] == "bound"
    twice = run(tmp_path / "run", repeat_sets=4)  # added to a run that was finished
    assert twice.evaluated and twice.summary["finite_pool"]["repeat_sets"] == 4
    assert twice.summary["attacks"] == plain.summary["attacks"]
    np.testing.assert_array_equal(phi(plain), phi(larger)[:8])
    assert twice.repeats is not None
    np.testing.assert_array_equal(phi(twice.repeats), phi(larger.repeats)[:4])
    np.testing.assert_array_equal(twice.repeats.member, plain.member[:4])
    assert (np.abs(phi(twice.repeats) - phi(plain)[:4]) > 1e-3).mean() > 0.9
    assert not run(tmp_path / "run", repeat_sets=4).evaluated  # nothing to do


def test_workers_share_the_repeats_and_more_are_added(tmp_path, larger):
    assert not (run(tmp_path / "run", (1, 2), repeat_sets=4).path / "summary.json").exists()
    assert run(tmp_path / "run", (0, 2), repeat_sets=4).evaluated
    assert not run(tmp_path / "run", (1, 2), repeat_sets=4).evaluated
    second = run(tmp_path / "run", (1, 2), repeat_sets=6)  # the repeats' second block is its own
    assert second.evaluated and second.repeats is not None and second.repeats.models == 6
    np.testing.assert_array_equal(phi(second.repeats), phi(larger.repeats))


def test_the_command_repeats_explains_and_scores_again(tmp_path, capsys):
    flags = ["--width", "1", "--workdir", str(tmp_path / "run"), "--quiet", "--repeat-sets", "4"]
    jaxmia.cli(experiment(), [*flags, "--explain"])
    lines = capsys.readouterr().out
    assert (
        "4 of the training sets are trained on once more" in lines and "training: 12 mod" in lines
    )
    jaxmia.cli(experiment(), [*flags, "--json"])
    of_run = json.loads(capsys.readouterr().out)
    assert "--repeat-sets 4" in of_run["command"] and of_run["models"] == 8
    page = (tmp_path / "run/report/index.html").read_text()
    assert "An attacker who does not know the pool" in page and "4 training sets were" in page
    app.main(["score", "--run", str(tmp_path / "run"), "--out", str(tmp_path / "out"), "--json",
              "--attacks", "lira_online", "global_threshold"])  # fmt: skip
    again = json.loads(capsys.readouterr().out)["finite_pool"]
    assert again == of_run["finite_pool"]


@pytest.mark.parametrize("sets", [-1, 3, 9])
def test_sets_that_cannot_be_repeated_are_refused(sets):
    with pytest.raises(ValueError, match=f"repeat_sets={sets} must be 0, or 4 to models=8"):
        experiment(repeat_sets=sets)


@pytest.mark.soak
def test_the_study_shrinks_and_makes_its_page(tmp_path, monkeypatch):
    process = subprocess.run(
        [sys.executable, "-m", "experiments.studies.finite_pool", "--parts", "toy", "digits",
         "--models", "8", "--draws", "1", "--epochs", "1", "--quiet", "--json",
         "--workdir", str(tmp_path / "runs"), "--results", str(tmp_path / "rows")],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-2000:]
    *toys, whole = json.loads(process.stdout)
    assert [row["noise"] for row in toys] == [0, 1] and toys[0]["f_out"] == pytest.approx(1)
    assert 0.2 < toys[1]["f_out"] < 0.5 and whole["repeat_sets"] == 8
    assert set(whole["pool"]) == set(whole["corrected"]) and whole["kind"] == "estimate"
    check_page(finite_pool, "finite_pool", tmp_path / "rows", monkeypatch)


def test_small_pools_are_attacked_by_equal_numbers_of_references():
    """Of pools whose examples are members more and less often, each has as many on both sides."""
    rng = np.random.default_rng(4)
    member = design.fixed_size(20)(0, 120, 80)
    shift = np.where(member, 2.0, 0.0)[..., None]
    score, truth = attacked(shift + rng.standard_normal((120, 80, 1)), member, 20, 10, 0)
    assert score.shape == truth.shape == (20, 80) and np.isfinite(score).all()
    assert abs(metrics.auc(score, truth) - 0.92) < 0.03  # Phi(2 / sqrt(2))
    score, _ = attacked(shift, member, 110, 10, 0)
    assert np.isnan(score).any()  # an example without references on a side cannot be scored


def test_p_values_of_noise_are_as_rare_as_they_say():
    rng = np.random.default_rng(6)
    member = design.complementary_halves(0, 64, 4000)
    noise = rng.standard_normal((64, 4000, 1))
    rates = study.by_p_value(noise, member, 1e-2)
    assert rates["tpr"] == pytest.approx(0.01, rel=0.1) == rates["fpr"]
    shifted = study.by_p_value(noise + 2 * member[..., None], member, 1e-2)
    assert shifted["fpr"] == pytest.approx(0.01, rel=0.1)
    assert shifted["tpr"] == pytest.approx(0.37, abs=0.03)  # Phi(2 - 2.326)
