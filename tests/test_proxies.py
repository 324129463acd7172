"""Proxies in place of the query's own IN models: against loops, and what they must not see."""

from dataclasses import replace

import numpy as np
import plain
import pytest

import jaxmia
from jaxmia import Experiment, data, design, metrics, recipes
from jaxmia.attacks import ATTACKS, attack_every_model, attack_targets, proxies
from jaxmia.attacks.proxies import nearest
from jaxmia.attacks.references import leave_out, left_out
from jaxmia.command import app
from jaxmia.models import mlp
from jaxmia.options import Options
from jaxmia.training.progress import Progress
from jaxmia.types import Signals

NAMES = ("proxy_global", "proxy_class", "proxy_instance")


def moved_by_membership(plan, models, examples, queries=1, spread=2.0, seed=0):
    """Signals of members that are higher, examples apart by `spread` of the models' deviation."""
    member = plan(seed, models, examples)
    rng = np.random.default_rng(seed)
    phi = rng.normal(size=(*member.shape, queries)) + 1.5 * member[..., None]
    phi += spread * rng.normal(size=(examples, 1))
    y, features = rng.integers(0, 3, examples), rng.normal(size=(examples, 4))
    return Signals(phi, y, features=features), member


def proxies_of(name, s, several):
    """Of each example the others that stand for it, by a loop; `several` have IN references."""
    examples, y = range(np.shape(s.phi)[1]), np.asarray(s.y)
    if name == "proxy_global":
        return lambda j: [z for z in examples if z != j]
    of_class = [[z for z in examples if z != j and y[z] == y[j]] for j in examples]
    if name == "proxy_class":
        return lambda j: of_class[j]
    x = np.asarray(s.features)

    def cosine(j, z):
        return x[j] @ x[z] / np.sqrt((x[j] @ x[j]) * (x[z] @ x[z]))

    of_class = [[z for z in near if several[z]] for near in of_class]
    return lambda j: [max(of_class[j], key=lambda z: cosine(j, z))] if of_class[j] else []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("plan", "models", "queries"),
    [
        (design.complementary_halves, 8, 2),
        (design.poisson(0.5), 7, 1),
        (design.balanced_columns(0.5), 8, 1),
    ],
)
def test_a_proxy_attack_is_that_of_loops(name, plan, models, queries):
    s, member = moved_by_membership(plan, models, 20, queries, seed=3)
    s.phi[2, 5] = np.nan
    s.phi[:, 7] = np.round(s.phi[:, 7])  # ties
    scores = attack_every_model(s, member, [name])[name]
    leaves = leave_out(member)
    beside = left_out(leaves, member, 0, np.isfinite(s.phi[..., 0]))
    stay = np.ones((models, *member.shape), bool)  # which references each target has
    for t in range(models):
        stay[t, t] = False
        if beside is not None:
            at = np.flatnonzero(beside[t] >= 0)
            stay[t, beside[t, at], at] = False
    several = (stay & member & np.isfinite(s.phi[..., 0])).sum(1) > 1
    assert models == 8 or (several != several[0]).any()
    for t in range(models):
        want, sound = plain.proxy(s.phi[t], s.phi, member, stay[t], proxies_of(name, s, several[t]))
        assert np.isfinite(want).sum() > 10
        np.testing.assert_array_equal(np.isnan(scores[t]), np.isnan(want))
        np.testing.assert_allclose(scores[t, sound], want[sound], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_an_examples_own_in_references_are_no_proxies_of_it(name):
    s, member = moved_by_membership(design.poisson(0.5), 12, 60)
    target = np.random.default_rng(1).normal(size=(60, 1))
    moved = np.array(s.phi)
    moved[member[:, 7], 7] += 40.0

    def score(phi):
        one, many = replace(s, phi=target), replace(s, phi=phi)
        return attack_targets([one], many, member, [name])[name][0]

    was, now = score(s.phi), score(moved)
    assert now[7] == was[7]
    others = [j for j in range(60) if 7 in proxies_of(name, s, member.sum(0) > 1)(j)]
    assert others and (np.abs(now - was)[others] > 1e-3).all()  # of them it is one
    moved = np.array(s.phi)
    moved[~member[:, 7], 7] += 3.0  # its OUT references are what it is held against
    assert abs(score(moved)[7] - was[7]) > 0.1


def test_one_value_beyond_all_others_leaves_the_rest_their_digits():
    s, member = moved_by_membership(design.poisson(0.5), 12, 60)
    far = np.array(s.phi)
    far[np.flatnonzero(member[:, 7])[0], 7] = 1e30
    target = replace(s, phi=s.phi[0])
    was, now = (
        attack_targets([target], replace(s, phi=phi), member, NAMES) for phi in (s.phi, far)
    )
    for name in NAMES:
        assert now[name][0, 7] == pytest.approx(was[name][0, 7], rel=1e-9)


def test_records_that_no_model_was_trained_on_are_what_it_is_for():
    """As a user has them: columns of OUT alone, beside the records that models were drawn from."""
    new = np.arange(1500) >= 1000
    every = design.poisson(0.5)(0, 40, 1500)
    every[:24, new] = False
    rng = np.random.default_rng(0)
    phi = rng.normal(size=every.shape) + 2.0 * every + 0.5 * rng.normal(size=1500)
    y, member, inside = rng.integers(0, 3, 1500), every[:24], every[24:, new]
    reference = Signals(phi[:24, :, None], y, features=rng.normal(size=(1500, 4)))
    targets = [replace(reference, phi=p[:, None]) for p in phi[24:]]
    scores = attack_targets(targets, reference, member, NAMES)
    assert np.isfinite(scores.pop("proxy_instance")).all()  # whatever else is nearer
    for score in scores.values():
        assert np.isfinite(score).all() and metrics.auc(score[:, new], inside) > 0.85
    alone = attack_targets(targets, reference, np.zeros_like(member), NAMES)
    assert all(np.isnan(score).all() for score in alone.values())  # nobody stands for anybody


def test_classes_that_differ_are_told_apart_by_class_proxies_alone():
    s, member = moved_by_membership(design.complementary_halves, 32, 900, spread=0.2)
    apart = replace(s, phi=np.asarray(s.phi) + 6.0 * np.asarray(s.y)[:, None])
    scores = attack_every_model(apart, member, NAMES[:2])
    aucs = {k: metrics.auc(v, member) for k, v in scores.items()}
    assert aucs["proxy_class"] > aucs["proxy_global"] + 0.1 and ATTACKS["proxy_class"].log_ratio


def test_the_nearest_is_of_the_same_label_by_the_angle_and_not_oneself():
    x = np.array([[1.0, 0], [9, 1], [0, 1], [1, 0.01], [0, 5], [0, 0]])
    y = np.array([0, 0, 0, 1, 1, 2])
    every, some = y >= 0, np.array([False, True, True, False, True, True])
    want = [[1, 0, 1, 4, 3, -1], [1, 2, 1, 4, -1, -1]]  # what is near is no proxy in the second
    np.testing.assert_array_equal(nearest(x, y, np.stack([every, some])), want)
    np.testing.assert_array_equal(nearest(x, y, np.zeros((1, 6), bool)), np.full((1, 6), -1))


@pytest.mark.parametrize("near", [2, 8, 100])
def test_the_nearest_among_several_sets_is_that_of_each_alone(monkeypatch, near):
    monkeypatch.setattr(proxies, "ROWS", 17)
    monkeypatch.setattr(proxies, "NEAR", near)
    rng = np.random.default_rng(near)
    for share in (0.02, 0.5, 0.95):
        y, x = rng.integers(3, size=70), rng.integers(-2, 3, size=(70, 2)).astype(float)  # ties
        sets = rng.random((5, 70)) < share
        places = nearest(x, y, sets)
        unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300)
        for of_set, kind in zip(places, sets, strict=True):
            for i, place in enumerate(of_set):
                others = [j for j in range(70) if j != i and kind[j] and y[j] == y[i]]
                if not others:
                    assert place == -1
                    continue
                cosine = np.array([unit[i] @ unit[j] for j in others])
                assert place in others and unit[i] @ unit[place] >= cosine.max() - 1e-12


