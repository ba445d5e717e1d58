"""A bleak scanner backend that hears the simulated air; from the first callback on, the product's own code runs.

Named in node.toml as `[ble] backend = "simulators.ble:SimulatedScanner"`; the air's address comes from the environment,
`AISLE_AIR=HOST:PORT/NODE`. Callbacks come as bleak's BlueZ backend makes them, `platform_data` = (path, properties).
"""

import asyncio
import json
import logging
import os
import random
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec
from bleak.backends.scanner import AdvertisementData, AdvertisementDataCallback, BaseBleakScanner
from bleak.exc import BleakError

logger = logging.getLogger(__name__)

FRAME_MAX = 1 << 16
FORGET_S = 30.0
"""BlueZ forgets a device that was only seen in passing after so long (main.conf TemporaryTimeout)."""
RETRY_S = (0.1, 5.0)
_UUID = "{:08x}-0000-1000-8000-00805f9b34fb"

Properties = dict[str, object]


class AirFrame(msgspec.Struct, frozen=True, array_like=True):
    """An advert as the air sends it."""

    address: bytes
    address_type: Literal["public", "random"]
    rssi: int
    data: bytes


def properties(frame: AirFrame) -> Properties:
    """An advert as BlueZ's Device1 properties. Total: what follows a malformed AD structure is left aside."""
    address = frame.address.hex(":").upper()
    found: Properties = {"Address": address, "AddressType": frame.address_type, "RSSI": frame.rssi}
    uuids: list[str] = []
    manufacturer: dict[int, bytes] = {}
    service: dict[str, bytes] = {}
    data, i = frame.data, 0
    while i + 1 < len(data) and data[i] and i + 1 + data[i] <= len(data):
        kind, value = data[i + 1], data[i + 2 : i + 1 + data[i]]
        i += 1 + data[i]
        if kind == 0xFF and len(value) >= 2:
            manufacturer[int.from_bytes(value[:2], "little")] = value[2:]
        elif kind == 0x16 and len(value) >= 2:
            service[_UUID.format(int.from_bytes(value[:2], "little"))] = value[2:]
        elif kind in (0x02, 0x03):
            uuids += [_UUID.format(int.from_bytes(value[j : j + 2], "little")) for j in range(0, len(value) - 1, 2)]
        elif kind in (0x08, 0x09):
            found["Name"] = value.decode("utf-8", "replace")
        elif kind == 0x0A and len(value) == 1:
            found["TxPower"] = int.from_bytes(value, "little", signed=True)
    found["Alias"] = found.get("Name", address.replace(":", "-"))
    found["UUIDs"] = uuids
    found["ManufacturerData"] = manufacturer
    found["ServiceData"] = service
    return found


def air_address(environment: Mapping[str, str]) -> tuple[str, int, str]:
    """Host, port and node from AISLE_AIR. Raises BleakError, naming the form that is expected."""
    value = environment.get("AISLE_AIR", "")
    try:
        server, node = value.split("/")
        host, port = server.rsplit(":", 1)
        return host, int(port), node
    except ValueError:
        raise BleakError(f"AISLE_AIR is {value!r}, expected HOST:PORT/NODE") from None


class _Ears(asyncio.Protocol):
    """Cuts what arrives into frames."""

    def __init__(self, node: str, heard: Callable[[AirFrame], None]) -> None:
        self._node = node
        self._heard = heard
        self._rest = b""
        self._decode = msgspec.msgpack.Decoder(AirFrame).decode
        self._transport: asyncio.Transport | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(json.dumps({"node": self._node}).encode() + b"\n")

    def data_received(self, data: bytes) -> None:
        buffer, start = self._rest + data, 0
        while start + 4 <= len(buffer):
            length = int.from_bytes(buffer[start : start + 4], "big")
            if length > FRAME_MAX:
                self._refuse(f"a frame of {length} bytes")
                return
            if start + 4 + length > len(buffer):
                break
            try:
                frame = self._decode(buffer[start + 4 : start + 4 + length])
            except msgspec.MsgspecError as error:
                self._refuse(str(error))
                return
            start += 4 + length
            self._heard(frame)
        self._rest = buffer[start:]

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def _refuse(self, reason: str) -> None:
        logger.warning("the air sent no advert: %s", reason, extra={"action": "air_garbled"})
        if self._transport is not None:
            self._transport.abort()


class SimulatedScanner(BaseBleakScanner):
    """Hears the air while started; connects again, with growing pauses, when the air goes away."""

    def __init__(
        self,
        detection_callback: AdvertisementDataCallback | None,
        service_uuids: list[str] | None,
        scanning_mode: Literal["active", "passive"] = "active",
        **_platform: object,
    ) -> None:
        super().__init__(detection_callback, service_uuids)
        self._scanning_mode = scanning_mode
        self._listening: asyncio.Task[None] | None = None
        self._last_heard: dict[str, float] = {}
        self._swept = 0.0

    async def start(self) -> None:
        """Begin to listen; an absent air is awaited. Raises BleakError if AISLE_AIR is not an address."""
        if self._listening is not None:
            raise BleakError("scanning already")
        host, port, node = air_address(os.environ)
        self.seen_devices = {}
        self._last_heard = {}
        self._listening = asyncio.create_task(self._listen(host, port, node), name="simulated scanner")

    async def stop(self) -> None:
        """Stop listening; harmless if it never began."""
        task, self._listening = self._listening, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _listen(self, host: str, port: int, node: str) -> None:
        loop, pause_s = asyncio.get_running_loop(), RETRY_S[0]
        while True:
            try:
                transport, ears = await loop.create_connection(lambda: _Ears(node, self._heard), host, port)
            except OSError as error:
                logger.info("no air at %s:%d: %s", host, port, error, extra={"action": "air_retry"})
            else:
                pause_s = RETRY_S[0]
                try:
                    await ears.closed
                finally:
                    transport.abort()
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(pause_s * 2, RETRY_S[1])

    def _heard(self, frame: AirFrame) -> None:
        props = properties(frame)
        uuids = props["UUIDs"]
        assert isinstance(uuids, list)
        if not self.is_allowed_uuid(uuids):
            return
        address = str(props["Address"])
        path = f"/org/bluez/hci0/dev_{address.replace(':', '_')}"
        name, tx_power = props.get("Name"), props.get("TxPower")
        manufacturer, service = props["ManufacturerData"], props["ServiceData"]
        assert isinstance(manufacturer, dict) and isinstance(service, dict)
        advertisement = AdvertisementData(
            local_name=name if isinstance(name, str) else None,
            manufacturer_data=manufacturer,
            service_data=service,
            service_uuids=uuids,
            tx_power=tx_power if isinstance(tx_power, int) else None,
            rssi=frame.rssi,
            platform_data=(path, props),
        )
        device = self.create_or_update_device(
            path, address, str(props["Alias"]), {"path": path, "props": props}, advertisement
        )
        self._forget(path)
        self.call_detection_callbacks(device, advertisement)

    def _forget(self, path: str) -> None:
        now = asyncio.get_running_loop().time()
        self._last_heard[path] = now
        if now - self._swept < FORGET_S:
            return
        self._swept = now
        for old in [old for old, at in self._last_heard.items() if now - at > FORGET_S]:
            del self._last_heard[old], self.seen_devices[old]
