"""Bluetooth: bleak's scanner as a source of adverts, restarted when it falls silent."""

import asyncio
import importlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from edge.config import Ble
from edge.frames.advert import Advert
from edge.frames.bleak import advert_from_bleak
from edge.frames.eddystone import EDDYSTONE
from edge.frames.ibeacon import APPLE

if TYPE_CHECKING:
    from bleak import BleakScanner
    from bleak.backends.device import BLEDevice
    from bleak.backends.scanner import AdvertisementData, BaseBleakScanner

log = logging.getLogger(__name__)

RETRY_MOST_S = 60.0
SILENCE_MOST_S = 900.0
"""An empty store at night is silent too: the wait before the next restart doubles up to this."""

PATTERNS: list[tuple[int, int, bytes]] = [
    (0, 0xFF, b"\x4c\x00\x02\x15"),  # iBeacon
    (0, 0xFF, b"\x4c\x00\x10"),  # Apple Continuity, nearby info: for the crowd
    (0, 0x16, b"\xaa\xfe"),  # Eddystone
]
"""What a passive scan asks BlueZ for: (offset, AD type, bytes)."""


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

    def __init__(self, settings: Ble, heard: Callable[[Advert], None]) -> None:
        """Raises ValueError if the backend that the settings name cannot be imported."""
        self._settings = settings
        self._heard = heard
        self._backend = scanner_backend(settings.backend) if settings.backend else None
        self._count = 0
        self.mode: Literal["active", "passive"] = settings.mode
        self.restarts = 0
        """Times the watchdog restarted a silent scan."""

    async def run(self) -> None:
        """Scans; without Bluetooth says so in one line and tries again, up to once a minute."""
        wait_s, trouble = 1.0, ""
        while True:
            try:
                await self._scan()
            except Exception as error:  # whatever a platform's Bluetooth throws: the node goes on without it
                text = str(error) or type(error).__name__
                if text != trouble:
                    log.warning("Bluetooth cannot be used: %s; trying again", text)
                    trouble = text
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, RETRY_MOST_S)

    async def _scan(self) -> None:
        silence_s = self._settings.watchdog_s
        while True:
            async with self._scanner():
                log.info("listening to Bluetooth (%s scan)", self.mode)
                heard = await self._until_silent(silence_s)
            if self.mode == "passive" and not heard:
                # BlueZ accepts a passive scan that its kernel then refuses, and says nothing (bleak issue 1433).
                log.warning("a passive scan heard nothing for %.0f s: falling back to an active one", silence_s)
                self.mode = "active"
                continue
            self.restarts += 1
            silence_s = self._settings.watchdog_s if heard else min(silence_s * 2, SILENCE_MOST_S)
            log.warning("Bluetooth fell silent: restarted the scan (%d since start)", self.restarts)

    async def _until_silent(self, silence_s: float) -> bool:
        """Returns when nothing was heard for so long, and whether anything had been heard at all."""
        first = before = self._count
        while True:
            await asyncio.sleep(silence_s)
            if self._count == before:
                return before > first
            before = self._count

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
        if self.mode == "passive" and APPLE not in advert.manufacturer and EDDYSTONE not in advert.service:
            return
        self._count += 1
        self._heard(advert)
