"""One message in a hundred is poison: the good are stored, every bad one is kept with its reason, ingest stays up."""

import gzip
import hashlib
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psycopg
import pytest

from contract import codec
from contract.clock import SystemClock
from contract.codec import decode_small
from contract.messages import Health
from contract.topics import NodeAddress, Stream
from edge import broker as edge_broker
from edge.outbox import Outbox
from edge.settings import Uplink as Settings
from edge.uplink import Uplink
from tests.conftest import NODE, OTHER_NODE, Database
from tests.integration.cloud_support import NOON_US
from tests.integration.edge_support import eventually
from tests.integration.trust_support import ROOT, Speaker, furnish, one, running_ingest, sightings_payload, speaker

EPOCH = "6" * 32
HEALTH = decode_small((ROOT / "contract/examples/health-v1.json").read_bytes(), Health)
OTHER_TENANT = NodeAddress("beta", NODE.store, NODE.node)


def presence(seq: int, confidence: str) -> bytes:
    """A JSON batch whose confidence stands there as it is given."""
    header = {"v": 1, "kind": "presence", "tenant": NODE.tenant, "store": NODE.store, "node": NODE.node, "epoch": EPOCH,
              "seq": seq, "boot": "boot-1", "clock": "trusted", "t0": NOON_US, "n": 1}  # fmt: skip
    row = {"subject": "0" * 16, "kind": 1, "zone": "coffee", "state": "enter", "dt": 0, "since": 0, "confidence": 0.123}
    return json.dumps(header | {"rows": [row]}).replace("0.123", confidence).encode()


def cut(seq: int) -> bytes:
    return sightings_payload(NODE, EPOCH, seq)[:-9]


def wide(seq: int) -> bytes:
    """A good header before more than the contract allows."""
    fields = msgspec.msgpack.decode(sightings_payload(NODE, EPOCH, seq))
    return msgspec.msgpack.encode([*fields[:-1], [b"\x00" * 300_000]])


def garbage(seq: int) -> bytes:
    return random.Random(seq).randbytes(500)


IN_2101_US = 4_133_980_800_000_000
ZIP_BOMB = gzip.compress(bytes(64 << 20), 9)
Poison = Callable[[int], bytes]
POISON: list[tuple[str, Stream, Poison, str, bool]] = [
    ("JSON that ends too soon", "presence", lambda seq: presence(seq, "0.9")[:-3], "NotABatch", False),
    ("NaN", "presence", lambda seq: presence(seq, "NaN"), "NotABatch", False),
    ("a confidence of 1e400", "presence", lambda seq: presence(seq, "1e400"), "NotABatch", False),
    ("a confidence of two", "presence", lambda seq: presence(seq, "2"), "BadRows", True),
    ("300 kB behind a good header", "sightings", wide, "TooLarge", True),
    ("cut short", "sightings", cut, "NotABatch", False),
    ("another tenant's", "sightings", lambda seq: sightings_payload(OTHER_TENANT, EPOCH, seq), "WrongNode", True),
    ("another node's", "sightings", lambda seq: sightings_payload(OTHER_NODE, EPOCH, seq), "WrongNode", True),
    ("of 1970", "sightings", lambda seq: sightings_payload(NODE, EPOCH, seq, t0=seq), "BadTime", True),
    ("of 2101", "sightings", lambda seq: sightings_payload(NODE, EPOCH, seq, t0=IN_2101_US), "BadTime", True),
    ("a zip bomb", "sightings", lambda seq: ZIP_BOMB + garbage(seq), "NotABatch", False),
    ("2³² fields, it says", "sightings", lambda seq: b"\xdd\xff\xff\xff\xff" + garbage(seq), "NotABatch", False),
    ("arrays in arrays", "sightings", lambda seq: b"\x91" * 100_000 + garbage(seq), "NotABatch", False),
    ("garbage", "sightings", lambda seq: b"\xc1" + garbage(seq), "NotABatch", False),
    ("another stream's", "crowd", lambda seq: sightings_payload(NODE, EPOCH, seq), "BadTopic", True),
]
"""What it is, its stream, how it is made, the reason of its dead letter, and whether its header can be read."""


