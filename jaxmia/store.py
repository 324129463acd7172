"""A run folder: the experiment, one record per block of models, and the signals in Zarr.

Every write is atomic and every block has its own files, so workers share nothing but the metadata
that the first of them writes. Signals are written before the record that vouches for them, with a
digest of every row, so a reader never sees half a block.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SCHEMA = 1
STALE = 600.0  # seconds without a sign of life, after which a lock of another host is taken over
CHUNK_BYTES = 64 << 20


class Held(RuntimeError):
    """A block is being worked on by another process."""


class Unwritable(OSError):
    """The run folder could not be written: the disk is full, or the folder is read-only."""


def differences(old: Any, new: Any, field: str = "") -> list[str]:
    """The fields in which two described experiments differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        out = []
        for key in sorted(old.keys() | new.keys()):
            name = f"{field}.{key}" if field else key
            out += differences(old.get(key), new.get(key), name)
        return out
    return [] if old == new else [f"{field} is {str(old)[:200]} there, {str(new)[:200]} here"]


def write_bytes(path: Path, content: bytes) -> None:
    """A whole file or none: written beside its place, then renamed.

    Raises `Unwritable`, naming file and reason; an older file stays as it was.
    """
    beside = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(beside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise Unwritable(f"cannot write {path}: {error.strerror or error}") from error


def write_json(path: Path, content: Any) -> None:
    """JSON, atomically."""
    write_bytes(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def row_digest(row: np.ndarray) -> str:
    """sha256 of a row's numbers."""
    return hashlib.sha256(np.ascontiguousarray(row).tobytes()).hexdigest()[:32]


class Store:
    """One run folder, opened for reading and writing."""

    def __init__(self, path: Path) -> None:
        """Opens a folder that `create` has made; raises `ValueError` for any other."""
        self.path = Path(path)
        try:
            self.experiment = json.loads((self.path / "experiment.json").read_text())
            self.plan = dict(self.experiment["plan"])
            self.block = int(self.plan["block"])
            schema = self.experiment["schema"]
        except FileNotFoundError as error:
            raise ValueError(f"{path}: is no run folder (no experiment.json)") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}/experiment.json: cannot be read ({error!r})") from error
        if schema != SCHEMA:
            raise ValueError(f"{path}: has schema {schema}, this jaxmia reads {SCHEMA}")

    @classmethod
    def create(cls, path: Path, identity: dict, plan: dict, about: dict) -> "Store":
        """Makes a run folder, or opens the one that is there.

        Its own plan is kept. Raises `ValueError` for a folder of another experiment, naming every
        field that differs, and for one that is not empty and no run folder.
        """
        path = Path(path)
        file = path / "experiment.json"
        if not file.exists():
            if path.is_file() or (path.is_dir() and any(path.iterdir())):
                raise ValueError(f"workdir={path}: exists and is no run folder")
            content = {"schema": SCHEMA, "identity": identity, "plan": plan, "about": about}
            fresh = json.dumps(content, indent=1) + "\n"
            beside = path / f".experiment.{socket.gethostname()}.{os.getpid()}"
            write_bytes(beside, fresh.encode())
            with contextlib.suppress(FileExistsError):  # another worker was first
                os.link(beside, file)
            beside.unlink()
        store = cls(path)
        if found := differences(store.experiment.get("identity"), identity):
            raise ValueError(f"workdir={path} belongs to another experiment: {'; '.join(found)}")
        return store

    # signals

    def _open(self, name: str, shape: Sequence[int] | None = None, dtype: str = "", by_model=True):
        import tensorstore as ts

        folder = self.path / "signals.zarr"
        if not folder.resolve().is_relative_to(self.path.resolve()):
            raise ValueError(f"{folder}: leads out of the run folder")
        spec: dict[str, Any] = {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": str(folder / name) + "/"},
        }
        if shape is None:
            return ts.open(spec).result()
        group = folder / "zarr.json"
        if not group.exists():
            write_json(group, {"zarr_format": 3, "node_type": "group", "attributes": {}})
        chunks = [self.block if by_model else shape[0], *shape[1:]]
        for axis in range(1, len(chunks)):
            size = int(np.prod(chunks)) * np.dtype(dtype).itemsize
            chunks[axis] = max(1, -(-chunks[axis] // max(1, -(-size // CHUNK_BYTES))))
        letters = {"logits": "MNC", "population": "MZQ"}.get(name, "MNQ") if by_model else "N"
        spec["metadata"] = {
            "shape": list(shape),
            "data_type": dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
            "dimension_names": list(letters[: len(shape)]),
            "fill_value": False if dtype == "bool" else "NaN" if dtype[0] == "f" else 0,
        }
        if not (folder / name / "zarr.json").exists():
            with contextlib.suppress(ValueError):  # another worker was first
                return ts.open(spec, create=True).result()
        array = ts.open({k: spec[k] for k in ("driver", "kvstore")}).result()
        if by_model and array.shape[0] < shape[0]:
            array = array.resize(exclusive_max=shape, expand_only=True).result()
        return array

    def write_models(
        self, models: Sequence[int], total: int, arrays: dict[str, np.ndarray]
    ) -> dict:
        """Writes rows of a block's models into arrays `[total, ...]`, and gives their digests."""
        digests = {}
        try:
            for name, rows in arrays.items():
                array = self._open(name, (total, *rows.shape[1:]), rows.dtype.name)
                array[np.asarray(models)].write(rows).result()
                digests[name] = {
                    str(m): row_digest(row) for m, row in zip(models, rows, strict=True)
                }
        except (ValueError, OSError) as error:
            raise Unwritable(f"cannot write {self.path}/signals.zarr: {error}") from error
        return digests

    def write_fixed(self, name: str, values: np.ndarray) -> None:
        """Writes an array that has no model axis, such as the labels `y [N]`."""
        self._open(name, values.shape, values.dtype.name, by_model=False).write(values).result()

    def read(self, name: str, models: int | None = None) -> np.ndarray | None:
        """An array, or its first models' rows; None if there is none, or not of all of them."""
        if not (self.path / "signals.zarr" / name / "zarr.json").exists():
            return None
        array = self._open(name)
        if models is not None:
            written = {m for r in self.records() for m in r["digests"].get(name, ())}
            if not written.issuperset(map(str, range(models))):
                return None
        return np.asarray((array if models is None else array[:models]).read().result())

    # blocks

    def _record_file(self, block: int) -> Path:
        return self.path / "blocks" / f"{block:04d}.json"

    def record(self, block: int) -> dict:
        """A block's record; one without models where there is none, or where it is broken."""
        try:
            found = json.loads(self._record_file(block).read_text())
            if isinstance(found["models"], list) and isinstance(found["digests"], dict):
                return found
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return {"models": [], "digests": {}}

    def records(self) -> list[dict]:
        """The records of all blocks, in order."""
        files = sorted((self.path / "blocks").glob("[0-9]*.json"))
        return [self.record(int(f.stem)) for f in files]

    def missing(self, models: int) -> list[tuple[int, list[int]]]:
        """The blocks with models that are not finished, and which."""
        out = []
        for block in range(-(-models // self.block)):
            done = set(self.record(block)["models"])
            wanted = range(block * self.block, min((block + 1) * self.block, models))
            if lacking := [m for m in wanted if m not in done]:
                out.append((block, lacking))
        return out

    def finish(self, block: int, models: Sequence[int], digests: dict, facts: dict) -> None:
        """Records models as finished, beside those that the block's record has already.

        `facts` are dicts by model (as text), merged, or plain values, which replace.
        """
        record = self.record(block)
        record["models"] = sorted({*record["models"], *(int(m) for m in models)})
        for name, rows in digests.items():
            record["digests"].setdefault(name, {}).update(rows)
        for name, value in facts.items():
            if isinstance(value, dict):
                value = {**record.get(name, {}), **value}
            record[name] = value
        write_json(self._record_file(block), record)

    def verify(self) -> list[str]:
        """Compares every finished row with its digest, and forgets models that do not match.

        Returns a line for each block in which something was lost.
        """
        said = []
        for file in sorted((self.path / "blocks").glob("[0-9]*.json")):
            block, record = int(file.stem), self.record(int(file.stem))
            if not record["models"]:
                said.append(f"{file.name}: the record is broken; its models are trained again")
                continue
            bad = self._unmatched(record)
            if bad:
                record["models"] = [m for m in record["models"] if m not in bad]
                write_json(file, record)
                said.append(f"block {block}: models {sorted(bad)} do not match their digests")
        return said

    def _unmatched(self, record: dict) -> set[int]:
        bad = set()
        for name, rows in record["digests"].items():
            models = [m for m in record["models"] if str(m) in rows]
            try:
                found = np.asarray(self._open(name)[np.asarray(models)].read().result())
            except (ValueError, OSError, IndexError):
                bad |= set(models)
                continue
            bad |= {
                m for m, row in zip(models, found, strict=True) if row_digest(row) != rows[str(m)]
            }
        return bad

    # locks and the log

    @contextlib.contextmanager
    def lock(self, block: int) -> Iterator["Lock"]:
        """Holds a block while it is worked on; raises `Held`, saying by whom it is held."""
        held = Lock(self.path / "blocks" / f"{block:04d}.lock")
        try:
            yield held
        finally:
            held.release()

    def log(self, **entry: Any) -> None:
        """Appends a line to `log.jsonl`."""
        entry = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **entry}
        try:
            with open(self.path / "log.jsonl", "a") as out:
                out.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise Unwritable(f"cannot write {self.path}/log.jsonl: {error.strerror}") from error


class Lock:
    """A file that names who works on a block, made by an atomic link, taken over by a rename."""

    def __init__(self, file: Path) -> None:
        """Takes the lock; raises `Held` if a living process has it."""
        self.file = file
        self.holder = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": _started(os.getpid()),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            "token": os.urandom(8).hex(),
        }
        beside = file.with_name(f".{file.name}.{self.holder['token']}")
        write_bytes(beside, json.dumps(self.holder).encode())
        try:
            while not self._linked(beside):
                if self._taken_over(beside):
                    return
        finally:
            beside.unlink(missing_ok=True)

    def _linked(self, beside: Path) -> bool:
        try:
            os.link(beside, self.file)
            return True
        except FileExistsError:
            return False

    def _taken_over(self, beside: Path) -> bool:
        """Replaces a dead holder's file; false if the file is gone; raises `Held` if he lives.

        Looking and replacing are one step for all who try: the lock of the kernel on `.takeover`
        ends with the process that holds it.
        """
        with open(self.file.with_name(".takeover"), "wb") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            try:
                holder = _holder(self.file)
            except FileNotFoundError:
                return False
            if holder:
                raise Held(f"{self.file.stem} is being trained by {holder}")
            os.replace(beside, self.file)
            return True

    def refresh(self) -> None:
        """Says that the holder is alive."""
        with contextlib.suppress(OSError):
            os.utime(self.file)

    def release(self) -> None:
        """Gives the lock back, if it is still this process's."""
        with contextlib.suppress(OSError, ValueError):
            if json.loads(self.file.read_text())["token"] == self.holder["token"]:
                self.file.unlink()


def _holder(file: Path) -> str | None:
    """Who holds a lock, in words; None if nobody alive does."""
    content, age = file.read_bytes(), time.time() - file.stat().st_mtime
    try:
        holder = json.loads(content)
        host, pid, started = holder["host"], int(holder["pid"]), holder["started"]
    except (ValueError, KeyError, TypeError):
        return "an unknown process" if age < STALE else None
    if host == socket.gethostname():
        alive = pid > 0 and started is not None and _started(pid) == started
    else:
        alive = age < STALE
    return f"process {pid} on {host}, since {holder.get('since')}" if alive else None


def _started(pid: int) -> str | None:
    """When a process of this machine started, by its own clock; None if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        if Path("/proc/self").exists():
            return None
    try:
        os.kill(pid, 0)
        return "alive"
    except ProcessLookupError:
        return None
    except PermissionError:
        return "alive"
