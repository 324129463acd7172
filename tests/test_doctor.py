import json
import os
import subprocess
import sys

import pytest

from jaxmia import machine
from jaxmia.command import app
from jaxmia.training import processes


def test_tells_what_a_run_rests_on_and_runs_one(capsys):
    app.main(["doctor"])
    out = capsys.readouterr().out
    for word in ("versions", "jaxlib", "devices", "x cpu", "memory", "TFDS", "self-test", "AUC"):
        assert word in out, out
    assert "8 models" in out.strip().splitlines()[-1]


def test_what_is_wrong_is_marked_and_ends_with_status_one(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "start", no_device)
    monkeypatch.setattr(machine, "cache_folder", lambda: tmp_path)
    with pytest.raises(SystemExit) as end:
        app.main(["doctor", "--no-self-test", "--json"])
    lines = {line["what"]: line for line in json.loads(capsys.readouterr().out)}
    assert end.value.code == 1 and not lines["devices"]["sound"]
    assert lines["devices"]["told"] == "RuntimeError: no such device" and "self-test" not in lines


def no_device(cache):
    raise RuntimeError("no such device")


def test_devices_that_jax_does_not_have_are_one_line():
    code = "from jaxmia.training import processes; processes.start()"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"JAX_PLATFORMS": "cuda"}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode and "RuntimeError: JAX_PLATFORMS=cuda: JAX has no such" in run.stderr
