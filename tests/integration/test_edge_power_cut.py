"""The outbox on a disk that loses power: a disk in memory that forgets, keeps or tears what was not synced.

The outbox's own code runs over it once, through an SQLite whose file system is Python (apsw); each write, truncation
and sync is journaled. Then the power is cut at 200 places of that journal. What was synced is there; of what was not,
each 512-byte sector of each write is there or not, as the dice fall: none, all, a beginning, any writes, any sectors.
Creating and deleting a file take effect at once. Not simulated: a disk that says "synced" and lies.
"""

import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import apsw
import pytest

from edge import outbox_file
from edge.outbox import SYNC_S, Outbox

SECTOR = 512
CUTS = 200


@dataclass
class Op:
    """One thing done to a file."""

    kind: Literal["write", "truncate", "sync", "delete"]
    name: str
    at: int = 0
    data: bytes = b""


@dataclass
class Moment:
    """What the outbox had promised when `ops` operations were done."""

    ops: int
    durable: dict[int, bytes]
    """By number, what must survive."""
    told: dict[int, bytes]
    """By number, what may have been published: these numbers never come again with other bytes."""
    put: int
    """The last number that was given out."""


@dataclass
class Disk:
    """Files in memory, and the journal of all that was done to them."""

    files: dict[str, bytearray] = field(default_factory=dict)
    journal: list[Op] = field(default_factory=list)

    def after(self, cut: int, dice: random.Random) -> dict[str, bytes]:
        """The files as they may be when the power is cut after `cut` operations."""
        synced = dict[str, bytearray]()
        since = dict[str, list[Op]]()
        for op in self.journal[:cut]:
            if op.kind == "sync":
                for late in since.pop(op.name, []):
                    _apply(synced, late)
                synced.setdefault(op.name, bytearray())
            elif op.kind == "delete":
                synced.pop(op.name, None)
                since.pop(op.name, None)
            else:
                since.setdefault(op.name, []).append(op)
        for ops in since.values():
            for op in _that_arrived(ops, dice):
                _apply(synced, op)
        return {name: bytes(content) for name, content in synced.items()}


def _that_arrived(ops: list[Op], dice: random.Random) -> list[Op]:
    fate = dice.choice(["none", "all", "beginning", "writes", "sectors"])
    if fate == "none":
        return []
    if fate == "beginning":
        return ops[: dice.randrange(len(ops) + 1)]
    if fate == "writes":
        return [op for op in ops if dice.random() < 0.5]
    if fate == "sectors":
        torn = [
            Op("write", op.name, op.at + start, op.data[start : start + SECTOR])
            for op in ops
            if op.kind == "write"
            for start in range(0, len(op.data), SECTOR)
            if dice.random() < 0.6
        ]
        dice.shuffle(torn)
        return torn
    return ops


def _apply(files: dict[str, bytearray], op: Op) -> None:
    content = files.setdefault(op.name, bytearray())
    if op.kind == "truncate":
        del content[op.at :]
    else:
        if len(content) < op.at:
            content.extend(bytes(op.at - len(content)))
        content[op.at : op.at + len(op.data)] = op.data


