"""A run folder behaves the same on disk and in an object store, sound or failing."""

import concurrent.futures
import json
import os
import threading
import time

import jax
import numpy as np
import pytest
from stores import PLACES, folder_of, gcs_server, s3_server

from jaxmia.storage import checkpoints, leases
from jaxmia.storage.bucket import Bucket
from jaxmia.storage.files import UnreachableError, UnwritableError
from jaxmia.storage.locks import LockHeldError
from jaxmia.storage.run import Run
from jaxmia.storage.store import Store
from jaxmia.storage.urls import folder_at

PLAN = {"block": 4, "width": 1, "convolution": "canonical"}
BUCKETS = PLACES[1:]


@pytest.fixture(scope="module")
def server():
    with s3_server() as url:
        yield url


@pytest.fixture(scope="module")
def google():
    with gcs_server() as url:
        yield url


VARIABLES = (
    "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION",
    "STORAGE_EMULATOR_HOST", "GOOGLE_AUTH_TOKEN_FOR_TESTING",
)  # fmt: skip


@pytest.fixture
def folder(request, tmp_path, monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    servers = {"s3": "server", "gs": "google"}
    url = request.getfixturevalue(servers[request.param]) if request.param in servers else None
    return folder_of(request.param, tmp_path, url)


everywhere = pytest.mark.parametrize("folder", PLACES, indirect=True)
in_buckets = pytest.mark.parametrize("folder", BUCKETS, indirect=True)
in_memory = pytest.mark.parametrize("folder", ["memory"], indirect=True)


def make(folder, identity=None):
    return Store.create(folder, identity or {"seed": 0}, PLAN, {"models": 6})


def rows(models):
    phi = np.stack([np.full((5, 2), m, np.float32) for m in models])
    return {"phi": phi, "member": np.ones((len(models), 5), bool)}


def fill(store, block, models):
    store.finish(block, models, rows(models), 6, fixed={"y": store.write_fixed("y", np.arange(5))})


@everywhere
def test_contents_are_whole_or_absent(folder):
    folder.check("report")
    assert folder.names() == [] and not folder.has("a/b.json")
    with pytest.raises(FileNotFoundError):
        folder.read("a/b.json")
    assert folder.create("a/b.json", b"1") and not folder.create("a/b.json", b"2")
    assert folder.has("a/b.json") and not folder.has("a/b") and folder.names() == ["a"]
    assert not folder.replace("a/b.json", b"0", b"3") and not folder.replace("a/b.json", None, b"3")
    assert folder.replace("a/b.json", b"1", b"3") and folder.read("a/b.json") == b"3"
    folder.under("a").write("c", b"4")
    folder.write("ab", b"5")
    with folder.open("a/c") as file:
        assert file.read() == b"4" and folder.under("a").names() == ["b.json", "c"]
    for line in ("x", "y"):
        folder.append("log.jsonl", line)
    assert folder.read("log.jsonl") == b"x\ny\n"
    folder.remove("a")
    folder.remove("nothing")
    assert folder.names() == ["ab", "log.jsonl"]


@everywhere
def test_a_run_is_made_filled_read_damaged_and_mended(folder):
    store = make(folder)
    assert make(folder).experiment == store.experiment and Store.there(folder)
    with pytest.raises(ValueError, match="seed is 0 there, 1 here"):
        make(folder, {"seed": 1})
    fill(store, 1, [4, 5])
    with store.lock(0):
        fill(store, 0, [0, 1, 2, 3])
    run = Run.open(folder)
    assert run.models == 6 and store.missing(6) == [] and store.verify() == []
    np.testing.assert_array_equal(np.asarray(run.signals.phi)[:, 0, 0], np.arange(6))
    store.write_models([2], 6, {"phi": np.full((1, 5, 2), 7, np.float32)})
    assert len(store.verify({"y": np.arange(5)})) == 1 and store.missing(6) == [(0, [2])]
    folder.remove("signals.zarr/phi/zarr.json")
    folder.write("experiment.json", b"{")
    folder.write("blocks/0001.json", b'{"models": [4')
    lines = make(folder).verify({"y": np.arange(5)})
    for words in ("taken from its copy", "phi/zarr.json: is broken", "0001.json: the record is"):
        assert any(words in line for line in lines), lines
    assert store.missing(6) == [(0, [2]), (1, [4, 5])]


@everywhere
def test_what_is_no_run_is_refused(folder):
    folder.write("thesis.tex", b"mine")
    with pytest.raises(ValueError, match="is no run folder"):
        make(folder)
    with pytest.raises(ValueError, match="is no run folder"):
        Run.open(folder)
    assert folder.names() == ["thesis.tex"]


@everywhere
def test_checkpoints_come_back_and_two_stay(folder):
    tree = {"w": np.arange(24, dtype=np.float32).reshape(4, 6), "n": [np.empty((4, 0)), ()]}
    like, shadows = jax.eval_shape(lambda: tree), folder.under("shadows/0000")
    for epoch in (1, 2, 3):
        checkpoints.save(shadows, epoch, tree)
    assert checkpoints.epochs(shadows) == [2, 3]
    state, reason = checkpoints.restore(shadows, 3, like)
    assert reason == ""
    jax.tree.map(np.testing.assert_array_equal, state, tree)
    if isinstance(folder, Bucket):  # half of it, and none
        for content in (shadows.read("000003")[:3000], b""):
            shadows.write("000003", content)
            state, reason = checkpoints.restore(shadows, 3, like)
            assert state is None and "checkpoint 0000/000003 is skipped" in reason
    checkpoints.remove(shadows, 2)
    assert checkpoints.epochs(shadows) == [2]
    checkpoints.remove(shadows)
    assert shadows.names() == []


@everywhere
def test_of_many_one_gets_the_lock(folder):
    store, ready, end = make(folder), threading.Barrier(6), threading.Event()
    outcomes = []

    def take(_):
        ready.wait()
        try:
            with Store(folder).lock(0):
                outcomes.append(1)
                end.wait(30)
        except LockHeldError as error:
            assert f"block 0 is being trained by process {os.getpid()} on" in str(error)
            outcomes.append(0)

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        trying = [pool.submit(take, i) for i in range(6)]
        while len(outcomes) < 6 and not any(t.done() and t.exception() for t in trying):
            time.sleep(0.01)
        end.set()
        for t in trying:
            t.result()
    assert sum(outcomes) == 1
    with store.lock(0), store.lock(1):
        pass


def lease(folder, **changes):
    """A lease that another left behind, or holds."""
    fields = {"host": "elsewhere", "machine": "m", "pid": 1, "started": "1", "since": "then",
              "token": "t", "number": 7, "beat": time.time()}  # fmt: skip
    content = json.dumps(fields | changes).encode()
    folder.write("blocks/0000.lock", content)
    return content


@in_buckets
def test_a_lease_that_rests_is_taken_over_with_the_next_number(folder, monkeypatch):
    monkeypatch.setattr(leases, "WATCH", 0.3)
    monkeypatch.setattr(leases, "LOOK", 0.02)
    store = make(folder)
    lease(folder)
    with pytest.raises(LockHeldError, match="process 1 on elsewhere, since then"), store.lock(0):
        pass
    for changes in ({"beat": 0.0}, {"beat": time.time() + 1e6}, {"released": True}):
        lease(folder, **changes)
        with store.lock(0):
            assert json.loads(folder.read("blocks/0000.lock"))["number"] == 8
        assert json.loads(folder.read("blocks/0000.lock"))["released"]
    lease(folder, machine=leases.machine(), pid=2**22 + 5)  # dead, and of this machine: at once
    monkeypatch.setattr(leases, "WATCH", 1e6)
    with store.lock(0):
        pass
    folder.write("blocks/0000.lock", b"{")
    monkeypatch.setattr(leases, "WATCH", 0.1)
    with store.lock(0):
        pass


@in_memory
def test_a_lease_of_a_clock_that_goes_wrong_is_seen_to_live(folder, monkeypatch):
    monkeypatch.setattr(leases, "WATCH", 10.0)
    monkeypatch.setattr(leases, "LOOK", 0.02)
    store = make(folder)
    lease(folder, beat=0.0)
    beat = threading.Timer(0.1, lambda: lease(folder, beat=30.0))
    beat.start()
    with pytest.raises(LockHeldError, match="elsewhere"), store.lock(0):
        pass
    beat.join()


@in_buckets
def test_a_holder_who_was_thought_dead_writes_nothing_more(folder, monkeypatch):
    monkeypatch.setattr(leases, "WATCH", 0.0)
    late, next_one = make(folder), Store(folder)
    with pytest.raises(LockHeldError, match="taken over"), late.lock(0) as lock:  # noqa: SIM117
        lock.refresh()
        there = json.loads(folder.read("blocks/0000.lock"))
        lease(folder, **(there | {"machine": "m", "beat": 0.0}))  # as from elsewhere, long ago
        with next_one.lock(0):
            fill(next_one, 0, [0, 1, 2, 3])
        want = folder.read("blocks/0000.json")
        fill(late, 0, [0, 1])
    assert folder.read("blocks/0000.json") == want and next_one.verify() == []
    with late.lock(0):  # nor is a record lost that was written between reading and writing
        record, former = late._read_record(0)
        next_one._write_record(0, {**record, "by": "another"}, former)
        with pytest.raises(LockHeldError, match="written by another"):
            late._write_record(0, record, former)


@everywhere
def test_a_report_is_published(folder):
    folder.write("thesis.tex", b"mine")
    for number in (b"1", b"2"):
        with folder.publishing() as place:
            (place / "report").mkdir(exist_ok=True)
            (place / f"report/{number.decode()}.svg").write_bytes(number)
            (place / "summary.json").write_bytes(number)
    assert folder.names() == ["report", "summary.json", "thesis.tex"]
    assert folder.read("summary.json") == folder.read("report/2.svg") == b"2"
    assert folder.has("report/1.svg") != isinstance(folder, Bucket)  # here `write` clears it


class Later:
    def __init__(self, give):
        self.give = give

    def result(self):
        return self.give()


class Faulty:
    """A store in which calls of one kind fail, before or after they are done, or do it twice."""

    def __init__(self, store, fault, counts=None):
        self.store, self.fault = store, fault
        self.counts = {} if counts is None else counts

    def __truediv__(self, name):
        return Faulty(self.store / name, self.fault, self.counts)

    def __getattr__(self, kind):
        real = getattr(self.store, kind)
        if kind not in ("read", "write", "list", "delete_range"):
            return real

        def call(*args, **kwargs):
            self.counts[kind] = number = self.counts.get(kind, 0) + 1
            how = self.fault(kind, number)

            def give():
                if how == "silent":
                    raise ValueError("ABORTED: All 12 retry attempts failed: 503")
                if how == "twice":  # the first answer was lost, and the request repeated
                    real(*args, **kwargs).result()
                out = real(*args, **kwargs).result()
                if how == "lost":
                    raise ValueError("UNAVAILABLE: connection reset")
                return out

            return Later(give)

        return call


class Failing(Bucket):
    """Whose requests fail; those of arrays are TensorStore's own."""

    def kvstore(self, name):
        return self.store.store / f"{name}/"


@in_memory
def test_a_repeated_conditional_write_was_done(folder):
    folder = Failing(Faulty(folder.store, lambda kind, n: "twice"), "memory://run")
    assert folder.create("a", b"1") and not folder.create("a", b"2")
    assert folder.replace("a", b"1", b"3") and folder.read("a") == b"3"
    with folder.lock("lock", "it", "held"), pytest.raises(LockHeldError):
        folder.lock("lock", "it", "held")
    with folder.lock("lock", "it", "held"):
        pass


@in_memory
@pytest.mark.parametrize("how", ["silent", "lost"])
def test_a_store_that_fails_is_never_taken_for_damage(folder, how):
    """Whichever request fails, carrying on afterwards gives what was to be there."""
    sound, failures = folder.store, 0
    for at in range(1, 200):
        folder.remove()
        counts = {"all": 0}

        def fault(kind, number, at=at, counts=counts):
            counts["all"] += 1
            return how if counts["all"] == at else None

        faulty = Failing(Faulty(sound, fault), "memory://run")
        try:
            store = make(faulty)
            with store.lock(0):
                fill(store, 0, [0, 1, 2, 3])
            assert store.verify() == []
        except (UnwritableError, UnreachableError) as error:
            failures += 1
            assert "cannot write" in str(error) or "cannot reach" in str(error)
        if counts["all"] < at:
            break
        store = make(folder)
        assert store.verify() == []
        if store.lacking(0, 4):
            with store.lock(0):
                fill(store, 0, store.lacking(0, 4))
        np.testing.assert_array_equal(store.read("phi", 4), rows(range(4))["phi"])
    assert failures > 8 and at < 200


@in_memory
def test_a_store_without_conditional_writes_is_refused(folder):
    class Careless(Faulty):
        def __getattr__(self, kind):
            real = getattr(self.store, kind)
            return (lambda *a, if_equal=None: real(*a)) if kind == "write" else real

    with pytest.raises(UnwritableError, match="lets 6 of 6 writers create"):
        Bucket(Careless(folder.store, None), "memory://run").check()
    assert folder.names() == []


@in_memory
def test_a_creator_whose_answer_was_lost_is_known_by_what_it_wrote(folder):
    """Its repeated request is told that the object is there: the store is sound all the same."""

    def fault(kind, number):
        return "twice" if kind == "write" else None

    Bucket(Faulty(folder.store, fault), "memory://run").check()
    assert folder.names() == []


OTHERS = ("s3://bucket", "gs://b/x", "s3://bucket/a/../b", "abfs://x/y", "s3://Bucket/x",
          "s3://key:secret@bucket/x", "s3://bucket//")  # fmt: skip


@pytest.mark.parametrize("place", OTHERS)
def test_other_urls_are_refused_without_what_is_secret_in_them(place):
    with pytest.raises(ValueError, match="workdir: .* is neither") as refusal:
        folder_at(place, "workdir")
    assert "secret" not in str(refusal.value)
