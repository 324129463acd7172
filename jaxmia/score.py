"""`jaxmia score`: the attacks on arrays from any framework."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxmia import report, signals
from jaxmia.attacks import ATTACKS, attack_every_model, attack_targets, named
from jaxmia.types import Signals

DEFAULT = ("lira_online", "lira_offline", "global_threshold")


@dataclass(frozen=True)
class Score:
    """Attack models by what they said, whatever they were trained with."""

    member: Path
    """0/1 or bool [M, N]: who was in each model's training set (.npy)."""
    out: Path
    """Folder for scores.npz, summary.json and report/."""
    signals: Path | None = None
    """phi [M, N] or [M, N, Q] of the models (.npy); or give --logits and --labels."""
    logits: Path | None = None
    """Logits [M, N, C] (C = 1: a binary model's single logit), instead of --signals."""
    labels: Path | None = None
    """Whole numbers [N], the true classes, with --logits."""
    target: Path | None = None
    """phi (or logits) of one target, or of several; without it every model is attacked in turn."""
    target_member: Path | None = None
    """0/1 [N] or [T, N] of the targets; without it there are scores, but no metrics."""
    population: Path | None = None
    """phi [M, Z] or [M, Z, Q] of points in nobody's training set."""
    target_population: Path | None = None
    """phi [Z], [Z, Q], [T, Z] or [T, Z, Q] of the same points by the targets."""
    pairs: Path | None = None
    """Whole numbers [M]: models of one number leave together (complementary halves)."""
    attacks: tuple[str, ...] = field(default=DEFAULT)
    """Names of attacks; --attacks help lists them."""


def score(options: Score) -> dict[str, Any]:
    """Does what the options say, and returns the summary; writes nothing unless all is sound.

    Raises `ValueError` or `FileNotFoundError` in one line for whatever does not fit.
    """
    if options.attacks == ("help",):
        raise ValueError(f"attacks: known are {', '.join(sorted(ATTACKS))}")
    seen, member = _references(options)
    queries = np.asarray(seen.phi).shape[-1]
    if options.target is None:
        if options.target_member or options.target_population:
            raise ValueError("--target-member and --target-population need --target")
        named(options.attacks, seen)
        pairs = None if options.pairs is None else _array("--pairs", options.pairs, "iu", (1,))
        scores = attack_every_model(seen, member, options.attacks, pairs)
        truth, phi = member, np.asarray(seen.phi)[..., 0]
        attacked = "every model in turn, the others as its references"
    else:
        targets, truth = _targets(options, seen)
        scores = attack_targets(targets, seen, member, options.attacks)
        phi = np.stack([np.asarray(t.phi)[..., 0] for t in targets])
        attacked = f"{len(targets)} given target{'s' * (len(targets) > 1)}"
    about: dict[str, Any] = {"attacked": attacked, "references": len(member)}
    if lost := int((~np.isfinite(np.asarray(seen.phi)).all(-1)).sum()):
        about["not_finite"] = lost
    diverged = np.flatnonzero(~np.isfinite(np.asarray(seen.phi)).any((1, 2))).tolist()
    about["diverged"] = diverged
    if truth is None:
        models, examples = phi.shape
        summary = {"schema": report.SCHEMA, "models": models, "examples": examples}
        summary |= {"queries": queries, "attacks": {}, **about}
        summary["notes"] = ["no metrics without --target-member: only scores were written"]
    else:
        summary = report.summarise(scores, truth, queries=queries, about=about)
    report.write(options.out, scores, truth, phi, summary)
    return summary


