"""A day without network: everything is accepted, it fits on the card, and it is told soon after the network is back."""

import time
from functools import partial
from pathlib import Path
from random import Random

import pytest

from contract.clock import SystemClock
from contract.codec import column_bytes, decode_small, encode
from contract.messages import SIGHTING_COLUMNS, Header, Health, Sightings
from contract.topics import NodeAddress
from edge.broker import Broker
from edge.outbox import Outbox
from edge.settings import Uplink as Settings
from edge.uplink import Uplink
from tests.integration.edge_support import cloud, eventually, free_port, mosquitto, needs_mosquitto

ADDRESS = NodeAddress("acme", "main", "door-1")
HEALTH = decode_small((Path(__file__).parents[2] / "contract/examples/health-v1.json").read_bytes(), Health)
EVENTS = 10
"""Heard in each second."""


def columns() -> tuple[bytes, ...]:
    draw = Random(1)
    values = {"subject": lambda: draw.getrandbits(64), "radio": lambda: draw.getrandbits(32), "dt": lambda: 0}
    return tuple(column_bytes(c, [values.get(c.name, lambda: 1)() for _ in range(EVENTS)]) for c in SIGHTING_COLUMNS)


def sightings(t0_us: int, told: tuple[bytes, ...], epoch: str, seq: int) -> bytes:
    header = Header("sightings", "acme", "main", "door-1", epoch, seq, "boot", "trusted", t0_us, EVENTS)
    return encode(Sightings(header, told))


def start(box: Outbox, port: int) -> Uplink:
    line = Broker(Settings(host="127.0.0.1", port=port, keepalive_s=5), Path(), ADDRESS, SystemClock(), "boot")
    uplink = Uplink(line, ADDRESS, box, SystemClock(), lambda: HEALTH, every_s=30)
    uplink.start()
    return uplink


@needs_mosquitto
@pytest.mark.parametrize(
    "hours", [2, pytest.param(24, marks=[pytest.mark.long, pytest.mark.timeout(900)])], ids=["2 h", "24 h"]
)
def test_a_day_offline_is_accepted_kept_and_told_with_what_happens_now_going_first(tmp_path, hours, record_property):
    port, told, seconds = free_port(), columns(), hours * 3_600
    box = Outbox(tmp_path / "outbox.db")
    uplink = start(box, port)  # no broker, no network
    for second in range(seconds):
        t0_us = 1_795_000_000_000_000 + second * 1_000_000
        box.put("sightings", t0_us, EVENTS, partial(sightings, t0_us, told))
        if second == 0:
            eventually(lambda: box.events_accepted == EVENTS, "accepted from the first second on", within_s=2)
    uplink.stop()
    box.close()
    size_mb = sum(file.stat().st_size for file in tmp_path.glob("outbox.db*")) / 1e6

    with mosquitto(tmp_path, port=port), cloud(port) as store:
        begun = time.monotonic()
        box = Outbox(tmp_path / "outbox.db")
        assert (box.rows(), box.dropped) == (seconds, (0, 0))
        for _ in range(5):
            box.put("sightings", 1_796_000_000_000_000, EVENTS, partial(sightings, 1_796_000_000_000_000, told))
        uplink = start(box, port)
        eventually(lambda: store.order, "the first batch")
        first_s = time.monotonic() - begun
        slowest_s, live = 0.0, 5
        while box.rows():
            now = time.monotonic()
            seq = box.put("sightings", 1_796_000_000_000_000, EVENTS, partial(sightings, 1_796_000_000_000_000, told))
            live += 1
            eventually(lambda seq=seq: (box.epoch, seq) in store.batches, "what happens now is stored")  # type: ignore[misc]
            slowest_s = max(slowest_s, time.monotonic() - now)
            if now - begun > 600:
                break
            time.sleep(0.2)
        drained_s = time.monotonic() - begun
        uplink.stop()
        order = store.order[:5]
    box.close()
    figures = {"size_mb": size_mb, "first_s": first_s, "drained_s": drained_s, "slowest_live_s": slowest_s}
    for name, value in figures.items():
        record_property(name, round(value, 2))
    print({name: round(value, 2) for name, value in figures.items()} | {"events": seconds * EVENTS, "live": live})
    assert order == list(range(seconds + 1, seconds + 6)), "what happens now goes first"
    assert len(store.batches) == seconds + live
    assert store.events == (seconds + live) * EVENTS, "0 lost"
    assert size_mb <= 120 * hours / 24
    assert first_s <= 1
    assert slowest_s <= 5
    assert drained_s <= 600 * hours / 24 + 5
