"""What preemptions cost: the simulation against closed forms, quadrature and plain cases."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate

from experiments.benchmarks import preemption
from experiments.benchmarks.preemption import Block

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("seconds", "every", "save", "mtbp", "restart"),
    [(768, 60, 3.2, 7200, 120), (3072, 3072, 12.8, 7200, 120), (500, 70, 5, 400, 90)],
)
def test_simulated_preemptions_cost_what_they_must(seconds, every, save, mtbp, restart):
    block = Block.of(seconds, every, save)
    wasted = [
        preemption.simulated(block, np.random.default_rng(i).exponential(mtbp, 4000), restart)
        for i in range(10)
    ]
    exact = 1 - seconds / preemption.expected(block, mtbp, restart)
    error = np.std(wasted, ddof=1) / math.sqrt(len(wasted))
    assert abs(np.mean(wasted) - exact) < 4 * error and error < 0.01 * (1 + exact)


def test_the_closed_form_is_the_mean_over_what_can_happen():
    """A stretch of t: E = (t + P E') with the first preemption, and a restart that may repeat."""
    t, mtbp, restart = 700.0, 900.0, 150.0

    def loss(limit):  # mean time until the preemption, where it comes within the limit
        return integrate.quad(lambda s: s * math.exp(-s / mtbp) / mtbp, 0, limit)[0]

    def survival(s):
        return math.exp(-s / mtbp)

    # until a restart succeeds
    again = (loss(restart) + survival(restart) * restart) / survival(restart)
    whole = (loss(t) + survival(t) * t + (1 - survival(t)) * again) / survival(t)
    assert preemption.expected(Block([t - 5], 5), mtbp, restart) == pytest.approx(whole, rel=1e-9)


def test_without_preemptions_only_checkpoints_are_wasted():
    block = Block.of(100, 30, 2)
    assert block.work == [30, 30, 30, 10]
    assert Block.of(90, 30, 2).work == [30, 30, 30]
    wasted = preemption.simulated(block, np.array([108.0 * 7]), 50)
    assert wasted == pytest.approx(8 / 108)


def test_a_preemption_throws_back_to_what_lasts():
    block = Block.of(100, 50, 0.0)
    # 149: one block and 49 lost; 10 + 49: restarted, 49 lost again; 10 + 51: one stretch
    wasted = preemption.simulated(block, np.array([149.0, 59.0, 61.0]), 10)
    assert wasted == pytest.approx(1 - 150 / (149 + 59 + 61))


def test_youngs_time_is_near_the_best():
    flags = preemption.Flags(restart=1.0)
    seconds, save = 256 * flags.model_seconds * 40, 256 * flags.save_seconds
    times = np.geomspace(60, 4000, 200)
    took = [preemption.expected(Block.of(seconds, t, save), flags.mtbp, 1.0) for t in times]
    best = preemption.expected(
        Block.of(seconds, preemption.young(flags, 256), save), flags.mtbp, 1.0
    )
    assert best < 1.002 * min(took) and took[0] > 1.05 * best and took[-1] > 1.05 * best


def test_the_command_draws_and_refuses(tmp_path):
    call = [sys.executable, "-m", "experiments.benchmarks.preemption", "--preemptions", "500"]
    out = tmp_path / "figure.svg"
    process = subprocess.run(
        [*call, "--json", "--out", out], cwd=ROOT, capture_output=True, text=True, check=True
    )
    rows = [json.loads(line) for line in process.stdout.splitlines()]
    assert {r["block"] for r in rows} == {4, 16, 64, 256} and out.stat().st_size < 100_000
    assert all(0 < r["wasted"] < 1 for r in rows)
    for flag in (["--mtbp", "0"], ["--every", "nan"], ["--blocks", "0"], ["--restart", "inf"]):
        process = subprocess.run([*call, *flag], cwd=ROOT, capture_output=True, text=True)
        assert process.returncode == 2 and flag[0].strip("-") in process.stderr, process.stderr
        assert "Traceback" not in process.stderr
