"""Several processes at one run, without a word between them."""

import contextlib
import os
import signal
import subprocess
import sys
from contextlib import nullcontext

import pytest
from children import child, finish, same
from dying import EPOCHS

import jaxmia
from jaxmia.command.flags import Flags, shard
from jaxmia.storage.locks import LockHeldError
from jaxmia.storage.store import Store

ONE = {"JAX_NUM_CPU_DEVICES": "1"}
DEFAULT = dict.fromkeys(("models", "epochs", "batch_size", "seed"), 1) | dict.fromkeys(
    ("dtype", "design", "views", "copies"), ""
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("whole") / "run")


def ended(children):
    """Exit status and what was said, in order."""
    outputs = [c.communicate(timeout=300) for c in children]
    out, err = zip(*outputs, strict=True)
    return [c.returncode for c in children], list(err), list(out)


def workers(tmp_path, home, count, dies=None):
    return ended(
        [
            child(
                tmp_path / "run", home, "--shard-index", str(i), "--shard-count", str(count),
                block=2, moment=f"epoch:{EPOCHS + 3}:before" if i == dies else "none",
                **ONE,
            )
            for i in range(count)
        ]
    )  # fmt: skip


@pytest.mark.parametrize("count", [pytest.param(n, marks=pytest.mark.soak) for n in (2, 3)])
def test_workers_of_which_one_is_killed_and_rerun(count, tmp_path, home, whole):
    codes, errs, _ = workers(tmp_path, home, count, dies=0)
    assert codes == [-signal.SIGKILL] + [0] * (count - 1), errs
    assert "models are left to other workers" in errs[1]
    assert not (tmp_path / "run/summary.json").exists()
    again = child(
        tmp_path / "run", home, "--shard-index", "0", "--shard-count", str(count), block=2, **ONE
    )
    (code,), (err,), (out,) = ended([again])
    assert code == 0 and "report: " in err and "lira_online" in out, err
    same(jaxmia.Run.open(tmp_path / "run"), whole)


@contextlib.contextmanager
def busy():
    """Every core has something else to do."""
    spin = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(spin) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


SLURM = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")
MPI = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")


def program(tmp_path, home, count, process, moment, names=SLURM):
    """One program of several processes, as a launcher starts it; a moment comes to one of them."""
    return ended(
        [
            child(
                tmp_path / "run", home, block=2, moment=moment if i == process else "none",
                **ONE, **dict(zip(names, (str(i), str(count)), strict=True)),
            )
            for i in range(count)
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("count", "dies", "names", "load"),
    [(2, 1, SLURM, nullcontext),
     *(pytest.param(3, d, MPI, nullcontext, marks=pytest.mark.soak) for d in (0, 2)),
     *(pytest.param(2 + i % 2, i % 2, SLURM, busy, marks=pytest.mark.soak) for i in range(20))],
)  # fmt: skip
def test_one_program_of_which_a_process_is_killed_and_rerun(
    count, dies, names, load, tmp_path, home, whole
):
    with load():
        codes, errs, _ = program(tmp_path, home, count, dies, f"epoch:{EPOCHS // 2}:before", names)
        assert codes.pop(dies) == -signal.SIGKILL, errs
        assert codes == [0] * (count - 1), errs  # whoever dies, the others do their share
        codes, errs, outs = program(tmp_path, home, count, dies, "none", names)
    assert codes == [0] * count, errs
    assert sum("lira_online" in out for out in outs) >= 1
    same(jaxmia.Run.open(tmp_path / "run"), whole)


@pytest.mark.soak
def test_two_at_the_same_work_do_it_once(tmp_path, home, whole):
    both = [child(tmp_path / "run", home, block=2, **ONE) for _ in range(2)]
    codes, errs, _ = ended(both)
    assert set(codes) <= {0, 2} and 0 in codes, errs
    for code, err in zip(codes, errs, strict=True):
        assert code == 0 or "by process" in err.strip().splitlines()[-1]
    same(jaxmia.Run.open(tmp_path / "run"), whole)


def test_who_holds_a_block_is_told_and_the_others_are_done(tmp_path, whole):
    lines = []
    finish(tmp_path / "run", lines, block=4, shard_index=1, shard_count=2)
    with (
        Store(tmp_path / "run").lock(0),
        pytest.raises(LockHeldError, match="block 0 is being trained by"),
    ):
        finish(tmp_path / "run", lines)
    same(finish(tmp_path / "run"), whole)


@pytest.mark.parametrize(
    ("env", "want"),
    [
        ({}, (0, 1)),
        ({"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_COUNT": "8"}, (5, 8)),
        ({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "1"},
         (2, 3)),
        ({"SLURM_ARRAY_TASK_ID": "6", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_STEP": "2"},
         (3, 4)),
        ({"JOB_COMPLETION_INDEX": "2"}, (0, 1)),
        ({"SLURM_ARRAY_TASK_ID": "x", "SLURM_ARRAY_TASK_COUNT": "8"}, "SLURM_ARRAY_TASK_ID='x'"),
        ({"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_COUNT": "8"}, "9 must be from 0 to 7"),
    ],
)  # fmt: skip
def test_the_share_is_read_from_the_environment(env, want):
    flags = Flags(**DEFAULT, attacks=())
    if isinstance(want, str):
        with pytest.raises(ValueError, match=want):
            shard(flags, env)
    else:
        assert shard(flags, env) == want


def test_an_indexed_job_tells_its_index():
    flags = Flags(**DEFAULT, attacks=(), shard_count=4)
    assert shard(flags, {"JOB_COMPLETION_INDEX": "2"}) == (2, 4)


def test_a_slurm_array_with_gaps_is_refused():
    env = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_STEP": "1",
           "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "7"}  # fmt: skip
    with pytest.raises(ValueError, match="has gaps"):
        shard(Flags(**DEFAULT, attacks=()), env)
    assert shard(Flags(**DEFAULT, attacks=(), shard_index=1, shard_count=3), env) == (1, 3)
    assert shard(Flags(**DEFAULT, attacks=()), env | {"SLURM_ARRAY_TASK_MAX": "3"}) == (2, 3)


def test_the_environment_does_not_change_what_keys_draw():
    script = (
        "from jaxmia.training import processes; import jax; processes.start();"
        "print(jax.random.normal(jax.random.key(0, impl='threefry2x32'), (5,)).tolist())"
    )
    numbers = {
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True,
            env=os.environ | {"JAX_THREEFRY_PARTITIONABLE": value},
        ).stdout
        for value in ("0", "1")
    }  # fmt: skip
    assert len(numbers) == 1
