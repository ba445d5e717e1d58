"""How many devices ask for Wi-Fi, without naming any: distinct radios and models in five minutes, told from k on.

A phone takes another address for every scan, so addresses say little. What stays is what its chip can do: phones of one
model share that fingerprint, and two of them are told apart when two addresses ask within the same second. Every
address and fingerprint is hashed at once under a salt drawn for these five minutes, and forgotten with it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

from edge.crowd import SPAN_US, STRONG_DBM, K
from edge.frames.dot11 import PROBE_REQUEST, Frame, capabilities

TOGETHER_US = 1_000_000
"""Addresses with one fingerprint heard within the same such slot are different devices.

Recorded in a room with its head count beside (Brno, 8 days, 1,014 spans, from -70 dBm): distinct fingerprints alone
correlate .948 with the heads and come to 0.75 of them, slots of 1 s to .956 and 1.01, of 5 s to .947 and 1.22;
addresses .919 and 5.3, fingerprints of made-up addresses plus assigned addresses .878 and 2.1.
"""
RADIOS_MOST = 20_000
MODELS_MOST = 2_000
"""Memory is bounded (some 10 MB): what is new beyond these in one span is not counted any more."""


@dataclass(frozen=True, slots=True)
class WifiSpan:
    """Five minutes in which at least K devices asked for Wi-Fi."""

    end_us: int
    span_s: int
    radios: int
    """Distinct addresses, those that a device made up included."""
    strong: int
    """Those heard at STRONG_DBM or more; 0 also where they were fewer than K."""
    devices: int
    """How many devices that may have been; never more than `radios`."""
    devices_strong: int
    """The same among frames heard at STRONG_DBM or more: about the people in the room. 0 also where fewer than K."""
    frames: int
    """Probe requests heard."""


class _Model:
    """The devices with one fingerprint: as many as ever asked within one slot."""

    __slots__ = ("_most", "_present", "_slot")

    def __init__(self, radio: bytes, slot: int) -> None:
        self._slot = slot
        self._present = {radio}
        self._most = 1

    def add(self, radio: bytes, slot: int) -> None:
        if slot != self._slot:
            self._most = max(self._most, len(self._present))
            self._slot = slot
            self._present = {radio}
        else:
            self._present.add(radio)

    @property
    def devices(self) -> int:
        return max(self._most, len(self._present))


class Devices:
    """An estimate of how many devices stand behind radios that change their addresses."""

    def __init__(self) -> None:
        self._models: dict[bytes, _Model] = {}

    def add(self, fingerprint: bytes, radio: bytes, at_us: int) -> None:
        """Takes a radio that sent this fingerprint; both are compared, never looked into."""
        slot = at_us // TOGETHER_US
        model = self._models.get(fingerprint)
        if model is not None:
            model.add(radio, slot)
        elif len(self._models) < MODELS_MOST:
            self._models[fingerprint] = _Model(radio, slot)

    def estimate(self) -> int:
        """Phones of one model that never ask in the same second count once: it is rather too low than too high."""
        return sum(model.devices for model in self._models.values())


class WifiCrowd:
    """Counts one span at a time. A salted digest is all that is kept of a frame, and no longer than its span."""

    def __init__(self, draw: Callable[[int], bytes] = os.urandom) -> None:
        self._draw = draw
        self._start_us = 0
        self._next_us: int | None = None
        self._forget()

    def add(self, frame: Frame, at_us: int) -> None:
        """Counts a probe request; other frames are of access points or of devices that asked before."""
        if frame.subtype != PROBE_REQUEST or frame.source[0] & 0x01:  # a group is no sender
            return
        if self._next_us is None:
            self._start_us = at_us // SPAN_US * SPAN_US
            self._next_us = self._start_us + SPAN_US
        self._frames += 1
        radio = self._digest(frame.source)
        rssi = -128 if frame.rssi is None else frame.rssi
        peak = self._peaks.get(radio)
        if peak is None:
            if len(self._peaks) >= RADIOS_MOST:
                return
            self._peaks[radio] = rssi
        elif rssi > peak:
            self._peaks[radio] = rssi
        fingerprint = self._digest(capabilities(frame.tagged))
        self._all.add(fingerprint, radio, at_us)
        if rssi >= STRONG_DBM:
            self._strong.add(fingerprint, radio, at_us)

    def due_us(self) -> int | None:
        """When the present span ends; None while nobody was heard since the last one."""
        return self._next_us

    def close(self, now_us: int) -> WifiSpan | None:
        """Ends the span that is due and forgets it. None also where it was of fewer than K devices.

        Radios would be the wrong measure: a single phone takes five addresses in five minutes. Nor is a small span
        merged into the next: no address, hashed or not, is held for longer than five minutes.
        """
        end_us = self._next_us
        if end_us is None or end_us > now_us:
            return None
        radios, strong = len(self._peaks), sum(peak >= STRONG_DBM for peak in self._peaks.values())
        # An address that tells of itself in several ways (a band each, say) is still one device.
        devices = min(self._all.estimate(), radios)
        devices_strong = min(self._strong.estimate(), strong)
        told = devices_strong >= K
        span = WifiSpan(
            end_us=end_us,
            span_s=SPAN_US // 1_000_000,
            radios=radios,
            strong=strong if told else 0,
            devices=devices,
            devices_strong=devices_strong if told else 0,
            frames=self._frames,
        )
        self._forget()
        return span if devices >= K else None

    def clock_went_back(self, now_us: int) -> None:
        """Gives up the present span: its length in time is no longer known."""
        if self._next_us is not None and now_us < self._start_us:
            self._forget()

    def _forget(self) -> None:
        self._next_us = None
        self._salted = blake2b(key=self._draw(32), digest_size=8)
        self._peaks: dict[bytes, int] = {}
        self._all, self._strong = Devices(), Devices()
        self._frames = 0

    def _digest(self, value: bytes) -> bytes:
        salted = self._salted.copy()
        salted.update(value)
        return salted.digest()
