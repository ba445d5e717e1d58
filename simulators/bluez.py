"""A fake BlueZ: `org.bluez` on a D-Bus of its own, as far as a scanner sees it, with the faults that real ones have.

What it does follows BlueZ's documents (https://github.com/bluez/bluez, doc/org.bluez.Adapter.rst and
doc/org.bluez.AdvertisementMonitor.rst): a device is an object that appears with its first advert and changes with the
next ones; a client's discovery and monitors end with its connection; patterns are evaluated.

`python -m simulators.bluez --bus ADDRESS --devices 200 --rate 10000 --for 5` is a daemon of its own whose air is full
of iBeacons from the moment that somebody scans; it prints a line of JSON when it is ready, when it begins and when it
is done, and ends when nobody scans any more.
"""

import argparse
import asyncio
import json
import random
import select
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Self

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from simulators.adverts import Advert, ibeacon_advert
from simulators.ble import FORGET_S, AirFrame, properties

BLUEZ = "org.bluez"
ADAPTER, DEVICE = "org.bluez.Adapter1", "org.bluez.Device1"
MONITORS, MONITOR = "org.bluez.AdvertisementMonitorManager1", "org.bluez.AdvertisementMonitor1"
OBJECTS, PROPERTIES = "org.freedesktop.DBus.ObjectManager", "org.freedesktop.DBus.Properties"
DAEMON = "org.freedesktop.DBus"

Pattern = tuple[int, int, bytes]
"""Offset in the structure's value, AD type, content."""
Values = dict[str, Variant]

RSSI_THRESHOLD_DB = 8
NOISE_DB = 5.0
"""Standard deviation of a device's RSSI at one place (Danis et al. 2022: 4.6 to 6.1 dB)."""
_PAYLOADS = ("ManufacturerData", "ServiceData")


class Cure(Enum):
    """What brings a wedged adapter back to life; a stronger one does too."""

    SCAN = 1
    """Discovery stopped and started again."""
    POWER = 2
    """The adapter switched off and on."""
    SERVICE = 3
    """bluetoothd started again."""
    REBOOT = 4


@dataclass(slots=True)
class Faults:
    """What is wrong with this BlueZ; may be changed at any time."""

    leaky: bool = False
    """A monitor's client is told of all adverts, whatever its patterns say (https://github.com/hbldh/bleak/issues/1445)."""
    deaf_monitors: bool = False
    """Monitors are accepted and the kernel refuses them: nothing is heard (https://github.com/hbldh/bleak/issues/1433)."""
    wedged: Cure | None = None
    """All calls succeed and the adapter says that it discovers, but nothing is heard until it is cured."""
    stuck: bool = False
    """The daemon answers nothing until it is started again."""
    powerless: bool = False
    """Switching the adapter on fails, as with a dongle whose firmware crashed, until the daemon is started again."""


class Refusal(Exception):
    """An error of BlueZ's: its name after `org.bluez.Error.`, and a text."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        super().__init__(text)


def matches(patterns: list[Pattern], data: bytes) -> bool:
    """Whether any structure of an advert has any pattern's bytes at its offset."""
    return any(
        kind == wanted and value[offset : offset + len(content)] == content
        for kind, value in _structures(data)
        for offset, wanted, content in patterns
    )