def _references(options: Score) -> tuple[Signals, np.ndarray]:
    if (options.signals is None) == (options.logits is None):
        raise ValueError("give either --signals, or --logits and --labels")
    if (options.logits is None) != (options.labels is None):
        raise ValueError("--logits and --labels go together")
    if options.logits is not None:
        seen = _of_logits("--logits", _array("--logits", options.logits, "f", (3,)), options)
    else:
        assert options.signals is not None
        phi = _array("--signals", options.signals, "f", (2, 3))
        seen = Signals(phi.reshape(*phi.shape[:2], -1))
    shape = np.asarray(seen.phi).shape
    member = _member("--member", options.member, (2,), shape[:2])
    population = None
    if options.population is not None:
        population = _array("--population", options.population, "f", (2, 3))
        if len(population) != shape[0]:
            raise ValueError(f"--population: has {len(population)} models, not {shape[0]}")
        population = population.reshape(*population.shape[:2], -1)
    if shape[0] < 2 or shape[1] < 2:
        raise ValueError(
            f"--signals: has {shape[0]} models and {shape[1]} examples, 2 of each are needed"
        )
    return Signals(**{**vars(seen), "population": population}), member


def _targets(options: Score, seen: Signals) -> tuple[list[Signals], np.ndarray | None]:
    assert options.target is not None
    like = np.asarray(seen.logits if options.logits else seen.phi)
    asked = _array("--target", options.target, "f", (1, 2, 3))
    full = 2 if options.signals is not None and like.shape[-1] == 1 else 3
    one = asked.ndim == full - 1 or (asked.ndim == 1)
    if asked.ndim > full and like.shape[-1] == 1:
        full, one = asked.ndim, False
    asked = asked[None] if one else asked
    asked = asked.reshape(len(asked), -1, like.shape[-1]) if asked.ndim == 2 else asked
    if asked.shape[1:] != like.shape[1:]:
        raise ValueError(f"--target: has {asked.shape[1:]} for each model, not {like.shape[1:]}")
    population = None
    if options.target_population is not None:
        population = _array("--target-population", options.target_population, "f", (1, 2, 3))
        population = population[None] if one else population
        population = population.reshape(*population.shape[:2], -1)
    targets = []
    for i, z in enumerate(asked):
        own = _of_logits("--target", z, options) if options.logits else Signals(z)
        held = None if population is None else population[i]
        targets.append(Signals(**{**vars(own), "population": held}))
    if options.target_member is None:
        return targets, None
    truth = _member("--target-member", options.target_member, (1, 2), None)
    truth = truth[None] if truth.ndim == 1 else truth
    if truth.shape != asked.shape[:2]:
        raise ValueError(f"--target-member: has shape {truth.shape}, not {asked.shape[:2]}")
    return targets, truth


def _of_logits(name: str, z: np.ndarray, options: Score) -> Signals:
    assert options.labels is not None
    y = _array("--labels", options.labels, "iu", (1,))
    if len(y) != z.shape[-2]:
        raise ValueError(f"--labels: has {len(y)} examples, {name} has {z.shape[-2]}")
    y = y.astype(np.int32)
    labels = np.broadcast_to(y, z.shape[:-1])
    found = {
        k: np.asarray(getattr(signals, k)(z.astype(np.float32), labels))[..., None]
        for k in ("phi", "margin", "entropy", "modified_entropy")
    }
    return Signals(y=y, logits=z, **found)


def _member(name: str, file: Path, ndim: tuple[int, ...], shape: tuple | None) -> np.ndarray:
    member = _array(name, file, "biuf", ndim)
    if shape is not None and member.shape != shape:
        raise ValueError(f"{name}: {file} has shape {member.shape}, the signals have {shape}")
    if not np.isin(member, (0, 1)).all():
        raise ValueError(f"{name}: {file} has entries other than 0 and 1")
    return member.astype(bool)


def _array(name: str, file: Path, kinds: str, ndim: tuple[int, ...]) -> np.ndarray:
    """A `.npy` file's array, of these kinds of number and numbers of axes; never a pickle."""
    if not file.is_file():
        raise FileNotFoundError(f"{name}: {file} is no file")
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{name}: {file} cannot be read as .npy ({error})") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name}: {file} holds several arrays; save the one as .npy")
    if array.dtype.kind not in kinds or array.ndim not in ndim or not array.size:
        words = {"f": "float", "i": "whole", "u": "whole", "b": "0/1"}
        allowed = " or ".join(dict.fromkeys(words[k] for k in kinds))
        axes = " or ".join(map(str, ndim))
        raise ValueError(
            f"{name}: {file} is {array.dtype} {array.shape}, needs {allowed} numbers, {axes} axes"
        )
    return array