class MemoryFile:
    """What SQLite asks of a file."""

    def __init__(self, disk: Disk, name: str) -> None:
        self._disk, self._name = disk, name
        self._content = disk.files.setdefault(name, bytearray())

    def xRead(self, amount: int, offset: int) -> bytes:
        return bytes(self._content[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:
        op = Op("write", self._name, offset, bytes(data))
        self._disk.journal.append(op)
        _apply(self._disk.files, op)

    def xTruncate(self, size: int) -> None:
        op = Op("truncate", self._name, size)
        self._disk.journal.append(op)
        _apply(self._disk.files, op)

    def xSync(self, flags: int) -> None:
        self._disk.journal.append(Op("sync", self._name))

    def xFileSize(self) -> int:
        return len(self._content)

    def xSectorSize(self) -> int:
        return 4_096

    def xDeviceCharacteristics(self) -> int:
        return int(apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE)  # as SQLite's own Unix file system says

    def xLock(self, level: int) -> None: ...
    def xUnlock(self, level: int) -> None: ...
    def xCheckReservedLock(self) -> bool:
        return False

    def xFileControl(self, op: int, pointer: int) -> bool:
        return False

    def xClose(self) -> None: ...


class MemoryFiles(apsw.VFS):
    """SQLite's file system on a Disk."""

    def __init__(self, disk: Disk) -> None:
        super().__init__("losing-power", "")
        self._disk = disk

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name or "temporary"
        return MemoryFile(self._disk, Path(path).name)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        name = Path(filename).name
        if name in self._disk.files:
            del self._disk.files[name]
            self._disk.journal.append(Op("delete", name))

    def xAccess(self, pathname: str, flags: int) -> bool:
        return Path(pathname).name in self._disk.files

    def xFullPathname(self, name: str) -> str:
        return name


@contextmanager
def _as_sqlite3_says() -> Iterator[None]:
    try:
        yield
    except apsw.FullError as error:
        full = sqlite3.OperationalError(str(error))
        full.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise full from None


class Connection:
    """An apsw connection as the outbox uses one of the sqlite3 module."""

    def __init__(self, path: Path) -> None:
        self._db = apsw.Connection(path.name, vfs="losing-power")
        # The file system has no shared memory: SQLite then keeps the WAL's index in its own, which no disk sees anyway.
        self._db.execute("pragma locking_mode = exclusive")

    def execute(self, statement: str, values: Any = ()) -> "Rows":
        before = self._db.total_changes()
        with _as_sqlite3_says():
            rows = list(self._db.execute(statement, values))
        return Rows(rows, self._db.total_changes() - before)

    def executemany(self, statement: str, values: Any) -> None:
        with _as_sqlite3_says():
            self._db.executemany(statement, values)

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def close(self) -> None:
        self._db.close()


@dataclass
class Rows:
    """A cursor that has read all."""

    rows: list[Any]
    rowcount: int

    def fetchone(self) -> Any:
        return self.rows[0] if self.rows else None

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)


def _story(disk: Disk, synchronous: str, monkeypatch: pytest.MonkeyPatch, path: Path, seed: int) -> list[Moment]:
    """An outbox's life: puts in groups, acks, times corrected, a bound that is met; and what it promised when."""
    now, synced_at = [0.0], [0.0]
    files = MemoryFiles(disk)
    monkeypatch.setattr(outbox_file, "connect", Connection)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    dice = random.Random(seed)
    box = Outbox(path, 1, synchronous, boot="boot-1")
    moments, held, told, unsynced = list[Moment](), dict[int, bytes](), dict[int, bytes](), dict[int, bytes]()
    last = 0

    def promise() -> None:
        if not box.unsynced:
            held.update(unsynced)
            unsynced.clear()
            synced_at[0] = now[0]
        assert now[0] - synced_at[0] <= SYNC_S + 0.3, "a power cut takes no more than this"
        alive = {stored.seq for stored in box.pending(0, 100_000)}
        held_now = {seq: payload for seq, payload in held.items() if seq in alive}
        moments.append(Moment(len(disk.journal), held_now, dict(told), last))

    for _ in range(250):
        now[0] += dice.choice([0.05, 0.25, 0.25])
        for _ in range(dice.randrange(1, 12)):
            size = dice.choice([200, 800, 2_400, 9_000])
            mono_us = 1_000 if dice.random() < 0.2 else None
            last = box.put("sightings", 5, 1, partial(_payload, size), mono_us)
        for stored in box.flush():
            told[stored.seq] = unsynced[stored.seq] = stored.payload
        promise()
        waiting = box.pending(0, 1_000)
        if waiting and dice.random() < 0.5:
            chosen = dice.choice(waiting).seq
            for seq in [seq for seq in held if chosen - 3 <= seq <= chosen + 3]:
                del held[seq]  # on its way out: it may be there or not
            moments.append(Moment(len(disk.journal), dict(held), dict(told), last))
            box.delete([(chosen - 3, chosen + 3)])
        if dice.random() < 0.1 and (settled := box.settle(dice.choice([None, 10**15]))):
            for stored in box.pending(settled[0] - 1, 1_000):
                if settled[0] <= stored.seq <= settled[1]:
                    told.setdefault(stored.seq, stored.payload)
                    held.setdefault(stored.seq, stored.payload)
            promise()
    monkeypatch.undo()
    files.unregister()
    return moments


def _payload(size: int, epoch: str, seq: int) -> bytes:
    return f"{epoch}/{seq}/".encode() + random.Random(seq).randbytes(size)


@pytest.mark.parametrize("synchronous", ["full", "normal"])
def test_whenever_the_power_is_cut_what_was_promised_is_there(tmp_path, monkeypatch, synchronous):
    disk = Disk()
    moments = _story(disk, synchronous, monkeypatch, tmp_path / "outbox.db", seed=1)
    dice = random.Random(2)
    cuts = sorted(dice.sample(range(moments[0].ops, len(disk.journal)), CUTS))
    for n, cut in enumerate(cuts):
        before = max((m for m in moments if m.ops <= cut), key=lambda m: m.ops)
        after = min((m for m in moments if m.ops >= cut), key=lambda m: m.ops, default=moments[-1])
        folder = tmp_path / f"cut-{n}"
        folder.mkdir()
        for name, content in disk.after(cut, dice).items():
            (folder / name).write_bytes(content)
        box = Outbox(folder / "outbox.db", 1, synchronous, boot="boot-2")
        with sqlite3.connect(folder / "outbox.db") as db:
            assert db.execute("pragma integrity_check").fetchone() == ("ok",)
        db.close()
        assert not list(folder.glob("*corrupt*"))
        there = {stored.seq: stored.payload for stored in box.pending(0, 100_000)}
        promised = {seq: payload for seq, payload in before.durable.items() if seq in after.durable}
        assert promised.keys() <= there.keys(), "what was promised is there"
        assert all(payload == _payload(len(payload) - len(f"{box.epoch}/{seq}/"), box.epoch, seq) for seq, payload
                   in there.items()), "whole, under its own number, in the same epoch"  # fmt: skip
        assert all(there[seq] == payload for seq, payload in before.told.items() if seq in there)
        number = box.put("sightings", 5, 1, lambda epoch, seq: b"new")
        assert number > max(before.told, default=0), "no number that may have been published comes again"
        box.flush()
        box.close()
