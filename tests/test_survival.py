"""Killed, preempted, starved of disk, damaged: what was finished stays, bit for bit."""

import json
import shlex
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from children import ROOT, child, command, environment, finish, same
from dying import EPOCHS, PLACES, experiment

import jaxmia
from jaxmia import data, recipes
from jaxmia.models import mlp
from jaxmia.options import Options
from jaxmia.training.progress import Progress

SOME = ("checkpoint:3:0.02", "record:1:before")
SOAK = pytest.mark.soak
MOMENTS = (
    *SOME, "signals:2:0.001", "open:9:half",
    *(f"epoch:{n}:before" for n in (1, 5, EPOCHS, EPOCHS + 1, 2 * EPOCHS)),
    *(f"checkpoint:{n}:{s}" for n in (1, 4) for s in ("before", 0.005, 0.01, 0.03, 0.06, "after")),
    *(f"digests:{n}:{w}" for n in (1, 3) for w in ("before", "after")),
    "rmtree:1:before", "rmtree:3:0.0002", "rmtree:2:after",
    *(f"signals:{n}:{s}" for n in (1, 3) for s in ("before", 0.0, 0.002, 0.005, "after")),
    "signals:9:before", "labels:1:0.001", "labels:2:before",
    "record:1:after", "record:2:before", "log:1:before", "remove:1:before",
    *(f"open:{n}:half" for n in (1, 2, 3, 12, 20)),
    *(f"fsync:{n}:before" for n in (1, 2, 4, 7)),
    *(f"replace:{n}:{w}" for n in (1, 3, 8) for w in ("before", "after")),
    *(f"link:{n}:{w}" for n in (1, 2) for w in ("before", "after")),
    "attack:1:before", "report:1:0.05", "report:1:0.3", "verify:1:after",
)  # fmt: skip
AGAIN = (
    "epoch:7:before", "checkpoint:2:0.02", "restore:1:after", "epoch:3:before", "signals:1:0.002",
    "record:1:before", "record:1:after", "epoch:2:before", "digests:2:before", "remove:1:before",
)  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nobody disturbed."""
    return finish(tmp_path_factory.mktemp("whole") / "run")


def killed(moment, tmp_path, home):
    dying = child(tmp_path / "run", home, moment=moment)
    _, err = dying.communicate(timeout=300)
    assert dying.returncode == -signal.SIGKILL, (moment, err)


def counted(tmp_path, home):
    """How often every place was called in a run to its end."""
    counting = child(tmp_path / "run", home, moment=f"count:{tmp_path}/calls.json")
    _, err = counting.communicate(timeout=300)
    assert counting.returncode == 0, err
    return json.loads((tmp_path / "calls.json").read_text())


@SOAK
def test_every_moment_comes(tmp_path, home):
    """Those of a run from its beginning do, and those of one that is carried on."""
    calls = counted(tmp_path, home)
    late = [m for m in MOMENTS if calls[m.split(":")[0]] < int(m.split(":")[1])]
    assert not late, calls
    (tmp_path / "run").rename(tmp_path / "first")
    killed(AGAIN[0], tmp_path, home)
    carried_on = counted(tmp_path, home)
    places = {moment.split(":")[0] for moment in (*MOMENTS, *AGAIN)}
    assert places == PLACES.keys()
    never = [place for place in PLACES if not calls[place] + carried_on[place]]
    assert not never, (calls, carried_on)


@pytest.mark.parametrize("moment", SOME)
def test_killed_at_a_moment_the_signals_are_the_same(moment, tmp_path, home, whole):
    killed(moment, tmp_path, home)
    same(finish(tmp_path / "run"), whole)


@SOAK
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment_the_signals_are_the_same(moment, tmp_path, home, whole):
    killed(moment, tmp_path, home)
    again = finish(tmp_path / "run")
    same(again, whole)
    assert again.summary["attacks"] == whole.summary["attacks"]
    lines = []
    finish(tmp_path / "run", lines)
    assert lines == ["all 8 models are trained and attacked: nothing to do"]


@SOAK
def test_killed_again_and_again_the_signals_are_the_same(tmp_path, home, whole):
    for moment in AGAIN:
        killed(moment, tmp_path, home)
    same(finish(tmp_path / "run"), whole)


def worker(path, home):
    """A process that is at work, as its first line tells."""
    running = child(path, home)
    assert running.stderr.readline()
    return running


@SOAK
def test_killed_at_moments_spread_in_time_the_signals_are_the_same(tmp_path, home, whole):
    undisturbed, start = worker(tmp_path / "first", home), time.time()
    undisturbed.communicate()
    longest, kills, rng = time.time() - start, 0, np.random.default_rng(0)
    while kills < 20:
        dying = worker(tmp_path / "run", home)
        try:
            dying.communicate(timeout=rng.uniform(0, longest))
            assert dying.returncode == 0
            shutil.rmtree(tmp_path / "run")  # it was faster: from the start again
        except subprocess.TimeoutExpired:
            dying.kill()
            dying.communicate()
            kills += 1
    same(finish(tmp_path / "run"), whole)


@pytest.mark.parametrize("epoch", [pytest.param(3, marks=SOAK), EPOCHS])
def test_asked_to_stop_it_saves_and_goes(epoch, tmp_path, home, whole):
    stopping = child(tmp_path / "run", home, moment=f"epoch:{epoch}:term")
    _, err = stopping.communicate(timeout=300)
    assert stopping.returncode == 128 + signal.SIGTERM and "run the same command again" in err
    assert "Traceback" not in err
    assert (tmp_path / f"run/shadows/0000/{epoch:06d}/digests.json").exists()
    assert not list((tmp_path / "run/blocks").glob("*.lock"))
    same(finish(tmp_path / "run"), whole)


def flip(file, at=0.5):
    """One bit of a file."""
    content = bytearray(file.read_bytes())
    content[int(at * len(content))] ^= 1
    file.write_bytes(content)


def only(folder):
    (file,) = (p for p in folder.rglob("*") if p.is_file())
    return file


DAMAGE = {
    "chunk": (lambda r: flip(only(r / "signals.zarr/phi/c/1")), "block 1: models [", {1}),
    "population": (
        lambda r: flip(only(r / "signals.zarr/population/c/0")), "block 0: models [", {0},
    ),
    "cut chunk": (
        lambda r: (p := only(r / "signals.zarr/phi/c/0")).write_bytes(p.read_bytes()[:-9]),
        "block 0: models [0, 1, 2, 3]", {0},
    ),
    "record": (lambda r: flip(r / "blocks/0001.json"), "0001.json: the record is broken", {1}),
    "description": (lambda r: flip(r / "experiment.json", 0.3), "taken from its copy", set()),
    "labels": (lambda r: flip(only(r / "signals.zarr/y/c")), "y is not what was written", set()),
    "array": (
        lambda r: flip(r / "signals.zarr/phi/zarr.json", 0.15), "phi/zarr.json: is broken", set(),
    ),
    "scores": (lambda r: flip(r / "scores.npz"), "attacking 8 models", set()),
    "summary": (lambda r: (r / "summary.json").write_text("{"), "attacking 8 models", set()),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_found_and_only_what_it_hit_is_redone(what, tmp_path, whole):
    damage, words, redone = DAMAGE[what]
    run = tmp_path / "run"
    shutil.copytree(whole.path, run)
    records = {b: (run / f"blocks/000{b}.json").stat().st_mtime_ns for b in (0, 1)}
    damage(run)
    lines = []
    again = finish(run, lines)
    assert any(words in line for line in lines), lines
    assert {b for b, t in records.items()
            if (run / f"blocks/000{b}.json").stat().st_mtime_ns != t} == redone  # fmt: skip
    same(again, whole)
    assert again.summary["attacks"] == whole.summary["attacks"]
    for name, score in whole.scores.items():
        np.testing.assert_array_equal(score, again.scores[name])
    lines.clear()
    finish(run, lines)
    assert lines == ["all 8 models are trained and attacked: nothing to do"]


@pytest.mark.parametrize("share", [0.5, *(pytest.param(s, marks=SOAK) for s in (0.02, 0.98))])
def test_a_damaged_checkpoint_costs_an_epoch_or_two(share, tmp_path, home, whole):
    killed(f"epoch:{EPOCHS + 6}:before", tmp_path, home)
    newest = max((tmp_path / "run/shadows/0001").glob("[0-9]*"))
    for file in (p for p in newest.rglob("*") if p.is_file() and p.stat().st_size):
        flip(file, share)
    lines = []
    same(finish(tmp_path / "run", lines), whole)
    assert any(f"checkpoint 0001/{newest.name} is skipped" in line for line in lines), lines


def test_a_pool_that_changed_is_refused(tmp_path):
    x = np.random.default_rng(0).integers(0, 255, (60, 4), np.uint8)
    np.savez(tmp_path / "pool.npz", x=x, y=np.arange(60) % 3)

    def run():
        source = data.arrays(str(tmp_path / "pool.npz"))
        options = Options(tmp_path / "run", width=1, block=4, progress=Progress(quiet=True))
        return jaxmia.run(experiment(data=source), options)

    first = run()
    x[7, 2] ^= 1
    np.savez(tmp_path / "pool.npz", x=x, y=np.arange(60) % 3)
    with pytest.raises(ValueError, match="the data have changed since this run began"):
        run()
    x[7, 2] ^= 1
    np.savez(tmp_path / "pool.npz", x=x, y=np.arange(60) % 3)
    same(run(), first)


def unshared():
    """Whether a user of this machine may have a namespace of mounts to himself."""
    if not shutil.which("unshare"):
        return False
    process = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=False
    )
    return process.returncode == 0


MOUNTS = pytest.mark.skipif(not unshared(), reason="mounts need unshare -rm")


def in_mounts(script, home):
    """A shell script that may mount what it likes."""
    return subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False,
        cwd=ROOT, env=environment(home),
    )  # fmt: skip


@MOUNTS
@pytest.mark.parametrize("kib", [300, *(pytest.param(k, marks=SOAK) for k in (16, 40, 100))])
def test_a_full_disk_is_one_clear_line_and_nothing_is_lost(kib, tmp_path, home, whole):
    call = " ".join(map(shlex.quote, command(tmp_path / "run")))
    call = call.replace(f"{tmp_path}/run", f"{tmp_path}/small/run")
    (tmp_path / "out").mkdir()
    (tmp_path / "small").mkdir()
    process = in_mounts(
        f"""mount -t tmpfs -o size={kib}k tmpfs {tmp_path}/small
        {call} 2> {tmp_path}/out/full; echo $?
        ls -A {tmp_path}/small/run/blocks > {tmp_path}/out/left
        mount -o remount,size=100m {tmp_path}/small
        {call} --quiet 2> {tmp_path}/out/again; echo $?
        cp -r {tmp_path}/small/run {tmp_path}/out/run""",
        home,
    )
    text = (tmp_path / "out/full").read_text()
    assert process.stdout.split()[0] == "2", text
    last = text.strip().splitlines()[-1]
    assert last.startswith("jaxmia: cannot write ") and "Traceback" not in text, text
    assert "No space left" in last or "ENOSPC" in last or "RESOURCE_EXHAUSTED" in last
    assert ".lock" not in (tmp_path / "out/left").read_text().replace(".lock.", "")
    assert process.stdout.split()[-1] == "0", (tmp_path / "out/again").read_text()
    same(jaxmia.Run.open(tmp_path / "out/run"), whole)


@SOAK
@MOUNTS
def test_a_read_only_folder_is_one_clear_line_and_nothing_is_lost(tmp_path, home, whole):
    killed("record:2:before", tmp_path, home)
    call = " ".join(map(shlex.quote, command(tmp_path / "run")))
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}
    process = in_mounts(f"mount --bind -o ro {tmp_path} {tmp_path} && exec {call} --quiet", home)
    assert process.returncode == 2 and len(process.stderr.strip().splitlines()) == 1, process.stderr
    assert "cannot write" in process.stderr and "Read-only file system" in process.stderr
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}
    same(finish(tmp_path / "run"), whole)
    process = in_mounts(f"mount --bind -o ro {tmp_path} {tmp_path} && exec {call}", home)
    assert process.returncode == 0 and "nothing to do" in process.stderr, process.stderr


@SOAK
def test_a_file_too_large_is_one_clear_line(tmp_path, home, whole):
    script = command(tmp_path / "run")
    limit = f"trap '' XFSZ; ulimit -f 8; exec {' '.join(map(shlex.quote, script))} --quiet"
    process = subprocess.run(
        ["sh", "-c", limit], capture_output=True, text=True, check=False, cwd=ROOT,
        env=environment(home),
    )  # fmt: skip
    assert process.returncode == 2, process.stderr
    assert "jaxmia: cannot write" in process.stderr and "Traceback" not in process.stderr
    same(finish(tmp_path / "run"), whole)


def test_diverged_models_are_left_out_listed_and_retrained_on_request(tmp_path):
    shaky = experiment(
        recipe=recipes.sgd(mlp(16, 16, 16), epochs=8, batch_size=16, rate=9.0, weight_decay=0.02),
        attacks=("lira_online", "global_threshold"),
    )
    lines = []

    def run(**more):
        progress = Progress(quiet=True)
        progress.say = lines.append
        options = Options(tmp_path / "run", width=1, block=4, progress=progress, **more)
        return jaxmia.run(shaky, options)

    first = run()
    failures, sound = first.summary["diverged"], None
    sound = [m for m in range(8) if m not in failures]
    assert failures and sound, "the rate is chosen so that some diverge, not all"
    assert np.isnan(first.scores["lira_online"][failures]).all()
    assert np.isfinite(first.scores["global_threshold"][sound]).all()
    assert str(failures[0]) in (tmp_path / "run/report/index.html").read_text()
    run()
    assert lines[-1].endswith("nothing to do")  # unasked, they stay as they are
    again = run(retrain_diverged=True)
    assert f"models {failures} had diverged: trained again, each with another key" in lines
    assert again.summary["retrained"] == {str(m): 1 for m in failures}
    phi = [np.asarray(r.signals.phi) for r in (first, again)]
    np.testing.assert_array_equal(phi[0][sound], phi[1][sound])
    better = [m for m in failures if m not in again.summary["diverged"]]
    assert better, "with another key some of them come through"
    chunk = only(tmp_path / f"run/signals.zarr/phi/c/{better[0] // 4}")
    content = np.frombuffer(chunk.read_bytes(), np.float32).reshape(4, 80).copy()
    content[better[0] % 4] += 1
    chunk.write_bytes(content.tobytes())
    np.testing.assert_array_equal(np.asarray(run().signals.phi), phi[1])  # the same key again
