"""Real bleak against a BlueZ of our own on a private D-Bus: active, passive, silent, and other backends."""

import asyncio
import logging
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated

import pytest
from dbus_fast import Variant
from dbus_fast.aio import MessageBus
from dbus_fast.annotations import DBusBool, DBusDict, DBusInt16, DBusObjectPath, DBusSignature, DBusStr
from dbus_fast.constants import PropertyAccess
from dbus_fast.service import ServiceInterface, dbus_property, method

from edge.config import Ble
from edge.frames.advert import Advert
from edge.frames.eddystone import EDDYSTONE
from edge.frames.ibeacon import APPLE
from edge.sources.ble import BleSource, scanner_backend

pytestmark = pytest.mark.skipif(
    shutil.which("dbus-daemon") is None, reason="dbus-daemon is not installed: apt install dbus"
)

IBEACON = bytes.fromhex("0215e2c56db5dffb48d2b060d0f5a71096e000010002c5")
TOKEN = bytes.fromhex("30eb0123456789abcdef")

Texts = Annotated[list[str], DBusSignature("as")]
Companies = Annotated[dict[int, Variant], DBusSignature("a{qv}")]


class Adapter(ServiceInterface):
    """org.bluez.Adapter1 of hci0."""

    def __init__(self) -> None:
        super().__init__("org.bluez.Adapter1")
        self.starts = 0
        self.scanning = False
        self.filters: list[dict[str, Variant]] = []

    @method()
    def StartDiscovery(self):
        self.scanning = True
        self.starts += 1

    @method()
    def StopDiscovery(self):
        self.scanning = False

    @method()
    def SetDiscoveryFilter(self, properties: DBusDict):
        self.filters.append(properties)

    @dbus_property(access=PropertyAccess.READ)
    def Address(self) -> DBusStr:
        return "00:11:22:33:44:55"

    @dbus_property(access=PropertyAccess.READ)
    def Name(self) -> DBusStr:
        return "hci0"

    @dbus_property(access=PropertyAccess.READ)
    def Powered(self) -> DBusBool:
        return True

    @dbus_property(access=PropertyAccess.READ)
    def Discovering(self) -> DBusBool:
        return self.scanning

    @dbus_property(access=PropertyAccess.READ)
    def Roles(self) -> Texts:
        return ["central", "peripheral"]


class Monitors(ServiceInterface):
    """org.bluez.AdvertisementMonitorManager1 of hci0; like the real one it does not really filter."""

    def __init__(self) -> None:
        super().__init__("org.bluez.AdvertisementMonitorManager1")
        self.paths: list[str] = []

    @method()
    def RegisterMonitor(self, path: DBusObjectPath):
        self.paths.append(path)

    @method()
    def UnregisterMonitor(self, path: DBusObjectPath):
        with suppress(ValueError):
            self.paths.remove(path)


class Device(ServiceInterface):
    """org.bluez.Device1: one radio in the air."""

    def __init__(self, address: str, kind: str, company: dict[int, bytes], service: dict[str, bytes]) -> None:
        super().__init__("org.bluez.Device1")
        self.address, self.kind, self.company, self.service = address, kind, company, service
        self.rssi = -60

    @dbus_property(access=PropertyAccess.READ)
    def Address(self) -> DBusStr:
        return self.address

    @dbus_property(access=PropertyAccess.READ)
    def AddressType(self) -> DBusStr:
        return self.kind

    @dbus_property(access=PropertyAccess.READ)
    def Alias(self) -> DBusStr:
        return self.address

    @dbus_property(access=PropertyAccess.READ)
    def RSSI(self) -> DBusInt16:
        return self.rssi

    @dbus_property(access=PropertyAccess.READ)
    def ManufacturerData(self) -> Companies:
        return {company: Variant("ay", payload) for company, payload in self.company.items()}

    @dbus_property(access=PropertyAccess.READ)
    def ServiceData(self) -> DBusDict:
        return {uuid: Variant("ay", payload) for uuid, payload in self.service.items()}

    @dbus_property(access=PropertyAccess.READ)
    def Adapter(self) -> DBusObjectPath:
        return "/org/bluez/hci0"

    @dbus_property(access=PropertyAccess.READ)
    def Connected(self) -> DBusBool:
        return False

    @dbus_property(access=PropertyAccess.READ)
    def Paired(self) -> DBusBool:
        return False

    @dbus_property(access=PropertyAccess.READ)
    def UUIDs(self) -> Texts:
        return []


class BlueZ:
    """The daemon: an adapter, and devices that advertise twenty times a second while somebody scans."""

    def __init__(self, bus: MessageBus) -> None:
        self.bus = bus
        self.adapter, self.monitors = Adapter(), Monitors()
        self.active_works = self.passive_works = True
        self.devices = [
            Device("AA:00:00:00:00:01", "public", {APPLE: IBEACON}, {}),
            Device("C0:00:00:00:00:02", "random", {}, {"0000feaa-0000-1000-8000-00805f9b34fb": TOKEN}),
            Device("C0:00:00:00:00:03", "random", {0x0075: b"\x42\x04"}, {}),
        ]

    async def run(self) -> None:
        self.bus.export("/org/bluez/hci0", self.adapter)
        self.bus.export("/org/bluez/hci0", self.monitors)
        await self.bus.request_name("org.bluez")
        shown = False
        while True:
            await asyncio.sleep(0.05)
            if not (self.adapter.scanning and self.active_works or self.monitors.paths and self.passive_works):
                continue
            for device in self.devices:
                if not shown:
                    self.bus.export("/org/bluez/hci0/dev_" + device.address.replace(":", "_"), device)
                device.rssi = -60 if device.rssi != -60 else -61
                device.emit_properties_changed({"RSSI": device.rssi})
            shown = True


