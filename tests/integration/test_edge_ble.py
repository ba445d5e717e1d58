"""Real bleak against a BlueZ of our own on a private D-Bus: active, passive, silent, wedged, and other backends."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from edge import adapter
from edge.adapter import AdapterError, AdapterState, RebootBudget, adapter_state, power_cycle, restart_service
from edge.frames.advert import Advert
from edge.frames.eddystone import EDDYSTONE
from edge.frames.ibeacon import APPLE
from edge.settings import Ble
from edge.sources import ble
from edge.sources.ble import PATTERNS, BleSource, asked_for, plain, scanner_backend
from edge.watchdog import Rung
from simulators import adverts as air
from simulators.bluez import BlueZ, Cure
from simulators.system_bus import SystemManager, private_bus

pytestmark = pytest.mark.skipif(
    shutil.which("dbus-daemon") is None, reason="dbus-daemon is not installed: apt install dbus"
)

IBEACON = bytes.fromhex("0215e2c56db5dffb48d2b060d0f5a71096e000010002c5")
TOKEN = bytes.fromhex("30eb0123456789abcdef")


def advert(address: str, kind: air.AddressType, data: bytes) -> air.Advert:
    return air.Advert(bytes.fromhex(address), kind, data)


BEACON = advert("aa0000000001", "public", b"\x1a\xff\x4c\x00" + IBEACON)
TAG = advert("c00000000002", "random", b"\x03\x03\xaa\xfe\x0d\x16\xaa\xfe" + TOKEN)
ALTBEACON = advert("c00000000004", "random", b"\x1b\xff\x18\x01\xbe\xac" + IBEACON[2:] + b"\x09")
WATCH = advert("c00000000003", "random", b"\x05\xff\x75\x00\x42\x04")
AIRPODS = advert("c00000000005", "random", b"\x05\xff\x4c\x00\x07\x19")
ALL = [BEACON, TAG, ALTBEACON, WATCH, AIRPODS]
ASKED_FOR = {"aa0000000001", "c00000000002", "c00000000004"}


@pytest.fixture
def system_bus(tmp_path, monkeypatch):
    """A D-Bus of our own in place of the system's."""
    with private_bus(tmp_path) as address:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        yield address


@asynccontextmanager
async def bluez(address: str, heard: list[air.Advert]) -> AsyncIterator[BlueZ]:
    """A daemon whose radio receives each advert of a list twenty times a second."""

    async def transmit(daemon: BlueZ) -> None:
        rssi = -60
        while True:
            rssi = -121 - rssi  # -60, -61, -60, …
            for one in heard:
                daemon.hear(one, rssi)
            await asyncio.sleep(0.05)

    async with BlueZ(address) as daemon:
        sending = asyncio.create_task(transmit(daemon))
        try:
            yield daemon
        finally:
            sending.cancel()


async def listen(source: BleSource, until: Callable[[], object], within_s: float = 20.0) -> None:
    running = asyncio.create_task(source.run())
    try:
        async with asyncio.timeout(within_s):
            while not until():  # noqa: ASYNC110  # what is waited for changes by callbacks of many kinds
                await asyncio.sleep(0.02)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def by_address(adverts: list[Advert]) -> dict[str, Advert]:
    return {advert.address.hex(): advert for advert in adverts}


def test_an_active_scan_hears_everything_through_bluez(system_bus):
    async def scan() -> None:
        adverts: list[Advert] = []
        async with bluez(system_bus, ALL) as daemon:
            source = BleSource(Ble(mode="active"), adverts.append)
            await listen(source, lambda: len(adverts) >= 30)
            assert daemon.filters[0]["DuplicateData"].value is True, "else BlueZ hides adverts that say nothing new"
            assert not daemon.discovering, "it stops what it started"
        heard = by_address(adverts)
        assert set(heard) == {one.address.hex() for one in ALL}
        assert heard["aa0000000001"].manufacturer == {APPLE: IBEACON}
        assert heard["c00000000002"].service == {EDDYSTONE: TOKEN}
        assert (heard["aa0000000001"].address_random, heard["c00000000002"].address_random) == (False, True)
        assert {advert.rssi for advert in adverts} == {-60, -61}
        health = source.health()
        assert (health.state, health.heard, health.restarts) == ("ok", len(adverts), 0)

    asyncio.run(scan())


