"""Shadow models of other data beside a run: who is trained on what, figures, what is refused."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import plain
import pytest
from sklearn.dummy import DummyClassifier

import jaxmia
from jaxmia import Experiment, data, design, metrics, recipes
from jaxmia.attacks import ATTACKS, attack_targets
from jaxmia.cascade import check as check_cascade
from jaxmia.data import beside
from jaxmia.estimators import Procedure
from jaxmia.evaluation.other_shadows import OWN, TRAINS, by_other_shadows
from jaxmia.evaluation.other_shadows import beside as with_nothing_behind
from jaxmia.experiment import Membership, members, shadow_experiment
from jaxmia.metrics.draws import weights
from jaxmia.models import mlp
from jaxmia.options import Options
from jaxmia.pipeline import train_missing
from jaxmia.storage.run import read_signals
from jaxmia.training.progress import Progress
from jaxmia.types import SIGNALS, Data, Signals
from jaxmia.values import factory
from jaxmia.work import opened

NAMES = ("lira_online", "lira_offline")


@factory
def part(first, last):
    """Some of the digits, which are 8 x 8 numbers from 0 to 16."""

    def load():
        whole = data.digits()()
        return replace(whole, name="others", x=whole.x[first:last], y=whole.y[first:last])

    return load


def experiment(**changes):
    fields: dict[str, Any] = {
        "name": "small",
        "data": data.first(data.digits(), 80, 40),
        "recipe": recipes.sgd(mlp(16), epochs=3, batch_size=16),
        "models": 8,
        "attacks": NAMES,
        "shadow_data": part(70, 200),
    }
    return Experiment(**fields | changes)


def run(path, shard=(0, 1), **changes):
    options = Options(path, 1, 4, *shard, progress=Progress(quiet=True))
    return jaxmia.run(experiment(**changes), options)


def small(x, y, **fields):
    return data.usable(Data("small", np.asarray(x), np.asarray(y), np.asarray(x)[:2],
                            np.asarray(y)[:2], 3, **fields))  # fmt: skip


# what models are trained on, and asked about


def test_other_records_stand_behind_the_pool_and_none_of_them_is_in_it():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 200, (9, 4)).astype(np.uint8), np.arange(9) % 3
    own = small(x[:5], y[:5], shift=np.float32(9), scale=np.float32(2))
    other = small(x[3:].astype(np.float32), (y[3:] + 1) % 3, shift=np.float32(1))
    both = beside(own, other)
    assert (both.same, both.first, both.other) == (2, 5, "small")  # whatever their labels
    np.testing.assert_array_equal(both.data.x, x.astype(np.float32))
    np.testing.assert_array_equal(both.data.y, [*y[:5], *(y[5:] + 1) % 3])
    assert both.data.shift == 9 and both.data.scale == 2 and both.data.person is None
    np.testing.assert_array_equal(both.data.x_test, own.x_test)
    assert beside(own, small(x[5:], y[5:])).data.x.dtype == np.uint8


def test_records_of_persons_are_persons_of_their_own():
    x, y = np.arange(16.0).reshape(8, 2), np.arange(8) % 3
    own = small(x[:4], y[:4], person=np.array([5, 2, 5, 9]))
    other = small(x[4:], y[4:], person=np.array([7, 7, 3, 7]))
    both = beside(own, other)
    np.testing.assert_array_equal(both.data.person, [1, 0, 1, 2, 4, 4, 3, 4])
    assert both.first == 3
    alone = beside(own, replace(other, person=None))
    np.testing.assert_array_equal(alone.data.person, [1, 0, 1, 2, 3, 4, 5, 6])
    own_alone = beside(replace(own, person=None), other)
    np.testing.assert_array_equal(own_alone.data.person, [0, 1, 2, 3, 5, 5, 4, 5])
    of = shadow_experiment(experiment(shadow_data=None, models=40), both.first)
    member = Membership(of, both.data).whole
    assert not member[:, :4].any() and (member[:, 4:].sum(0) > 10).all()
    assert (member[:, 4] == member[:, 5]).all() and (member[:, 4] == member[:, 7]).all()


def test_a_design_after_a_pool_is_the_design_of_what_is_behind_it():
    for base in (design.complementary_halves, design.poisson(0.3), design.balanced_columns(0.5)):
        draw = design.after(base, 7)
        np.testing.assert_array_equal(draw(5, 6, 20)[:, 7:], base(5, 6, 13))
        assert not draw(5, 6, 20)[:, :7].any()
        assert design.fixed_models(draw) == design.fixed_models(base)
    own = experiment()
    other, pool = shadow_experiment(own, 80), replace(own.data(), y=np.zeros(200, np.int32))
    assert other.seed != own.seed and members(other, pool) == 60 and not other.repeat_sets
    with pytest.raises(ValueError, match="after: 7 examples must be fewer than the pool's 7"):
        design.after(design.poisson(0.5), 7)(0, 2, 7)


def test_records_that_are_not_of_this_kind_are_refused():
    x, y = np.arange(18.0).reshape(9, 2), np.arange(9) % 3
    own = small(x, y)
    standard = np.random.default_rng(0).normal(size=(400, 2))
    standard = (standard - standard.mean(0)) / standard.std(0)
    stored = small(standard, np.arange(400) % 3)
    image = np.arange(36, dtype=np.uint8).reshape(9, 2, 2)
    for mine, other, line in (
        (own, small(np.ones((3, 5)), [0, 1, 2]), "holds examples \\(5,\\), small holds \\(2,\\)"),
        (own, replace(own, x=x + 1, y=y + 1, classes=4), "has label 3, allowed are 0 to 2"),
        (own, own, "all records of small are in small, too"),
        (small(image, y), small(image.astype(float) + 1, y), "is float32, small uint8"),
        (stored, small(1990 + x, y), "feature 0 around 1998, where small is stored standardised"),
    ):
        with pytest.raises(ValueError, match=f"^shadow_data: .*{line}"):
            beside(mine, other)
    assert len(beside(stored, small(standard[:9] / 2, y)).data.y) == 409  # in its own units


# a run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run's summary, and the run with shadow models of other data, added once it was done."""
    path = tmp_path_factory.mktemp("done") / "run"
    return run(path, shadow_data=None).summary, run(path)


