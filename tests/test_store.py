import concurrent.futures
import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from jaxmia.storage import arrays, files
from jaxmia.storage.files import UnwritableError
from jaxmia.storage.locks import LockHeldError
from jaxmia.storage.store import Store

PLAN = {"block": 4, "width": 1, "convolution": "canonical"}


def make(path, identity=None):
    return Store.create(path, identity or {"seed": 0, "recipe": {"epochs": 3}}, PLAN, {"models": 6})


def rows(models, N=5, Q=2):
    phi = np.stack([np.full((N, Q), m, np.float32) for m in models])
    return {"phi": phi, "member": np.ones((len(models), N), bool)}


def fill(s, block, models, total=6):
    s.finish(block, models, rows(models), total, seconds={"0": 1.5})


def test_blocks_are_written_read_and_topped_up(tmp_path):
    s = make(tmp_path / "run")
    assert s.missing(6) == [(0, [0, 1, 2, 3]), (1, [4, 5])]
    fill(s, 1, [4, 5])
    assert s.missing(6) == [(0, [0, 1, 2, 3])]
    fill(s, 0, [0, 1, 2, 3])
    assert s.missing(6) == [] and s.missing(9) == [(1, [6, 7]), (2, [8])]
    fill(s, 1, [6, 7], total=9)
    np.testing.assert_array_equal(s.read("phi", 8)[:, 0, 0], np.arange(8))
    assert s.read("member").dtype == bool and s.read("nothing") is None
    assert s.verify() == [] and s.record(1)["models"] == [4, 5, 6, 7]


def test_opens_in_the_zarr_package(tmp_path):
    import zarr

    s = make(tmp_path / "run")
    fill(s, 0, [0, 1, 2, 3])
    s.write_fixed("y", np.arange(5, dtype=np.int32))
    group = zarr.open_group(str(tmp_path / "run" / "signals.zarr"), mode="r")
    np.testing.assert_array_equal(group["phi"][2], np.full((5, 2), 2))
    assert group["phi"].metadata.dimension_names == ("M", "N", "Q")
    assert group["phi"].chunks[0] == 4 and np.isnan(group["phi"][5]).all()


def test_a_flipped_bit_costs_one_model(tmp_path):
    s = make(tmp_path / "run")
    fill(s, 0, [0, 1, 2, 3])
    fill(s, 1, [4, 5])
    s.write_models([2], 6, {"phi": np.full((1, 5, 2), 7, np.float32)})
    (line,) = s.verify()
    assert "models [2]" in line and s.missing(6) == [(0, [2])]
    (tmp_path / "run/blocks/0001.json").write_text('{"models": [4')
    (line,) = s.verify()
    assert "0001.json: the record is broken" in line and s.missing(6) == [(0, [2]), (1, [4, 5])]


def test_a_broken_chunk_costs_its_block(tmp_path):
    s = make(tmp_path / "run")
    fill(s, 0, [0, 1, 2, 3])
    fill(s, 1, [4, 5])
    (chunk,) = (p for p in (tmp_path / "run/signals.zarr/phi/c/1").rglob("*") if p.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-7])
    assert len(s.verify()) == 1 and s.missing(6) == [(1, [4, 5])]


def test_another_experiment_is_refused_naming_the_fields(tmp_path):
    make(tmp_path / "run")
    with pytest.raises(ValueError, match=r"recipe\.epochs is 3 there, 4 here; seed is 0 there, 1"):
        make(tmp_path / "run", {"seed": 1, "recipe": {"epochs": 4}})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match="is no run folder"):
        make(tmp_path / "other")
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"schema": 1}', '{"schema": 99, "plan": {"block": 1}}']
)
def test_a_broken_description_is_one_clear_line(tmp_path, content):
    make(tmp_path / "run")
    (tmp_path / "run/blocks/experiment.json").unlink()
    (tmp_path / "run/experiment.json").write_text(content)
    with pytest.raises(ValueError, match="cannot be read|has schema 99"):
        Store(tmp_path / "run")


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_description_is_taken_from_its_copy(tmp_path, damage):
    want, file = make(tmp_path / "run").experiment, tmp_path / "run/experiment.json"
    content = file.read_text()
    if damage == "gone":
        file.unlink()
    else:
        file.write_text(content.replace('"block": 4', '"block": 5') if damage == "flip" else "{")
    s = make(tmp_path / "run")
    assert s.experiment == want and file.read_text() == content
    (line,) = s.verify()
    assert "experiment.json" in line and "taken from its copy" in line
    assert make(tmp_path / "run").verify() == []


def test_a_changed_record_is_noticed(tmp_path):
    s = make(tmp_path / "run")
    fill(s, 0, [0, 1, 2, 3])
    file = tmp_path / "run/blocks/0000.json"
    file.write_text(file.read_text().replace('"models": [\n  0,', '"models": [\n  1,'))
    (line,) = s.verify()
    assert "the record is broken" in line and s.missing(6)[0] == (0, [0, 1, 2, 3])


@pytest.mark.parametrize("damage", [None, "{", ("float32", "float64"), ("[4,5,2]", "[4,5,1]")])
def test_a_broken_array_description_costs_no_model(tmp_path, damage):
    s = make(tmp_path / "run")
    fill(s, 0, [0, 1, 2, 3])
    fill(s, 1, [4, 5])
    file = tmp_path / "run/signals.zarr/phi/zarr.json"
    if damage is None:
        file.unlink()
    else:
        content = file.read_text().replace(*damage) if isinstance(damage, tuple) else damage
        file.write_text(content)
    (line,) = s.verify()
    assert "phi/zarr.json: is broken" in line and s.missing(6) == [] and s.verify() == []
    np.testing.assert_array_equal(s.read("phi", 6), rows(range(6))["phi"])


