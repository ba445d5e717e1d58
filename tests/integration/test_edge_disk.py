"""The outbox on a disk that fails now and then, or is full: it goes on, and what it gives up is what it counts.

Failures are injected into a process of its own by fiu-run (Debian's fiu-utils) at the C library's pwrite, pread and
fdatasync: 5 % of the calls.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, cast

import pytest

from contract.topics import Stream
from edge.outbox import CLASS, CLASS_NAMES, Outbox
from edge.outbox_file import read_totals

ROOT = Path(__file__).resolve().parents[2]
FIU_RUN = shutil.which("fiu-run")
needs_fiu = pytest.mark.skipif(FIU_RUN is None, reason="fiu-run is not installed: apt install fiu-utils")

NODE = """
import collections, json, os, sqlite3, sys, time
from pathlib import Path
from edge.outbox import CLASS, CLASS_NAMES, Outbox

path, max_mb, rounds, size = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
streams = ["sightings"] * 6 + ["crowd", "presence", "tags", "receipts"]
put, acknowledged, failed, flushes = collections.Counter(), 0, 0, 0

def opened():
    while True:  # the service manager starts a node again that could not begin
        try:
            return Outbox(path, max_mb)
        except sqlite3.OperationalError:
            pass

def flush():
    try:
        return box.flush()
    except sqlite3.DatabaseError:  # "malformed": a page that could not be read
        return []

box = opened()
for turn in range(rounds):
    for stream in streams:
        length = 200 if stream == "receipts" else size
        box.put(stream, turn, 2, lambda epoch, seq: f"{epoch}/{seq}/".encode() + bytes(length))
        put[CLASS_NAMES[CLASS[stream]]] += 2
    flushes += 1
    failed += not flush()
    if turn % 5 == 0:
        try:  # what the uplink does with an ack: the next time, if the disk does not want to
            for stored in [stored for stored in box.pending(0, 2_000) if stored.stream == "sightings"][:2]:
                acknowledged += stored.events * box.delete([(stored.seq, stored.seq)])
        except sqlite3.Error:
            failed += 1
end = time.monotonic() + 75
while time.monotonic() < end:
    if not box.waiting:
        break  # after a commit that succeeded: one that failed in its sync may come to light until then
    flush()
print(json.dumps({"put": put, "acknowledged": acknowledged, "failed": failed, "flushes": flushes,
                  "waiting": box.waiting, "dropped": box.dropped_by_class}), flush=True)
