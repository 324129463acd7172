"""The first process of a program goes last, whatever an earlier program left behind."""

import contextlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from jaxmia.storage import presence


def killed(run):
    """Process 1 of a program, which leaves its lock behind."""
    code = (
        "import os, signal, pathlib\n"
        "from jaxmia.storage import presence\n"
        f"with presence.other(pathlib.Path({str(run)!r}), 1, print):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    process = subprocess.run([sys.executable, "-c", code], check=False)
    assert process.returncode == -signal.SIGKILL
    assert (run / "blocks/process-0001.lock").exists()


@contextlib.contextmanager
def first(run, order, processes=2):
    """Process 0 is at work inside; afterwards it has two minutes to go, and says so in `order`."""
    came, may_go = threading.Event(), threading.Event()

    def work():
        with presence.first(run, processes):
            came.set()
            may_go.wait()
        order.append(0)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert came.wait(120)
    yield may_go
    may_go.set()
    thread.join(120)
    assert not thread.is_alive()
    assert not list((run / "blocks").glob("process-*"))


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(presence, "ABSENT", 60.0)
    (tmp_path / "blocks").mkdir()
    return tmp_path


@pytest.mark.parametrize("trace", ["nothing", "a lock", "a mark"])
def test_it_waits_for_one_that_comes_late(trace, run):
    if trace == "a lock":
        killed(run)
    if trace == "a mark":
        (run / "blocks/process-0001.gone").touch()
    order = []
    with first(run, order) as may_go:
        may_go.set()
        time.sleep(0.5)  # it would be gone
        with presence.other(run, 1, lambda: order.append(1)):
            time.sleep(0.5)
            assert order == []
    assert order == [1, 0]


def test_it_does_not_wait_for_one_that_came_and_went(run, monkeypatch):
    monkeypatch.setattr(presence, "ABSENT", float("inf"))
    order = []
    with first(run, order), presence.other(run, 1, lambda: order.append(1)):
        pass
    assert order == [1, 0]


def test_it_does_not_wait_for_one_that_died(run, monkeypatch):
    monkeypatch.setattr(presence, "ABSENT", float("inf"))
    with first(run, []):
        killed(run)


def test_it_waits_no_longer_than_it_must_for_one_that_never_comes(run, monkeypatch):
    monkeypatch.setattr(presence, "ABSENT", 0.5)
    with first(run, []):
        pass


def test_it_goes_last_from_a_run_that_failed(run):
    order = []
    with first(run, order) as may_go:
        with pytest.raises(RuntimeError), presence.other(run, 1, lambda: order.append(1)):
            may_go.set()
            raise RuntimeError
    assert order == [1, 0]
