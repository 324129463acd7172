"""`--explain --on DEVICE`: what is known of a run on a device before anybody rents it."""

import json
import sys

from jaxmia.command.flags import Flags, width
from jaxmia.experiment import Experiment
from jaxmia.roofline import words
from jaxmia.roofline.ask import ask
from jaxmia.roofline.devices import accelerator


def about_device(experiment: Experiment, flags: Flags) -> None:
    """Prints the answer; exit status 1 where a program does not compile or fit.

    Raises `ValueError` for flags that do not go together, an unknown device, and one whose compiler
    is not installed.
    """
    if not (flags.explain and flags.on):
        raise ValueError("--on goes with --explain, and --price with --on")
    if experiment.shadow_data is not None:
        raise ValueError("--on: is for the experiment's own models; leave --shadow-data out")
    if not 0 <= flags.price < float("inf"):
        raise ValueError(f"--price: {flags.price} must be a number from 0 up")

    def say(line: str) -> None:
        if not flags.quiet:
            print(line, file=sys.stderr, flush=True)

    device = accelerator(flags.on)
    answer = ask(experiment, device, width(flags.width), flags.block, say)
    if flags.json:
        print(json.dumps(words.as_json(answer, flags.price)))
    else:
        print("\n".join(words.lines(answer, flags.price)))
    if not answer.sound:
        raise SystemExit(1)
