"""The outbox on a real file: what was committed survives everything, what is given up is counted."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.codec import decode, encode
from contract.messages import Crowd, CrowdRow, Header
from contract.topics import Stream
from edge.outbox import Outbox
from edge.outbox_file import Totals, doubt, is_damage, read_totals

ROOT = Path(__file__).resolve().parents[2]


def put(box: Outbox, stream: Stream = "sightings", size: int = 20, events: int = 3) -> int:
    return box.put(stream, 1_000, events, lambda epoch, seq: f"{epoch}/{seq}".encode() + b"." * size)


@pytest.fixture
def box(tmp_path):
    outbox = Outbox(tmp_path / "outbox.db")
    yield outbox
    outbox.close()


def test_batches_are_numbered_from_one_and_come_back_as_they_were_put(box):
    assert [put(box) for _ in range(3)] == [1, 2, 3]
    assert box.pending(0, 10) == [], "nothing may be sent before it is committed"
    assert [stored.seq for stored in box.flush()] == [1, 2, 3]
    assert [stored.seq for stored in box.pending(1, 1)] == [2]
    assert box.pending(0, 10)[0].payload.startswith(f"{box.epoch}/1".encode())
    assert (box.events_accepted, box.batches_accepted, box.oldest_us) == (9, 3, 1_000)


def test_the_hundredth_batch_commits_them_all(box):
    for _ in range(100):
        put(box)
    assert len(box.pending(0, 200)) == 100
    assert box.waiting == 0


def test_a_reopened_outbox_goes_on_where_it_was(tmp_path):
    first = Outbox(tmp_path / "outbox.db")
    for _ in range(5):
        put(first)
    first.flush()
    first.delete([(1, 5)])
    epoch = first.epoch
    first.close()
    again = Outbox(tmp_path / "outbox.db")
    assert (again.epoch, again.rows(), again.events_accepted) == (epoch, 0, 15)
    assert put(again) == 6, "a number is never used twice, even when all its fellows are gone"
    again.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(-2, 40), st.integers(-2, 40)), max_size=6))
def test_delete_takes_exactly_the_named_ranges(tmp_path_factory, ranges):
    box = Outbox(tmp_path_factory.mktemp("ranges") / "outbox.db", synchronous="off")
    for _ in range(30):
        put(box)
    box.flush()
    named = {seq for first, last in ranges for seq in range(first, last + 1)}
    left = [seq for seq in range(1, 31) if seq not in named]
    assert box.delete(ranges) == 30 - len(left)
    assert [stored.seq for stored in box.pending(0, 100)] == left
    box.close()


_NOTES = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.none() | st.binary(max_size=3)), max_size=3)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(_NOTES, st.booleans()), max_size=8))
def test_notes_are_kept_or_lost_with_their_batch(tmp_path_factory, steps):
    """A process that is killed leaves what it committed; this one is left behind with its file, and a copy is read."""
    folder = tmp_path_factory.mktemp("notes")
    box = Outbox(folder / "outbox.db", synchronous="off")
    committed: dict[bytes, bytes] = {}
    waiting: list[tuple[bytes, bytes | None]] = []
    for notes, flush in steps:
        box.put("tags", 1_000, 1, lambda epoch, seq: b"x", notes=notes)
        waiting += notes
        if flush:
            box.flush()
            for key, value in waiting:
                committed.pop(key, None) if value is None else committed.update({key: value})
            waiting.clear()
    for name in ("outbox.db", "outbox.db-wal"):
        (folder / f"copy-{name}").write_bytes((folder / name).read_bytes() if (folder / name).exists() else b"")
    box.close()
    killed = Outbox(folder / "copy-outbox.db")
    assert killed.notes() == committed
    killed.close()


def test_notes_have_a_bound_and_leave_the_batches_their_room(tmp_path):
    box = Outbox(tmp_path / "outbox.db", max_mb=1)
    for number in range(200):
        notes = [((number * 100 + i).to_bytes(12, "big"), b"v" * 30) for i in range(100)]
        box.put("tags", 1_000, 100, lambda epoch, seq: b"x" * 5_000, notes=notes)
    box.flush()
    assert 500 < len(box.notes()) < 1_000, "an eighth of a MiB"
    assert box.rows() > 50 and box.waiting == 0
    assert box.events_accepted - box.dropped[1] == 100 * box.rows()
    assert (tmp_path / "outbox.db").stat().st_size <= 1024 * 1024
    box.close()


def test_its_files_are_its_users_own_whatever_the_umask_says(tmp_path):
    before = os.umask(0o022)
    try:
        box = Outbox(tmp_path / "new" / "outbox.db")
        put(box)
        box.flush()
    finally:
        os.umask(before)
    found = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()}
    assert found == {"outbox.db": 0o600, "outbox.db-wal": 0o600, "outbox.db-shm": 0o600}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    box.close()


def test_what_the_cloud_refuses_is_counted(box):
    for _ in range(4):
        put(box)
    box.flush()
    assert box.delete([(2, 3)], rejected=True) == 2
    assert box.rejected == (2, 6)


def test_a_full_outbox_gives_up_the_oldest_of_the_least_valuable_and_counts_them(tmp_path):
    box = Outbox(tmp_path / "outbox.db", max_mb=1)
    presence = [put(box, "presence", 100) for _ in range(20)]
    crowd = [put(box, "crowd", 100) for _ in range(20)]
    sightings = [put(box, "sightings", 10_000) for _ in range(500)]
    box.flush()
    kept = [stored.seq for stored in box.pending(0, 1_000)]
    assert set(presence + crowd) <= set(kept)
    windows = [seq for seq in kept if seq in set(sightings)]
    assert windows == sightings[-len(windows) :], "the newest are kept, without a gap"
    assert 40 < len(windows) < 500
    assert box.dropped == (500 - len(windows), 3 * (500 - len(windows)))
    assert box.events_accepted == 3 * 540
    assert (tmp_path / "outbox.db").stat().st_size <= 1024 * 1024
    last = put(box, "presence", 10)
    box.flush()
    assert box.get(last) is not None
    box.close()


def test_when_only_the_valuable_are_left_the_oldest_of_them_go(tmp_path):
    box = Outbox(tmp_path / "outbox.db", max_mb=1)
    seqs = [put(box, "presence", 10_000) for _ in range(300)]
    box.flush()
    kept = [stored.seq for stored in box.pending(0, 1_000)]
    assert kept == seqs[-len(kept) :]
    assert box.dropped[0] == 300 - len(kept) > 0
    box.close()


CHILD = """
import sys
from pathlib import Path
from edge.outbox import Outbox
from edge.outbox_file import Totals, read_totals
box = Outbox(Path(sys.argv[1]))
while True:
    for _ in range(7):
        box.put("sightings", 1, 2, lambda epoch, seq: f"{epoch}/{seq}".encode())
    print(box.flush()[-1].seq, flush=True)
