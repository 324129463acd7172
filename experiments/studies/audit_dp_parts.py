"""What the audit of DP-SGD is made of: a row for each promise, network, canary and mistake."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import expit, logsumexp

from experiments.studies import audit_dp_bounds as bounds
from experiments.studies import audit_dp_canaries as canaries
from experiments.studies import audit_dp_white as white
from experiments.studies.audit_dp_trials import Trials, trials
from experiments.studies.audit_dp_wrong import MISTAKES
from jaxmia import defences, design, privacy, recipes
from jaxmia.types import Data, Recipe

Row = dict[str, Any]
HEAD = "softmax head"
SMALL = 0.01  # the rate of what is not about rates
SAMPLED = 0.1  # the share of the records in a batch, where batches are sampled
LARGE_GRADIENT = ("none", "clipping after averaging")  # that depend on how large a canary's is
ORTHOGONAL = 1000  # canaries of one run, each with a coordinate of its own


class Setting(NamedTuple):
    """What all parts have in common; `seed` is that of one row."""

    delta: float
    clip: float
    steps: int
    others: int
    runs: int
    repetitions: int
    seed: int
    folder: Path


def bound(setting: Setting, network: str, kind: str, rate: float, epsilon: float) -> Row:
    """Black-box audits of full-batch DP-SGD from the start's parameters, one canary's phi each."""
    start = canaries.started(network, setting.folder)
    data, before = _black_box(setting, network, kind)
    plain = _plain(setting, network, rate, start)
    recipe = defences.dp_sgd(
        plain, epsilon=epsilon, delta=setting.delta, clip=setting.clip, microbatch=None
    )
    promise = _promise(recipe, setting)
    mu = setting.steps**0.5 / promise["noise_multiplier"]
    began, out, chance, accuracy = time.process_time(), [], [], []
    for number, one in enumerate(_trained(recipe, data, setting)):
        score, member = one.phi[:, 0], one.member[:, 0]
        out.append(bounds.of_scores(score, member, setting.delta, setting.seed + number))
        chance.append([float(expit(score[side]).mean()) for side in (~member, member)])
        accuracy.append(one.accuracy)
    return {
        "network": network, "canary": kind, "rate": rate, "epsilon": epsilon,
        "promise": promise, "mu": mu, "bounds": _lists(out),
        "ideal": bounds.ideal(mu, setting.runs, setting.delta),
        "canary_probability": [before["probability"], *np.mean(chance, 0).tolist()],
        "test_accuracy": [before["accuracy"], float(np.mean(accuracy))],
        "cpu_seconds": time.process_time() - began,
    }  # fmt: skip


def sampled(setting: Setting, epsilon: float, rate: float) -> Row:
    """Black-box audits of DP-SGD with Poisson batches, by the accountant's profile inverted."""
    data, _ = _black_box(setting, HEAD, "blank")
    start = canaries.started(HEAD, setting.folder)
    plain = _sampled(_plain(setting, HEAD, rate, start), setting)
    recipe = defences.dp_sgd(
        plain, epsilon=epsilon, delta=setting.delta, clip=setting.clip, microbatch=None
    )
    promise = _promise(recipe, setting)
    out = [
        bounds.of_sampled(
            one.phi[:, 0], one.member[:, 0], promise["rate"], promise["steps"], setting.delta,
            setting.seed + number,
        )
        for number, one in enumerate(_trained(recipe, data, setting))
    ]  # fmt: skip
    return {
        "network": HEAD, "canary": "blank", "rate": rate, "epsilon": epsilon,
        "promise": promise, "bounds": _lists(out),
    }  # fmt: skip


def one_run(setting: Setting, epsilon: float) -> Row:
    """White-box audits of single trainings, with many canaries that do not meet."""
    many = tuple(range(ORTHOGONAL))
    plain = white.white_box(_plain(setting, HEAD, SMALL), SMALL, ORTHOGONAL)
    recipe = defences.dp_sgd(
        plain, epsilon=epsilon, delta=setting.delta, clip=setting.clip, microbatch=None
    )
    data = white.marked(ORTHOGONAL, setting.others)()
    (one,) = trials(recipe, data, many, setting.repetitions, seed=setting.seed)
    guesses = ORTHOGONAL // 10
    out, correct = [], []
    for score, member in zip(white.releases(one).sum(1), one.member, strict=True):
        run = privacy.guessed(score, member, guesses, guesses)
        mu = privacy.mu_one_run(*run, channels="independent")
        correct.append(run.correct)
        out.append({
            "independent": bounds.at(setting.delta, mu),
            "gaussian": privacy.epsilon_one_run_gaussian(*run, setting.delta),
            "pure": privacy.epsilon_one_run(*run, setting.delta),
        })  # fmt: skip
    return {
        "canaries": ORTHOGONAL, "guesses": 2 * guesses, "correct": correct,
        "epsilon": epsilon, "promise": _promise(recipe, setting, ORTHOGONAL), "bounds": _lists(out),
    }  # fmt: skip


class View(NamedTuple):
    """How white-box audits look at what steps release, and the mistakes they look for so."""

    mistakes: tuple[str, ...]
    score: Callable[[Float[np.ndarray, "M S"], float, Setting], Float[np.ndarray, " M"]]
    opposing: bool = False
    first_step: bool = False


def _sum(releases: np.ndarray, noise: float, setting: Setting) -> np.ndarray:
    return releases.sum(1)


