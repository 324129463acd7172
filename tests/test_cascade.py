"""The cascading attack: its anchors, its loop, both nulls, and its rounds as run folders."""

import json
from dataclasses import replace

import numpy as np
import plain
import pytest
from row_pages import check_page
from sklearn.naive_bayes import GaussianNB

from experiments.pages import cascade as page
from experiments.studies import cascade as study
from jaxmia import Experiment, data, design, metrics, recipes
from jaxmia.attacks.anchors import FREE, IN, OUT, Rule, Thresholds, chosen_anchors, thresholds
from jaxmia.attacks.cascading import Shadows, cascade, score_of, together
from jaxmia.cascade import Cascade, shadows_of
from jaxmia.cascade import cascade as on_runs
from jaxmia.command.audit import in_memory
from jaxmia.command.experiment import cli
from jaxmia.estimators import Procedure
from jaxmia.estimators.tabled import tabled
from jaxmia.models import mlp
from jaxmia.options import Options
from jaxmia.storage.run import Run
from jaxmia.training.progress import Progress
from jaxmia.types import Signals

LOOSE = Rule(members_below=3, non_members_above=0, share=0.2, least_out=4, least_in=2)


@pytest.mark.parametrize("seed", range(12))
def test_thresholds_and_anchors_are_those_of_a_loop(seed):
    """Scores with ties and NaN; some rules find non-members, some only members, some nobody."""
    rng = np.random.default_rng(seed)
    member = rng.random((4, 80)) < 0.5
    score = np.round(rng.normal(size=member.shape) + 1.5 * member, 1)
    score[rng.random(score.shape) < 0.1] = np.nan
    rule = LOOSE._replace(
        members_below=int(rng.integers(0, 4)),
        non_members_above=int(rng.integers(0, 2)),
        least_out=int(rng.choice([3, 200])),
    )
    before = rng.choice([FREE, FREE, FREE, OUT, IN], 80)
    masked = np.where(before == FREE, score, np.nan)
    sure = [thresholds(masked[i], member[i], rule) for i in (1, 2, 3)]
    want = [plain.thresholds(masked[i], member[i], rule) for i in (1, 2, 3)]
    np.testing.assert_array_equal(sure, want)
    new = chosen_anchors(score[0], before, sure, rule)
    np.testing.assert_array_equal(new, plain.chosen_anchors(score[0], before, want, rule))


def test_the_oracles_cases_are_all_there():
    """Non-members first, at most a share of the free, the lowest; members only without them."""
    score = np.arange(40.0)
    free, sure = np.full(40, FREE), [Thresholds(20.0, 36.0)]
    rule = Rule(share=0.2, least_out=8, least_in=4)
    assert np.flatnonzero(chosen_anchors(score, free, sure, rule) == OUT).tolist() == [*range(8)]
    inside = chosen_anchors(score, free, sure, rule._replace(least_out=9))
    assert np.flatnonzero(inside == IN).tolist() == [36, 37, 38, 39] and (inside == OUT).sum() == 0
    nobody = chosen_anchors(score, free, sure, rule._replace(least_out=9, least_in=5))
    assert (nobody == FREE).all()
    none = [Thresholds(np.nan, np.nan)]
    assert (chosen_anchors(score, free, none, rule) == FREE).all()
    member = np.arange(40) % 2 == 0
    assert (
        thresholds(score, member, Rule(members_below=0)).low
        != thresholds(score, ~member, Rule(members_below=0)).low
    )
    assert np.isnan(thresholds(np.zeros(40), member, Rule()).low)  # all are alike
    assert thresholds(np.zeros(40), member, Rule()).high == 0


def toy(seed, examples=500, width=400):
    """Models in closed form: the mean of their members' vectors; phi is each record's share in it.

    So what is known of other records is worth something: their vectors are noise to a record's.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(examples, width)) * rng.gamma(1, 1, (examples, 1))
    products = x @ x.T * 2 / examples
    return lambda member: ((member - 0.5) @ products)[..., None]


def noise(seed, examples=500):
    """Models that know nothing of their members."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(examples, 1))
    return lambda member: centre + rng.normal(size=(*member.shape, 1))