"""


def test_what_was_committed_survives_kill_9(tmp_path):
    promised, epochs = 0, set()
    for kills in range(1, 4):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path / "outbox.db")],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        for _ in range(40 * kills):
            promised = int(child.stdout.readline())
        os.kill(child.pid, signal.SIGKILL)
        promised = max([promised, *(int(line) for line in child.stdout if line.strip())])
        child.stdout.close()
        child.wait()
        box = Outbox(tmp_path / "outbox.db")
        seqs = [stored.seq for stored in box.pending(0, 100_000)]
        assert seqs == list(range(1, len(seqs) + 1))
        assert promised <= len(seqs) <= promised + 7
        assert box.events_accepted == 2 * len(seqs)
        assert all(s.payload == f"{box.epoch}/{s.seq}".encode() for s in box.pending(0, 100_000))
        epochs.add(box.epoch)
        box.close()
    assert len(epochs) == 1


@pytest.mark.parametrize(
    "damage", [b"this is no database, however hard you look at it" * 100, b"SQLite format 3\0" + b"\7" * 9_000]
)
def test_a_corrupt_file_is_moved_aside_loudly_and_a_new_epoch_begins(tmp_path, caplog, damage):
    path = tmp_path / "outbox.db"
    box = Outbox(path)
    put(box)
    epoch = box.epoch
    box.close()
    path.write_bytes(damage)
    box = Outbox(path)
    assert box.epoch != epoch
    assert put(box) == 1
    assert len(box.flush()) == 1
    box.close()
    (aside,) = tmp_path.glob("outbox.db.corrupt-*")
    assert aside.read_bytes() == damage
    assert "is corrupt" in caplog.text


def test_a_disk_that_takes_nothing_keeps_batches_in_memory_and_says_so_once(tmp_path, caplog):
    box = Outbox(tmp_path / "outbox.db")
    box._db.execute("pragma query_only = on")  # every write fails as on a read-only disk
    for _ in range(3):
        put(box)
    assert box.flush() == box.flush() == []
    assert box.rows() == box.waiting == 3
    assert caplog.text.count("takes no batches") == 1
    box._db.execute("pragma query_only = off")
    assert [stored.seq for stored in box.flush()] == [1, 2, 3]
    assert "takes batches again" in caplog.text
    box.close()


def test_memory_is_bounded_while_the_disk_takes_nothing_and_losses_are_counted(tmp_path):
    box = Outbox(tmp_path / "outbox.db")
    box._db.execute("pragma query_only = on")
    first = put(box, "presence")
    for _ in range(2_499):
        put(box)
    box.flush()
    assert box.waiting == 2_000
    assert box.dropped == (500, 1_500)
    box._db.execute("pragma query_only = off")
    box.flush()
    assert box.get(first) is not None
    assert box.dropped == (500, 1_500)
    assert box.events_accepted == 7_500, "accepted minus dropped is what the cloud will get"
    box.close()


def test_the_totals_can_be_read_beside_a_running_node(box):
    for _ in range(4):
        put(box)
    box.flush()
    box.delete([(1, 2)])
    box.delete([(3, 3)], rejected=True)
    assert read_totals(box.path) == Totals(box.epoch, 12, 4, 0, 3, 1)


def test_many_threads_put_and_none_gets_the_number_of_another(box):
    seqs: list[int] = []
    threads = [threading.Thread(target=lambda: seqs.extend(put(box) for _ in range(200))) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        box.flush()
    box.flush()
    assert sorted(seqs) == [stored.seq for stored in box.pending(0, 1_000)] == list(range(1, 801))


def test_after_a_power_cut_numbers_go_on_beyond_all_that_may_have_been_told(tmp_path):
    box = Outbox(tmp_path / "outbox.db", boot="boot-1")
    for _ in range(3):
        put(box)
    box.flush()
    copy = tmp_path / "after"
    copy.mkdir()
    for file in tmp_path.glob("outbox.db*"):  # as the card is found when the power is back
        (copy / file.name).write_bytes(file.read_bytes())
    box.close()
    again = Outbox(copy / "outbox.db", boot="boot-2")
    assert put(again) > 1_000
    again.flush()
    assert (again.batches_accepted, again.events_accepted, again.rows()) == (4, 12, 4)
    again.close()
    clean = Outbox(tmp_path / "outbox.db", boot="boot-2")
    assert put(clean) == 4, "an end in order leaves no gap"
    clean.close()


def test_with_normal_a_commit_is_synced_within_a_second_or_so(tmp_path, monkeypatch):
    box = Outbox(tmp_path / "outbox.db", synchronous="normal")
    put(box)
    box.flush()
    put(box)
    box.flush()
    states = [box.unsynced]
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 1.1)
    box.flush()
    states.append(box.unsynced)
    assert states == [True, False]
    box.close()


def test_full_is_always_synced(box):
    put(box)
    box.flush()
    assert not box.unsynced


def doubted(box: Outbox, mono_us: int) -> int:
    """A batch by a clock that is not trusted."""

    def build(epoch: str, seq: int) -> bytes:
        header = Header("crowd", "acme", "main", "door-1", epoch, seq, "boot-1", "untrusted", 7, 1)
        return encode(Crowd(header, (CrowdRow(0, 300, 9, 4),)))

    return box.put("crowd", 7, 1, build, mono_us)


def test_batches_of_a_clock_that_is_not_trusted_wait_until_it_is_known_what_time_it_was(box):
    first, second = doubted(box, 1_000), doubted(box, 2_000)
    third = put(box)
    assert [stored.seq for stored in box.flush()] == [third]
    assert [stored.seq for stored in box.pending(0, 10)] == [third]
    assert (box.doubtful(), box.rows()) == (2, 3)
    assert box.settle(1_000_000) == (first, second)
    headers = [decode(stored.payload).header for stored in box.pending(0, 2)]
    assert [(h.seq, h.t0, h.clock) for h in headers] == [(1, 1_001_000, "trusted"), (2, 1_002_000, "trusted")]
    assert box.newest_us == 1_002_000
    assert (box.settle(5), box.doubtful()) == (None, 0), "once told, never changed"


def test_they_may_go_as_they_are_and_need_not_be_held_at_all(box):
    doubted(box, 1_000)
    box.flush()
    assert box.settle(None) == (1, 1)
    box.hold = False
    doubted(box, 2_000)
    assert [stored.seq for stored in box.flush()] == [2]
    assert [decode(stored.payload).header.clock for stored in box.pending(0, 5)] == ["untrusted"] * 2
    assert box.newest_us == 7, "the last batch's"


def test_another_boot_lets_them_go_as_they_are(tmp_path):
    box = Outbox(tmp_path / "outbox.db", boot="boot-1")
    doubted(box, 1_000)
    box.close()
    same = Outbox(tmp_path / "outbox.db", boot="boot-1")
    assert same.doubtful() == 1
    same.close()
    other = Outbox(tmp_path / "outbox.db", boot="boot-2")
    assert (other.doubtful(), len(other.pending(0, 5))) == (0, 1)
    other.close()


def test_a_file_of_an_earlier_release_is_read_on(tmp_path):
    path = tmp_path / "outbox.db"
    with sqlite3.connect(path) as db:
        db.executescript(
            """
            create table meta (key text primary key, value) without rowid;
            create table batch (
                seq integer primary key, class integer not null, stream text not null,
                at_us integer not null, events integer not null, payload blob not null);
            create index batch_class on batch (class, seq);
            insert into meta values ('epoch', 'abcd'), ('last_seq', 9), ('events_accepted', 27);
            insert into batch values (9, 2, 'sightings', 1000, 3, x'01');
            """
        )
    db.close()
    box = Outbox(path)
    assert (box.epoch, put(box), box.batches_accepted, box.events_accepted) == ("abcd", 10, 9, 27)
    box.flush()
    assert [stored.seq for stored in box.pending(0, 5)] == [9, 10]
    assert read_totals(path).batches_accepted == 10
    box.close()


def test_damage_inside_is_found_when_it_is_read_and_the_next_start_moves_the_file_aside(tmp_path, caplog):
    path = tmp_path / "outbox.db"
    box = Outbox(path)
    for _ in range(200):
        put(box, size=1_000)
    box.close()
    with path.open("r+b") as file:
        file.seek(20 * 4_096)
        file.write(b"\xff" * 4_096 * 10)
    box = Outbox(path)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        box.pending(0, 1_000)
    assert is_damage(caught.value)
    doubt(path)
    box._db.close()
    box = Outbox(path)
    assert (box.rows(), len(list(tmp_path.glob("outbox.db.corrupt-*")))) == (0, 1)
    assert not list(tmp_path.glob("*.check"))
    assert "is corrupt" in caplog.text
    box.close()