def _difference(releases: np.ndarray, noise: float, setting: Setting) -> np.ndarray:
    return releases[:, 0] - releases[:, 1]


def _likelihood_ratio(releases: np.ndarray, noise: float, setting: Setting) -> np.ndarray:
    """Of a canary in exactly one of an epoch's batches, where it takes an opponent's place."""
    size = round(SAMPLED * setting.others)
    z = (releases / setting.clip + size).reshape(len(releases), -1, setting.others // size)
    return logsumexp((2 * z - 2) / noise**2, axis=2).sum(1)


# what is seen of a canary that pushes alone; against all others; once, before the noise returns;
# and of batches
VIEWS = {
    "sum of the steps": View(
        ("none", "noise × 0.5", "twice the steps", "clipping after averaging",
         "canary counted twice"), _sum,
    ),
    "against all others": View(
        ("none", "division by the realised batch"), _sum, opposing=True
    ),
    "first step less the second": View(
        ("none", "one key for two steps"), _difference, first_step=True
    ),
    "batch by batch": View(("none", "shuffled batches"), _likelihood_ratio, opposing=True),
}  # fmt: skip


def from_outside(setting: Setting, name: str, kind: str, epsilon: float) -> Row:
    """A mistake as the canary's phi shows it."""
    start = canaries.started(HEAD, setting.folder)
    plain = _plain(setting, HEAD, SMALL, start)
    plain = _sampled(plain, setting) if name == "shuffled batches" else plain
    data, _ = _black_box(setting, HEAD, kind)
    scores = lambda one, noise: one.phi[:, 0]  # noqa: E731
    return {"access": "black box", "view": kind} | _mistake(
        setting, name, plain, data, epsilon, scores
    )


def from_inside(setting: Setting, name: str, view: str, epsilon: float) -> Row:
    """A mistake as the releases of an unused coordinate show it."""
    how = VIEWS[view]
    plain = _plain(setting, HEAD, SMALL)
    plain = _sampled(plain, setting) if how.score is _likelihood_ratio else plain
    plain = white.white_box(plain, SMALL, first_step=how.first_step)
    data = white.marked(1, setting.others, how.opposing)()

    def scores(one: Trials, noise: float) -> np.ndarray:
        return how.score(white.releases(one)[..., 0], noise, setting)

    return {"access": "white box", "view": view} | _mistake(
        setting, name, plain, data, epsilon, scores
    )


def _mistake(
    setting: Setting,
    name: str,
    plain: Recipe,
    data: Data,
    epsilon: float,
    scores: Callable[[Trials, float], np.ndarray],
) -> Row:
    """The bounds of what is trained by mistake, and how often the promise is refuted."""
    promised = defences.dp_sgd(
        plain, epsilon=epsilon, delta=setting.delta, clip=setting.clip, microbatch=None
    )
    promise = _promise(promised, setting)
    noise, mistake = promise["noise_multiplier"], MISTAKES[name]
    recipe, out = mistake.recipe(plain, noise, setting.clip), []
    for number, one in enumerate(_trained(recipe, data, setting, mistake.number)):
        score, member, seed = scores(one, noise), one.member[:, 0], setting.seed + number
        if promise["rate"] < 1:
            sampling = (promise["rate"], promise["steps"], setting.delta, seed)
            out.append(bounds.of_sampled(score, member, *sampling))
        else:
            out.append(bounds.of_scores(score, member, setting.delta, seed))
    exact = [one.get("joint", one.get("profile")) for one in out]
    return {
        "mistake": name, "epsilon": epsilon, "promise": promise,
        "bounds": _lists(out), "refuted": sum(e is not None and e > epsilon for e in exact),
    }  # fmt: skip


def _plain(setting: Setting, network: str, rate: float, start: Path | None = None) -> Recipe:
    """Full-batch gradient descent, one step an epoch."""
    model, _, _ = canaries.NETWORKS[network]
    return recipes.full_batch(model, epochs=setting.steps, rate=rate, init_from=start)


def _sampled(plain: Recipe, setting: Setting) -> Recipe:
    """As many steps, on batches of a share of the records."""
    size = round(SAMPLED * setting.others)
    return replace(plain, batch_size=size, epochs=max(1, setting.steps * size // setting.others))


def _black_box(setting: Setting, network: str, kind: str) -> tuple[Data, dict[str, float]]:
    """The pool with its canary, and what the start makes of it."""
    start = canaries.started(network, setting.folder)
    label, before = canaries.worst(network, start, kind, setting.others)
    image = canaries.NETWORKS[network][1]
    return canaries.second_half(kind, label, setting.others, image)(), before


def _trained(
    recipe: Recipe, data: Data, setting: Setting, number: Callable[[int], int] = int
) -> Iterator[Trials]:
    return trials(recipe, data, (0,), setting.runs, setting.repetitions, setting.seed, number)


def _promise(recipe: Recipe, setting: Setting, many: int = 1) -> dict[str, Any]:
    """What the accountant says of a recipe on a pool with so many canaries."""
    draw = design.canaries(range(many))
    members = design.expected_members(draw, setting.seed, setting.others + many)
    guarantee = defences.guarantee(recipe, members)
    assert guarantee is not None
    return guarantee._asdict()


def _lists(rows: list[dict[str, Any]]) -> dict[str, list]:
    """The repetitions of each bound."""
    return {name: [row[name] for row in rows] for name in rows[0]}
