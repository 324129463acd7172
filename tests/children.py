"""A small run in a process of its own, that dies at a given place: what survives is then looked at.

A moment is `place:number:when`: at the number-th call of the place, `before`, `after` or so many
seconds `into` it; `term` asks politely; `half` writes half of the file.
"""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

import jaxmia
from jaxmia import data, recipes
from jaxmia.models import mlp
from jaxmia.options import Options
from jaxmia.training.progress import Progress

ROOT = Path(__file__).parents[1]
EPOCHS = 12
SCRIPT = """
import os, signal, sys, threading, time
from jaxmia import Experiment, cli, data, pipeline, recipes
from jaxmia.evaluation import evaluate
from jaxmia.models import mlp
from jaxmia.training.progress import Progress
from jaxmia.storage import arrays, checkpoints, files
from jaxmia.storage.store import Store
import orbax.checkpoint as ocp
import shutil

place, number, when = sys.argv.pop(1).split(":")
PLACES = {
    "fsync": (os, "fsync"), "replace": (os, "replace"), "link": (os, "link"),
    "open": (files, "open"), "rmtree": (shutil, "rmtree"),
    "checkpoint": (ocp.Checkpointer, "save"), "digests": (checkpoints, "write_json"),
    "restore": (checkpoints, "restore"), "remove": (checkpoints, "remove"),
    "signals": (arrays.Arrays, "write"), "labels": (arrays.Arrays, "write_fixed"),
    "record": (Store, "_write_record"), "log": (Store, "log"), "epoch": (Progress, "advance"),
    "attack": (evaluate, "attack_every_model"), "report": (pipeline, "write"),
    "verify": (Store, "verify"), "none": (Store, "none"),
}
files.open = open
Store.none = None

def die(number=signal.SIGKILL):
    os.kill(os.getpid(), number)

class Half:
    def __init__(self, *args):
        self.file = open(*args)
    def __enter__(self):
        return self
    def __exit__(self, *error):
        self.file.close()
    def write(self, content):
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        die()

def patch(owner, name):
    real, calls = getattr(owner, name), [0]
    def patched(*args, **kwargs):
        calls[0] += 1
        if calls[0] != int(number):
            return real(*args, **kwargs)
        if when == "half":
            return Half(*args)
        if when in ("before", "term"):
            die(signal.SIGTERM if when == "term" else signal.SIGKILL)
        elif when != "after":
            threading.Thread(target=lambda: (time.sleep(float(when)), die())).start()
        out = real(*args, **kwargs)
        if when != "term":
            time.sleep(0 if when == "after" else 1)
            die()
        return out
    setattr(owner, name, patched)

patch(*PLACES[place])
cli(Experiment("small", data.first(data.digits(), 80, 40),
               recipes.sgd(mlp(16), epochs=EPOCHS, batch_size=16), models=8))
"""


def experiment(**changes):
    """The run of the script."""
    fields = {
        "name": "small",
        "data": data.first(data.digits(), 80, 40),
        "recipe": recipes.sgd(mlp(16), epochs=EPOCHS, batch_size=16),
        "models": 8,
    } | changes
    return jaxmia.Experiment(**fields)


def finish(path, told=None, **changes):
    """The run carried on here, to its end; `told` collects what is said."""
    jax.devices()  # before a run would make as many as there are cores
    progress = Progress(quiet=True)
    if told is not None:
        progress.say = told.append
    options = {"workdir": path, "width": 1, "block": 4, "progress": progress} | changes
    return jaxmia.run(experiment(), Options(**options))


def command(path, moment="none:0:before", block=4):
    """The script's command line, to be run in the folder above the run's."""
    script = path.parent / "small.py"
    if not script.exists():
        script.write_text(SCRIPT.replace("EPOCHS", str(EPOCHS)))
    return [
        sys.executable, str(script), moment, "--workdir", str(path), "--width", "1",
        "--block", str(block), "--checkpoint-seconds", "0",
    ]  # fmt: skip


def environment(home, **more):
    """As many CPU devices as the tests have, so that the programs are the same."""
    fixed = {"JAX_NUM_CPU_DEVICES": "4", "JAX_PLATFORMS": "cpu", "HOME": str(home)}
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "JOB_", "XDG"))}
    return clean | fixed | {"PYTHONPATH": str(ROOT)} | more


def child(path, home, *flags, moment="none:0:before", block=4, **more):
    """Starts the run in a process of its own."""
    return subprocess.Popen(
        [*command(path, moment, block), *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, cwd=ROOT, env=environment(home, **more),
    )  # fmt: skip


def same(a, b, models=8):
    """Bit for bit."""
    for name in ("phi", "margin", "population", "entropy"):
        x, y = (np.asarray(getattr(r.signals, name))[:models] for r in (a, b))
        np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(a.member, b.member)