def trainer(phi, number, models):
    """The shadow models of a round for a target of this number."""

    def train(round_, anchor):
        at = np.flatnonzero(anchor != FREE)
        draw = design.complementary_halves
        if len(at):
            anchors = dict(zip(at.tolist(), anchor[at].tolist(), strict=True))
            draw = design.anchored(draw, anchors)
        member = draw(100 * number + round_, models, len(anchor))
        return Shadows(Signals(phi(member)), member)

    return train


def by_rounds(target, train, anchors):
    """The target's score by shadow models with these anchors in each round."""
    pool = together([train(number, anchor) for number, anchor in enumerate(anchors, 1)])
    return score_of(Signals(target), pool, "lira_online")


def attacked(phi, targets, models=16, examples=500):
    """Scores of cascades, and of the same rounds with nothing forced; membership, anchors."""
    member = design.complementary_halves(7, targets, examples)
    signals, lasts, ordinary = phi(member), [], []
    rule = Rule(members_below=8, non_members_above=0, share=0.05, least_out=4, least_in=2)
    for t in range(targets):
        train = trainer(phi, t, models)
        *_, last = cascade(Signals(signals[t]), train, 3, rule=rule)
        lasts.append(last)
        free = [np.full(examples, FREE)] * (last.models // models)
        ordinary.append(by_rounds(signals[t], train, free))
    score, anchor = (np.stack([getattr(one, k) for one in lasts]) for k in ("score", "anchor"))
    return score, np.stack(ordinary), member, anchor


def test_noise_is_scored_as_noise_whatever_is_forced():
    """Anchors are then right half of the time, and move neither their own nor others' scores."""
    score, ordinary, member, anchor = attacked(noise(0), targets=16)
    assert (anchor != FREE).sum() > 200
    others = np.where(anchor == FREE, score, np.nan)
    for one in (score, ordinary, others):
        assert abs(metrics.auc(one, member) - 0.5) < 0.02
    right = (member == anchor)[anchor != FREE]
    assert abs(right.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(right))


def test_where_records_hide_each_other_the_cascade_finds_more():
    score, ordinary, member, anchor = attacked(toy(1), targets=8)
    assert (anchor == OUT).sum() > 8 * 30 and (member == anchor)[anchor != FREE].mean() > 0.8
    gain = [
        metrics.figures_per_target(np.where(at, score, np.nan), member, ()).auc
        - metrics.figures_per_target(np.where(at, ordinary, np.nan), member, ()).auc
        for at in (np.full(anchor.shape, True), anchor == FREE)
    ]
    for g in gain:
        assert g.mean() > 4 * g.std() / np.sqrt(len(g)) > 0, g


def test_a_tenth_of_the_membership_finds_more_of_the_rest():
    phi, gains = toy(2), []
    for t, truth in enumerate(design.complementary_halves(7, 12, 500)):
        free = np.full(500, FREE)
        anchor = np.where(np.random.default_rng(t).random(500) < 0.1, truth, FREE)
        target, train, rest = phi(truth[None])[0], trainer(phi, t, 16), anchor == FREE
        scores = [by_rounds(target, train, [free, second]) for second in (free, anchor)]
        usual, forced = (metrics.auc(s[rest], truth[rest]) for s in scores)
        gains.append(forced - usual)
    assert np.mean(gains) > 4 * np.std(gains) / np.sqrt(len(gains))


def test_the_rounds_are_those_of_a_plain_loop():
    """The rule is such that thresholds decide, not shares."""
    examples, models, attack = 40, 8, "lira_online_global_variance"
    rule = Rule(members_below=1, non_members_above=1, share=1.0, least_out=3, least_in=2)
    for seed in (3, 4):
        phi = toy(seed, examples, 20)
        target = phi(design.complementary_halves(seed, 1, examples))[0]
        train = trainer(phi, seed, models)
        rounds = list(cascade(Signals(target), train, 3, 2, attack, rule))
        want = plain.cascade(target, train, 3, 2, rule)
        assert len(rounds) == len(want) > 1
        for one, (anchor, score) in zip(rounds, want, strict=True):
            np.testing.assert_array_equal(one.anchor, anchor)
            np.testing.assert_allclose(one.score, score, rtol=1e-7, atol=1e-9)
        assert rounds[-1].models == models * len(rounds)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rounds": 0}, "rounds=0 must be 1 or more"),
        ({"references": 0}, "references=0 must be 1 or more"),
        ({"attack": "lira"}, "attack='lira' is not one of"),
        ({"rule": Rule(share=0.0)}, r"share=0\.0 must be above 0"),
        ({"rule": Rule(least_in=0)}, "least_in=0 must be 1 or more"),
        ({"rule": Rule(members_below=-1)}, "members_below=-1 must be 0 or more"),
    ],
)
def test_settings_that_are_none_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Cascade(**settings)