def test_a_runs_own_figures_are_as_without_and_the_others_are_a_run_of_their_own(runs, tmp_path):
    without, whole = runs
    assert "shadow_data" not in without and whole.evaluated
    assert whole.summary["attacks"] == without["attacks"]
    assert not run(whole.path).evaluated  # nothing to do
    both = beside(data.usable(experiment().data()), data.usable(part(70, 200)()))
    assert both.same == 10
    other = replace(shadow_experiment(experiment(), 80), data=behind, attacks=())
    work = opened(other, Options(tmp_path / "other", 1, 4, progress=Progress(quiet=True)))
    train_missing(work)
    alone, member = read_signals(work.store, 8)
    np.testing.assert_array_equal(whole.shadow_data.signals.phi, alone.phi)
    np.testing.assert_array_equal(whole.shadow_data.member, member)
    assert not member[:, :80].any() and (member[:, 80:].sum(0) == 4).all()


def behind():
    """The pool with the other records behind it."""
    return beside(data.usable(experiment().data()), data.usable(part(70, 200)())).data


def test_figures_are_those_of_loops(runs):
    of_run = runs[1]
    of, shadows = of_run.summary["shadow_data"], of_run.shadow_data
    assert (of["records"], of["members"], of["models"], of["targets"]) == (120, 60, 8, 8)
    assert of["without"] == {"lira_online": OWN} and set(of["attacks"]) == {"lira_offline"}
    phi, theirs = (np.asarray(r.signals.phi, np.float64) for r in (of_run, shadows))
    nobody = np.zeros((8, 80), bool)
    name = "lira_offline_global_variance"
    matched = {name: metrics.rank(phi[..., 0], of_run.member)}
    whole = by_other_shadows(of_run.signals, matched, shadows.signals, shadows.member, {})
    values = whole["attacks"][name]
    score = np.stack(
        [plain.lira(p, theirs[:, :80], nobody, [], "offline", "global")[0] for p in phi]
    )
    auc, tpr = plain.auc(score, of_run.member), plain.tpr_at_fpr(score, of_run.member, 1e-2)
    assert values["auc"] == pytest.approx(auc, abs=1e-9)
    assert values["tpr_at_fpr"]["0.01"] == pytest.approx(tpr, abs=1e-9)
    was = plain.auc(phi[..., 0], of_run.member)
    assert values["loss"]["auc"] == pytest.approx(was - auc, abs=1e-9)
    low, high = values["loss"]["intervals"]["auc"]
    assert low < values["loss"]["auc"] < high


