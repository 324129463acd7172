"""Gradients and activations against NumPy's float64, and the attacks on them."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen
from row_pages import check_page
from scipy.special import log_softmax
from scipy.stats import multivariate_normal

import jaxmia
from experiments.pages import whitebox as page
from jaxmia import data, design, metrics, recipes
from jaxmia.attacks import ATTACKS, joint
from jaxmia.attacks.references import leave_out
from jaxmia.command import score
from jaxmia.models import cnn, linen_module, mlp
from jaxmia.options import Options
from jaxmia.training import block, gradients
from jaxmia.training.pool import pool
from jaxmia.training.progress import Progress
from jaxmia.training.trainer import Shadow, trainer
from jaxmia.types import Signals

ROOT = Path(__file__).parents[1]
QUIET = Progress(quiet=True)
KEY = jax.random.key(3, impl="threefry2x32")
BOTH = {"gradient", "activations"}


def observed(recipe, source, names=BOTH, scale=1.0):
    one = trainer(recipe, source, 10)
    shadow = one.init(KEY)
    shadow = Shadow(jax.tree.map(lambda a: a * scale, shadow.params), shadow.state, None)
    examples = pool(source, source.x, source.y)
    signals = jax.jit(gradients.observer(recipe, one.model, source, names))(examples, shadow)
    return {k: np.asarray(v) for k, v in signals.items()}, shadow, one.model


def by_hand(source, params):
    """Log-norms of the loss's gradient of a perceptron, by back-propagation in float64."""
    layers = [
        (np.float64(p["kernel"]), np.float64(p["bias"]))
        for _, p in sorted(params["layers"].items(), key=lambda kv: int(kv[0]))
    ]
    out, last = [], []
    for x, y in zip((source.x.astype(float) - 8) / 8, source.y, strict=True):
        inputs = [x.reshape(-1)]
        for w, b in layers[:-1]:
            inputs.append(np.maximum(inputs[-1] @ w + b, 0))
        last.append(inputs[-1])
        log_p = log_softmax(inputs[-1] @ layers[-1][0] + layers[-1][1])
        delta = np.exp(log_p)
        delta[y] = -np.exp(log_p)[np.arange(len(log_p)) != y].sum()  # p_y - 1, without cancelling
        squares = []
        for (w, _), h in zip(layers[::-1], inputs[::-1], strict=True):
            squares.append((delta @ delta) * (h @ h + 1))
            delta = (w @ delta) * (h > 0)
        squares = np.array(squares[::-1])
        out.append(0.5 * np.log([squares.sum(), *squares]))
    return np.array(out), np.array(last)


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_of_a_perceptron_as_by_hand(scale):
    source = data.first(data.digits(), 37)()
    recipe = recipes.sgd(mlp(12, 10))
    signals, shadow, _ = observed(recipe, source, scale=scale)
    norms, activations = by_hand(source, shadow.params)
    if scale > 1:  # some are far beyond what 1 - p can tell in float32
        assert norms[:, 0].min() < np.log(1e-8)
    np.testing.assert_allclose(signals["gradient"], norms, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(signals["activations"], activations, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("norm", [None, "batch"])
def test_of_a_convolutional_network_as_one_example_at_a_time(norm):
    source = data.first(data.digits(image=True), 9)()
    recipe = recipes.sgd(cnn(4, 6, norm=norm))
    signals, shadow, model = observed(recipe, source)
    names = gradients.layers(shadow.params)

    def loss(params, x, y):
        z, _ = model.apply(params, shadow.state, x, KEY, False)
        return optax.softmax_cross_entropy_with_integer_labels(z, y).mean()

    slope = jax.jit(jax.grad(loss))
    for i in range(len(source.y)):
        x = (source.x[i : i + 1].astype(np.float32) - 8) / 8
        leaves = jax.tree.leaves(slope(shadow.params, x, source.y[i : i + 1]))
        squares = [float((np.float64(leaf) ** 2).sum()) for leaf in leaves]
        by_layer = [sum(squares[k] for k in own) for own in names.values()]
        want = 0.5 * np.log([sum(squares), *by_layer])
        np.testing.assert_allclose(signals["gradient"][i], want, rtol=1e-3, atol=1e-3)
    assert sum(map(len, names.values())) == len(leaves) and "head" in names


def test_few_examples_at_a_time_change_nothing(monkeypatch):
    source = data.first(data.digits(), 50)()
    recipe = recipes.sgd(mlp(12))
    whole, shadow, _ = observed(recipe, source)
    assert gradients.microbatch(shadow.params) == 64
    monkeypatch.setattr(gradients, "BYTES", {"cpu": 30_000})
    assert 1 < gradients.microbatch(shadow.params) < 10
    parts, _, _ = observed(recipe, source)
    for name in BOTH:
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-5, atol=1e-6)
    assert set(observed(recipe, source, {"gradient"})[0]) == {"gradient"}


class _OneLogit(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.relu(linen.Dense(7)(x.reshape(len(x), -1)))
        return linen.Dense(1)(x)


class _NoDenseEnd(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = linen.Dense(7)(x.reshape(len(x), -1))
        return linen.Dense(3)(x)[:, ::-1] * 2.0 + x[:, :3]


class _Capped(linen.Module):
    function: Any

    @linen.compact
    def __call__(self, x):
        x = linen.relu(linen.Dense(7)(x.reshape(len(x), -1)))
        return self.function(linen.Dense(3)(x))


def one_logit(_):
    return _OneLogit()


def no_dense_end(_):
    return _NoDenseEnd()


def test_of_a_single_logit_and_of_a_network_that_ends_otherwise():
    source = replace(data.first(data.digits(), 20)(), classes=2)
    source = replace(source, y=source.y % 2)
    signals, shadow, _ = observed(recipes.sgd(linen_module(one_logit)), source)
    x = (source.x.astype(np.float64) - 8) / 8
    first = shadow.params["Dense_0"]
    want = np.maximum(x @ np.float64(first["kernel"]) + np.float64(first["bias"]), 0)
    np.testing.assert_allclose(signals["activations"], want, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="does not end in a dense layer"):
        observed(recipes.sgd(linen_module(no_dense_end)), replace(source, classes=3))


@pytest.mark.parametrize("function", [jnp.tanh, linen.relu, linen.softplus, lambda z: z + z**3])
def test_a_function_of_the_logits_is_not_taken_into_the_activations(function):
    source = replace(data.first(data.digits(), 20)(), classes=3)
    with pytest.raises(ValueError, match="another function of the last dense layer's output"):
        gradients.last_kernel(linen_module(lambda _: _Capped(function))(source), source)
    plain = linen_module(lambda _: _Capped(lambda z: 3 - z))(source)
    assert gradients.last_kernel(plain, source) == 3


def test_joint_lira_is_the_ratio_of_two_gaussians_where_their_covariance_is_known():
    models, examples = 400, 60
    rng = np.random.default_rng(0)
    member = design.complementary_halves(0, models, examples)
    inside = np.array([[1.0, 0.6, 0.1], [0.6, 0.8, 0.2], [0.1, 0.2, 0.5]])
    outside = np.array([[0.7, -0.2, 0.3], [-0.2, 1.1, 0.4], [0.3, 0.4, 0.9]])
    shift = np.array([0.5, -0.3, 0.4])
    means = rng.normal(size=(examples, 3)) * 5
    draws = [rng.multivariate_normal(np.zeros(3), c, member.shape) for c in (inside, outside)]
    x = means + np.where(member[..., None], draws[0] + shift, draws[1])
    w = joint.directions(x, member)
    spread = [w.T @ c @ w for c in (inside, outside)]
    np.testing.assert_allclose(spread[1], np.eye(3), atol=0.03)
    np.testing.assert_allclose(spread[0], np.diag(np.diag(spread[0])), atol=0.03)
    # phi, and log-norms of the loss that turn into the other two
    layers = x[..., 1:] - np.logaddexp(0, x[..., :1])
    s = Signals(phi=x[..., :1], gradient=np.concatenate([layers[..., :1], layers], -1))
    np.testing.assert_allclose(joint.stacked(s), x, rtol=1e-12, atol=1e-9)
    scores = ATTACKS["joint_lira_online"].leave_one_out(s, member, leave_out(member))
    want = np.empty(member.shape)
    for i in range(examples):
        laws = [
            multivariate_normal(means[i] + shift, inside),
            multivariate_normal(means[i], outside),
        ]
        want[:, i] = laws[0].logpdf(x[:, i]) - laws[1].logpdf(x[:, i])
    assert np.corrcoef(scores.ravel(), want.ravel())[0, 1] > 0.99
    assert abs(np.polyfit(want.ravel(), scores.ravel(), 1)[0] - 1) < 0.1


def experiment(**changes):
    fields = {
        "name": "small",
        "data": data.first(data.digits(), 80, 40),
        "recipe": recipes.sgd(mlp(16), epochs=6, batch_size=16),
        "models": 8,
        "attacks": ("lira_online", "gradient_norm", "trajectory_lira_online"),
    } | changes
    return jaxmia.Experiment(**fields)


def run(path, **changes):
    options = Options(workdir=path, width=1, block=4, progress=QUIET)
    return jaxmia.run(experiment(**changes), options)


def test_a_run_takes_what_its_attacks_want_and_refuses_latecomers(tmp_path):
    attacks = ("gradient_norm", "gradients", "trajectory_lira_online")
    outcome = run(tmp_path / "a", attacks=attacks)
    s = outcome.signals
    assert s.gradient.shape == (8, 80, 3) and s.activations.shape == (8, 80, 16)
    assert s.trajectory.shape == (8, 80, len(block.points(6)))
    np.testing.assert_allclose(s.trajectory[..., -1], s.phi[..., 0], rtol=1e-4, atol=1e-4)
    assert abs(s.trajectory[..., 0] - s.trajectory[..., -1]).mean() > 0.5
    assert set(outcome.scores) == set(attacks)
    record = json.loads((tmp_path / "a/blocks/0000.json").read_text())
    assert record["layers"] == ["layers.0", "layers.1"]
    run(tmp_path / "b", attacks=("lira_online",))
    assert jaxmia.Run.open(tmp_path / "b").signals.gradient is None
    with pytest.raises(ValueError, match="gradient_norm needs gradient, which was not taken"):
        run(tmp_path / "b", models=12)


@pytest.mark.soak
def test_a_trajectory_survives_an_interruption(tmp_path):
    whole = run(tmp_path / "whole")
    code = (
        "import sys; sys.path[:0] = ['tests', '.']\n"
        "import jax; jax.config.update('jax_num_cpu_devices', 4)\n"
        "from pathlib import Path\n"
        "import jaxmia; from jaxmia.options import Options; from test_whitebox import *\n"
        "options = Options(workdir=Path(sys.argv[1]), width=1, block=4, progress=QUIET,\n"
        "                  checkpoint_seconds=0)\n"
        "jaxmia.run(experiment(), options)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "cut")], cwd=ROOT)
    for _ in range(1200):
        if any((tmp_path / "cut").glob("shadows/0000/00000[2-5]/digests.json")):
            child.send_signal(signal.SIGKILL)
            break
        if child.poll() is not None:
            break
        time.sleep(0.05)
    child.wait()
    cut = run(tmp_path / "cut")
    np.testing.assert_array_equal(cut.signals.trajectory, whole.signals.trajectory)
    np.testing.assert_array_equal(cut.signals.gradient, whole.signals.gradient)


def test_given_norms_are_scored_as_a_runs(tmp_path, as_users_run):
    s, member = run(tmp_path / "a").signals, run(tmp_path / "a").member
    norms = np.exp(np.asarray(s.gradient))
    for name, array in (("phi", s.phi), ("member", member), ("norms", norms),
                        ("path", s.trajectory), ("t", s.phi[0, :, 0]),
                        ("tn", norms[0])):  # fmt: skip
        np.save(tmp_path / f"{name}.npy", array)

    def scored(**more):
        files = {"signals": tmp_path / "phi.npy", "member": tmp_path / "member.npy",
                 "gradient_norms": tmp_path / "norms.npy"}  # fmt: skip
        names = ("gradient_norm", "gradient_norm_lira_online", "joint_lira_online")
        options = {"out": tmp_path / "out", "attacks": names} | files | more
        score.score(score.Score(**options))
        return np.load(tmp_path / "out" / "scores.npz")

    archive = scored(trajectory=tmp_path / "path.npy",
                 attacks=("gradient_norm", "trajectory_lira_online"))  # fmt: skip
    for name in archive.files:
        if name != "member":
            want = ATTACKS[name].leave_one_out(s, member, leave_out(member))
            np.testing.assert_allclose(archive[name], want, rtol=1e-4, atol=1e-4)
    one = scored(target=tmp_path / "t.npy", target_gradient_norms=tmp_path / "tn.npy")
    np.testing.assert_allclose(one["gradient_norm"][0], -s.gradient[0, :, 0], rtol=1e-5)
    np.save(tmp_path / "short.npy", norms[:, :5])
    np.save(tmp_path / "thin.npy", norms[0, :, :2])
    np.save(tmp_path / "minus.npy", -norms)
    for more, what in (
        ({"gradient_norms": tmp_path / "short.npy"}, r"--gradient-norms: has shape \(8, 5, 3\)"),
        ({"gradient_norms": tmp_path / "minus.npy"}, "--gradient-norms: has a negative norm"),
        ({"target": tmp_path / "t.npy"}, "--gradient-norms and --target-gradient-norms go"),
        ({"target": tmp_path / "t.npy", "target_gradient_norms": tmp_path / "thin.npy"},
         r"--target-gradient-norms: has \(80, 2\), the models' is \(80, 3\)"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=what):
            scored(**more)


def test_differences_of_twins_are_those_of_their_own_draws():
    from experiments import paired
    from experiments.studies import whitebox as experiment_of

    rng = np.random.default_rng(0)
    member = design.complementary_halves(0, 4, 200)
    scores = {k: rng.normal(size=member.shape) + member for k in ("gradients", "shadow_classifier")}
    scores["gradients"][0, 3] = np.nan
    weight = rng.integers(0, 3, (3, 200)).astype(float)
    for values in scores.values():
        auc, rates = paired.resampled(values, member, weight, [1e-2, 1e-3])
        for d in range(3):
            copies = np.repeat(np.arange(200), weight[d].astype(int))
            np.testing.assert_allclose(auc[d], metrics.auc(values[:, copies], member[:, copies]))
            want = metrics.tpr_at_fpr(values[:, copies], member[:, copies], [1e-2, 1e-3])
            np.testing.assert_allclose(rates[d], want)
    rows = {r["attack"]: r for r in experiment_of.compared(scores, member, 50)}
    row = rows["gradients"]
    want = metrics.auc(scores["gradients"], member)
    want -= metrics.auc(scores["shadow_classifier"], member)
    assert row["twin"] == "shadow_classifier" and np.isclose(row["more_auc"], want)
    assert row["more_auc_interval"][0] < want < row["more_auc_interval"][1]


@pytest.mark.soak
def test_the_experiment_shrinks(tmp_path, monkeypatch):
    process = subprocess.run(
        [sys.executable, "-m", "experiments.studies.whitebox", "--json", "--models", "4",
         "--epochs", "2", "--draws", "9", "--workdir", str(tmp_path / "run"),
         "--results", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-2000:]
    rows = {r["attack"]: r for r in json.loads(process.stdout)}
    assert rows["joint_lira_online"]["twin"] == "lira_online" and "lira_offline_of_1-p" in rows
    check_page(page, "whitebox", tmp_path, monkeypatch)