def test_near_examples_that_are_alike_stand_for_each_other():
    """Examples in kinds, of which some move with membership and some do not."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 20, 900)
    member = design.complementary_halves(0, 32, 900)
    features = np.eye(20)[kind] + 0.05 * rng.normal(size=(900, 20))
    phi = rng.normal(size=member.shape) + 3.0 * (kind + (kind % 2) * member)
    s = Signals(phi[..., None], np.zeros(900, int), features=features)
    scores = attack_every_model(s, member, NAMES[1:])
    one, other = (metrics.auc(scores[k], member) for k in ("proxy_instance", "proxy_class"))
    assert one > other + 0.1


def test_a_run_has_features_and_score_wants_them(tmp_path, as_users_run, capsys):
    experiment = Experiment(
        name="near", data=data.synthetic(60, 8, classes=2), models=8,
        recipe=recipes.sgd(mlp(4), epochs=1, batch_size=16), attacks=("proxy_instance",),
    )  # fmt: skip
    run = jaxmia.run(experiment, Options(tmp_path / "run", 1, progress=Progress(quiet=True)))
    pool = experiment.data()
    np.save(tmp_path / "x.npy", (pool.x - pool.shift) / pool.scale)
    options = ["score", "--run", str(run.path), "--attacks", "proxy_instance", "--out"]
    app.main([*options, str(tmp_path / "out"), "--features", str(tmp_path / "x.npy")])
    with np.load(tmp_path / "out/scores.npz") as archive:
        np.testing.assert_allclose(archive["proxy_instance"], run.scores["proxy_instance"], 1e-4)
    np.save(tmp_path / "short.npy", np.ones((3, 2)))
    np.save(tmp_path / "nan.npy", np.full((len(pool.y), 2), np.nan))
    for flags, line in (
        ([], "proxy_instance needs features of the examples"),
        (["--features", str(tmp_path / "short.npy")], "has 3 examples, the signals have"),
        (["--features", str(tmp_path / "nan.npy")], "has NaN or infinite entries"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            app.main([*options, str(tmp_path / "no"), *flags])
        assert end.value.code == 2 and line in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