@pytest.mark.parametrize("leaky", [False, True])
def test_a_passive_scan_hears_beacons_and_tokens_whether_bluez_filters_or_not(system_bus, leaky):
    async def scan() -> None:
        adverts: list[Advert] = []
        async with bluez(system_bus, ALL) as daemon:
            daemon.faults.leaky = leaky
            source = BleSource(Ble(mode="passive"), adverts.append)
            await listen(source, lambda: len(adverts) >= 20)
            assert "StartDiscovery" not in daemon.calls, "a passive scan asks nobody for anything"
            told = daemon.signals
        assert set(by_address(adverts)) == ASKED_FOR
        assert (told > len(adverts) * 1.4) is leaky, "what bleak was told of others was filtered out again"
        assert source.mode == "passive"

    asyncio.run(scan())


def test_what_is_asked_for_is_what_the_patterns_say():
    def read(company: int, said: str) -> Advert:
        return Advert(b"", True, -60, {company: bytes.fromhex(said)}, {})

    assert asked_for(read(APPLE, "0215")) and asked_for(read(APPLE, "1005")) and asked_for(read(0x118, "beac"))
    assert not asked_for(read(APPLE, "0719")) and not asked_for(read(0x75, "0215")) and not asked_for(read(1, ""))
    assert asked_for(Advert(b"", True, -60, {}, {EDDYSTONE: b""}))
    assert not asked_for(Advert(b"", True, -60, {}, {0xFE2C: b"", 1 << 100: b"\xaa\xfe"}))
    assert len(PATTERNS) == 4


def test_a_passive_scan_that_hears_nothing_falls_back_to_an_active_one(system_bus, caplog):
    async def scan() -> None:
        adverts: list[Advert] = []
        async with bluez(system_bus, ALL) as daemon:
            daemon.faults.deaf_monitors = True
            source = BleSource(Ble(mode="passive", watchdog_s=1), adverts.append)
            await listen(source, lambda: adverts)
        assert (source.mode, source.restarts) == ("active", 0)

    asyncio.run(scan())
    assert "falling back to an active one" in caplog.text


def crowd(radios: int) -> list[air.Advert]:
    return [air.wearable_advert(bytes([number])) for number in range(radios)]


@pytest.mark.parametrize(
    ("wedged", "rungs"),
    [
        (Cure.SCAN, {Rung.SCAN}),
        (Cure.POWER, {Rung.SCAN, Rung.ADAPTER}),
        (Cure.SERVICE, {Rung.SCAN, Rung.ADAPTER, Rung.SERVICE}),
    ],
)
def test_a_wedged_adapter_is_helped_up_the_ladder_until_it_hears_again(system_bus, caplog, wedged, rungs):
    async def scan() -> None:
        adverts: list[Advert] = []
        async with bluez(system_bus, crowd(8)) as daemon, SystemManager(system_bus, lambda _: daemon.restart()) as host:
            source = BleSource(Ble(watchdog_s=1), adverts.append)
            before = 0

            def wedged_and_back() -> bool:
                nonlocal before
                if not before and len(adverts) > 100:
                    before, daemon.faults.wedged = len(adverts), wedged
                return bool(before) and daemon.faults.wedged is None and len(adverts) > before + 50

            await listen(source, wedged_and_back, within_s=40)
            assert set(source.done) == rungs
            assert ("Powered=False" in daemon.calls) is (wedged is not Cure.SCAN)
            assert host.restarted == ["bluetooth.service"] * (Rung.SERVICE in rungs)
            assert source.health().restarts == source.restarts == source.done.total()
            assert "scan restarted" in source.health().detail

    asyncio.run(scan())
    assert "Bluetooth fell silent" in caplog.text


def test_a_silent_store_is_not_climbed_while_the_adapter_says_that_it_discovers(system_bus):
    async def scan() -> None:
        adverts: list[Advert] = []
        present = crowd(2)
        async with bluez(system_bus, present) as daemon, SystemManager(system_bus, lambda _: daemon.restart()) as host:
            source = BleSource(Ble(watchdog_s=1), adverts.append)

            def everybody_left() -> bool:
                if len(adverts) > 20:
                    present.clear()
                return daemon.calls.count("StartDiscovery") >= 4

            await listen(source, everybody_left)
            assert set(source.done) == {Rung.SCAN}
            assert not host.restarted
            assert source.health().state == "silent"

    asyncio.run(scan())


