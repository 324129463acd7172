"""`--cascade ROUNDS`: the cascading attack on a target of one's own, round 1 being the run."""

from dataclasses import replace

import numpy as np

from jaxmia import metrics
from jaxmia.attacks.anchors import FREE
from jaxmia.attacks.cascading import Round
from jaxmia.cascade import Cascade, cascade, check
from jaxmia.command.inputs import Score, references, targets_of
from jaxmia.experiment import Experiment
from jaxmia.options import Options
from jaxmia.report.write import write_scores
from jaxmia.storage.files import writing
from jaxmia.storage.run import Run


def settings(
    rounds: int, target: Score | None, experiment: Experiment, options: Options
) -> Cascade | None:
    """How the target is attacked, checked before anything is trained; None without `--cascade`.

    By the first of the experiment's attacks that the target has the signals for.
    """
    if not rounds:
        return None
    if target is None:
        raise ValueError("--cascade needs --target-signals or --target-logits")
    check(experiment, options)
    return Cascade(rounds, attack=target.attacks[0])


def attack_target(
    run: Run, experiment: Experiment, target: Score, how: Cascade, options: Options
) -> None:
    """Trains the rounds in RUN/cascade, and writes the score and the anchors of the last one.

    `scores.npz` has the score `[1, N]`, and the membership if it is known; `anchor.npy` what each
    example was in the last round: 0 in no shadow model, 1 in all, -1 neither.
    """
    out = run.path / "cascade"
    files = replace(target, out=out, run=run.path)
    targets, truth = targets_of(files, references(files)[0])
    if len(targets) != 1:
        raise ValueError(f"--cascade: is for one target, there are {len(targets)}")
    rounds = cascade(experiment, targets[0], how, replace(options, workdir=out), first=run.path)
    for number, last in enumerate(rounds, 1):
        options.progress.say(_line(number, last, None if truth is None else truth[0]))
    write_scores(out, {how.attack: last.score[None]}, truth)
    with writing(out / "anchor.npy") as file:
        np.save(file, last.anchor)
    options.progress.say(f"the cascade's scores: {out / 'scores.npz'}")


def _line(number: int, one: Round, member: np.ndarray | None) -> str:
    """A round in words."""
    fixed = int((one.anchor != FREE).sum())
    line = f"round {number}: {one.models} shadow models, {fixed} anchors"
    if member is None:
        return line
    auc, tpr = metrics.auc(one.score, member), float(metrics.tpr_at_fpr(one.score, member, 0.01))
    return f"{line}: AUC {auc:.3f}, {tpr:.2%} of the members at 1 % FPR"
