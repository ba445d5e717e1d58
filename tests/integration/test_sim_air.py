"""The air and the scanner over a real socket, through the real bleak."""

import asyncio
import json

import pytest
from bleak import BleakScanner
from bleak.exc import BleakError

from simulators.adverts import continuity_advert, frame, ibeacon_advert, token_advert
from simulators.air import Air
from simulators.ble import SimulatedScanner

KEY = bytes(range(16))
EDDYSTONE = "0000feaa-0000-1000-8000-00805f9b34fb"


class Ears:
    """What a scanner's callback heard."""

    def __init__(self):
        self.heard = []
        self._more = asyncio.Event()

    def __call__(self, device, advertisement):
        self.heard.append((device, advertisement))
        self._more.set()

    async def wait_for(self, n):
        async with asyncio.timeout(5):
            while len(self.heard) < n:
                self._more.clear()
                await self._more.wait()
        return self.heard


def scanner(ears, monkeypatch, port, node="door", **options):
    monkeypatch.setenv("AISLE_AIR", f"127.0.0.1:{port}/{node}")
    return BleakScanner(ears, backend=SimulatedScanner, **options)


def run(test):
    return asyncio.run(test)


def test_an_advert_reaches_the_callback_as_bluez_would_tell_it(monkeypatch):
    async def test():
        ears = Ears()
        async with Air(["door", "back"]) as air, scanner(ears, monkeypatch, air.port) as scan:
            async with asyncio.timeout(5):
                await air.wait_until_heard_by({"door"})
            advert = token_advert(KEY, 7)
            air.send("back", frame(advert, -40))
            air.send("door", frame(advert, -71) + frame(continuity_advert(b"x", 7), -88))
            (device, heard), (_, stranger) = await ears.wait_for(2)
            assert heard.rssi == -71 and heard.service_data[EDDYSTONE] == advert.data[-10:]
            path, props = heard.platform_data
            assert device.address == advert.address.hex(":").upper() == props["Address"]
            assert path == "/org/bluez/hci0/dev_" + device.address.replace(":", "_")
            assert props["AddressType"] == "random"
            assert stranger.manufacturer_data[0x4C][0] == 0x10 and stranger.tx_power == 12
            assert set(scan.discovered_devices_and_advertisement_data) == {
                device.address,
                stranger.platform_data[1]["Address"],
            }

    run(test())


def test_the_scanner_comes_back_when_the_air_does(monkeypatch):
    async def test():
        ears = Ears()
        async with Air(["door"]) as first:
            scan = scanner(ears, monkeypatch, first.port)
            await scan.start()
            async with asyncio.timeout(5):
                await first.wait_until_heard_by({"door"})
            first.send("door", frame(token_advert(KEY, 7), -60))
            await ears.wait_for(1)
        async with Air(["door"], first.port) as second:
            async with asyncio.timeout(10):
                await second.wait_until_heard_by({"door"})
            second.send("door", frame(ibeacon_advert("5e1f0a52-6c0b-4b53-9d7e-2a6b1c9f0e11", 1, 2), -61))
            heard = await ears.wait_for(2)
            assert heard[1][1].rssi == -61
            await scan.stop()
            async with asyncio.timeout(5):
                await second.wait_until_heard_by(set())

    run(test())


def test_a_filter_on_services_holds_back_what_bluez_would(monkeypatch):
    async def test():
        ears = Ears()
        async with Air(["door"]) as air, scanner(ears, monkeypatch, air.port, service_uuids=[EDDYSTONE]):
            async with asyncio.timeout(5):
                await air.wait_until_heard_by({"door"})
            air.send("door", frame(continuity_advert(b"x", 7), -50) + frame(token_advert(KEY, 7), -51))
            heard = await ears.wait_for(1)
            assert [advertisement.rssi for _, advertisement in heard] == [-51]

    run(test())


@pytest.mark.parametrize("hello", [{"node": "nowhere"}, {"name": "door"}, ["door"]])
def test_the_air_turns_away_who_names_no_node(hello):
    async def test():
        async with Air(["door"]) as air:
            reader, writer = await asyncio.open_connection("127.0.0.1", air.port)
            writer.write(json.dumps(hello).encode() + b"\n")
            async with asyncio.timeout(5):
                assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

    run(test())


def test_garbage_from_the_air_ends_the_connection_not_the_scanner(monkeypatch):
    async def test():
        served = 0
        ears, again = Ears(), asyncio.Event()

        async def serve(reader, writer):
            nonlocal served
            served += 1
            await reader.readline()
            if served == 1:
                writer.write(b"\x00\x00\x00\x02\xc1\xc1")
                await reader.read()
            else:
                writer.write(frame(token_advert(KEY, 7), -62))
                again.set()
                await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with scanner(ears, monkeypatch, server.sockets[0].getsockname()[1]):
            heard = await ears.wait_for(1)
            assert heard[0][1].rssi == -62 and again.is_set()
        server.close()

    run(test())


def test_a_wrong_air_address_is_told_at_the_start(monkeypatch):
    async def test():
        monkeypatch.setenv("AISLE_AIR", "somewhere")
        with pytest.raises(BleakError, match="HOST:PORT/NODE"):
            await BleakScanner(Ears(), backend=SimulatedScanner).start()

    run(test())