def test_what_a_loop_cannot_score_is_refused():
    member = design.balanced_columns(0.5)(0, 8, 60)
    phi = noise(0, 60)
    target = Signals(phi(member)[0])
    with pytest.raises(ValueError, match="not for designs with balanced columns"):
        next(cascade(target, lambda *_: Shadows(Signals(phi(member)), member)))
    with pytest.raises(ValueError, match="references=6 leaves too few of a round's 8"):
        next(cascade(target, trainer(phi, 0, 8), references=6))


RNG = np.random.default_rng(0)
TABLE = tabled(RNG.normal(size=(120, 30)), RNG.integers(2, size=120), None, {}, False, "table")
SMALL = Experiment("small", in_memory(TABLE), Procedure(GaussianNB()), models=8)
QUIET = Options(width=1, progress=Progress(quiet=True))
SURE = Cascade(rounds=2, rule=LOOSE._replace(members_below=20))


def test_rounds_are_run_folders_that_go_on_where_they_were(tmp_path):
    targets = shadows_of(
        replace(SMALL, models=2, seed=9), replace(QUIET, workdir=tmp_path / "targets")
    )
    one, other = (targets.signals.models(t) for t in (0, 1))
    here = replace(QUIET, workdir=tmp_path / "one")
    next(on_runs(SMALL, one, SURE, here))  # stops after a round
    first = (tmp_path / "one/round_1/experiment.json").stat().st_mtime_ns
    rounds = list(on_runs(SMALL, one, SURE, here))
    again = list(on_runs(SMALL, one, SURE, here))
    assert len(rounds) == 2 and (rounds[1].anchor == OUT).sum() >= 4
    for a, b in zip(rounds, again, strict=True):
        np.testing.assert_array_equal(a.score, b.score)
        np.testing.assert_array_equal(a.anchor, b.anchor)
    assert (tmp_path / "one/round_1/experiment.json").stat().st_mtime_ns == first
    second = Run.open(tmp_path / "one/round_2")
    fixed = rounds[1].anchor != FREE
    assert second.models == 8 and (second.member[:, fixed] == rounds[1].anchor[fixed]).all()
    np.testing.assert_array_equal(second.member[::2, ~fixed], ~second.member[1::2, ~fixed])
    with pytest.raises(ValueError, match="another experiment"):  # anchors of another target
        list(on_runs(SMALL, other, SURE, here))
    elsewhere = replace(QUIET, workdir=tmp_path / "other")
    list(on_runs(SMALL, other, replace(SURE, rounds=1), elsewhere, first=tmp_path / "one/round_1"))
    assert not (tmp_path / "other").exists()


def test_what_no_round_can_be_made_of_is_refused_before_anything_is_written(tmp_path):
    here = replace(QUIET, workdir=tmp_path / "x")
    target = Signals(np.zeros((120, 1), np.float32))
    with pytest.raises(ValueError, match="leave --shard-count out"):
        next(on_runs(SMALL, target, SURE, replace(here, shard_count=2)))
    recipe = recipes.sgd(mlp(4), epochs=1)
    people = replace(SMALL, data=data.people(60, test=20), recipe=recipe)
    with pytest.raises(ValueError, match="not for records that belong to persons"):
        next(on_runs(people, target, SURE, here))
    assert not (tmp_path / "x").exists()