def test_labels_that_changed_are_written_again(tmp_path):
    s = make(tmp_path / "run")
    y = np.arange(5, dtype=np.int32)
    fill(s, 0, [0, 1, 2, 3])
    s.write_fixed("y", y + 1)
    (line,) = s.verify({"y": y})
    assert "y is not what was written" in line
    np.testing.assert_array_equal(s.read("y"), y)
    assert s.verify({"y": y}) == []


def test_reading_what_was_changed_is_refused(tmp_path):
    s = make(tmp_path / "run")
    s.finish(0, [0, 1], rows([0, 1]), 2, fixed={"y": s.write_fixed("y", np.arange(5))})
    s.write_models([1], 2, {"phi": np.full((1, 5, 2), 7, np.float32)})
    with pytest.raises(ValueError, match=r"phi of \[1\] is not what was written"):
        s.read("phi", 2)
    s.write_fixed("y", np.arange(5) + 1)
    with pytest.raises(ValueError, match="y of .* is not what was written"):
        s.read("y")


def test_rows_are_compared_panel_by_panel(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 64)
    monkeypatch.setattr(arrays, "PANEL_BYTES", 1)
    s = make(tmp_path / "run")
    phi = np.random.default_rng(0).normal(size=(4, 100, 2)).astype(np.float32)
    s.finish(0, [0, 1, 2, 3], {"phi": phi}, 6)
    assert s.arrays.open("phi").chunk_layout.read_chunk.shape[1] < 10
    assert s.verify() == [] and s.missing(4) == []
    other = phi.copy()
    other[2, 99, 1] += 1
    s.write_models([0, 1, 2, 3], 6, {"phi": other})
    assert len(s.verify()) == 1 and s.missing(4) == [(0, [2])]


def test_diverged_models_are_forgotten_on_request(tmp_path):
    s = make(tmp_path / "run")
    s.finish(0, [0, 1], rows([0, 1]), 6, diverged=[1])
    s.finish(0, [2, 3], rows([2, 3]), 6, diverged=[2])
    assert s.record(0)["diverged"] == [1, 2]
    assert s.retry_diverged(2) == [1] and s.missing(4) == [(0, [1])]
    assert s.attempts(0, [0, 1, 2]) == [0, 1, 0]
    s.finish(0, [1], rows([1]), 6, diverged=[])
    assert s.record(0)["diverged"] == [2] and s.missing(4) == []
    assert s.attempts(0, [1]) == [1] and s.verify() == []


def test_the_first_plan_stays(tmp_path):
    make(tmp_path / "run")
    other = Store.create(
        tmp_path / "run", {"seed": 0, "recipe": {"epochs": 3}}, PLAN | {"block": 99}, {}
    )
    assert other.plan == PLAN


def test_a_lock_names_its_holder(tmp_path):
    s = make(tmp_path / "run")
    with s.lock(0) as lock:
        lock.refresh()
        with pytest.raises(LockHeldError, match=f"process {os.getpid()} on"), s.lock(0):
            pass
        with s.lock(1):
            pass
    with s.lock(0):
        pass
    assert not list((tmp_path / "run/blocks").glob("*.lock"))


def test_a_dead_holders_lock_is_taken_over_by_one(tmp_path):
    s = make(tmp_path / "run")
    code = (
        "import os, signal; from jaxmia.storage.store import Store\n"
        f"with Store({str(tmp_path / 'run')!r}).lock(0): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    file = tmp_path / "run/blocks/0000.lock"
    dead = file.read_bytes()
    for _ in range(100):
        file.write_bytes(dead)
        assert contend(s, 6) == 1
    assert not file.exists()


def contend(s, threads):
    """How many of some threads get a block's lock at the same moment."""
    locks, ready, release = [], threading.Barrier(threads), threading.Event()

    def take(_):
        ready.wait()
        try:
            with s.lock(0):
                locks.append(1)
                release.wait()
        except LockHeldError:
            locks.append(0)

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        trying = [pool.submit(take, i) for i in range(threads)]
        while len(locks) < threads:
            time.sleep(0.001)
        release.set()
        for t in trying:
            t.result()
    return sum(locks)


def test_a_lock_of_another_host_is_stale_after_ten_minutes(tmp_path):
    s = make(tmp_path / "run")
    file = tmp_path / "run/blocks/0000.lock"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "1", "token": "x"}))
    with pytest.raises(LockHeldError, match="on elsewhere"), s.lock(0):
        pass
    os.utime(file, (0, 0))
    with s.lock(0):
        pass


def test_a_full_disk_is_one_clear_line_and_the_old_file_stays(tmp_path):
    files.write_json(tmp_path / "a.json", {"old": 1})
    code = (
        "import resource, sys; from pathlib import Path; from jaxmia.storage import files\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        f"try: files.write_json(Path({str(tmp_path / 'a.json')!r}), ['x' * 1000])\n"
        "except files.UnwritableError as error: print(error)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "cannot write" in process.stdout and "a.json" in process.stdout
    assert json.loads((tmp_path / "a.json").read_text()) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableError, match="cannot write"):
        files.write_json(tmp_path / "file" / "run" / "a.json", {})


def test_nothing_leads_out_of_the_folder(tmp_path):
    s = make(tmp_path / "run")
    (tmp_path / "outside").mkdir()
    (tmp_path / "run/signals.zarr").symlink_to(tmp_path / "outside")
    with pytest.raises((ValueError, UnwritableError), match="out of the run folder"):
        fill(s, 0, [0])
    assert not list((tmp_path / "outside").iterdir())
