"""The fake BlueZ does what its document says of the real one, as a daemon in the test and as a process of its own."""

import asyncio
import json
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from bleak import BleakScanner
from bleak.args.bluez import BlueZScannerArgs, OrPattern
from bleak.assigned_numbers import AdvertisementDataType
from bleak.exc import BleakError
from hypothesis import given
from hypothesis import strategies as st

from edge.adapter import power_cycle
from simulators.adverts import continuity_advert, ibeacon_advert, token_advert
from simulators.ble import AirFrame, properties
from simulators.bluez import BlueZ, _variants, matches
from simulators.system_bus import private_bus

needs_bus = pytest.mark.skipif(
    shutil.which("dbus-daemon") is None, reason="dbus-daemon is not installed: apt install dbus"
)
ROOT = Path(__file__).resolve().parents[2]
BEACON = ibeacon_advert("e2c56db5-dffb-48d2-b060-d0f5a71096e0", 1, 2)
TOKEN = token_advert(b"key", 0)
PHONE = continuity_advert(b"phone", 0)


@pytest.fixture
def system_bus(tmp_path, monkeypatch):
    with private_bus(tmp_path) as address:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        yield address


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ((0, 0xFF, b"\x4c\x00\x02\x15"), [BEACON]),
        ((0, 0xFF, b"\x4c\x00"), [BEACON, PHONE]),
        ((2, 0xFF, b"\x10"), [PHONE]),
        ((0, 0x16, b"\xaa\xfe"), [TOKEN]),
        ((0, 0x03, b"\xaa\xfe"), [TOKEN]),
        ((1, 0x16, b"\xaa\xfe"), []),
        ((0, 0x01, b""), [BEACON, TOKEN, PHONE]),
        ((40, 0xFF, b"\x4c"), []),
    ],
)
def test_a_pattern_is_bytes_at_an_offset_of_a_structure_of_a_type(pattern, matched):
    assert [advert for advert in (BEACON, TOKEN, PHONE) if matches([pattern], advert.data)] == matched
    assert matches([(0, 0xEE, b"none"), pattern], PHONE.data) is (PHONE in matched), "any of several is enough"


@given(st.binary(max_size=40))
def test_whatever_is_on_the_air_can_be_looked_through(data):
    matches([(0, 0xFF, b"\x4c\x00"), (3, 0x16, b"")], data)


@asynccontextmanager
async def scanner(told: list[tuple[str, int]], duplicates: bool = True):
    args: BlueZScannerArgs = {"filters": {"DuplicateData": duplicates}}
    async with BleakScanner(lambda device, data: told.append((device.address, data.rssi)), bluez=args):
        yield


async def settle(told: list[tuple[str, int]], many: int) -> None:
    """Waits until so much was told, and then for what may follow it on the same connection."""
    async with asyncio.timeout(5):
        while len(told) < many:  # noqa: ASYNC110  # a callback of bleak's changes it
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)


@needs_bus
@pytest.mark.parametrize(("duplicates", "rssis"), [(True, [-60, -61, -61, -70]), (False, [-60, -70])])
def test_without_duplicates_only_what_changed_by_8_db_is_told(system_bus, duplicates, rssis):
    async def hear() -> None:
        told: list[tuple[str, int]] = []
        async with BlueZ(system_bus) as daemon, scanner(told, duplicates=duplicates):
            for rssi in (-60, -61, -61, -70):
                daemon.hear(BEACON, rssi)
            await settle(told, len(rssis))
        assert [rssi for _, rssi in told] == rssis

    asyncio.run(hear())


@needs_bus
def test_an_adapter_that_is_off_refuses_and_one_that_is_switched_off_ends_every_scan(system_bus):
    async def hear() -> None:
        told: list[tuple[str, int]] = []
        async with BlueZ(system_bus) as daemon:
            daemon.powered = False
            with pytest.raises(BleakError, match="No powered Bluetooth adapters"):
                async with scanner(told):
                    pass
            assert not daemon.hear(BEACON, -60)
            await power_cycle("hci0")
            with pytest.raises(BleakError, match="No discovery started"):  # what bleak finds when it ends the scan
                async with scanner(told):
                    assert daemon.hear(BEACON, -60)
                    await power_cycle("hci0")
                    assert daemon.powered and not daemon.discovering and not daemon.hear(BEACON, -60)

    asyncio.run(hear())


