"""Imitative models learn the target's answers; their score is that of plain loops, and null."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from row_pages import check_page

from experiments.pages import imitation as page
from experiments.studies import imitation as study
from jaxmia import data, design, metrics, recipes
from jaxmia.attacks.imitative import imitative
from jaxmia.imitation import answered, augmented, imitating, imitation, without_answers
from jaxmia.models import mlp
from jaxmia.storage.run import read_signals
from jaxmia.storage.store import Store
from jaxmia.training.pool import pool
from jaxmia.training.trainer import model_key, trainer
from jaxmia.types import StepContext

R = np.random.default_rng(0)
N, K = 300, 8


def half_and_shadows(effect, seed=0):
    """A target that was trained on a half, imitators, references, and who was in which."""
    rng = np.random.default_rng(seed)
    member = design.complementary_halves(seed, 3 * K, N)
    phi = rng.normal(size=N) + effect * member + rng.normal(size=member.shape)
    return phi[0], member[0], phi[2 : K + 2], member[2 : K + 2], phi[K + 2 :], member[K + 2 :]


def test_the_score_is_that_of_plain_loops():
    target, _, out, out_member, ref, member = half_and_shadows(1.0)
    out[1, 4], ref[2, 5], target[6] = np.nan, np.nan, np.inf
    scores = imitative(target, out, out_member, ref, member, most=3)
    every = np.concatenate([a.ravel() for a in (target, out, ref)])
    top = every[np.isfinite(every)].max()
    spread = np.ptp(every[np.isfinite(every)])
    for j in range(N):
        phi = top + 0.05 * spread if j == 6 else target[j]
        a = [ref[r, j] for r in range(len(ref)) if member[r, j] and not np.isnan(ref[r, j])][:3]
        b = [out[k, j] for k in range(K) if not out_member[k, j] and not np.isnan(out[k, j])][:3]
        want = np.nan
        if a and b:
            a, b = sum(a) / len(a), sum(b) / len(b)
            want = 0.0 if a < b else (b - phi) ** 2 - (a - phi) ** 2
        assert np.isclose(scores[j], want, rtol=1e-9, equal_nan=True), j


def test_it_finds_an_effect_and_nothing_where_there_is_none():
    areas = {}
    for effect in (0.0, 2.0):
        parts = [half_and_shadows(effect, seed) for seed in range(20)]
        scores = np.stack([imitative(p[0], *p[2:]) for p in parts])
        areas[effect] = metrics.auc(scores, np.stack([p[1] for p in parts]))
    assert abs(areas[0.0] - 0.5) < 0.02 and areas[2.0] > 0.75, areas


def test_shapes_that_do_not_fit_are_refused(as_users_run):
    target, _, out, out_member, ref, member = half_and_shadows(0.0)
    with pytest.raises(ValueError, match="imitative: member"):
        imitative(target, out, member, ref, member)
    with pytest.raises(ValueError, match="imitative: target"):
        imitative(target[:5], out, out_member, ref, member)
    with pytest.raises(ValueError, match="answered: logits"):
        answered(data.digits(), np.full((3, 2), np.nan))
    with pytest.raises(ValueError, match="1438 examples and 10 classes"):
        answered(data.digits(), np.zeros((3, 10)))()
    with pytest.raises(ValueError, match="warm_up=2"):
        imitation(recipes.cross_entropy(), 2)


def test_an_imitator_is_an_ordinary_model_until_it_imitates():
    source = data.first(data.digits(), 64, 20)
    plain, rows = source(), np.arange(64)
    z = 5 * R.normal(size=(64, 10)).astype(np.float32)
    with_answers = answered(source, z)()
    np.testing.assert_array_equal(with_answers.x[:, -10:], z)
    own = recipes.sgd(mlp(32), epochs=40, batch_size=32)

    def trained(recipe, of):
        one = trainer(recipe, of, 64)
        key, member = model_key(0, 1), np.ones(64, bool)
        shadow = one.init(key)
        examples = pool(of, of.x, of.y)
        epoch = jax.jit(lambda number, shadow: one.epoch(examples, member, key, number, shadow)[0])
        for number in range(recipe.epochs):
            shadow = epoch(jnp.int32(number), shadow)
        x = (of.x[rows] - of.shift) / of.scale
        return np.asarray(one.model.apply(shadow.params, shadow.state, x, key, False)[0])

    want = trained(own, plain)
    shape = plain.x.shape[1:]
    never, late = (trained(imitating(own, shape, w), with_answers) for w in (1.0, 0.2))
    np.testing.assert_allclose(never, want, rtol=1e-4, atol=1e-4)
    assert ((late - z) ** 2).mean() < 0.8 * ((want - z) ** 2).mean()


def test_the_answer_is_not_augmented_and_the_network_does_not_see_it():
    def flipped(x, key):
        return x[::-1]

    x = np.arange(8.0)
    out = augmented(flipped, (2, 3))(x, model_key(0, 0))
    np.testing.assert_array_equal(out, [3, 4, 5, 0, 1, 2, 6, 7])
    with_answers = answered(data.first(data.digits(), 64, 20), np.zeros((64, 10)))()
    model = without_answers(mlp(8), (64,))(with_answers)
    params, state = model.init(model_key(0, 0))
    a = np.asarray(model.apply(params, state, with_answers.x[:5], model_key(0, 0), False)[0])
    with_answers.x[:, -10:] = 7.0
    b = np.asarray(model.apply(params, state, with_answers.x[:5], model_key(0, 0), False)[0])
    np.testing.assert_array_equal(a, b)


def test_the_loss_changes_at_the_warm_up():
    x = R.normal(size=(4, 6)).astype(np.float32)

    def apply(params, state, inputs, key, train):
        return inputs[:, :3] * params, state

    def value(epoch):
        context = StepContext(epoch, 10, 100, 4, 4)
        of = imitation(recipes.cross_entropy(), 0.8)
        return float(of(apply, 2.0, {}, x, np.arange(4) % 3, model_key(0, 0), context)[0])

    z = 2.0 * x[:, :3].astype(np.float64)
    entropy = np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(4), np.arange(4) % 3])
    apart = np.mean((z - x[:, 3:]) ** 2)
    np.testing.assert_allclose([value(7), value(8)], [entropy, (entropy + apart) / 2], rtol=1e-5)


@pytest.mark.soak
def test_the_study_s_page_is_made_of_its_rows(tmp_path, monkeypatch):
    flags = study.Flags(
        targets=3, imitators=2, epochs=10, out=tmp_path / "runs", results=tmp_path, quiet=True
    )
    study.main(flags)
    lines = [json.loads(line) for line in (tmp_path / "imitation.jsonl").open()]
    by = {row["attack"]: row for row in lines}
    assert by["imitative"]["cost"]["own"]["models"] == 3 * 2
    assert by["imitative"]["cost"]["shared"]["models"] == by["imitative"]["shadows"] == 22

    def phi_and_member(name, models):
        signals, member = read_signals(Store(tmp_path / "runs" / name), models)
        return np.asarray(signals.phi), member

    phi, truth = phi_and_member("targets", 3)
    shadows = [part[:20] for part in phi_and_member("shadows", 22)]
    near = [phi_and_member(f"imitators_{t:02}", 2) for t in range(3)]
    for name, first in (("imitative", 0), ("imitative_other", 1)):
        scores = [imitative(phi[t], *near[(t + first) % 3], *shadows) for t in range(3)]
        assert by[name]["auc"] == pytest.approx(metrics.auc(np.stack(scores), truth))
    check_page(page, "imitation", tmp_path, monkeypatch)
