"""The benchmark for a lent accelerator: over in time, row by row, and able to disagree."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.benchmarks.accelerator import __main__ as accelerator
from experiments.benchmarks.accelerator import agreement, headline, record, widths, within
from jaxmia import data, machine, recipes
from jaxmia.command import terminal
from jaxmia.experiment import Experiment
from jaxmia.models import mlp
from jaxmia.options import Options
from jaxmia.pipeline import run
from jaxmia.training.progress import Progress

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(0)


def sleep(file):
    """Ignores to be asked, and has started something."""
    subprocess.Popen(["sh", "-c", f"trap '' TERM; sleep 1; echo late > {file}"])
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    file.with_suffix(".begun").write_text("")
    time.sleep(60)


def die():
    os.kill(os.getpid(), 6)


def fail():
    raise ValueError("as a compiler may")


def platform(file):
    file.write_text(jax.devices()[0].platform)


def test_what_takes_too_long_is_ended_with_all_it_started(tmp_path):
    file = tmp_path / "file"
    child = within.started(sleep, file, cache=tmp_path / "cache")
    while not file.with_suffix(".begun").exists():
        time.sleep(0.05)
    assert within.waited_for(child, 0.1, grace=0.1) == within.OVER
    time.sleep(1.5)
    assert not file.exists()


@pytest.mark.parametrize(("work", "how"), [(die, "ended by SIGABRT"), (fail, "with status 2")])
def test_what_ends_badly_says_how(work, how, tmp_path, capfd):
    child = within.started(work, cache=tmp_path)
    assert how in within.waited_for(child, 60)


def test_what_ends_well_has_nothing_to_say(tmp_path):
    child = within.started(platform, tmp_path / "platform", cache=tmp_path, platform="cpu")
    assert within.waited_for(child, 60) == ""
    assert (tmp_path / "platform").read_text() == "cpu"


def test_a_row_that_was_cut_off_costs_no_other(tmp_path):
    record.add(tmp_path, "widths", "fast 8", step_ms=1.0)
    with (tmp_path / record.FILE).open("a") as file:
        file.write('{"part": "widths", "wh')
    record.add(tmp_path, "widths", "fast 1", step_ms=2.0)
    assert [row["what"] for row in record.read(tmp_path)] == ["fast 8", "fast 1"]
    assert record.there(tmp_path, "widths", "fast 1")
    assert not record.there(tmp_path, "bound", "fast 1")
    record.add(tmp_path, "bound", "fast 1", left_out="no compiler")
    assert not record.there(tmp_path, "bound", "fast 1")


def test_rows_of_another_device_or_of_a_trial_are_not_taken_for_this_one_s(tmp_path, monkeypatch):
    record.device(tmp_path, quick=True)
    record.device(tmp_path, quick=True)
    with pytest.raises(ValueError, match="a trial; take another folder"):
        record.device(tmp_path, quick=False)
    monkeypatch.setattr(machine, "device", lambda: "1 x NVIDIA H200")
    with pytest.raises(ValueError, match="for 1 x NVIDIA H200"):
        record.device(tmp_path, quick=True)
    assert len(record.read(tmp_path)) == 2


def test_a_report_of_other_models_is_not_this_headline_s(tmp_path):
    folder = tmp_path / headline.FOLDER
    assert headline.summary_of(tmp_path, 4) is None
    source = data.synthetic(examples=60, features=4, classes=2)
    small = Experiment("small", source, recipes.sgd(mlp(4), epochs=1, batch_size=16), 4)
    run(small, Options(folder, width=1, progress=Progress(quiet=True)))
    assert headline.summary_of(tmp_path, 8) is None
    assert headline.summary_of(tmp_path, 4) is not None
    headline.keep(tmp_path, 8, 1.0, 4, within.OVER)
    headline.keep(tmp_path, 4, 1.0, 0, "")
    rows = record.read(tmp_path)
    assert [("attacks" in row, row["finished"], row["in_this_call"]) for row in rows] == [
        (False, 4, 0), (True, 4, 4),
    ]  # fmt: skip


def test_the_cpu_s_answer_to_another_recipe_is_not_taken(tmp_path):
    case = agreement.cases()["mlp"]
    other = case._replace(rate=2 * case.rate)
    assert agreement._file(tmp_path, "mlp", case) == agreement._file(tmp_path, "mlp", case)
    assert agreement._file(tmp_path, "mlp", case) != agreement._file(tmp_path, "mlp", other)


def of_cpu(rounding=0.01, moved=1.0):
    single = RNG.normal(size=(4, 50, 1))
    noise = RNG.normal(size=(3, 4, 50, 1))
    return {
        "float32": single,
        "bfloat16": single + rounding * noise[0],
        "start": single - moved * noise[1],
    }


def test_rounding_agrees_and_another_answer_does_not():
    cpu = of_cpu()
    near = cpu["float32"] + 0.005 * RNG.normal(size=(4, 50, 1))
    far = cpu["float32"] + 0.03 * RNG.normal(size=(4, 50, 1))
    assert agreement.verdict(near, cpu, "float32")["agrees"]
    assert not agreement.verdict(far, cpu, "float32")["agrees"]
    assert agreement.verdict(cpu["bfloat16"] + 0.01, cpu, "bfloat16")["agrees"]
    assert not agreement.verdict(cpu["bfloat16"] + 0.03, cpu, "bfloat16")["agrees"]
    assert not agreement.verdict(near * np.nan, cpu, "float32")["agrees"]


def test_training_that_moved_nothing_shows_no_agreement():
    cpu = of_cpu(moved=0.02)
    assert not agreement.verdict(cpu["float32"], cpu, "float32")["agrees"]
    assert agreement.verdict(cpu["float32"], cpu, "float32", asks=True)["agrees"]


@pytest.mark.soak
def test_a_recipe_trained_a_tenth_faster_does_not_agree():
    case = agreement.cases()["mlp"]
    own = {"float32": agreement.phi(case.recipe(case.rate), case)}
    own["bfloat16"] = agreement.phi(replace(case.recipe(case.rate), dtype="bfloat16"), case)
    own["start"] = agreement.phi(case.recipe(agreement.STILL), case)
    assert agreement.verdict(own["float32"], own, "float32")["agrees"]
    faster = agreement.phi(case.recipe(1.1 * case.rate), case)
    assert not agreement.verdict(faster, own, "float32")["agrees"]


@pytest.mark.parametrize(
    ("driver", "kind"),
    [("NVIDIA H200", "h200"), ("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA A100-SXM4-80GB", "a100"),
     ("TPU v5 lite", "v5e"), ("TPU v4", "v4"), ("cpu", None), ("NVIDIA L4", None)],
)  # fmt: skip
def test_a_chip_is_known_by_its_driver_s_name(driver, kind):
    assert widths.kind_of(driver) == kind


@pytest.mark.parametrize(
    ("flags", "why"),
    [(["--minutes", "0"], "--minutes"), (["--models", "1"], "--models"),
     (["--cifar10", "nowhere.npz"], "nowhere.npz is no file")],
)  # fmt: skip
def test_what_cannot_be_is_refused(flags, why, tmp_path, capsys):
    own = terminal.parsed(accelerator.Flags, [*flags, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as status:
        terminal.guarded(lambda: accelerator.main(own))
    assert status.value.code == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.soak
def test_from_end_to_end_and_what_is_there_is_not_made_again(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (100, 32, 32, 3)).astype(np.uint8), np.arange(100) % 10
    np.savez(tmp_path / "images.npz", x=x, y=y)
    words = "--quick --models 4 --epochs 1 --cifar10 images.npz --out out".split()
    command = [sys.executable, "-m", "experiments.benchmarks.accelerator", *words]
    here = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(ROOT)}}
    assert subprocess.run(command, check=False, **here).returncode == 0
    rows = record.read(tmp_path / "out")
    parts = [row["part"] for row in rows]
    assert [p for i, p in enumerate(parts) if p not in parts[:i]][:3] == [
        "device", "agreement", "widths",
    ]  # fmt: skip
    assert all(row["agrees"] for row in rows if row["part"] == "agreement")
    assert rows[-1]["part"] in ("headline", "bound")
    headline = next(row for row in rows if row["part"] == "headline")
    assert headline["finished"] == 4
    assert "lira_online" in headline["attacks"]
    subprocess.run(command, check=True, **here)
    more = record.read(tmp_path / "out")[len(rows) :]
    assert [row["part"] for row in more] == ["device"]