NETWORKS = Experiment(
    name="small",
    data=data.digits(),
    recipe=recipes.sgd(mlp(16), epochs=20, batch_size=64, rate=0.1),
    models=8,
    attacks=("lira_online",),
)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--cascade", "2"], "--cascade needs --target-signals or --target-logits"),
        (["--cascade", "-1", "--target-signals", "t.npy"], "rounds=-1 must be 1 or more"),
        (
            ["--cascade", "2", "--target-signals", "t.npy", "--shard-count", "2"],
            "leave --shard-count out",
        ),
    ],
)
def test_the_command_refuses_before_it_trains(flags, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.save("t.npy", np.zeros(1438))
    with pytest.raises(SystemExit) as end:
        cli(NETWORKS, [*flags, "--workdir", "run"])
    assert end.value.code == 2 and words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.soak
def test_the_command_attacks_a_target_of_ones_own(tmp_path, capsys):
    target = shadows_of(
        replace(NETWORKS, models=1, seed=9), Options(tmp_path / "target", progress=QUIET.progress)
    )
    np.save(tmp_path / "phi.npy", np.asarray(target.signals.phi)[0, :, 0])
    np.save(tmp_path / "member.npy", target.member[0])
    files = ["--target-signals", f"{tmp_path}/phi.npy", "--target-member", f"{tmp_path}/member.npy"]
    cli(NETWORKS, ["--workdir", f"{tmp_path}/run", "--cascade", "2", *files])
    says = capsys.readouterr().err
    assert "round 1: 8 shadow models, 0 anchors: AUC" in says
    with np.load(tmp_path / "run/cascade/scores.npz") as archive:
        score = archive["lira_online"]
    anchor = np.load(tmp_path / "run/cascade/anchor.npy")
    again = cascade_of(NETWORKS, target, tmp_path)
    np.testing.assert_array_equal(score[0], again.score)
    np.testing.assert_array_equal(anchor, again.anchor)
    assert Run.open(tmp_path / "run").summary["attacks"]


def cascade_of(experiment, target, folder):
    """The last round by the function, of what the command trained."""
    how = Options(folder / "run/cascade", progress=QUIET.progress)
    *_, last = on_runs(experiment, target.signals.models(0), Cascade(2), how, first=folder / "run")
    return last


@pytest.mark.soak
def test_the_study_keeps_rows_of_networks(tmp_path, monkeypatch):
    flags = study.Flags(
        targets=2, models=8, rounds=2, epochs=8, draws=20, workdir=tmp_path / "runs",
        shares=(0.2, 0.5), results=tmp_path, quiet=True,
    )  # fmt: skip
    study.main(flags)
    first = (tmp_path / "cascade.jsonl").read_text().splitlines()
    study.main(replace(flags, parts=("oracle",)))  # all is trained, the other part's rows stay
    again = (tmp_path / "cascade.jsonl").read_text().splitlines()
    for a, b in zip(first, again, strict=True):
        a, b = (json.loads(line) for line in (a, b))
        assert {k: v for k, v in a.items() if k != "time"} == {
            k: v for k, v in b.items() if k != "time"
        }
    figures = [json.loads(line) for line in first]
    at = {(r["part"], r["case"], r.get("records")): r for r in figures}
    alike = [(case, of) for case in ("attack", "baseline") for of in ("all", "no anchors")]
    assert set(at) == {
        *((part, *case) for part in ("cascade", "truth") for case in alike),
        ("cascade", "round 1", "all"), ("cascade", "anchors", None),
        ("oracle", "attack", "no anchors"), ("oracle", "baseline", "no anchors"),
        *((part, "cost", None) for part in study.PARTS),
    }  # fmt: skip
    assert [r["share"] for r in figures if r["part"] == "oracle"] == [0.2] * 3 + [0.5] * 3
    for part, own in (("cascade", 16), ("truth", 16), ("oracle", 16)):
        cost = at[part, "cost", None]
        assert cost["shared"]["models"] == 16 and cost["own"]["models"] <= own
        assert cost["shared"]["seconds"] > 0
    gain = at["cascade", "attack", "all"]["more"]["auc"]["value"]
    apart = at["cascade", "attack", "all"]["auc"] - at["cascade", "baseline", "all"]["auc"]
    assert gain == pytest.approx(apart)
    right = at["truth", "attack", "all"]
    apart = right["auc"] - at["cascade", "attack", "all"]["auc"]
    assert right["more_than_cascade"]["auc"]["value"] == pytest.approx(apart)
    check_page(page, "cascade", tmp_path, monkeypatch)
