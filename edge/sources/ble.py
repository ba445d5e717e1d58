"""Bluetooth: bleak's scanner as a source of adverts, helped up a ladder when it falls silent."""

import asyncio
import importlib
import logging
import re
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

from contract.messages import SourceHealth
from edge import adapter
from edge.adapter import AdapterError, RebootBudget
from edge.frames.ad import MANUFACTURER_DATA, SERVICE_DATA_16
from edge.frames.advert import Advert
from edge.frames.bleak import advert_from_bleak
from edge.settings import Ble
from edge.watchdog import MANY, Rung, Watchdog, sign_of

if TYPE_CHECKING:
    from bleak import BleakScanner
    from bleak.backends.device import BLEDevice
    from bleak.backends.scanner import AdvertisementData, BaseBleakScanner

log = logging.getLogger(__name__)

RETRY_MOST_S = 60.0
LOOK_MOST_S = 10.0
"""How often it is looked whether anything was heard."""
ANSWER_S = 30.0
"""bleak waits for BlueZ for ever; a daemon that is stuck answers nothing."""

PATTERNS: list[tuple[int, int, bytes]] = [
    (0, MANUFACTURER_DATA, b"\x4c\x00\x02\x15"),  # iBeacon
    (0, MANUFACTURER_DATA, b"\x4c\x00\x10"),  # Apple Continuity, nearby info: for the crowd
    (2, MANUFACTURER_DATA, b"\xbe\xac"),  # AltBeacon, after whatever company it is
    (0, SERVICE_DATA_16, b"\xaa\xfe"),  # Eddystone
]
"""What a passive scan asks BlueZ for: (offset, AD type, bytes)."""

DONE = {
    Rung.SCAN: "scan restarted",
    Rung.ADAPTER: "adapter power-cycled",
    Rung.SERVICE: "Bluetooth service restarted",
    Rung.REBOOT: "reboot asked for",
}

_ADDRESS = re.compile(r"[0-9A-Fa-f]{2}(?:[:_-][0-9A-Fa-f]{2}){5}")


def asked_for(advert: Advert) -> bool:
    """Whether an advert has what PATTERNS ask for."""
    fields = [(MANUFACTURER_DATA, number.to_bytes(2, "little") + said) for number, said in advert.manufacturer.items()]
    fields += [
        (SERVICE_DATA_16, number.to_bytes(2, "little") + said)
        for number, said in advert.service.items()
        if number <= 0xFFFF
    ]
    return any(
        kind == wanted and value.startswith(content, offset)
        for kind, value in fields
        for offset, wanted, content in PATTERNS
    )


def scanner_backend(path: str) -> "type[BaseBleakScanner]":
    """The bleak scanner class named `package.module:Class`. Raises ValueError with the reason if there is none."""
    from bleak.backends.scanner import BaseBleakScanner

    module_name, _, class_name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"[ble] backend: found {path!r}, expected a class that can be imported ({error})") from error
    if not (isinstance(found, type) and issubclass(found, BaseBleakScanner)):
        raise ValueError(f"[ble] backend: found {path!r}, expected a subclass of bleak's BaseBleakScanner")
    return found