@pytest.mark.parametrize("messages", [3_000, pytest.param(60_000, marks=pytest.mark.long)])
def test_poison_is_buried_with_its_reason_and_the_rest_is_stored(
    database: Database, broker, tmp_path, messages: int
) -> None:
    furnish(database, [NODE, OTHER_NODE])
    rng = random.Random(6)
    poisoned = set(rng.sample(range(2, messages + 1), messages // 100))
    good = {(EPOCH, seq) for seq in range(1, messages + 1)} - {(EPOCH, seq) for seq in poisoned}
    kinds = {seq: POISON[i % len(POISON)] for i, seq in enumerate(sorted(poisoned))}
    expected: dict[bytes, str] = {}
    with running_ingest(database, broker, tmp_path) as ingest, speaker(broker) as node:
        eventually(lambda: _answered(node), "ingest listens", within_s=60)
        pid, before_mb = ingest.pid, ingest.rss_mb()
        most_mb = before_mb
        for seq in range(1, messages + 1):
            if seq in kinds:
                _, stream, make, reason, _ = kinds[seq]
                payload = make(seq)
                expected[hashlib.blake2b(payload, digest_size=16).digest()] = reason
                node.say(payload, NODE.up(stream))
            else:
                node.say(sightings_payload(NODE, EPOCH, seq))
            if seq % 200 == 0:
                node.hear(0)
                most_mb = max(most_mb, ingest.rss_mb())
        refused = {(EPOCH, seq): reason for seq, (_, _, _, reason, told) in kinds.items() if told}
        end = time.monotonic() + 120
        while not good <= node.stored or node.rejected != refused:
            assert time.monotonic() < end, (len(good - node.stored), refused.items() ^ node.rejected.items())
            node.hear(0.5)
        with psycopg.connect(database.admin, autocommit=True) as conn:
            eventually(lambda: one(conn, "SELECT count(*) FROM dead_letter") == len(poisoned), "all are buried")
            letters = {bytes(d): r for d, r in conn.execute("SELECT digest, reason FROM dead_letter").fetchall()}
            stored = one(conn, "SELECT count(*) FROM batch"), one(conn, "SELECT count(*) FROM sighting")
        most_mb = max(most_mb, ingest.rss_mb())
        assert ingest.running and ingest.pid == pid
    print(f"\n{messages} messages: {stored[0]} stored, {len(letters)} of {len(poisoned)} bad ones in dead letters,"
          f" {len(refused)} refused by name, ingest {before_mb:.0f} → {most_mb:.0f} MB")  # fmt: skip
    assert letters == expected
    assert stored == (len(good), 4 * len(good))
    assert most_mb < 300


def _answered(node: Speaker) -> bool:
    node.say(sightings_payload(NODE, EPOCH, 1))
    return _heard(node, 1)


def _heard(node: Speaker, seq: int) -> bool:
    node.hear(0.5)
    return (EPOCH, seq) in node.stored


def test_two_megabytes_are_refused_by_the_broker_already(database: Database, broker, tmp_path) -> None:
    """It says so and hangs up: they reach neither ingest nor its memory."""
    furnish(database, [NODE, OTHER_NODE])
    with running_ingest(database, broker, tmp_path) as ingest:
        with speaker(broker, OTHER_NODE) as bad:
            with speaker(broker) as node:
                eventually(lambda: _answered(node), "ingest listens", within_s=60)
                bad.say(b"\x00" * 2_000_000)
                node.say(sightings_payload(NODE, EPOCH, 2))
                eventually(lambda: _heard(node, 2), "the neighbour is heard")
            assert ingest.running
    with psycopg.connect(database.admin) as conn:
        assert one(conn, "SELECT count(*) FROM dead_letter") == 0


def rotten(epoch: str, seq: int) -> bytes:
    """A batch of which a bit turned over on the card."""
    return b"\xff" + sightings_payload(NODE, epoch, seq)[1:]


def of_tomorrow(epoch: str, seq: int) -> bytes:
    """A batch of a kind that this build does not know."""
    fields = msgspec.msgpack.decode(sightings_payload(NODE, epoch, seq))
    return msgspec.msgpack.encode(["dreams" if field == "sightings" else field for field in fields])


@pytest.mark.parametrize("unreadable", [rotten, of_tomorrow])
def test_a_batch_that_cannot_be_read_is_refused_and_not_sent_for_ever(
    database: Database, broker, tmp_path: Path, unreadable: Callable[[str, int], bytes]
) -> None:
    """Its name is in the message's properties (`id`), where the node puts it."""
    furnish(database, [NODE])
    box = Outbox(tmp_path / "outbox.db")
    box.put("sightings", 1, 4, lambda epoch, seq: sightings_payload(NODE, epoch, seq))
    box.put("sightings", 1, 4, unreadable)
    (tmp_path / "password").write_text(broker.clients[str(NODE)].password)
    settings = Settings(host="127.0.0.1", port=broker.port, username=str(NODE), password_file="password")
    line = edge_broker.Broker(settings, tmp_path, NODE, SystemClock(), "boot")
    link = Uplink(line, NODE, box, SystemClock(), lambda: HEALTH, every_s=60)
    with running_ingest(database, broker, tmp_path), psycopg.connect(database.admin, autocommit=True) as conn:
        link.start()
        eventually(lambda: one(conn, "SELECT count(*) FROM dead_letter") == 1 and box.rows() < 2, "one buried")
        eventually(lambda: not box.rows(), "the node has an answer to both")
        link.stop()
    left = box.rows(), box.rejected
    box.close()
    assert left == (0, (1, 4))


def test_the_bomb_is_one_and_the_table_has_every_kind() -> None:
    assert len(ZIP_BOMB) < 80_000
    with pytest.raises(codec.ContractError):
        codec.decode(ZIP_BOMB)
    assert {reason for _, _, _, reason, _ in POISON} >= {"NotABatch", "BadRows", "TooLarge", "WrongNode", "BadTime"}
