"""FedAvg against NumPy's float64, and what an observer makes of the updates."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from row_pages import check_page
from scipy.special import softmax

from experiments.pages import federated as page
from jaxmia import data, federated, metrics
from jaxmia.federated import Federation, fedavg
from jaxmia.models import mlp
from jaxmia.training import parallel
from jaxmia.training.trainer import model_key, trainer

ROOT = Path(__file__).parents[1]
SOURCE = data.first(data.digits(), 48, 30)()
RATE, HIDDEN = 0.2, 9


def settings(batch_size=8, epochs=1, **changes):
    recipe = federated.plain_sgd(mlp(HIDDEN), rate=RATE, batch_size=batch_size, epochs=epochs)
    return replace(Federation(recipe, clients=3, rounds=2), **changes)


def gradient(params, x, y):
    """Of the mean loss of a two-layer perceptron, as kernel and bias of each layer, in order."""
    (w1, b1), (w2, b2) = params
    h = np.maximum(x @ w1 + b1, 0)
    delta = softmax(h @ w2 + b2, axis=-1)
    delta[np.arange(len(y)), y] -= 1
    delta /= len(y)
    back = (delta @ w2.T) * (h > 0)
    return [(x.T @ back, back.sum(0)), (h.T @ delta, delta.sum(0))]


def flat(layers):
    return [np.concatenate([w.reshape(-1), b]) for w, b in layers]


@pytest.mark.parametrize("epochs", [1, 3])
def test_rounds_by_hand(epochs):
    f = settings(epochs=epochs)  # 8 members a client: a batch is all of them, in whatever order
    run = federated.federate(f, SOURCE, 2, seed=5)
    cosine = federated.cosine(run)
    difference = federated.gradient_difference(run, RATE, 8)
    assert run.layers == ("layers.0", "layers.1")
    x_all = (SOURCE.x.astype(np.float64) - 8) / 8
    for m in range(2):
        slots = federated.assignment(5, m, run.member[m], 3)
        assert sorted(slots.reshape(-1)) == list(range(48)) and run.member[m][slots[:, :8]].all()
        first = trainer(f.recipe, SOURCE, 8).init(model_key(5, m)).params["layers"]
        server = [
            (np.float64(first[i]["kernel"]), np.float64(first[i]["bias"])) for i in sorted(first)
        ]
        for r in range(2):
            updates = []
            for own in slots:
                local = server
                x, y = x_all[own[:8]], SOURCE.y[own[:8]]
                for _ in range(epochs):
                    g = gradient(local, x, y)
                    local = [
                        (w - RATE * gw, b - RATE * gb)
                        for (w, b), (gw, gb) in zip(local, g, strict=True)
                    ]
                pairs = zip(local, server, strict=True)
                updates.append([(w - v, b - c) for (w, b), (v, c) in pairs])
                summed = [-8 / RATE * u for u in flat(updates[-1])]  # the sum of the gradients
                for i in own:
                    one = flat(gradient(server, x_all[i : i + 1], SOURCE.y[i : i + 1]))
                    for layer, g_one, g_sum in (
                        (0, np.concatenate(one), np.concatenate(summed)),
                        (1, one[0], summed[0]),
                        (2, one[1], summed[1]),
                    ):
                        length = np.linalg.norm(g_one) * np.linalg.norm(g_sum)
                        at = (m, i, r, layer)
                        want = g_one @ g_sum / length if length else 0.0  # where no unit is on
                        np.testing.assert_allclose(cosine[at], want, rtol=1e-3, atol=2e-5)
                        less = np.linalg.norm(g_sum) ** 2 - np.linalg.norm(g_sum - g_one) ** 2
                        np.testing.assert_allclose(difference[at], less, rtol=2e-3, atol=2e-3)
            server = [
                (
                    w + np.mean([u[k][0] for u in updates], 0),
                    b + np.mean([u[k][1] for u in updates], 0),
                )
                for k, (w, b) in enumerate(server)
            ]


def test_width_and_devices_change_nothing_but_rounding():
    f = settings(batch_size=4, rounds=3)
    devices = jax.local_devices()
    want = federated.federate(f, SOURCE, 1, mesh=parallel.mesh(devices[:1]))
    for count, width in ((1, 3), (4, 1)):
        other = federated.federate(f, SOURCE, 1, mesh=parallel.mesh(devices[:count]), width=width)
        for a, b in zip(other[1:5], want[1:5], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_some_clients_take_part():
    f = settings(participation=0.5, rounds=12)
    assert f.participants == 2
    run = federated.federate(f, SOURCE, 1)
    there = ~np.isnan(run.phi[0])
    slots = federated.assignment(0, 0, run.member[0], 3)
    by_client = there[slots]
    assert (by_client == by_client[:, :1]).all()  # a client is there with all its slots
    rounds = by_client[:, 0]
    assert (rounds.sum(0) == 2).all() and len(np.unique(rounds, axis=1).T) > 1
    mean = federated.accumulated(federated.cosine(run)[..., 0])
    assert np.isfinite(mean).all()
    i, own = 7, there[7]
    np.testing.assert_allclose(mean[0, i], federated.cosine(run)[0, i, own, 0].mean())
    never = federated.accumulated(np.full((1, 2, 3), np.nan))
    assert np.isnan(never).all()


def test_every_set_of_takers_is_equally_likely():
    keys = jax.random.split(jax.random.key(0), 3000)
    takers = np.asarray(jax.vmap(lambda k: fedavg.participants(k, 5, 2))(keys))
    assert (takers.sum(1) == 2).all()
    _, count = np.unique(takers, axis=0, return_counts=True)
    assert len(count) == 10 and abs(count - 300).max() < 5 * np.sqrt(300)


def test_updates_tell_members_and_a_right_scale_matters():
    source = data.first(data.digits(), 320, 30)()
    f = Federation(federated.plain_sgd(mlp(64), rate=0.1, batch_size=8), clients=8, rounds=8)
    run = federated.federate(f, source, 2)
    cosine = federated.accumulated(federated.cosine(run)[..., 0])
    right = federated.accumulated(federated.gradient_difference(run, 0.1, 8)[..., 0])
    wrong = federated.accumulated(federated.gradient_difference(run, 0.1 * 100, 8)[..., 0])
    aucs = [metrics.auc(s, run.member) for s in (cosine, right, wrong)]
    assert aucs[0] > 0.65 and aucs[1] > aucs[2] + 0.03, aucs
    # slots without an example are as its members are, but for training
    other = federated.federate(f, source, 2, seed=1)
    assert abs(metrics.auc(cosine, other.member) - 0.5) < 5 * np.sqrt(1 / 12 / 160)
    assert (run.member[0] == ~run.member[1]).all()


def test_what_is_no_federation_is_refused():
    for wrong, what in (
        (lambda: settings(clients=0), "clients=0"),
        (lambda: settings(participation=1.5), "participation=1.5"),
        (lambda: federated.federate(settings(clients=5), SOURCE, 1), "a multiple of 10 examples"),
    ):
        with pytest.raises(ValueError, match=what):
            wrong()


@pytest.mark.soak
def test_the_experiments_shrink(tmp_path, monkeypatch):
    def ran(name, *flags):
        process = subprocess.run(
            [sys.executable, "-m", f"experiments.{name}", "--json", *flags],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return process

    out = ("--out", str(tmp_path / "f"), "--results", str(tmp_path))
    process = ran("studies.federated", "--quick", *out)
    assert process.returncode == 0, process.stderr[-2000:]
    summary = json.loads(process.stdout)
    assert summary["rounds"][-1]["round"] == 5 and set(summary["varied"]) == {
        "clients", "width", "participation"
    }  # fmt: skip
    assert {p.stem for p in (tmp_path / "f/report").glob("*.svg")} >= {
        "rounds",
        "varied",
        "cosines",
    }
    check_page(page, "federated", tmp_path, monkeypatch)
    process = ran("studies.federated", "--examples", "1000", "--out", str(tmp_path / "g"))
    assert process.returncode == 2 and "--examples: 1000 must be a multiple" in process.stderr