class BleSource:
    """Runs until cancelled. `heard` gets every advert on the event loop's thread and must return at once."""

    name = "ble"

    def __init__(self, settings: Ble, heard: Callable[[Advert], None], reboots: RebootBudget | None = None) -> None:
        """Without `reboots` none is ever asked for. Raises ValueError if the settings' backend cannot be imported."""
        self._settings = settings
        self._heard = heard
        self._backend = scanner_backend(settings.backend) if settings.backend else None
        self._climbs = self._backend is None and sys.platform == "linux"
        """Only BlueZ has the upper rungs."""
        self._reboots = reboots
        reboot_after_s = reboots.after_s if reboots is not None else None
        self._watchdog = Watchdog(settings.watchdog_s, time.monotonic(), reboot_after_s)
        self._count = self._looked = 0
        """Adverts since start, and how many they were when it was last looked."""
        self._radios: set[bytes] = set()
        """A few of those heard since the last look: enough to tell many from few. They stay here."""
        self._radios_last: deque[int] = deque(maxlen=2)
        """How many they were at the last two looks that heard any: the very last may have seen only the end of it."""
        self._scanning = False
        self._trouble = ""
        self._refused = ""
        self._told = (time.monotonic(), 0)
        self.mode: Literal["active", "passive"] = "passive" if settings.mode == "passive" else "active"
        self.done: Counter[Rung] = Counter()
        """The watchdog's rungs since start, by how often."""

    @property
    def restarts(self) -> int:
        """Times the watchdog helped a scan that was silent or dead."""
        return self.done.total()

    def health(self) -> SourceHealth:
        """How the scan is; nothing in it names a device."""
        now_s = time.monotonic()
        before_s, before = self._told
        self._told = (now_s, self._count)
        silent = self._count == self._looked and self._watchdog.silence_s(now_s) >= self._settings.watchdog_s
        what = f"{self.mode} scan" if self._scanning else self._trouble or "starting"
        parts = [what, *(f"{DONE[rung]} {times}×" for rung, times in sorted(self.done.items())), self._refused]
        return SourceHealth(
            state="down" if not self._scanning and self._trouble else "silent" if silent else "ok",
            heard=self._count,
            per_s=round((self._count - before) / max(now_s - before_s, 1e-3), 2),
            restarts=self.restarts,
            detail="; ".join(part for part in parts if part),
        )

    async def run(self) -> None:
        """Scans; without Bluetooth says so in one line and tries again, up to once a minute."""
        wait_s = 1.0
        while True:
            rung: Rung | None = None
            try:
                async with self._scan():
                    self._begun()
                    wait_s = 1.0
                    rung = await self._listen()
            except Exception as error:  # whatever a platform's Bluetooth throws: the node goes on without it
                self._scanning = False
                self._complain(error)
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, RETRY_MOST_S)
                rung = max(filter(None, (rung, await self._due())), default=None)
                if rung is Rung.SCAN:  # the next try is one
                    rung = None
            self._scanning = False
            if rung is not None:
                await self._climb(rung)
                wait_s = 1.0

    def _begun(self) -> None:
        self._scanning, self._trouble = True, ""
        log.info("listening to Bluetooth (%s scan)", self.mode)

    def _complain(self, error: Exception) -> None:
        silent = isinstance(error, TimeoutError)
        text = f"no answer within {ANSWER_S:g} s" if silent else plain(str(error) or type(error).__name__)
        if text != self._trouble:
            log.warning("Bluetooth cannot be used: %s; trying again", text)
            self._trouble = text

    async def _listen(self) -> Rung | None:
        """Returns the rung that a silence calls for; None if a passive scan that heard nothing became an active one."""
        first = self._looked = self._count
        begun_s = time.monotonic()
        look_s = min(LOOK_MOST_S, self._settings.watchdog_s / 4)
        while True:
            await asyncio.sleep(look_s)
            now_s = time.monotonic()
            if self._count != self._looked:
                self._looked = self._count
                self._radios_last.append(len(self._radios))
                self._radios.clear()
                self._watchdog.heard(now_s)
            elif self.mode == "passive" and self._count == first:
                # BlueZ accepts a passive scan that its kernel then refuses, and says nothing (bleak issue 1433): what
                # never heard anything is not helped up the ladder before an active scan was tried.
                if now_s - begun_s >= self._settings.watchdog_s:
                    silence_s = self._settings.watchdog_s
                    log.warning("a passive scan heard nothing for %.0f s: falling back to an active one", silence_s)
                    self.mode = "active"
                    return None
            elif rung := await self._due():
                return rung

    async def _due(self) -> Rung | None:
        """The watchdog's answer to what is known now."""
        now_s = time.monotonic()
        if self._watchdog.silence_s(now_s) < self._settings.watchdog_s:
            return None
        powered = discovering = None
        if self._scanning and self._climbs:
            try:
                state = await adapter.adapter_state(self._settings.adapter)
            except AdapterError:
                powered = False
            else:
                powered, discovering = state.powered, state.discovering if self.mode == "active" else None
        sign = sign_of(self._scanning, powered, discovering, max(self._radios_last, default=0))
        rung = self._watchdog.due(now_s, sign, self._reboots is not None and self._reboots.left())
        return rung if self._climbs or rung is None else Rung.SCAN

    async def _climb(self, rung: Rung) -> None:
        """Does what a rung says. What is refused is said once, and the scan tried again all the same."""
        steps: dict[Rung, Callable[[], Awaitable[None]]] = {
            Rung.ADAPTER: lambda: adapter.power_cycle(self._settings.adapter),
            Rung.SERVICE: adapter.restart_service,
            Rung.REBOOT: self._reboot,
        }
        step = steps.get(rung)
        if step is not None:
            try:
                await step()
            except AdapterError as error:
                text = plain(str(error))
                if text != self._refused:
                    log.warning("Bluetooth is silent, and %s", text)
                    self._refused = text
                return
            self._refused = ""
        self.done[rung] += 1
        log.warning("Bluetooth fell silent: %s (%d since start)", DONE[rung], self.done[rung])

    async def _reboot(self) -> None:
        if self._reboots is None or not self._reboots.spend():
            raise AdapterError("a reboot is not asked for: that it was could not be written down")
        await adapter.reboot()

    @asynccontextmanager
    async def _scan(self) -> AsyncIterator[None]:
        scanner = self._scanner()
        async with asyncio.timeout(ANSWER_S):
            await scanner.start()
        try:
            yield
        finally:
            async with asyncio.timeout(ANSWER_S):
                await scanner.stop()

    def _scanner(self) -> "BleakScanner":
        from bleak import BleakScanner
        from bleak.args.bluez import BlueZScannerArgs, OrPattern
        from bleak.assigned_numbers import AdvertisementDataType

        # Without DuplicateData BlueZ tells of an advert only when something in it changed.
        bluez: BlueZScannerArgs = {"filters": {"DuplicateData": True}}
        if self._settings.adapter:
            bluez["adapter"] = self._settings.adapter
        if self.mode == "passive":
            bluez["or_patterns"] = [OrPattern(at, AdvertisementDataType(kind), data) for at, kind, data in PATTERNS]
        return BleakScanner(self._detected, scanning_mode=self.mode, bluez=bluez, backend=self._backend)

    def _detected(self, device: "BLEDevice", data: "AdvertisementData") -> None:
        advert = advert_from_bleak(device, data)
        if advert is None:
            return
        # BlueZ lets others through a pattern filter too (bleak issue 1445): in a passive scan filter again.
        if self.mode == "passive" and not asked_for(advert):
            return
        self._count += 1
        if len(self._radios) < MANY:
            self._radios.add(advert.address)
        self._heard(advert)


def plain(text: str) -> str:
    """A text of a platform's, without the device addresses that may stand in it."""
    return _ADDRESS.sub("…", text)