@pytest.mark.parametrize("effect", [pytest.param(0.0, marks=pytest.mark.soak), 2.0])
def test_nobody_is_found_where_membership_moves_nothing(effect):
    """References move with membership; targets do, or do not: then all is one half."""
    rng, first, more = np.random.default_rng(0), 300, 400
    member = design.poisson(0.5)(0, 24, first)
    theirs = design.after(design.poisson(0.5), first)(1, 24, first + more)
    apart, y = rng.normal(size=first + more), rng.integers(0, 3, first + more)
    phi = rng.normal(size=(24, first)) + apart[:first] + effect * member
    other = rng.normal(size=theirs.shape) + apart + 2.0 * theirs
    features = rng.normal(size=(first + more, 3))
    references = Signals(other[..., None], y, features=features)
    names = ("lira_offline_imputed", "proxy_instance", "shadow_classifier")
    matched = {n: metrics.rank(phi, member) for n in names}
    of = by_other_shadows(Signals(phi[..., None], y[:first]), matched, references, theirs, {})
    assert of["without"] == {"shadow_classifier": TRAINS} and set(of["attacks"]) == set(names[:2])
    for name, figures in of["attacks"].items():
        if effect:
            assert figures["intervals"]["auc"][0] > 0.7, name
        else:
            assert abs(figures["auc"] - 0.5) < 4 * np.sqrt(1 / (3 * 24 * first)) + 0.01, name
            low, high = figures["loss"]["intervals"]["auc"]
            assert low <= 0 <= high, name


OFFLINE = [
    name for name, a in ATTACKS.items()
    if "models" in a.attacker.knows and not a.trains and {*a.needs} <= {
        "phi", "y", "features", "margin", "population"}
]  # fmt: skip


def test_what_a_target_says_of_the_other_records_counts_not():
    rng = np.random.default_rng(0)
    theirs = design.after(design.poisson(0.5), 40)(1, 16, 100)
    draw = rng.normal(size=(17, 100, 2)) + np.append(theirs, [theirs[0]], 0)[..., None]
    y, features, around = (
        rng.integers(0, 2, 100),
        rng.normal(size=(100, 3)),
        rng.normal(size=(17, 9, 2)),
    )
    every = Signals(draw, y, draw[..., :1], population=around, features=features)
    whole, references = every.models(16), every.models(slice(16))
    padded = with_nothing_behind(whole.examples(slice(40)), references)
    assert all(s.axes[0] != "M" or getattr(whole, n) is None
               or np.shape(getattr(padded, n)) == np.shape(getattr(whole, n))
               for n, s in SIGNALS.items())  # fmt: skip
    some = 0
    for name in OFFLINE:
        one, other = (
            attack_targets([t], references, theirs, [name])[name][0, :40] for t in (whole, padded)
        )
        np.testing.assert_array_equal(one, other, err_msg=name)
        assert np.isnan(one).all() == ("with and without the record" in ATTACKS[name].attacker.knows
                                       and name not in POOLS)  # fmt: skip
        some += np.isfinite(one).all()
    assert some > 10


