"""A run folder: the experiment, one record per block of models, and the signals in Zarr.

Every write is atomic and every block has its own files, so workers share nothing but the metadata
that the first of them writes. Signals are written before the record that vouches for them, with a
digest of every row, so a reader never sees half a block. Descriptions and records carry a digest of
themselves, and the description has a copy, so that damage is found, and costs what it hit.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxmia.storage.arrays import Arrays, kind_of, row_digest
from jaxmia.storage.files import SEAL, UnwritableError, as_json, sealed, unsealed
from jaxmia.storage.folder import Folder, Hold
from jaxmia.storage.locks import LockHeldError
from jaxmia.storage.urls import Place, folder_at

SCHEMA = 1
FIELDS = {"schema", "identity", "plan", "about"}
DESCRIPTION = "experiment.json"
COPY = "blocks/experiment.json"
LOG = "log.jsonl"


def differences(old: Any, new: Any, field: str = "") -> list[str]:
    """The fields in which two described experiments differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        out = []
        for key in sorted(old.keys() | new.keys()):
            name = f"{field}.{key}" if field else key
            out += differences(old.get(key), new.get(key), name)
        return out
    return [] if old == new else [f"{field} is {str(old)[:200]} there, {str(new)[:200]} here"]


class Store:
    """One run folder, opened for reading and writing."""

    def __init__(self, place: Place) -> None:
        """Opens a folder that `create` has made; raises `ValueError` for any other.

        A broken description is taken from its copy; `said` tells it.
        """
        self.folder = folder_at(place, "run")
        self.said: list[str] = []
        self._locks: dict[int, Hold] = {}
        self.experiment = self._described()
        try:
            self.plan = dict(self.experiment["plan"])
            self.block = int(self.plan["block"])
            schema = self.experiment["schema"]
            if self.block < 1:
                raise ValueError(f"block={self.block}")
        except (ValueError, KeyError, TypeError) as error:
            message = f"{self.folder}/{DESCRIPTION}: cannot be read ({error!r})"
            raise ValueError(message) from error
        if schema != SCHEMA:
            raise ValueError(f"{self.folder}: has schema {schema}, this jaxmia reads {SCHEMA}")
        self.arrays = Arrays(self.folder.under("signals.zarr"), self.block)

    def _described(self) -> dict[str, Any]:
        try:
            text = self.folder.read(DESCRIPTION)
            content = unsealed(text, required=False)
            # 0.1 wrote no digests: there the fields are all that can be looked at
            self._sealed = SEAL in json.loads(text)
            if self._sealed or content.keys() == FIELDS:
                return content
            reason = f"has the fields {sorted(content)}"
        except FileNotFoundError as error:
            if not self.folder.has(COPY):
                message = f"{self.folder}: is no run folder (no {DESCRIPTION})"
                raise ValueError(message) from error
            reason = "is gone"
        except (OSError, ValueError) as error:
            reason = str(error)
        try:
            content = unsealed(self.folder.read(COPY))
        except (OSError, ValueError):
            message = f"{self.folder}/{DESCRIPTION}: cannot be read ({reason})"
            raise ValueError(message) from None
        self._sealed = True
        self.said.append(f"{DESCRIPTION} {reason}: taken from its copy")
        with contextlib.suppress(UnwritableError):
            self.folder.write(DESCRIPTION, as_json(sealed(content)))
        return content

    @staticmethod
    def there(place: Place) -> bool:
        """Whether a folder is a run's."""
        folder = folder_at(place, "run")
        return any(folder.has(name) for name in (DESCRIPTION, COPY))

    @staticmethod
    def repeats_of(folder: Folder) -> Folder:
        """Where a run keeps the models that are trained on its first sets once more."""
        return folder.under("repeats")

    @staticmethod
    def shadow_data_of(folder: Folder) -> Folder:
        """Where a run keeps the models that are trained on other data."""
        return folder.under("shadow_data")

    @classmethod
    def create(cls, place: Place, identity: dict, plan: dict, about: dict) -> "Store":
        """Makes a run folder, or opens the one that is there.

        Its own plan is kept. Raises `ValueError` for a folder of another experiment, naming every
        field that differs, and for one that is not empty and no run folder.
        """
        folder = folder_at(place, "workdir")
        if not cls.there(folder):
            other = any(map(_foreign, folder.names()))
            if other and not cls.there(folder):  # another worker may have made it just now
                raise ValueError(f"workdir={folder}: exists and is no run folder")
            content = {"schema": SCHEMA, "identity": identity, "plan": plan, "about": about}
            folder.create(DESCRIPTION, as_json(sealed(content)))  # or another was first
        store = cls(folder)
        if clashes := differences(store.experiment.get("identity"), identity):
            if all(f.startswith("pool is") for f in clashes):
                clashes = ["the data have changed since this run began", *clashes]
            raise ValueError(
                f"workdir={folder} belongs to another experiment: {'; '.join(clashes)}"
            )
        if store._sealed:
            store._keep_copy()
        return store

    def _keep_copy(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            if unsealed(self.folder.read(COPY)) == self.experiment:
                return
        with contextlib.suppress(UnwritableError):  # who only looks needs none
            self.folder.write(COPY, as_json(sealed(self.experiment)))

    @property
    def identity(self) -> dict[str, Any]:
        """What every start of the run must agree on."""
        return dict(self.experiment["identity"])

    # signals

    def write_models(
        self, models: Sequence[int], total: int, arrays: dict[str, np.ndarray]
    ) -> dict:
        """Writes rows of a block's models into arrays `[total, ...]`, and gives their digests."""
        return {name: self.arrays.write(models, total, name, rows) for name, rows in arrays.items()}

    def write_fixed(self, name: str, values: np.ndarray) -> str:
        """Writes an array that has no model axis, such as `y [N]`, and gives its digest."""
        return self.arrays.write_fixed(name, values)

    def read(self, name: str, models: int | None = None) -> np.ndarray | None:
        """An array, or its first models' rows; None if there is none, or not of all of them.

        Raises `ValueError` where it is not what was written.
        """
        if not self.arrays.has(name):
            return None
        digests = self.digests(name)
        if models is not None and not set(digests).issuperset(range(models)):
            return None
        try:
            values = self.arrays.read(name, models)
        except (ValueError, OSError, IndexError) as error:
            raise self._unreadable(name) from error
        fixed = {r["fixed"][name] for r in self.records() if name in r.get("fixed", {})}
        if models is not None:
            wrong = [m for m, row in enumerate(values) if row_digest(row) != digests[m]]
        else:
            wrong = [name] if fixed and row_digest(values) not in fixed else []
        if wrong:
            raise self._other_than_written(name, wrong)
        return values

    def flatten(self, name: str, models: int, file: Path) -> bool:
        """Writes an array's first rows as a .npy file; False if there is none, or not of all.

        Of which rows and panels of columns are then read alike, however large it is. Raises
        `ValueError` where it is not what was written.
        """
        digests = self.digests(name) if self.arrays.has(name) else {}
        if not set(digests).issuperset(range(models)):
            return False
        try:
            there = self.arrays.flatten(name, models, file)
        except (ValueError, IndexError) as error:
            raise self._unreadable(name) from error
        if wrong := [m for m, digest in there.items() if digest != digests[m]]:
            raise self._other_than_written(name, wrong)
        return True

    def _unreadable(self, name: str) -> ValueError:
        return ValueError(f"{self.folder}: {name} cannot be read; run the experiment again")

    def _other_than_written(self, name: str, wrong: list) -> ValueError:
        return ValueError(
            f"{self.folder}: {name} of {wrong[:20]} is not what was written; run the "
            "experiment again, which makes it anew"
        )

    def digests(self, name: str) -> dict[int, str]:
        """By model, the digest that the records tell of an array's row."""
        return {
            int(m): digest
            for r in self.records()
            for m, digest in r["digests"].get(name, {}).items()
            if int(m) in r["models"]
        }

    def state(self, models: int) -> str:
        """A digest of all that the records tell of the first models' signals."""
        entries = [
            [name, m, rows[str(m)]]
            for r in self.records()
            for name, rows in sorted(r["digests"].items())
            for m in r["models"]
            if m < models and str(m) in rows
        ]
        return hashlib.sha256(json.dumps(entries).encode()).hexdigest()[:32]

    # blocks

    def record(self, block: int) -> dict:
        """A block's record; one without models where there is none, or where it is broken."""
        return self._read_record(block)[0]

    def _read_record(self, block: int) -> tuple[dict, bytes | None]:
        """A block's record, and its text, which is None where there is none."""
        text = None
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            text = self.folder.read(_record_name(block))
            record = unsealed(text, self._sealed)
            if isinstance(record["models"], list) and isinstance(record["digests"], dict):
                return record, text
        return {"models": [], "digests": {}}, text

    def _write_record(self, block: int, record: dict, former: bytes | None) -> None:
        """Writes a record instead of the one that was read; `LockHeldError` if another did."""
        self._check_lock(block)
        text = as_json(sealed(record) if self._sealed else record)
        if not self.folder.replace(_record_name(block), former, text):
            raise LockHeldError(f"block {block} was written by another process meanwhile")

    def _check_lock(self, block: int) -> None:
        if block in self._locks:
            self._locks[block].check()

    def numbers(self) -> list[int]:
        """The blocks that have a record, in order."""
        stems = [n.removesuffix(".json") for n in self.folder.under("blocks").names()]
        return sorted(int(stem) for stem in stems if stem.isdigit())

    def records(self) -> list[dict]:
        """The records of all blocks, in order."""
        return [self.record(block) for block in self.numbers()]

    def lacking(self, block: int, models: int) -> list[int]:
        """The models of a block that are not finished, of so many in all."""
        ready = set(self.record(block)["models"])
        own = range(block * self.block, min((block + 1) * self.block, models))
        return [m for m in own if m not in ready]

    def missing(self, models: int) -> list[tuple[int, list[int]]]:
        """The blocks with models that are not finished, and which."""
        blocks = range(-(-models // self.block))
        return [(b, lacking) for b in blocks if (lacking := self.lacking(b, models))]

    def finish(
        self, block: int, models: Sequence[int], arrays: dict[str, np.ndarray], total: int, **facts
    ) -> None:
        """Writes the signals of models, then the record that vouches for them.

        They stand beside those that the block has already. `facts` are dicts by name or model (as
        text), merged, or plain values, which replace; `diverged` lists models among these.
        """
        self._check_lock(block)
        digests = self.write_models(models, total, arrays)
        (record, former), new = self._read_record(block), {int(m) for m in models}
        record["models"] = sorted({*record["models"], *new})
        record["diverged"] = sorted(
            {*record.get("diverged", [])} - new | {*facts.pop("diverged", [])}
        )
        for name, rows in digests.items():
            record["digests"].setdefault(name, {}).update(rows)
        facts["arrays"] = {name: kind_of(rows) for name, rows in arrays.items()}
        for name, value in facts.items():
            if isinstance(value, dict):
                value = {**record.get(name, {}), **value}
            record[name] = value
        self._write_record(block, record, former)

    def retry_diverged(self, models: int, mine=lambda block: True) -> list[int]:
        """Forgets the diverged of the first models, in `mine`, so that each gets a new key.

        How often that happened to a model stays in its block's record, under `attempts`.
        """
        again = []
        for block in self.numbers():
            diverged = self.record(block).get("diverged", [])
            if not (mine(block) and any(m < models for m in diverged)):
                continue
            with self.lock(block):
                record, former = self._read_record(block)
                failures = [m for m in record.get("diverged", []) if m < models]
                attempts = record.setdefault("attempts", {})
                for m in failures:
                    attempts[str(m)] = attempts.get(str(m), 0) + 1
                record["models"] = [m for m in record["models"] if m not in failures]
                record["diverged"] = [m for m in record["diverged"] if m not in failures]
                self._write_record(block, record, former)
                again += failures
        return again

    def attempts(self, block: int, models: Sequence[int]) -> list[int]:
        """How often each model was asked to be trained with another key."""
        counts = self.record(block).get("attempts", {})
        return [int(counts.get(str(m), 0)) for m in models]

    def verify(self, fixed: dict[str, np.ndarray] | None = None, mine=lambda block: True) -> list:
        """Compares every finished row with its digest, and forgets models that do not match.

        Of the blocks that are `mine` and that nobody works on. `fixed` arrays are written again
        where they differ. Returns a line for each thing that was lost.
        """
        said, self.said = self.said, []
        blocks = [b for b in self.numbers() if mine(b)]
        said += self._mended(blocks)
        for block in blocks:
            if self._is_damaged(block):
                said.append(f"{block:04d}.json: the record is broken; its models are trained again")
            elif self._unmatched(self.record(block)):
                with (
                    contextlib.suppress(LockHeldError),
                    self.lock(block),
                ):  # whoever holds it writes it
                    record, former = self._read_record(block)
                    bad = self._unmatched(record)
                    record["models"] = [m for m in record["models"] if m not in bad]
                    self._write_record(block, record, former)
                    said.append(
                        f"block {block}: models {sorted(bad)} do not match their digests; they are "
                        "trained again"
                    )
        for name, values in (fixed or {}).items():
            if self.arrays.has(name) and not self._holds(name, values):
                self.write_fixed(name, values)
                said.append(f"{name} is not what was written, and was written again")
        return said

    def _is_damaged(self, block: int) -> bool:
        record, text = self._read_record(block)
        return text is not None and record == {"models": [], "digests": {}}

    def _mended(self, blocks: list[int]) -> list[str]:
        """Lines of the arrays whose description was broken."""
        records = [self.record(b) for b in blocks]
        kinds = {k: v for r in records for k, v in r.get("arrays", {}).items()}
        total = 1 + max((m for r in records for m in r["models"]), default=-1)
        lines = [self.arrays.mend(name, total, kind) for name, kind in kinds.items()]
        return [line for line in lines if line]

    def _holds(self, name: str, values: np.ndarray) -> bool:
        try:
            return row_digest(self.arrays.read(name)) == row_digest(values)
        except (ValueError, OSError):
            return False

    def _unmatched(self, record: dict) -> set[int]:
        bad = set()
        for name, rows in record["digests"].items():
            models = [m for m in record["models"] if str(m) in rows]
            try:
                digests = self.arrays.digests(name, models)
            except (ValueError, OSError, IndexError):
                bad |= set(models)
                continue
            bad |= {m for m in models if digests[m] != rows[str(m)]}
        return bad

    # locks and the log

    @contextlib.contextmanager
    def lock(self, block: int) -> Iterator[Hold]:
        """Holds a block while it is worked on; raises `LockHeldError`, saying who holds it."""
        with self.folder.lock(f"blocks/{block:04d}.lock", f"block {block}", "trained") as lock:
            self._locks[block] = lock
            try:
                yield lock
            finally:
                del self._locks[block]

    def evaluating(self) -> Hold:
        """Holds the report while it is made; raises `LockHeldError`."""
        return self.folder.lock("blocks/report.lock", "the report", "made")

    def log(self, **entry: Any) -> None:
        """Appends a line to `log.jsonl`."""
        entry = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **entry}
        self.folder.append(LOG, json.dumps(entry))


def _record_name(block: int) -> str:
    return f"blocks/{block:04d}.json"


def _foreign(name: str) -> bool:
    """Whether a name says that a folder is not one in which a run was about to begin."""
    return not name.lstrip(".").startswith("experiment.")