def test_a_daemon_that_answers_nothing_is_restarted(system_bus, monkeypatch, caplog):
    monkeypatch.setattr(ble, "ANSWER_S", 0.5)
    monkeypatch.setattr(adapter, "CALL_S", 0.5)

    async def scan() -> None:
        adverts: list[Advert] = []
        async with bluez(system_bus, crowd(3)) as daemon, SystemManager(system_bus, lambda _: daemon.restart()) as host:
            source = BleSource(Ble(watchdog_s=1), adverts.append)
            stuck_at = 0

            def stuck_and_back() -> bool:
                nonlocal stuck_at
                if not stuck_at and len(adverts) > 30:
                    stuck_at, daemon.faults.stuck = len(adverts), True
                return bool(stuck_at) and len(adverts) > stuck_at + 10

            await listen(source, stuck_and_back, within_s=40)
            assert host.restarted == ["bluetooth.service"]
            assert source.health().state == "ok"

    asyncio.run(scan())
    assert "no answer within 0.5 s" in caplog.text


def test_what_polkit_refuses_is_said_once_and_the_scan_goes_on_trying(system_bus, caplog):
    async def scan() -> None:
        async with bluez(system_bus, []) as daemon, SystemManager(system_bus, lambda _: daemon.restart()) as host:
            daemon.powered, daemon.faults.powerless, host.refusing = False, True, True
            source = BleSource(Ble(watchdog_s=1), lambda advert: None)
            await listen(source, lambda: "polkit" in source.health().detail, within_s=40)
            assert source.health().state == "down"
            assert source.restarts == 0, "what was refused was not done"

    asyncio.run(scan())
    assert caplog.text.count("not allowed to this user by polkit") == 1
    assert "switching the adapter on: Operation failed" in caplog.text


def test_a_dead_adapter_is_a_reason_to_reboot_once_a_day_where_that_was_allowed(system_bus, tmp_path):
    async def scan(after_s: float | None) -> int:
        async with bluez(system_bus, []) as daemon, SystemManager(system_bus, lambda _: daemon.restart()) as host:
            daemon.powered, daemon.faults.powerless = False, True
            budget = RebootBudget(tmp_path / "reboot", after_s) if after_s else None
            source = BleSource(Ble(watchdog_s=1), lambda advert: None, budget)
            with suppress(TimeoutError):
                await listen(source, lambda: host.reboots or host.restarted, within_s=30)
            return host.reboots

    assert asyncio.run(scan(after_s=2)) == 1
    assert (tmp_path / "reboot").exists()
    assert asyncio.run(scan(after_s=2)) == 0, "the day's budget is spent"


def test_the_adapter_is_asked_and_switched_over_d_bus(system_bus):
    async def ask() -> None:
        with pytest.raises(AdapterError, match="asking BlueZ for its adapters"):
            await adapter_state(None)
        with pytest.raises(AdapterError, match=r"^restarting bluetooth.service: "):
            await restart_service()
        async with BlueZ(system_bus) as daemon:
            assert await adapter_state("hci0") == await adapter_state(None) == AdapterState(True, False)
            with pytest.raises(AdapterError, match="no adapter hci7"):
                await power_cycle("hci7")
            daemon.powered = False
            await power_cycle(None)
            assert daemon.powered and daemon.calls == ["Powered=True"]

    asyncio.run(ask())


def test_without_bluetooth_it_says_so_once_and_goes_on_trying(monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    source = BleSource(Ble(), lambda advert: None)

    async def scan() -> None:
        with suppress(TimeoutError):
            await listen(source, lambda: False, within_s=3.5)

    with caplog.at_level(logging.WARNING):
        asyncio.run(scan())
    assert caplog.text.count("Bluetooth cannot be used") == 1
    assert source.health().state == "down"


def test_nothing_that_is_logged_or_told_names_a_device():
    text = "org.bluez.Error.Failed: /org/bluez/hci0/dev_C0_00_5E_00_00_02 (C0:00:5e:00:00:02) is busy"
    assert plain(text) == "org.bluez.Error.Failed: /org/bluez/hci0/dev_… (…) is busy"


@pytest.mark.parametrize("path", ["nowhere:Scanner", "pathlib:Nothing", "pathlib:Path"])
def test_a_backend_that_is_none_is_refused_at_once(path):
    with pytest.raises(ValueError, match=r"^\[ble\] backend: found"):
        scanner_backend(path)


def test_a_backend_is_found_by_its_import_path():
    found = scanner_backend("tests.integration.edge_support:LineScanner")
    assert found.__name__ == "LineScanner"
    assert Path(found.__module__.replace(".", "/")).name == "edge_support"
