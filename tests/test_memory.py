"""What `--explain` says of memory holds for a run in a process of its own."""

import re
import subprocess
import sys

import numpy as np
import pytest

from jaxmia import design
from jaxmia.command import app
from jaxmia.evaluation import memory

M, N = 32, 20_000
SCORES = """
import sys
from pathlib import Path
from jaxmia.command import app
app.main(sys.argv[1:])
lines = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts resident memory as Linux does")
@pytest.mark.parametrize("how", ["never", "always"])
def test_a_run_keeps_to_what_is_said(tmp_path, capsys, how):
    member = design.complementary_halves(0, M, N)
    phi = np.random.default_rng(0).normal(size=(M, N)) + member
    np.save(tmp_path / "phi.npy", phi.astype(np.float32))
    np.save(tmp_path / "member.npy", member)
    flags = ["score", "--signals", str(tmp_path / "phi.npy"), "--stream", how, "--member",
             str(tmp_path / "member.npy"), "--out", str(tmp_path / "out")]  # fmt: skip
    app.main([*flags, "--explain"])
    stated = float(re.search(r"at most (\S+) GiB", capsys.readouterr().out).group(1)) * 2**20
    assert not (tmp_path / "out").exists()
    command = [sys.executable, "-c", SCORES, *flags]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    peak = int(process.stdout.splitlines()[-1])
    assert stated / 5 < peak < stated, (peak, stated)


def test_what_is_said_grows_with_what_is_held():
    sizes = [
        memory.in_memory((8, 1000), 4, 1), memory.in_memory((8, 10**6), 4, 1),
        memory.in_memory((8, 10**6), 4, 9), memory.in_memory((8, 10**6), 4, 9, 100),
    ]  # fmt: skip
    assert sizes == sorted(set(sizes)) and sizes[-1] > 8 * 10**6 * (4 * 100 + 9 * 8)
    large = memory.streamed((1024, 10**6), 4, 1)  # 0.58 GiB were measured, 4 GB lie on disk
    assert 0.58 * 2**30 < large < 3 * 2**30