os._exit(0)
"""


def run(path: Path, max_mb: float, rounds: int, size: int, *faults: str) -> dict[str, Any]:
    """The node's outbox in a process of its own, and what it says at its end."""
    fiu = [str(FIU_RUN), "-x", *(word for fault in faults for word in ("-c", fault))] if faults else []
    done = subprocess.run(
        [*fiu, sys.executable, "-c", NODE, str(path), str(max_mb), str(rounds), str(size)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, f"the process survives: {done.stderr[-2_000:]}"
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def check(path: Path, said: dict[str, Any]) -> dict[str, int]:
    """Holds what was put against what is there; returns the stored events by class."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
        by_class = {CLASS_NAMES[c]: n for c, n in db.execute("select class, sum(events) from batch group by class")}
        epoch = db.execute("select value from meta where key = 'epoch'").fetchone()[0]
        for seq, payload in db.execute("select seq, payload from batch"):
            assert payload.startswith(f"{epoch}/{seq}/".encode())
    assert said["waiting"] == 0, "all was taken in the end"
    put, dropped = said["put"], said["dropped"]
    for name in put:
        gone = said["acknowledged"] if name == "windows" else 0
        assert put[name] == by_class.get(name, 0) + dropped[name] + gone, f"{name}: dropped is exactly what is missing"
    assert dropped["kept"] == 0
    totals = read_totals(path)
    assert totals.events_accepted == sum(put.values())
    assert totals.events_dropped == sum(dropped.values())
    return by_class


WRITES_FULL = "enable_random name=posix/io/rw/pwrite*,probability=0.05,failinfo=28"
WRITES = "enable_random name=posix/io/rw/pwrite*,probability=0.05,failinfo=5"
READS = "enable_random name=posix/io/rw/pread*,probability=0.05,failinfo=5"
SYNCS = "enable_random name=posix/io/sync/*,probability=0.05,failinfo=5"


@needs_fiu
@pytest.mark.parametrize(
    "faults",
    [(WRITES_FULL,), (WRITES,), (SYNCS,), (WRITES_FULL, SYNCS, READS)],
    ids=["disk full", "write errors", "sync errors", "all of them, reads too"],
)
def test_a_disk_that_fails_one_call_in_twenty_loses_nothing_while_there_is_room(tmp_path, faults):
    path = tmp_path / "outbox.db"
    said = run(path, 64, 100, 700, *faults)
    assert said["failed"] > 0, "the disk did fail"
    check(path, said)
    assert sum(said["dropped"].values()) == 0, "a failure that passes costs nothing"


@needs_fiu
def test_a_full_outbox_on_a_failing_disk_goes_round_and_counts_what_it_gives_up(tmp_path):
    path = tmp_path / "outbox.db"
    said = run(path, 1, 70, 2_500, WRITES, SYNCS)
    assert said["failed"] > 0
    stored = check(path, said)
    assert said["dropped"]["windows"] > 0
    assert stored["kept"] == said["put"]["kept"], "all receipts are there"
    with closing(sqlite3.connect(path)) as db:
        (newest,) = db.execute("select max(at_us) from batch where stream = 'tags'").fetchone()
    assert newest == 69, "the ring goes round to the end"


@pytest.fixture
def small_disk(tmp_path):
    """Four MiB, really."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", disk], capture_output=True).returncode != 0:
        pytest.skip("no right to mount a small disk here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_disk_that_others_fill_keeps_what_it_can_and_counts_the_rest(small_disk):
    path = small_disk / "outbox.db"
    box = Outbox(path)  # 256 MiB, as far as it knows
    for _ in range(300):
        put(box, "sightings")
    box.flush()
    fill(small_disk / "log")
    receipts = [put(box, "receipts") for _ in range(20)]
    presence = [put(box, "presence") for _ in range(20)]
    for _ in range(2_500):
        put(box, "sightings")
    box.flush()
    assert box.waiting <= 2_000, "memory is bounded"
    assert box.rows() + box.dropped[0] == 300 + 40 + 2_500
    there = {stored.seq for stored in box._waiting} | {stored.seq for stored in box.pending(0, 10_000)}
    assert set(receipts + presence) <= there
    assert box.dropped_by_class == {"kept": 0, "visits": 0, "counts": 0, "windows": box.dropped[0]}
    (small_disk / "log").unlink()
    box.flush()
    assert box.waiting == 0, "room again: it takes batches again"
    assert box.rows() + box.dropped[0] == 300 + 40 + 2_500
    box.close()


def fill(path: Path) -> None:
    """Takes the last byte of a disk."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(512)):
            pass


def put(box: Outbox, stream: str, size: int = 700) -> int:
    return box.put(cast(Stream, stream), 1, 1, lambda epoch, seq: bytes(size))


def test_receipts_and_consents_are_never_given_up_and_the_rest_makes_room_for_them(tmp_path, caplog):
    box = Outbox(tmp_path / "outbox.db", max_mb=1)
    windows = [put(box, "sightings", 3_000) for _ in range(100)]
    box.flush()
    kept = [put(box, stream, 3_000) for _ in range(40) for stream in ("receipts", "consents")]
    box.flush()
    there = {stored.seq for stored in box.pending(0, 1_000)}
    assert set(kept) <= there
    assert len(there & set(windows)) < 100, "windows made room"
    box.close()


def test_when_only_receipts_are_left_it_is_the_new_batches_of_others_that_are_given_up(tmp_path):
    box = Outbox(tmp_path / "outbox.db", max_mb=1)
    kept = []
    while not box.waiting:
        kept.append(put(box, "receipts", 3_000))
        box.flush()
    assert box.dropped == (0, 0)
    lesser = [put(box, stream) for stream in ("sightings", "crowd", "presence")]
    box.flush()
    assert box.dropped_by_class == {"kept": 0, "visits": 1, "counts": 1, "windows": 1}
    assert all(box.get(seq) is None for seq in lesser)
    assert box.waiting == 1, "the last receipt waits in memory"
    box.delete([(kept[0], kept[3])])  # the cloud has some
    box.flush()
    assert box.waiting == 0
    assert {stored.seq for stored in box.pending(0, 1_000)} == set(kept[4:])
    box.close()


def test_a_full_outbox_gives_up_what_is_new_where_only_better_is_stored(tmp_path):
    box = Outbox(tmp_path / "outbox.db", max_mb=1)
    visits = [put(box, "presence", 3_000) for _ in range(400)]
    box.flush()
    stored = [batch.seq for batch in box.pending(0, 1_000)]
    assert stored == visits[-len(stored) :]
    put(box, "sightings", 30_000)
    box.flush()
    assert box.dropped_by_class["windows"] == 1
    assert [batch.seq for batch in box.pending(0, 1_000)] == stored, "no visit goes for a window"
    box.close()


def test_every_stream_has_a_class_and_every_class_a_name():
    assert set(CLASS.values()) == set(CLASS_NAMES)