# of both sides together, so that OUT models alone give a score
POOLS = ("base", "rmia_online", "rmia_online_gamma_1", "class_threshold")


def test_a_difference_is_on_the_same_draws():
    rng = np.random.default_rng(0)
    member = rng.random((6, 150)) < 0.5
    first, second = (rng.normal(size=member.shape) + d * member for d in (1.0, 0.5))
    spans = metrics.difference(
        *(metrics.rank(s, member) for s in (first, second)), (0.1,), draws=60
    )
    less = []
    for row in weights(150, 60, 0):
        at = np.repeat(np.arange(150), row)
        a, b = ((plain.auc(s[:, at], member[:, at]), plain.tpr_at_fpr(s[:, at], member[:, at], 0.1))
                for s in (first, second))  # fmt: skip
        less.append(np.subtract(a, b))
    expected = np.quantile(less, [0.025, 0.975], axis=0)
    np.testing.assert_allclose(spans.tpr_at_fpr[0], expected[:, 1], atol=1e-12)
    np.testing.assert_allclose(spans.auc, expected[:, 0], atol=0.01)  # by its first-order term
    with pytest.raises(ValueError, match="^difference: scores are"):
        metrics.difference(metrics.rank(first, member), metrics.rank(first[:3], member[:3]))


# the command


def test_the_command_explains_resumes_and_refuses(runs, tmp_path, capsys, as_users_run):
    whole, file = data.digits()(), tmp_path / "others.npz"

    def save(first, last):
        np.savez(file, x=whole.x[first:last], y=whole.y[first:last], x_test=whole.x_test,
                 y_test=whole.y_test)  # fmt: skip

    save(70, 200)
    own = experiment(shadow_data=None)
    flags = ["--width", "1", "--workdir", str(runs[1].path), "--shadow-data", str(file)]
    jaxmia.cli(own, [*flags, "--explain"])
    lines = " ".join(capsys.readouterr().out.split())
    assert "8 more models, of 60 each of 120 other records, 10 that the pool holds" in lines
    jaxmia.cli(own, [*flags, "--json"])  # of a file, the same records: nothing to do
    text = capsys.readouterr()
    states = json.loads(text.out)["shadow_data"]["states"]
    assert "nothing to do" in text.err and "by 8 shadow models of other data (120 rec" in states
    page = (runs[1].path / "report/index.html").read_text()
    assert "Shadow models of other data" in page and OWN in page
    save(300, 400)
    np.save(tmp_path / "phi.npy", np.zeros(80))
    for flagged, line in (
        ([], "run/shadow_data belongs to another experiment: examples is 200 there, 180 here"),
        (["--target-signals", str(tmp_path / "phi.npy")], "--shadow-data: a target of your own"),
        (["--explain", "--on", "h100"], "--on: is for the experiment's own models"),
        (["--design", "canaries([1, 2])"], "shadow_data: design=canaries([1, 2]) names"),
    ):
        with pytest.raises(SystemExit) as end:
            jaxmia.cli(own, [*flags, *flagged])
        assert end.value.code == 2 and line in capsys.readouterr().err
    with pytest.raises(ValueError, match="^cascade: .* without shadow_data"):
        check_cascade(experiment(), Options())
    with pytest.raises(ValueError, match="^shadow_data: these are estimators"):
        experiment(recipe=Procedure(DummyClassifier()))


@pytest.mark.soak
def test_workers_share_the_shadow_models_of_other_data(tmp_path, runs):
    assert not (run(tmp_path / "run", (1, 2)).path / "summary.json").exists()
    second = run(tmp_path / "run", (0, 2))
    assert second.evaluated and second.summary["shadow_data"] == runs[1].summary["shadow_data"]