@needs_bus
def test_a_client_that_dies_scans_no_more(system_bus):
    scan = (
        "import asyncio, bleak\n"
        "async def main():\n"
        "    async with bleak.BleakScanner(lambda device, data: None):\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )

    async def watch() -> None:
        async with BlueZ(system_bus) as daemon:
            client = await asyncio.create_subprocess_exec(sys.executable, "-c", scan)
            try:
                async with asyncio.timeout(20):
                    await daemon.wait_until_listened_to()
                    assert daemon.discovering
            finally:
                if client.returncode is None:
                    client.kill()
                await client.wait()
            async with asyncio.timeout(5):
                while daemon.discovering:  # noqa: ASYNC110  # the bus tells it
                    await asyncio.sleep(0.01)

    asyncio.run(watch())


@needs_bus
def test_a_monitor_gets_what_its_patterns_say_and_nothing_once_it_is_gone(system_bus):
    async def hear() -> None:
        told: list[str] = []
        pattern = OrPattern(0, AdvertisementDataType.SERVICE_DATA_UUID16, b"\xaa\xfe")
        async with BlueZ(system_bus) as daemon:
            passive = BleakScanner(
                lambda device, _: told.append(device.address), scanning_mode="passive", bluez={"or_patterns": [pattern]}
            )
            async with passive:
                await daemon.wait_until_listened_to()
                assert [daemon.hear(advert, -60) for advert in (BEACON, TOKEN, PHONE)] == [False, True, False]
                async with asyncio.timeout(5):
                    while not told:  # noqa: ASYNC110  # a callback of bleak's changes it
                        await asyncio.sleep(0.01)
            assert not daemon.hear(TOKEN, -61)
        assert told == [TOKEN.address.hex(":").upper()]

    asyncio.run(hear())


@needs_bus
def test_a_device_appears_once_and_is_forgotten_when_it_is_silent_for_long(system_bus, monkeypatch):
    async def hear() -> None:
        told: list[tuple[str, int]] = []
        async with BlueZ(system_bus) as daemon, scanner(told):
            daemon.hear(BEACON, -60)
            monkeypatch.setattr("simulators.bluez.FORGET_S", -1.0)
            daemon.hear(TOKEN, -60)
            monkeypatch.undo()
            assert not daemon._devices
            daemon.hear(BEACON, -60)
            await settle(told, 3)

    asyncio.run(hear())


@needs_bus
def test_as_a_process_it_fills_the_air_for_whoever_scans_and_loses_nothing(system_bus):
    command = ["--bus", system_bus, "--devices", "50", "--rate", "2000", "--for", "1"]
    with subprocess.Popen(
        [sys.executable, "-m", "simulators.bluez", *command], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout is not None
        assert json.loads(daemon.stdout.readline()) == {"ready": True}
        told: list[tuple[str, int]] = []

        async def hear(lines: "subprocess.Popen[str]") -> int:
            assert lines.stdout is not None
            async with scanner(told):
                assert json.loads(await asyncio.to_thread(lines.stdout.readline)) == {"begins": True}
                sent = json.loads(await asyncio.to_thread(lines.stdout.readline))["sent"]
                await settle(told, sent)
            return int(sent)

        sent = asyncio.run(hear(daemon))
        assert daemon.wait(5) == 0, "it ends when nobody scans any more"
    assert sent == len(told) > 1_000
    assert len({address for address, _ in told}) == 50


def test_adverts_are_told_with_the_properties_that_bluez_has():
    values = _variants(properties(AirFrame(BEACON.address, BEACON.address_type, -60, BEACON.data)))
    assert values["AddressType"].value == "random"
    assert values["ManufacturerData"].signature == "a{qv}"
    assert "ServiceData" not in values
