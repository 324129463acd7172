"""`jaxmia doctor`: what to paste into a bug report, and a tiny run from end to end."""

import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxmia import data, machine, metrics, pipeline, recipes
from jaxmia.experiment import Experiment
from jaxmia.models import mlp, native
from jaxmia.options import Options
from jaxmia.roofline import target
from jaxmia.roofline.ask import ask
from jaxmia.roofline.devices import Accelerator, accelerator
from jaxmia.training import processes
from jaxmia.training.progress import Progress

MORE = ("tensorstore", "tensorflow-datasets", "array_record", "scipy", "jaxtyping", "tyro")


@dataclass(frozen=True)
class Command:
    """What to paste into a bug report: devices, versions, room, and a tiny run."""

    self_test: bool = True
    """Train and attack eight small models."""
    on: str = ""
    """Compile them for a device that is not here, too: h100, tpu-v5e-8, ..."""
    json: bool = False
    """Print it as JSON on stdout."""


class Line(NamedTuple):
    """Something that was looked at; `sound` is False where a run would suffer."""

    what: str
    text: str
    sound: bool = True


def doctor(self_test: bool = True, on: str = "") -> Iterator[Line]:
    """Looks at what a run rests on, line by line, and last runs a small one.

    The small one's programs are also compiled for the device `on`, if one is named.
    """
    device = accelerator(on) if on else None
    yield Line("system", f"{platform.platform()}, {machine.cores()} cores")
    versions = machine.versions(MORE)
    yield Line("versions", ", ".join(f"{k} {v}" for k, v in versions.items()))
    yield Line("revision", machine.revision() or "not a checkout")
    yield _devices()
    yield _convolutions()
    yield Line("memory", f"{_gib(machine.free_memory())} free")
    yield _folder("cache", machine.cache_folder())
    yield _folder("temporary files", Path(tempfile.gettempdir()))
    yield _folder("here", Path.cwd())
    root = data.folder_of()
    ready = [f"{p.name} {p.version}" for p in data.ready()] if root.is_dir() else []
    yield Line("TFDS", f"{root}: {', '.join(ready) or 'nothing is ready'}")
    variables = {
        k: v for k, v in sorted(os.environ.items()) if k.startswith(("JAX_", "XLA_", "SLURM_"))
    }
    yield Line(
        "environment", ", ".join(f"{k}={v[:80]}" for k, v in variables.items()) or "nothing set"
    )
    for kind in ("cuda", "tpu"):
        there = "is there" if target.installed(kind) else target.remedy(kind)
        yield Line(f"compiler {kind}", there)
    if device is not None:
        yield _compiled(device)
    if self_test:
        yield _self_test()


def _devices() -> Line:
    start = time.perf_counter()
    try:
        here = processes.start(machine.cache_folder() / "programs")
        device = machine.device()
    except Exception as error:  # whatever a driver raises: it is what was asked for
        return Line("devices", f"{type(error).__name__}: {error!s:.300}", sound=False)
    many = f", process {here.index} of {here.count}" if here.count > 1 else ""
    return Line("devices", f"{device}{many}, ready in {time.perf_counter() - start:.1f} s")


def _convolutions() -> Line:
    ready = native.native()
    return Line("oneDNN", ready.reason, sound=bool(ready.library) or not native.installed())


def _folder(what: str, folder: Path) -> Line:
    place = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        return Line(what, f"{folder}: cannot be written", sound=False)
    return Line(what, f"{folder}: {_gib(free)} free", sound=free > 1 << 30)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _small() -> Experiment:
    source = data.random_labels(data.first(data.digits(), 60))
    recipe = recipes.sgd(mlp(64), epochs=40, batch_size=16, rate=0.1, weight_decay=0.0)
    return Experiment("doctor", source, recipe, models=8, attacks=("lira_online",))


def _compiled(device: Accelerator) -> Line:
    """Whether a small run's programs compile for a device that is not here."""
    try:
        answer = ask(_small(), device, width=1)
    except ValueError as error:
        return Line(device.name, str(error), sound=False)
    for refusal in answer.refusals:
        return Line(device.name, f"{refusal.name}: {refusal.reason}", sound=False)
    return Line(device.name, f"a small run compiles: {', '.join(p.name for p in answer.programs)}")


def _self_test() -> Line:
    """Trains, queries and attacks a few models that have learned noise by heart."""
    start, small = time.perf_counter(), _small()
    try:
        with tempfile.TemporaryDirectory(prefix="jaxmia-doctor-") as folder:
            options = Options(Path(folder) / "run", width=1, progress=Progress(quiet=True))
            run = pipeline.run(small, options)
            area = metrics.auc(run.scores["lira_online"], run.member)
            finite = bool(np.isfinite(run.signals.phi).all())
    except Exception as error:  # to be pasted into a report, whatever it is
        return Line("self-test", f"{type(error).__name__}: {error!s:.500}", sound=False)
    text = f"8 models, AUC {area:.3f} on random labels, {time.perf_counter() - start:.1f} s"
    return Line("self-test", text, sound=finite and area > 0.7)


def main(options: Command) -> None:
    """Prints line by line; exit status 1 where a run would suffer."""
    lines = []
    for line in doctor(options.self_test, options.on):
        lines.append(line)
        if not options.json:
            mark = " " if line.sound else "!"
            print(f"{mark} {line.what:<16} {line.text}", flush=True)
    if options.json:
        keys = ("what", "told", "sound")
        print(json.dumps([dict(zip(keys, line, strict=True)) for line in lines]))
    if not all(line.sound for line in lines):
        raise SystemExit(1)
