"""Phones that look for Wi-Fi: who has one along, when they ask, under which address, and how strong it is heard."""

from collections import Counter
from datetime import date

import numpy as np
import pytest

from edge.frames.dot11 import PROBE_REQUEST, Frame, is_local, parse_management
from simulators import scenario_files as scenarios
from simulators.probes import Handset, Probes, handsets
from simulators.radio import RadioModel
from simulators.world import Day, World

SEED = 7
TUESDAY = date(2026, 11, 17)
SCENARIO = scenarios.load("corner-store")
RADIO = RadioModel(SCENARIO, SEED)
STEP_US = 1_000_000


@pytest.fixture(scope="module")
def day() -> Day:
    return World(SCENARIO, SEED).day(TUESDAY)


def hear(day: Day, phones: list[Handset], from_us: int, to_us: int) -> list[tuple[int, str, Frame]]:
    """All that nodes receive in a span of time."""
    probes = Probes(SCENARIO, day, phones, RADIO, from_us)
    heard: list[tuple[int, str, Frame]] = []

    def put(node: str, packet: bytes) -> None:
        frame = parse_management(packet)
        assert frame is not None and frame.subtype == PROBE_REQUEST
        heard.append((now_us, node, frame))

    for now_us in range(from_us, to_us, STEP_US):
        probes.send(now_us, put)
    return heard


def test_shoppers_have_phones_with_wifi_on_and_staff_do_not(day):
    assert SCENARIO.wifi is not None
    shoppers = [person.index for person in day.people if person.kind in ("member", "stranger")]
    phones = handsets(SCENARIO, SEED, day)
    assert {phone.person for phone in phones} < set(shoppers)
    assert len(phones) / len(shoppers) == pytest.approx(SCENARIO.wifi.on_share, abs=0.06)
    assert all(phone.model.randomises for phone in phones)


def test_the_same_seed_and_date_give_the_same_air(day):
    from_us = SCENARIO.instant_us(TUESDAY, "10:00")
    runs = [hear(day, handsets(SCENARIO, SEED, day), from_us, from_us + 60_000_000) for _ in range(2)]
    assert runs[0] == runs[1] != []


def test_only_who_is_there_asks_and_each_time_under_another_made_up_address(day):
    phones = handsets(SCENARIO, SEED, day)
    phone = phones[40]
    enters_us, leaves_us = int(day.enters_us[phone.person]), int(day.leaves_us[phone.person])
    heard = hear(day, [phone], enters_us - 60_000_000, leaves_us + 60_000_000)
    assert {node for _, node, _ in heard} == {"back"}
    scans: dict[int, set[bytes]] = {}
    for at_us, _, frame in heard:
        scans.setdefault(at_us, set()).add(frame.source)
    assert enters_us <= min(scans) <= enters_us + 21_000_000
    assert max(scans) < leaves_us
    assert all(len(addresses) == 1 for addresses in scans.values())
    addresses = set.union(*scans.values())
    assert len(addresses) == len(scans) > 3
    assert all(is_local(address) for address in addresses)
    gaps = np.diff(sorted(scans)) / 1e6
    assert 0.6 * phone.every_s < np.median(gaps) < 1.4 * phone.every_s


def test_it_is_heard_on_one_channel_and_louder_from_near(day):
    from_us, to_us = SCENARIO.instant_us(TUESDAY, "10:00"), SCENARIO.instant_us(TUESDAY, "10:10")
    back = next(node for node in SCENARIO.nodes if node.node == "back")
    near, far = [], []
    channels = Counter[int | None]()
    for phone in handsets(SCENARIO, SEED, day):
        if day.enters_us[phone.person] >= to_us or day.leaves_us[phone.person] <= from_us:
            continue
        for at_us, _, frame in hear(day, [phone], from_us, to_us):
            ((x, y),), _ = day.at(np.array([phone.person]), np.array([at_us]))
            away_m = np.hypot(x - back.x_m, y - back.y_m)
            assert frame.rssi is not None
            channels[frame.mhz] += 1
            if away_m < 4:
                near.append(frame.rssi)
            elif away_m > 12:
                far.append(frame.rssi)
    assert set(channels) == {2437}
    assert min(len(near), len(far)) > 50
    assert np.mean(near) > np.mean(far) + 5