@pytest.fixture
def system_bus(tmp_path, monkeypatch):
    """A D-Bus of our own in place of the system's."""
    address = f"unix:path={tmp_path}/bus"
    (tmp_path / "bus.conf").write_text(
        f"<busconfig><type>system</type><listen>{address}</listen><auth>EXTERNAL</auth>"
        '<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>'
        '<allow own="*"/></policy></busconfig>'
    )
    daemon = subprocess.Popen(
        ["dbus-daemon", f"--config-file={tmp_path}/bus.conf", "--nofork", "--print-address"], stdout=subprocess.PIPE
    )
    assert daemon.stdout is not None
    daemon.stdout.readline()  # printed once it listens
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
    yield address
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()


@asynccontextmanager
async def bluez(address: str) -> AsyncIterator[BlueZ]:
    bus = await MessageBus(bus_address=address).connect()
    daemon = BlueZ(bus)
    running = asyncio.create_task(daemon.run())
    try:
        yield daemon
    finally:
        running.cancel()
        bus.disconnect()


async def listen(source: BleSource, until: Callable[[], object], within_s: float = 10.0) -> None:
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
        async with bluez(system_bus) as daemon:
            await listen(BleSource(Ble(mode="active"), adverts.append), lambda: len(adverts) >= 30)
            assert daemon.adapter.filters[0]["DuplicateData"].value is True, (
                "else BlueZ hides adverts that say nothing new"
            )
            assert not daemon.adapter.scanning, "it stops what it started"
        heard = by_address(adverts)
        assert set(heard) == {"aa0000000001", "c00000000002", "c00000000003"}
        assert heard["aa0000000001"].manufacturer == {APPLE: IBEACON}
        assert heard["c00000000002"].service == {EDDYSTONE: TOKEN}
        assert (heard["aa0000000001"].address_random, heard["c00000000002"].address_random) == (False, True)
        assert {advert.rssi for advert in adverts} == {-60, -61}

    asyncio.run(scan())


def test_a_passive_scan_hears_beacons_and_tokens_and_filters_the_rest_itself(system_bus):
    async def scan() -> None:
        adverts: list[Advert] = []
        async with bluez(system_bus) as daemon:
            source = BleSource(Ble(mode="passive"), adverts.append)
            await listen(source, lambda: len(adverts) >= 20)
            assert daemon.adapter.starts == 0, "a passive scan asks nobody for anything"
        assert set(by_address(adverts)) == {"aa0000000001", "c00000000002"}
        assert source.mode == "passive"

    asyncio.run(scan())


def test_a_passive_scan_that_hears_nothing_falls_back_to_an_active_one(system_bus, caplog):
    async def scan() -> None:
        adverts: list[Advert] = []
        async with bluez(system_bus) as daemon:
            daemon.passive_works = False
            source = BleSource(Ble(mode="passive", watchdog_s=1), adverts.append)
            await listen(source, lambda: adverts)
        assert (source.mode, source.restarts) == ("active", 0)

    asyncio.run(scan())
    assert "falling back to an active one" in caplog.text


def test_a_scan_that_falls_silent_is_restarted_and_counted(system_bus, caplog):
    async def scan() -> None:
        adverts: list[Advert] = []
        async with bluez(system_bus) as daemon:
            source = BleSource(Ble(watchdog_s=1), adverts.append)

            def silenced_and_back() -> bool:
                if daemon.adapter.starts == 1 and len(adverts) > 10:
                    daemon.active_works = False
                if daemon.adapter.starts == 2:
                    daemon.active_works = True
                return daemon.adapter.starts == 2 and source.restarts == 1

            await listen(source, silenced_and_back)

    asyncio.run(scan())
    assert "fell silent" in caplog.text


def test_without_bluetooth_it_says_so_once_and_goes_on_trying(monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    source = BleSource(Ble(), lambda advert: None)

    async def scan() -> None:
        with suppress(TimeoutError):
            await listen(source, lambda: False, within_s=3.5)

    with caplog.at_level(logging.WARNING):
        asyncio.run(scan())
    assert caplog.text.count("Bluetooth cannot be used") == 1


@pytest.mark.parametrize("path", ["nowhere:Scanner", "pathlib:Nothing", "pathlib:Path"])
def test_a_backend_that_is_none_is_refused_at_once(path):
    with pytest.raises(ValueError, match=r"^\[ble\] backend: found"):
        scanner_backend(path)


def test_a_backend_is_found_by_its_import_path():
    found = scanner_backend("tests.integration.edge_support:LineScanner")
    assert found.__name__ == "LineScanner"
    assert Path(found.__module__.replace(".", "/")).name == "edge_support"