def _structures(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 1 < len(data) and data[at] and at + 1 + data[at] <= len(data):
        yield data[at + 1], data[at + 2 : at + 1 + data[at]]
        at += 1 + data[at]


@dataclass(slots=True)
class _Device:
    """A Device1 object: what its radio last said."""

    path: str
    data: bytes
    values: Values
    heard_s: float


@dataclass(slots=True)
class _Scan:
    """What one client asked for."""

    filter: Values = field(default_factory=dict)
    discovering: bool = False
    monitors: dict[str, list[Pattern] | None] = field(default_factory=dict)
    """By the client's path; None until it has shown its patterns."""


class BlueZ:
    """The daemon with one adapter. Enter it, then `hear` what its radio receives."""

    def __init__(self, address: str, adapter: str = "hci0", faults: Faults | None = None) -> None:
        self.path = f"/org/bluez/{adapter}"
        self.faults = faults or Faults()
        self.powered = True
        self.calls: list[str] = []
        """Members called on the adapter, and `Powered=…` for what was set."""
        self.filters: list[Values] = []
        self.signals = 0
        """Adverts told to a client."""
        self._address = address
        self._bus: MessageBus | None = None
        self._scans: dict[str, _Scan] = {}
        self._devices: dict[str, _Device] = {}
        self._known: dict[bytes, str] = {}
        self._swept_s = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._methods: dict[tuple[str | None, str | None], Callable[[Message], Message | bool]] = {
            (OBJECTS, "GetManagedObjects"): self._managed_objects,
            (PROPERTIES, "Get"): self._get,
            (PROPERTIES, "GetAll"): self._get_all,
            (PROPERTIES, "Set"): self._set,
            (ADAPTER, "SetDiscoveryFilter"): self._set_filter,
            (ADAPTER, "StartDiscovery"): self._start,
            (ADAPTER, "StopDiscovery"): self._stop,
            (MONITORS, "RegisterMonitor"): self._register,
            (MONITORS, "UnregisterMonitor"): self._unregister,
        }

    async def __aenter__(self) -> Self:
        self._bus = bus = MessageBus(bus_address=self._address)
        await bus.connect()
        bus.add_message_handler(self._handle)
        await self._match(f"type='signal',sender='{DAEMON}',member='NameOwnerChanged'")
        await bus.request_name(BLUEZ)
        self._signal("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [self.path, {ADAPTER: self._adapter_values()}])
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._bus is not None:
            self._bus.disconnect()
            self._bus = None
        for task in list(self._tasks):
            task.cancel()

    async def restart(self) -> None:
        """As `systemctl restart bluetooth` does: the name goes and comes back, and all clients are forgotten."""
        await self.__aexit__()
        self._scans, self._devices, self._known = {}, {}, {}
        self.powered, self.faults.stuck, self.faults.powerless = True, False, False
        self._cure(Cure.SERVICE)
        await self.__aenter__()

    @property
    def discovering(self) -> bool:
        """What the adapter says of itself."""
        return self.powered and any(scan.discovering for scan in self._scans.values())

    @property
    def listened_to(self) -> bool:
        """Whether a client scans, actively or by a monitor whose patterns are known."""
        return self.powered and any(
            scan.discovering or any(patterns is not None for patterns in scan.monitors.values())
            for scan in self._scans.values()
        )

    async def wait_until_listened_to(self) -> None:
        """Returns once a client scans."""
        while not self.listened_to:
            self._changed.clear()
            await self._changed.wait()

    def hear(self, advert: Advert, rssi: int) -> bool:
        """One advert at the radio. True if it was told on the bus."""
        if self._bus is None or self.faults.stuck or self.faults.wedged is not None or not self._wanted(advert.data):
            return False
        path = self._known.get(advert.address)
        device = self._devices.get(path) if path is not None else None
        told = self._appear(advert, rssi) if device is None else self._advertise(device, advert, rssi)
        self.signals += told
        return told

    async def drained(self) -> None:
        """Returns once the bus takes more. Who tells much must wait here: dbus-fast drops a connection that is full."""
        assert self._bus is not None and self._bus._fd is not None
        room = select.poll()
        room.register(self._bus._fd, select.POLLOUT)
        while not room.poll(0):  # noqa: ASYNC110  # the loop's own writer on this socket is dbus-fast's
            await asyncio.sleep(0.001)

    # -- the radio's side

    def _wanted(self, data: bytes) -> bool:
        if not self.powered:
            return False
        for scan in self._scans.values():
            if scan.discovering:
                return True
            if self.faults.deaf_monitors:
                continue
            for patterns in scan.monitors.values():
                if patterns is not None and (self.faults.leaky or matches(patterns, data)):
                    return True
        return False

    def _appear(self, advert: Advert, rssi: int) -> bool:
        path = f"{self.path}/dev_{advert.address.hex('_').upper()}"
        device = _Device(path, advert.data, self._read(advert, rssi), time.monotonic())
        self._devices[path], self._known[advert.address] = device, path
        self._signal("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [path, {DEVICE: device.values}])
        self._forget(device.heard_s)
        return True

    def _advertise(self, device: _Device, advert: Advert, rssi: int) -> bool:
        """Tells what changed, which with duplicates is the payload even where it is the same.

        As BlueZ does (src/adapter.c, btd_adapter_device_found): without duplicates a change of less than 8 dB is none;
        with them an advert that has no payload and comes as strongly as the last one is still not told.
        """
        device.heard_s = time.monotonic()
        all_told, before = self._duplicates(), device.values
        if device.data != advert.data:
            device.data, device.values = advert.data, before | self._read(advert, rssi)
        values = device.values
        changed = {name: values[name] for name in _PAYLOADS if name in values and (all_told or values is not before)}
        if rssi != before["RSSI"].value and (all_told or abs(rssi - before["RSSI"].value) >= RSSI_THRESHOLD_DB):
            values["RSSI"] = changed["RSSI"] = Variant("n", rssi)
        if changed:
            self._signal(device.path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [DEVICE, changed, []])
        return bool(changed)

    def _duplicates(self) -> bool:
        return any(
            scan.monitors
            or (scan.discovering and "DuplicateData" in scan.filter and scan.filter["DuplicateData"].value)
            for scan in self._scans.values()
        )

    def _read(self, advert: Advert, rssi: int) -> Values:
        found = properties(AirFrame(advert.address, advert.address_type, rssi, advert.data))
        return _variants(found) | {"Adapter": Variant("o", self.path)}

    def _forget(self, now_s: float) -> None:
        if now_s - self._swept_s < FORGET_S / 4:
            return
        self._swept_s = now_s
        for device in [device for device in self._devices.values() if now_s - device.heard_s > FORGET_S]:
            del self._devices[device.path]
            self._signal("/", OBJECTS, "InterfacesRemoved", "oas", [device.path, [DEVICE]])
        self._known = {address: path for address, path in self._known.items() if path in self._devices}

    # -- the bus's side

    def _handle(self, message: Message) -> Message | bool:
        if message.message_type is MessageType.SIGNAL:
            self._hear_signal(message)
            return False
        method = self._methods.get((message.interface, message.member))
        if message.message_type is not MessageType.METHOD_CALL or method is None:
            return False
        if self.faults.stuck:
            return True
        if message.interface in (ADAPTER, MONITORS):
            self.calls.append(str(message.member))
        try:
            return method(message)
        except Refusal as refusal:
            return Message.new_error(message, f"{BLUEZ}.Error.{refusal.name}", str(refusal))

    def _hear_signal(self, message: Message) -> None:
        if message.member == "NameOwnerChanged" and not message.body[2]:
            if self._scans.pop(message.body[0], None) is not None:
                self._tell_discovering()
        elif message.member == "InterfacesAdded" and message.sender in self._scans:
            path, interfaces = message.body
            monitors = self._scans[message.sender].monitors
            if path in monitors and MONITOR in interfaces:
                patterns = interfaces[MONITOR]["Patterns"].value
                monitors[path] = [(offset, kind, bytes(content)) for offset, kind, content in patterns]
                self._changed.set()
                self._send(
                    Message(destination=message.sender, path=path, interface=MONITOR, member="Activate", serial=0)
                )

    def _managed_objects(self, message: Message) -> Message:
        objects = {self.path: {ADAPTER: self._adapter_values(), MONITORS: self._monitor_values()}}
        objects |= {device.path: {DEVICE: device.values} for device in self._devices.values()}
        return Message.new_method_return(message, "a{oa{sa{sv}}}", [objects])

    def _get(self, message: Message) -> Message:
        values, name = self._values(message), message.body[1]
        if name not in values:
            return Message.new_error(message, f"{DAEMON}.Error.InvalidArgs", f"no property {name}")
        return Message.new_method_return(message, "v", [values[name]])

    def _get_all(self, message: Message) -> Message:
        return Message.new_method_return(message, "a{sv}", [self._values(message)])

    def _values(self, message: Message) -> Values:
        if message.path == self.path:
            return self._adapter_values() if message.body[0] == ADAPTER else self._monitor_values()
        device = self._devices.get(message.path or "")
        return device.values if device is not None else {}

    def _set(self, message: Message) -> Message:
        interface, name, value = message.body
        if (message.path, interface, name) != (self.path, ADAPTER, "Powered"):
            return Message.new_error(message, f"{DAEMON}.Error.PropertyReadOnly", f"{name} cannot be set")
        self.calls.append(f"Powered={value.value}")
        if value.value and self.faults.powerless:
            raise Refusal("Failed", "Operation failed")
        if not value.value:
            for scan in self._scans.values():
                scan.discovering = False
            self._tell_discovering()
            self._cure(Cure.POWER)
        self.powered = value.value
        self._changed.set()
        self._signal(self.path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [ADAPTER, {"Powered": value}, []])
        return Message.new_method_return(message)

    def _set_filter(self, message: Message) -> Message:
        (asked,) = message.body
        if asked:
            self.filters.append(asked)
        self._scan(message).filter = asked
        return Message.new_method_return(message)

    def _start(self, message: Message) -> Message:
        if not self.powered:
            raise Refusal("NotReady", "Resource Not Ready")
        scan = self._scan(message)
        if scan.discovering:
            raise Refusal("InProgress", "Operation already in progress")
        scan.discovering = True
        self._tell_discovering()
        return Message.new_method_return(message)

    def _stop(self, message: Message) -> Message:
        scan = self._scan(message)
        if not self.powered:
            raise Refusal("NotReady", "Resource Not Ready")
        if not scan.discovering:
            raise Refusal("Failed", "No discovery started")
        scan.discovering = False
        self._cure(Cure.SCAN)
        self._tell_discovering()
        return Message.new_method_return(message)

    def _register(self, message: Message) -> bool:
        self._scan(message).monitors[message.body[0]] = None
        # Its patterns come with the object that the client exports next; an answer only once we listen for that.
        self._later(self._accept_monitor(message))
        return True

    async def _accept_monitor(self, message: Message) -> None:
        await self._match(f"type='signal',sender='{message.sender}',interface='{OBJECTS}',member='InterfacesAdded'")
        self._send(Message.new_method_return(message))

    def _unregister(self, message: Message) -> Message:
        monitors = self._scan(message).monitors
        if message.body[0] not in monitors:
            raise Refusal("DoesNotExist", "Does Not Exist")
        del monitors[message.body[0]]
        self._cure(Cure.SCAN)
        return Message.new_method_return(message)

    def _scan(self, message: Message) -> _Scan:
        return self._scans.setdefault(message.sender or "", _Scan())

    def _adapter_values(self) -> Values:
        return {
            "Address": Variant("s", "00:11:22:33:44:55"),
            "AddressType": Variant("s", "public"),
            "Name": Variant("s", "fake"),
            "Alias": Variant("s", "fake"),
            "Powered": Variant("b", self.powered),
            "Discovering": Variant("b", self.discovering),
            "Roles": Variant("as", ["central", "peripheral"]),
            "UUIDs": Variant("as", []),
        }

    @staticmethod
    def _monitor_values() -> Values:
        return {"SupportedMonitorTypes": Variant("as", ["or_patterns"]), "SupportedFeatures": Variant("as", [])}

    def _tell_discovering(self) -> None:
        self._changed.set()
        values = {"Discovering": Variant("b", self.discovering)}
        self._signal(self.path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [ADAPTER, values, []])

    def _cure(self, cure: Cure) -> None:
        wedged = self.faults.wedged
        if wedged is not None and cure.value >= wedged.value:
            self.faults.wedged = None

    def _signal(self, path: str, interface: str, member: str, signature: str, body: list[object]) -> None:
        self._send(Message.new_signal(path, interface, member, signature, body))

    def _send(self, message: Message) -> None:
        if self._bus is not None:
            self._bus.send(message)

    async def _match(self, rule: str) -> None:
        assert self._bus is not None
        await self._bus.call(
            Message(
                destination=DAEMON,
                path="/org/freedesktop/DBus",
                interface=DAEMON,
                member="AddMatch",
                signature="s",
                body=[rule],
            )
        )

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _variants(found: Mapping[str, object]) -> Values:
    """Device1 properties with their D-Bus types; empty ones are absent, as BlueZ leaves them out."""
    signatures = {"RSSI": "n", "TxPower": "n", "UUIDs": "as"}
    values = {"Paired": Variant("b", False), "Connected": Variant("b", False)}
    for name, value in found.items():
        if isinstance(value, dict):
            if value:
                company = name == "ManufacturerData"
                inner = {key: Variant("ay", payload) for key, payload in value.items()}
                values[name] = Variant("a{qv}" if company else "a{sv}", inner)
        else:
            values[name] = Variant(signatures.get(name, "s"), value)
    return values


async def _serve(address: str, adverts: list[Advert], per_s: float, after_s: float, for_s: float, seed: int) -> None:
    rng = random.Random(seed)
    levels = [rng.randint(-90, -50) for _ in adverts]
    noise = [round(rng.gauss(0, NOISE_DB)) for _ in range(997)]
    async with BlueZ(address) as daemon:
        print(json.dumps({"ready": True}), flush=True)
        await daemon.wait_until_listened_to()
        await asyncio.sleep(after_s)
        print(json.dumps({"begins": True}), flush=True)
        sent, begun = 0, time.monotonic()
        while (passed := time.monotonic() - begun) < for_s:
            for _ in range(min(int(passed * per_s) - sent, 100)):
                device = sent % len(adverts)
                daemon.hear(adverts[device], levels[device] + noise[sent % len(noise)])
                sent += 1
            await daemon.drained()
            await asyncio.sleep(0.002 if sent >= int(passed * per_s) else 0)
        print(json.dumps({"sent": daemon.signals, "seconds": round(passed, 3)}), flush=True)
        while daemon.listened_to:  # noqa: ASYNC110  # until the last client has gone, so that nothing is cut off
            await asyncio.sleep(0.05)


def main(arguments: list[str] | None = None) -> int:
    """Runs the daemon with an air full of iBeacons; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m simulators.bluez", description="A fake BlueZ with a full air.")
    parser.add_argument("--bus", required=True, help="the D-Bus to serve on, such as unix:path=/tmp/x/bus")
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--rate", type=float, default=1_000.0, help="adverts a second, of all devices together")
    parser.add_argument("--for", dest="for_s", type=float, default=5.0, help="seconds")
    parser.add_argument("--after", dest="after_s", type=float, default=0.0, help="seconds of scanning before the first")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    uuid = "e2c56db5-dffb-48d2-b060-d0f5a71096e0"
    adverts = [ibeacon_advert(uuid, 1 + n // 60_000, n % 60_000) for n in range(options.devices)]
    asyncio.run(_serve(options.bus, adverts, options.rate, options.after_s, options.for_s, options.seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
