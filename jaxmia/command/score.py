"""`jaxmia score`: the attacks on arrays from any framework."""

import shlex
from dataclasses import fields
from typing import Any

import numpy as np

from jaxmia import privacy
from jaxmia.attacks import ATTACKS, attack_every_model, attack_targets, named
from jaxmia.attacks.references import balance_of
from jaxmia.command.inputs import Score, array, person_of, references, targets_of
from jaxmia.evaluation.posteriors import Shadows
from jaxmia.evaluation.power import curve
from jaxmia.evaluation.summary import SCHEMA, summarise
from jaxmia.metrics import rank_all
from jaxmia.report.inputs import Shown
from jaxmia.report.write import write, write_scores
from jaxmia.storage.files import write_json
from jaxmia.storage.sources import Source, opened
from jaxmia.training.progress import Progress
from jaxmia.types import Signals

STREAM_BYTES = 1 << 30


def score(options: Score) -> dict[str, Any]:
    """Does what the options say, and returns the summary; writes nothing unless all is sound.

    Raises `ValueError` or `FileNotFoundError` in one line for whatever does not fit.
    """
    if options.attacks == ("help",):
        raise ValueError(f"attacks: known are {', '.join(sorted(ATTACKS))}")
    if _streams(options):
        return _streamed(options)
    seen, member = references(options)
    queries = np.asarray(seen.phi).shape[-1]
    pairs = None if options.pairs is None else array("--pairs", options.pairs, "iu", (1,))
    person = person_of(options, member)
    named(options.attacks, seen)
    targets: list[Signals] | None = None
    truth: np.ndarray | None = member
    if options.target is None and options.target_logits is None:
        if options.target_member or options.target_population:
            raise ValueError("--target-member and --target-population need --target")
    else:
        targets, truth = targets_of(options, seen)
        named(options.attacks, targets[0])
    shown = _shown(options, seen, member, pairs if targets is None else None, targets is None)
    stage, every = Progress().stage, {}
    if truth is not None:
        with stage(f"attacking {len(member)} models"):
            every = attack_every_model(seen, member, options.attacks, pairs)
    if targets is None:
        scores, phi = every, np.asarray(seen.phi)[..., 0]
        attacked = "every model in turn, the others as its references"
    else:
        with stage(f"attacking {len(targets)} given target{'s' * (len(targets) > 1)}"):
            scores = attack_targets(targets, seen, member, options.attacks)
        phi = np.stack([np.asarray(t.phi)[..., 0] for t in targets])
        attacked = f"{len(targets)} given target{'s' * (len(targets) > 1)}"
    about: dict[str, Any] = {"attacked": attacked, "references": len(member)}
    if lost := int((~np.isfinite(np.asarray(seen.phi)).all(-1)).sum()):
        about["not_finite"] = lost
    diverged = np.flatnonzero(~np.isfinite(np.asarray(seen.phi)).any((1, 2))).tolist()
    about["diverged"] = diverged
    if options.curve:
        with stage("power with fewer models"):
            about["curve"] = curve(seen, member, options.attacks, pairs)
    if truth is None:
        models, examples = phi.shape
        summary = {"schema": SCHEMA, "models": models, "examples": examples}
        summary |= {"queries": queries, "attacks": {}, **about}
        summary["notes"] = ["no metrics without --target-member: only scores were written"]
        summary["command"] = _command(options)
        write_scores(options.out, scores, None)
        write_json(options.out / "summary.json", summary)
    else:
        ranked = rank_all(scores, truth)
        shadow = ranked if targets is None else rank_all(every, member)
        nobody = np.full((len(phi), 1), -1)
        leaving = balance_of(member, "auto", pairs).leaving(len(member))
        shadows = Shadows(shadow, member, leaving if targets is None else nobody)
        summary = summarise(
            ranked,
            truth,
            queries=queries,
            about=about,
            shadows=shadows,
            person=person,
            relation=privacy.relation_of(None, member),
            stage=stage,
        )
        summary["command"] = _command(options)
        write(options.out, ranked, truth, phi, summary, shown, stage)
    return summary


def _command(options: Score) -> str:
    """The command that does the same again."""
    words = ["jaxmia", "score"]
    for f in fields(options):
        value = getattr(options, f.name)
        if f.name == "json" or value is None or value is False or value == f.default:
            continue
        words += [f"--{f.name.replace('_', '-')}"]
        words += [] if value is True else list(value) if isinstance(value, tuple) else [str(value)]
    return shlex.join(words)


def _shown(
    options: Score, seen: Signals, member: np.ndarray, pairs: np.ndarray | None, every: bool
) -> Shown:
    """What the page draws besides the scores."""
    x = None
    if options.show_examples is not None:
        x = array("--show-examples", options.show_examples, "fiub", (2, 3, 4))
        if len(x) != member.shape[1]:
            raise ValueError(
                f"--show-examples: {options.show_examples} has {len(x)} examples, "
                f"the signals have {member.shape[1]}"
            )
    y = None if seen.y is None else np.asarray(seen.y)
    return Shown(
        y=y,
        reference=np.asarray(seen.phi)[..., 0],
        reference_member=member,
        leaving=balance_of(member, "auto", pairs).leaving(len(member)) if every else None,
        x=x,
    )


def _streams(options: Score) -> bool:
    """Whether the signals stay on disk."""
    if options.stream == "never" or (options.signals is None and options.stream == "auto"):
        return False
    for name in ("run", "logits", "population", "target_population", "curve"):
        if getattr(options, name):
            if options.stream == "auto":
                return False
            raise ValueError(f"--stream always: does not go with --{name}")
    if options.signals is None or options.member is None:
        raise ValueError("--stream always: needs --signals and --member")
    if options.stream == "always":
        return True
    found = opened("--signals", options.signals)
    item = getattr(found.dtype, "numpy_dtype", found.dtype).itemsize
    return int(np.prod(found.shape)) * item > STREAM_BYTES


def _streamed(options: Score) -> dict[str, Any]:
    from jaxmia.evaluation import streaming

    assert options.signals is not None and options.member is not None
    for name in options.attacks:
        if name not in ATTACKS:
            raise ValueError(f"attacks: {name[:80]!r} is not one of {', '.join(sorted(ATTACKS))}")
    streaming.streamable(options.attacks)
    reference = Source("--signals", options.signals, "f", (2, 3))
    member = Source("--member", options.member, "biuf", (2,))
    if member.shape != reference.shape[:2]:
        raise ValueError(
            f"--member: {options.member} has shape {member.shape}, the signals have "
            f"{reference.shape}"
        )
    if min(member.shape) < 2:
        raise ValueError(
            f"--signals: has {member.shape[0]} models and {member.shape[1]} examples, 2 of each "
            "are needed"
        )
    pairs = None if options.pairs is None else array("--pairs", options.pairs, "iu", (1,))
    target = truth = None
    attacked = "every model in turn, the others as its references"
    if options.target is not None:
        like = Signals(np.empty((1, *reference.shape[1:], *(1,) * (3 - len(reference.shape)))))
        targets, truth = targets_of(options, like)
        target = np.stack([np.asarray(t.phi) for t in targets])
        attacked = f"{len(target)} given target{'s' * (len(target) > 1)}"
    elif options.target_member:
        raise ValueError("--target-member needs --target")
    held = streaming.remedy(member, pairs) if target is None else None
    work = streaming.Work(reference, member, target, truth, held)
    about = {"attacked": attacked, "references": reference.shape[0]}
    return streaming.attack(work, options.attacks, options.out, about)
