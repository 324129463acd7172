"""Unlearning: what is done to a model is what it says; both ends of the scale."""

import json
from dataclasses import replace
from math import sqrt

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from row_pages import check_page

from experiments.pages import unlearning as page
from experiments.studies import unlearning as study
from experiments.studies import unlearning_methods as methods
from experiments.studies.unlearning_methods import Task
from jaxmia import data, design, recipes
from jaxmia.attacks import lira
from jaxmia.models import mlp
from jaxmia.training.pool import normalised, pool
from jaxmia.training.trainer import model_key, trainer
from jaxmia.types import Model

RECIPE = recipes.sgd(mlp(16), epochs=12, batch_size=16)


@pytest.fixture(scope="module")
def noise():
    """Examples whose labels can only be learned by heart."""
    return data.usable(data.random_labels(data.synthetic(120, 16, 4, test=20))())


def measured(families, name, against):
    return study.measured(study.attacked(families, name, against), families.member)


def check_both_ends(families):
    """Retraining leaves nothing to be found, and doing nothing leaves the whole leak."""
    n = families.member.sum()
    for against in study.AGAINST:
        leak, exact = (measured(families, way, against) for way in ("nothing", "retraining"))
        assert leak["auc"] > 0.8 and leak["n"] == n
        assert abs(exact["auc"] - 0.5) < 4 * sqrt(2 / (12 * n))
        assert exact["tpr_at_fpr"]["0.01"] < 0.06


@pytest.fixture(scope="module")
def made_up():
    """Families whose phi are known laws: 1.5 more where the candidate has been trained on."""
    rng = np.random.default_rng(0)
    member = design.complementary_halves(0, 24, 40)
    never, fresh, same = rng.normal(size=(3, 24, 40)) + rng.normal(size=40)
    ways = {"retraining": fresh, "nothing": same + 1.5 * member}
    return study.Families(member, never, ways, {})


def test_both_ends_of_the_scale(made_up):
    check_both_ends(made_up)


@pytest.mark.parametrize("against", study.AGAINST)
def test_scores_are_lira_s_between_the_unlearned_and_the_others(made_up, against):
    member, phi = made_up.member, made_up.unlearned["nothing"].copy()
    if against == "never trained":
        for m in range(24):
            for x in range(40):
                if not member[m, x]:
                    phi[m, x] = made_up.never[m, x]
    score = study.attacked(made_up, "nothing", against)
    for t in (0, 7):
        others = [m for m in range(24) if m // 2 != t // 2]  # nor its partner
        want = lira.online(phi[t], phi[others], member[others])
        np.testing.assert_allclose(score[t], want, rtol=1e-6, atol=1e-9)


@pytest.mark.soak
def test_networks_that_learned_by_heart_are_at_both_ends(noise):
    flags = study.Flags(models=24, candidates=40)
    ways = {"nothing": methods.nothing(), "retraining": methods.retraining()}
    check_both_ends(study.families(noise, np.arange(0, 120, 3), RECIPE, flags, ways))


def linear(pool):
    """A network of one layer, which compiles in no time."""

    def init(key):
        return {"w": 0.1 * jax.random.normal(key, (16, pool.classes))}, {}

    return Model(init, lambda params, state, x, key, train: (x @ params["w"], state))


LINEAR = replace(RECIPE, model=linear)


@pytest.fixture(scope="module")
def one_model(noise):
    member = np.zeros(120, bool)
    member[:80] = True
    forgotten = np.arange(120) < 30
    one, key, examples = trainer(LINEAR, noise, 80), model_key(0, 3), pool(noise, noise.x, noise.y)
    shadow = methods.epochs(one, 2, examples, member, key, one.init(key))
    task = Task(LINEAR, noise, 50, 30)
    return task, examples, member & ~forgotten, forgotten, key, shadow


def test_ascent_is_a_step_up_the_loss_of_what_is_forgotten(noise, one_model):
    task, examples, retained, forgotten, key, shadow = one_model
    recipe = replace(LINEAR, batch_size=30)  # all of them at once
    forget = methods.gradient_ascent(1, rate=0.05)(replace(task, recipe=recipe))
    after = forget(examples, retained, forgotten, key, shadow)
    apply, own = LINEAR.model(noise).apply, noise.x[forgotten]
    inputs = normalised(examples, jnp.asarray(own))

    def loss(params):
        z, _ = apply(params, shadow.state, inputs, key, True)
        return optax.softmax_cross_entropy_with_integer_labels(z, noise.y[forgotten]).mean()

    gradient = jax.grad(loss)(shadow.params)
    want = jax.tree.map(lambda p, g: p + 0.05 * g, shadow.params, gradient)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
                 after.params, want)  # fmt: skip
    assert loss(after.params) > loss(shadow.params)


def test_fine_tuning_goes_on_from_the_model_and_sees_nothing_of_what_is_forgotten(one_model):
    task, examples, retained, forgotten, key, shadow = one_model
    forget = methods.fine_tuning(2, rate=0.05)(task)
    after = forget(examples, retained, forgotten, key, shadow)
    other = examples._replace(x=np.where(forgotten[:, None], 9.0, examples.x).astype(np.float32))
    again = forget(other, retained, forgotten, key, shadow)
    for start, a, b in zip(*(jax.tree.leaves(s.params) for s in (shadow, after, again)),
                           strict=True):  # fmt: skip
        np.testing.assert_array_equal(a, b)
        assert 0 < abs(np.asarray(a) - start).max() < 1
    with pytest.raises(ValueError, match="epochs=0"):
        methods.fine_tuning(0)(task)


@pytest.mark.parametrize(("name", "value"), [("models", 5), ("candidates", 1), ("candidates", 999)])
def test_options_that_do_not_fit_are_refused(name, value):
    with pytest.raises(ValueError, match=f"--{name}: {value} must be"):
        study.task(study.Flags(**{name: value}), "own")


def test_wrong_labels_are_those_of_the_candidates():
    own, candidates, _ = study.task(study.Flags(candidates=30), "own")
    wrong, same, _ = study.task(study.Flags(candidates=30), "wrong")
    np.testing.assert_array_equal(candidates, same)
    np.testing.assert_array_equal(np.flatnonzero(own.y != wrong.y), candidates)


@pytest.mark.soak
def test_a_function_of_ones_own_is_measured_and_the_page_is_made_of_the_rows(tmp_path, monkeypatch):
    flags = study.Flags(models=4, epochs=2, candidates=20, out=tmp_path, results=tmp_path)
    lines = study.study(flags)
    assert len(lines) == len(study.METHODS) * 4
    assert json.loads((tmp_path / "rows.json").read_text()) == lines
    check_page(page, "unlearning", tmp_path, monkeypatch)

    def mine(task):
        return lambda pool, retained, forgotten, key, shadow: shadow

    own = study.study(flags, {"mine": mine, "nothing": methods.nothing()})
    mine_rows, nothing = own[:2], own[2:4]
    assert [r["auc"] for r in mine_rows] == [r["auc"] for r in nothing]
