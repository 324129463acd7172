"""Each defence does what it says: by its formula in float64, and by what it does to a training."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy.special import log_softmax, softmax

import jaxmia
from jaxmia import augment, data, defences, recipes, signals
from jaxmia.attacks import attack_by_others, attack_every_model
from jaxmia.defences import outputs
from jaxmia.defences.hamp import random_values, true_share, unsure
from jaxmia.defences.mixup import mixed
from jaxmia.defences.mmd import mmd, with_mmd
from jaxmia.defences.relax_loss import relaxed
from jaxmia.models import cnn, mlp
from jaxmia.training import block, trainer
from jaxmia.training.pool import like, normalised
from jaxmia.types import Model, Signals, StepContext

KEY = jax.random.key(5, impl="threefry2x32")
RNG = np.random.default_rng(0)
# hard classes and few examples: networks learn their members by heart
SOURCE = data.synthetic(80, 16, 4, distance=1.5, test=80, shape=(4, 4, 1))()
PLAIN = recipes.sgd(mlp(32), epochs=40, batch_size=20, weight_decay=0.0)
Z, Y = jnp.asarray(RNG.normal(size=(6, 4)) * 2, jnp.float32), jnp.asarray([0, 1, 2, 3, 0, 1])


def fitted(recipe, models=4):
    """The logits of some models on the pool and on the test part, and who was trained on."""
    one = trainer.trainer(recipe, SOURCE, 40)
    pool = block.examples(recipe, SOURCE)
    member = np.stack([np.random.default_rng(m).permutation(80) < 40 for m in range(models)])
    outside = normalised(pool, SOURCE.x_test)

    def model(at):
        key, own = at
        start = one.init(key)
        shadow, _ = lax.scan(
            lambda s, n: one.epoch(pool, own, key, n, s), start, jnp.arange(recipe.epochs)
        )

        def ask(x):
            return one.model.apply(shadow.params, shadow.state, x, key, False)[0]

        return ask(normalised(pool, pool.x)), ask(outside)

    keys = jax.vmap(lambda m: trainer.model_key(0, m))(jnp.arange(models))
    inside, out = jax.jit(lambda *a: lax.map(model, a))(keys, member)
    return np.asarray(inside, np.float64), np.asarray(out, np.float64), member


def gap(models):
    """How much surer models are of their members than of the others: the mean of phi."""
    z, _, member = models
    hit = np.arange(4) == SOURCE.y[:, None]
    others = np.where(hit, -np.inf, z)
    phi = np.where(hit, z, 0).sum(-1) - np.log(np.exp(others).sum(-1))
    return phi[member].mean() - phi[~member].mean()


@pytest.fixture(scope="module")
def plain():
    return fitted(PLAIN)


@pytest.mark.parametrize(
    "defence",
    [
        lambda r: defences.mixup(r),
        lambda r: defences.mixup_mmd(r),
        lambda r: defences.dp_sgd(r, 1.0, clip=0.5),
        lambda r: defences.early_stopping(r, 4),
        lambda r: defences.weight_decay(r, 0.05),
        lambda r: defences.dropout(r, 0.8),
        lambda r: defences.label_smoothing(r, 0.3),
        lambda r: defences.flip_and_shift(r, 1),
        lambda r: defences.cutout(r, 3),
        lambda r: defences.relax_loss(r, 0.7),
        lambda r: defences.hamp(r),
        lambda r: defences.weight_decay(defences.mixup(defences.dropout(r, 0.2)), 0.01),
    ],
    ids="mixup mmd dp_sgd early decay dropout smoothing shift cutout relax hamp three".split(),
)
def test_the_gap_shrinks(defence, plain):
    assert gap(fitted(defence(PLAIN))) < 0.75 * gap(plain)


def test_mmd_is_the_biased_estimate():
    a, b = softmax(RNG.normal(size=(7, 5)), -1), softmax(RNG.normal(size=(4, 5)), -1)
    want = 0.0
    for x, y, sign in ((a, a, 1), (b, b, 1), (a, b, -2)):
        for u in x:
            for v in y:
                want += sign * np.exp(-((u - v) ** 2).sum() / 2) / len(x) / len(y)
    estimate = mmd(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    np.testing.assert_allclose(estimate, want, rtol=1e-3)
    assert abs(float(mmd(jnp.asarray(a), jnp.asarray(a)))) < 1e-6


def test_the_mmd_term_falls(plain):
    """Between members and examples outside of the pool, with a weight that leaves nothing else."""

    def term(models):
        outside = data.held_out(SOURCE).validation
        same = [outside[SOURCE.y_test[outside] == label] for label in SOURCE.y]
        like = np.array([np.resize(at, 8) for at in same])  # [80, 8]: examples of equal label
        terms = []
        for z, o, m in zip(*models, strict=True):
            terms += [float(mmd(softmax(z[m], -1), softmax(o[like[m, i]], -1))) for i in range(8)]
        return np.mean(terms)

    models = fitted(defences.mixup_mmd(PLAIN, weight=30.0, alpha=None))
    assert term(models) < 0.5 * term(plain), (term(models), term(plain))


def test_mmd_is_left_out_below_the_gap_and_in_the_last_epoch():
    model, loss = PLAIN.model(SOURCE), PLAIN.loss
    params, _ = model.init(KEY)
    x, y = jnp.asarray(SOURCE.x[:12]), jnp.asarray(SOURCE.y[:12])

    def grads(gap, epoch):
        at = StepContext(epoch, 5, 10, 12, 40, validation=jnp.asarray(SOURCE.x[12:24]), gap=gap)
        settings = (loss, model.apply, params, {}, x, y, KEY, at)
        return with_mmd(recipes.batch_gradient, 3.0)(*settings)[0]

    plain = recipes.batch_gradient(loss, model.apply, params, {}, x, y, KEY)[0]

    def same(gradient):
        pairs = zip(jax.tree.leaves(gradient), jax.tree.leaves(plain), strict=True)
        return all(np.array_equal(a, b) for a, b in pairs)

    assert same(grads(0.03, 1)) and same(grads(0.5, 4)) and not same(grads(0.5, 3))


def test_validation_examples_have_the_labels_of_the_batch():
    pool = block.examples(defences.mixup_mmd(PLAIN), SOURCE)
    y = jnp.asarray(SOURCE.y[:30])
    examples = np.asarray(like(pool, y, KEY))
    rows = {r.tobytes(): label for r, label in zip(pool.x_validation, pool.y_validation,
                                                   strict=True)}  # fmt: skip
    assert [rows[r.tobytes()] for r in examples] == y.tolist()
    outside = {r.tobytes() for r in SOURCE.x}
    assert not outside & rows.keys()


def themselves(params, state, x, key, train):
    return x, state


def linear(params, state, x, key, train):
    return x @ params["w"], state


def test_mixup_mixes_examples_and_losses():
    w = {"w": jnp.asarray(RNG.normal(size=(4, 4)), jnp.float32)}
    loss = mixed(recipes.cross_entropy(0.1, 0.2), 1.0)
    value, (_, logits) = loss(linear, w, {}, Z, Y, KEY)
    weight_key, order_key = jax.random.split(jax.random.fold_in(KEY, 1))
    share = float(jax.random.beta(weight_key, 1.0, 1.0))
    other = np.asarray(jax.random.permutation(order_key, 6))
    x = share * np.float64(Z) + (1 - share) * np.float64(Z)[other]
    log_p = log_softmax(x @ np.float64(w["w"]), -1)
    hot = np.eye(4)[share and np.asarray(Y)] * 0.8 + 0.05
    target = share * hot + (1 - share) * hot[other]
    want = -(target * log_p).sum(-1).mean() + 0.05 * (np.float64(w["w"]) ** 2).sum()
    np.testing.assert_allclose(value, want, rtol=1e-5)
    assert 0.01 < share < 0.99


@pytest.mark.parametrize(("epoch", "alpha"), [(0, 0.5), (0, 9.0), (1, 0.1), (1, 9.0)])
def test_relax_loss_is_its_formula(epoch, alpha):
    at = StepContext(epoch, 4, 4, 6, 6)
    value, _ = relaxed(alpha)(themselves, {}, {}, Z, Y, KEY, at)
    log_p = log_softmax(np.float64(Z), -1)
    each = -log_p[np.arange(6), Y]
    flat = 0.0
    for i, label in enumerate(np.asarray(Y)):
        p = np.exp(log_p[i])
        t = np.where(np.arange(4) == label, p[label], (1 - p[label]) / 3)
        flat += ((p.argmax() != label) * -(t * log_p[i]).sum() - each[i]) / 6
    mean = each.mean()
    want = abs(mean - alpha) if epoch == 0 else mean if mean > alpha else flat
    np.testing.assert_allclose(value, want, rtol=1e-5)


def test_relax_loss_holds_the_loss_at_its_level():
    for alpha in (0.3, 0.8):
        recipe = dataclasses.replace(defences.relax_loss(PLAIN, alpha), epochs=41)
        z, _, member = fitted(recipe)
        each = -np.take_along_axis(log_softmax(z, -1), SOURCE.y[None, :, None], -1)[..., 0]
        assert 0.5 * alpha < each[member].mean() < 1.6 * alpha


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_hamp_labels_have_their_entropy(classes):
    q = true_share(0.8, classes)
    p = np.array([q, *[(1 - q) / (classes - 1)] * (classes - 1)])
    assert q > 1 / classes
    np.testing.assert_allclose(-(p * np.log(p)).sum(), 0.8 * np.log(classes), rtol=1e-9)


def test_hamp_is_its_formula():
    value, _ = unsure(0.7, 0.3)(themselves, {}, {}, Z, Y, KEY)
    log_p, q = log_softmax(np.float64(Z), -1), true_share(0.7, 4)
    soft = np.where(np.eye(4)[np.asarray(Y)] > 0, q, (1 - q) / 3)
    apart = (soft * (np.log(soft) - log_p)).sum(-1)
    entropy = -(np.exp(log_p) * log_p).sum(-1)
    np.testing.assert_allclose(value, (apart - 0.3 * entropy).mean(), rtol=1e-5)


def test_hamp_answers_with_a_random_inputs_values_in_its_own_order():
    net = random_values(mlp(32))(SOURCE)
    inner = mlp(32)(SOURCE)
    params, state = net.init(KEY)
    x = jnp.asarray(SOURCE.x[:40])
    own, _ = inner.apply(params, state, x, KEY, False)
    answers, _ = net.apply(params, state, x, KEY, False)
    np.testing.assert_array_equal(np.argsort(answers, -1), np.argsort(own, -1))
    again, _ = net.apply(params, state, x, jax.random.key(9, impl="threefry2x32"), False)
    np.testing.assert_array_equal(answers, again)
    values = {np.sort(r).tobytes() for r in np.asarray(answers)}
    assert 20 < len(values) <= 40  # many random inputs stand in
    assert not np.allclose(np.sort(answers, -1), np.sort(own, -1), atol=0.01)
    trained, _ = net.apply(params, state, x, KEY, True)
    np.testing.assert_array_equal(trained, own)


def test_early_stopping_keeps_to_the_schedule():
    whole, cut = PLAIN, defences.early_stopping(PLAIN, 10)

    def rates(recipe):
        update = recipe.optimizer(2 * recipe.epochs)
        state, out = update.init(jnp.zeros(())), []
        for _ in range(2 * recipe.epochs):
            step, state = update.update(jnp.ones(()), state, jnp.zeros(()))
            out.append(float(step))
        return out

    assert cut.epochs == 10
    np.testing.assert_allclose(rates(cut), rates(whole)[:20], rtol=1e-6)


def test_cutout_leaves_out_one_square():
    x = jnp.ones((9, 9, 2))
    holes = [
        np.asarray(augment.cutout(3)(x, jax.random.fold_in(KEY, i)))[..., 0] == 0
        for i in range(200)
    ]
    for hole in holes:
        rows, columns = hole.any(1).sum(), hole.any(0).sum()
        assert 2 <= rows <= 3 and 2 <= columns <= 3 and hole.sum() == rows * columns
    assert (np.mean(holes, 0) > 0).all()


def test_two_augmentations_follow_each_other():
    recipe = defences.cutout(defences.flip_and_shift(PLAIN, 1), 2)
    assert repr(recipe.augment) == "both(flip_and_shift(1, True), cutout(2))"
    x = recipe.augment(jnp.ones((6, 6, 1)), KEY)
    assert 0 < (np.asarray(x) == 0).sum() <= 4


def test_settings_change_however_deep_they_lie():
    recipe = defences.weight_decay(defences.mixup(PLAIN), 0.25)
    assert repr(recipe.loss) == "mixed(cross_entropy(0.25, 0.0), 1.0)"
    deep = defences.dropout(defences.hamp(PLAIN), 0.5).model
    assert deep == random_values(mlp(32, dropout=0.5)) and deep != random_values(mlp(32))
    smooth = defences.label_smoothing(PLAIN, 0.5)
    assert smooth.loss == recipes.cross_entropy(0.0, 0.5)
    images = defences.dropout(recipes.sgd(cnn(32)), 0.5).model(SOURCE)
    params, state = images.init(KEY)
    x = jnp.ones((2, 4, 4, 1))
    runs = [images.apply(params, state, x, jax.random.fold_in(KEY, i), True)[0] for i in (0, 1)]
    assert not np.allclose(*runs)


P = np.float64(softmax(np.float64(Z), -1))


def probabilities(step, z=Z):
    return softmax(np.float64(step(z)), -1)


@pytest.mark.parametrize("step", [make for make in (
    outputs.temperature(3.0), outputs.top_k(2), outputs.rounded(0), outputs.rounded(2),
    outputs.label_only(), outputs.mem_guard(0.3), outputs.mem_guard(2.0, 0.6),
    outputs.composed(outputs.top_k(3), outputs.rounded(1)),
)], ids=repr)  # fmt: skip
def test_outputs_keep_the_class_and_are_finite(step):
    z = jnp.concatenate([Z, 30 * Z, 1e-3 * Z])
    answers = step(z)
    assert np.isfinite(answers).all()
    np.testing.assert_array_equal(np.argmax(answers, -1), np.argmax(z, -1))
    stacked = step(z.reshape(3, 6, 4))
    np.testing.assert_array_equal(stacked.reshape(18, 4), answers)


def test_outputs_are_what_they_say():
    half = probabilities(outputs.temperature(2.0))
    np.testing.assert_allclose(half, softmax(np.float64(Z) / 2, -1), rtol=1e-5)
    answers = probabilities(outputs.top_k(2))
    for row, p in zip(answers, P, strict=True):
        top = np.argsort(-p)[:2]
        np.testing.assert_allclose(row[top], p[top], rtol=1e-5)
        np.testing.assert_allclose(np.delete(row, top), (1 - p[top].sum()) / 2, rtol=1e-4)
    rounded = np.exp(np.float64(outputs.rounded(1)(Z)))
    np.testing.assert_allclose(rounded, np.maximum(np.round(P, 1), 1e-12), atol=1e-5)
    np.testing.assert_allclose(
        probabilities(outputs.label_only()), np.eye(4)[P.argmax(-1)], atol=1e-9
    )


def test_mem_guard_keeps_to_its_budget():
    z = jnp.asarray(RNG.normal(size=(4000, 5)) * 3, jnp.float32)
    before = softmax(np.float64(z), -1)
    for budget in (0.05, 0.3, 2.0):
        after = probabilities(outputs.mem_guard(budget, 0.8), z)
        moved = np.abs(after - before).sum(-1)
        assert moved.mean() <= budget + 0.02
        at = np.isclose(after.max(-1), 0.8, atol=1e-5)
        assert at.mean() == 1 if budget == 2.0 else 0.1 < at.mean() < 1
        apart = 2 * np.abs(before.max(-1) - 0.8)
        assert at[apart <= budget].all()  # a change within the budget is always made


def test_a_run_with_defences_of_its_command(tmp_path):
    """Training defences reach the recipe, and outputs are those of the logits kept without them."""
    experiment = jaxmia.Experiment(
        "x", data.first(data.digits(), 60, 40), PLAIN, models=4, attacks=()
    )
    flags = [
        "--epochs", "3", "--width", "1", "--quiet", "--keep-logits", "--defence",
        "label_smoothing(0.2)", "mixup(0.5)",
    ]  # fmt: skip
    jaxmia.cli(experiment, [*flags, "--workdir", str(tmp_path / "a")])
    jaxmia.cli(
        experiment,
        [*flags, "--outputs", "top_k(3)", "rounded(2)", "--workdir", str(tmp_path / "b")],
    )
    bare, coarse = jaxmia.Run.open(tmp_path / "a"), jaxmia.Run.open(tmp_path / "b")
    assert "mixed" in bare.experiment["identity"]["recipe"]["loss"]
    assert "composed" in coarse.experiment["identity"]["outputs"]
    step = outputs.composed(outputs.top_k(3), outputs.rounded(2))
    z, y = np.asarray(bare.signals.logits), np.asarray(bare.signals.y)
    want = signals.phi(step(jnp.asarray(z)), np.broadcast_to(y, z.shape[:2]))
    np.testing.assert_allclose(coarse.signals.phi[..., 0], want, rtol=1e-4, atol=1e-4)
    assert not np.allclose(coarse.signals.phi, bare.signals.phi, atol=0.1)


@pytest.mark.parametrize("paired", [True, False])
def test_undefended_shadows_attack_as_their_own_would(paired):
    """With the same models on both sides it is leave-one-out."""
    member = RNG.random((10, 30)) < 0.5
    if paired:
        member[1::2] = ~member[::2]
    phi = RNG.normal(size=(10, 30, 1)) + member[..., None]
    own = Signals(phi, np.zeros(30, np.int32))
    want = attack_every_model(own, member, ["lira_online"])["lira_online"]
    scores = attack_by_others(own, own, member, ["lira_online"])["lira_online"]
    np.testing.assert_allclose(scores, want, rtol=1e-6, equal_nan=True)
    other = Signals(phi + 5, np.zeros(30, np.int32))
    assert not np.allclose(
        attack_by_others(own, other, member, ["lira_online"])["lira_online"], want,
        equal_nan=True,
    )  # fmt: skip


def test_canaries_have_another_label():
    source = data.digits()
    y, other = source().y, data.mislabelled(source, (3, 7, 11))().y
    assert np.flatnonzero(y != other).tolist() == [3, 7, 11]
    assert ((other >= 0) & (other < 10)).all()


def test_a_network_is_any_model():
    assert isinstance(random_values(mlp(4))(SOURCE), Model)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: defences.mixup(PLAIN, 0.0), r"alpha=0\.0 must be above 0"),
        (lambda: defences.mixup(defences.dp_sgd(PLAIN, 1.0)), "batches='poisson'"),
        (lambda: defences.mixup_mmd(defences.dp_sgd(PLAIN, 1.0)), "which DP-SGD cannot bound"),
        (lambda: defences.dp_sgd(defences.mixup(PLAIN), 1.0), "do not see each other"),
        (lambda: defences.early_stopping(PLAIN, 41), "epochs=41 must be from 1 to 40"),
        (lambda: defences.dropout(recipes.sgd(mlp(4)), 1.5), r"dropout=1\.5"),
        (lambda: defences.label_smoothing(defences.hamp(PLAIN), 0.1), "no setting"),
        (lambda: defences.hamp(defences.relax_loss(PLAIN)), "holds no cross_entropy"),
        (lambda: augment.cutout(0), "size=0 must be 1 or more"),
        (lambda: outputs.temperature(0.0), r"t=0\.0 must be above 0"),
        (lambda: outputs.mem_guard(3.0), r"budget=3\.0"),
        (lambda: outputs.rounded(9), "digits=9"),
        (lambda: data.mislabelled(data.digits(), (5000,))(), "5000 is not in the pool"),
        (lambda: block.examples(defences.mixup_mmd(PLAIN),
                                  dataclasses.replace(SOURCE, y_test=SOURCE.y_test * 0)),
         "have no validation example"),
    ],
)  # fmt: skip
def test_refuses(make, words, as_users_run):
    with pytest.raises(ValueError, match=words):
        make()
