"""What nodes would tell of a span of time, without playing it advert by advert: windows, from the same radio model."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from contract.identity import TOKEN_SLOT_US, SubjectKind
from contract.messages import SIGHTING_COLUMNS
from simulators.devices import Devices
from simulators.events import Outages
from simulators.radio import RadioModel
from simulators.zones import Ints

ROWS_MOST = 5_000


@dataclass(frozen=True, slots=True)
class Windows:
    """One node's windows, oldest first; columns of equal length."""

    end_us: Ints
    subject: np.ndarray[tuple[int], np.dtype[np.uint64]]
    kind: Ints
    radio: Ints
    rssi_ddbm: Ints
    """Mean RSSI, 0.1 dBm."""
    peak_dbm: Ints
    count: Ints

    def batches(self, end_us: int) -> Iterator[tuple[int, tuple[bytes, ...]]]:
        """(t0, the contract's columns) of each batch, cut between windows; a last one of n = 0 tells the end."""
        start, n = 0, len(self.end_us)
        while start < n:
            end = min(start + ROWS_MOST, n)
            if end < n:  # t0 promises that all before it was told: not in the middle of a window
                end = int(np.searchsorted(self.end_us, self.end_us[end], side="left"))
            t0_us = int(self.end_us[end - 1])
            yield t0_us, self._columns(slice(start, end), t0_us)
            start = end
        yield end_us, (b"",) * len(SIGHTING_COLUMNS)

    def _columns(self, rows: slice, t0_us: int) -> tuple[bytes, ...]:
        return (
            ((self.end_us[rows] - t0_us) // 1000).astype("<i4").tobytes(),
            self.subject[rows].astype("<u8").tobytes(),
            self.kind[rows].astype("<u1").tobytes(),
            self.radio[rows].astype("<u4").tobytes(),
            self.rssi_ddbm[rows].astype("<i2").tobytes(),
            self.peak_dbm[rows].astype("<i1").tobytes(),
            self.count[rows].astype("<u2").tobytes(),
        )


class Listener:
    """Turns a day's truth into what each node heard of subjects (tokens and beacons; nobodies only feed crowds)."""

    def __init__(self, devices: Devices, radio: RadioModel, outages: Outages, window_us: int) -> None:
        self._devices = devices
        self._radio = radio
        self._window_us = window_us
        self._named = np.array([device.subject is not None for device in devices.all])
        self._kind: Ints = np.array([device.kind or 0 for device in devices.all], np.int64)
        self._outages = outages
        self._subjects: dict[tuple[int, int], int] = {}

    def hear(self, from_us: int, to_us: int, rng: np.random.Generator) -> dict[str, Windows]:
        """The windows of every node between two instants, both on window boundaries."""
        devices = self._devices
        device, at_us = devices.sent(self._named, from_us, to_us, rng)
        xy, heading = devices.places(device, at_us)
        rssi, received = self._radio.hear(xy, heading + devices.pocket_rad[device], devices.tx_db[device], rng)
        if self._outages:
            received &= ~self._outages.off(at_us)
        dbm = np.rint(rssi).astype(np.int64)
        key = (at_us - from_us) // self._window_us * len(devices.all) + device
        digests = rng.integers(1, 2**32, (len(self._radio.nodes), len(devices.all)))
        return {
            node: self._windows(key[received[:, j]], dbm[received[:, j], j], from_us, digests[j])
            for j, node in enumerate(self._radio.nodes)
        }

    def _windows(self, key: Ints, dbm: Ints, from_us: int, digests: Ints) -> Windows:
        order = np.argsort(key, kind="stable")
        key, dbm = key[order], dbm[order]
        starts = np.flatnonzero(np.diff(key, prepend=-1))
        count = np.diff(np.append(starts, len(key)))
        window, device = np.divmod(key[starts], len(self._devices.all))
        end_us = from_us + (window + 1) * self._window_us
        total = np.add.reduceat(dbm, starts) if len(starts) else starts
        peak = np.maximum.reduceat(dbm, starts) if len(starts) else starts
        kind = self._kind[device]
        return Windows(
            end_us=end_us,
            subject=self._subject(device, (end_us - self._window_us) // TOKEN_SLOT_US),
            kind=kind,
            radio=np.where(kind == SubjectKind.TOKEN, 0, digests[device]),
            rssi_ddbm=(20 * total + count) // (2 * count),
            peak_dbm=peak,
            count=count,
        )

    def _subject(self, device: Ints, slot: Ints) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        base = int(slot.min()) if len(slot) else 0
        pairs, row = np.unique(device * 1_000 + (slot - base), return_inverse=True)
        subjects = [self._token(int(pair) // 1_000, base + int(pair) % 1_000) for pair in pairs]
        return np.array(subjects, np.uint64)[row]

    def _token(self, device: int, slot: int) -> int:
        known = self._subjects.get((device, slot))
        if known is None:
            subject = self._devices.all[device].subject
            assert subject is not None, "only named devices are heard"
            known = self._subjects[device, slot] = subject(slot)
        return known
