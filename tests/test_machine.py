"""What this machine leaves a process: its own memory, and what control groups allow."""

import numpy as np
import pytest

from jaxmia import machine

GIB = 1 << 30


def group(folder, limit, usage, cached, version):
    """A control group's files."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {1: ("limit_in_bytes", "usage_in_bytes", "total_inactive_file"),
             2: ("max", "current", "inactive_file")}[version]  # fmt: skip
    (folder / f"memory.{names[0]}").write_text(f"{limit}\n")
    (folder / f"memory.{names[1]}").write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cached}\n")


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Control groups of a test's own, on a machine of 64 GiB."""
    monkeypatch.setattr(machine, "GROUPS", tmp_path / "fs")
    monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(machine, "_free_of_machine", lambda: 64 * GIB)
    return tmp_path


def test_without_groups_it_is_the_machines(groups):
    assert machine.free_memory() == 64 * GIB
    (groups / "own").write_text("0::/user\n")
    group(groups / "fs" / "user", "max", GIB, 0, 2)
    assert machine.free_memory() == 64 * GIB


def test_a_limit_of_the_group_or_of_one_above_it(groups):
    (groups / "own").write_text("0::/slurm/job_7\n")
    group(groups / "fs/slurm/job_7", "max", 3 * GIB, GIB, 2)
    group(groups / "fs/slurm", 16 * GIB, 5 * GIB, 2 * GIB, 2)
    assert machine.free_memory() == 13 * GIB
    group(groups / "fs/slurm/job_7", 8 * GIB, 3 * GIB, GIB, 2)
    assert machine.free_memory() == 6 * GIB


def test_a_container_sees_its_own_limit_at_the_root(groups):
    (groups / "own").write_text("0::/../../kubepods/pod_1\n")
    group(groups / "fs", 4 * GIB, 5 * GIB, 0, 2)
    assert machine.free_memory() == 0


def test_the_first_version_of_groups(groups):
    (groups / "own").write_text("9:cpu,cpuacct:/a\n4:memory:/docker/b\n0::/\n")
    group(groups / "fs/memory/docker/b", 2 * GIB, GIB, GIB // 2, 1)
    group(groups / "fs/memory", np.iinfo(np.int64).max // 4096 * 4096, GIB, 0, 1)
    assert machine.free_memory() == 1.5 * GIB
