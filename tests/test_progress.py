import io

from rich.console import Console

from jaxmia.training import progress
from jaxmia.training.progress import Progress


def display(terminal, quiet=False, width=80):
    p, out = Progress(quiet), io.StringIO()
    p.console = Console(file=out, quiet=quiet, force_terminal=terminal, width=width)
    return p, out


def work(p, monkeypatch, every=0.0):
    monkeypatch.setattr(progress, "EVERY", every)
    with p.models(128, 3, 2):
        for _ in range(2):
            p.block()
            for epoch in (1, 2, 3):
                p.advance(64, epoch)
    with p.stage("attacking [bold]128[/bold] models"):
        pass


def test_without_a_terminal_there_are_whole_lines(monkeypatch):
    p, out = display(False)
    work(p, monkeypatch)
    lines = out.getvalue().splitlines()
    assert lines[0] == "training 128 models, 3 epochs each, in 2 blocks"
    assert "block 1/2, epoch 1/3, 21/128 models, " in lines[1] and "models/h" in lines[1]
    assert "block 2/2, epoch 3/3, 128/128 models, " in lines[6] and lines[6].endswith("0:00 left")
    assert lines[-2] == "attacking [bold]128[/bold] models"  # a name is no markup
    assert lines[-1].startswith(lines[-2]) and "\x1b" not in out.getvalue()
    assert "\r" not in out.getvalue()


def test_lines_come_now_and_then_only(monkeypatch):
    p, out = display(False)
    work(p, monkeypatch, every=60.0)
    assert "epoch 1/3" not in out.getvalue() and "trained for 0:00" in out.getvalue()


def test_a_terminal_has_a_bar_that_fits(monkeypatch):
    p, out = display(True)
    work(p, monkeypatch)
    text = out.getvalue()
    assert "\x1b[" in text and "block 2/2" in text and "models/h" in text
    assert "…" not in text  # nothing is cut off at 80 columns


def test_quiet_is_quiet(monkeypatch):
    for terminal in (False, True):
        p, out = display(terminal, quiet=True)
        work(p, monkeypatch)
        p.say("a line")
        assert out.getvalue() == ""


def test_what_was_resumed_counts_as_done_but_not_as_speed(monkeypatch):
    p, out = display(False)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress.time, "time", lambda: float(next(clock)))
    with p.models(4, 10):
        p.resumed(4, 5)
        p.advance(4, 6)
    line = next(x for x in out.getvalue().splitlines() if "epoch 6/10" in x)
    assert "2/4 models" in line and "144 models/h" in line and "0:40 left" in line
