"""The run of `dying`, in processes of their own or carried on here: what survived is looked at."""

import os
import subprocess
import sys
from pathlib import Path

import dying
import jax
import numpy as np

import jaxmia
from jaxmia.options import Options
from jaxmia.training.progress import Progress

ROOT = Path(__file__).parents[1]


def finish(path, lines=None, **changes):
    """The run carried on here, to its end; `lines` collects what is said."""
    jax.devices()  # before a run would make as many as there are cores
    progress = Progress(quiet=True)
    if lines is not None:
        progress.say = lines.append
    options = {"workdir": path, "width": 1, "block": 4, "progress": progress} | changes
    return jaxmia.run(dying.experiment(), Options(**options))


def command(path, moment="none", block=4):
    """The command line of the run."""
    return [
        sys.executable, dying.__file__, moment, "--workdir", str(path), "--width", "1",
        "--block", str(block), "--checkpoint-seconds", "0",
    ]  # fmt: skip


def environment(home, **more):
    """As many CPU devices as the tests have, so that the programs are the same."""
    fixed = {"JAX_NUM_CPU_DEVICES": "4", "JAX_PLATFORMS": "cpu", "HOME": str(home)}
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "JOB_", "XDG"))}
    return clean | fixed | {"PYTHONPATH": str(ROOT)} | more


def child(path, home, *flags, moment="none", block=4, **more):
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
