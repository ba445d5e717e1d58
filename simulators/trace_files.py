"""A trace as files: Parquet for records and their truth row by row, JSON lines for receipts and people, a manifest.

FOLDER/trace.json            scenario, seed, span, counts, SHA-256 of every file
FOLDER/DAY/HH.heard.parquet  what nodes received in that hour (UTC): node, at_us, sent_us, advert, rssi_dbm
FOLDER/DAY/HH.truth.parquet  the same rows: clock_us (at_us - the true instant), device, person, x_cm, y_cm, zone
FOLDER/DAY/adverts.parquet   advert: address, address_type, data (hex); adverts.truth.parquet: device, person, radio
FOLDER/DAY/receipts.jsonl    what the tills printed; truth.jsonl: people, zone stays, triggers, who got which receipt
"""

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from simulators.devices import NOBODY
from simulators.people import Person
from simulators.scenario import Scenario
from simulators.till import Receipt
from simulators.trace import HOUR_US, DayTrace, Part, Records
from simulators.truth import TruthFile, triggers

MANIFEST = "trace.json"
_ZSTD_LEVEL = 1
"""Higher levels save a tenth of the bytes and take twice the time."""


class TraceError(Exception):
    """A folder that no trace can be written into."""


class Manifest(msgspec.Struct, frozen=True):
    """What a trace's folder holds. Nothing in it depends on when or where it was made."""

    scenario: str
    seed: int
    from_us: int
    to_us: int
    days: tuple[str, ...]
    shopper_hours: float
    records: int
    adverts: int
    receipts: int
    people: int
    sha256: dict[str, str]


class BuyersReceipt(msgspec.Struct, frozen=True):
    """The truth of a receipt: whose it is."""

    person: int
    receipt_uid: str


class Folder:
    """A trace's folder: an older trace in it gives way, anything else stays and is an error."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def clear(self) -> None:
        """Makes it empty. Raises TraceError if it holds something that is no trace."""
        if self.path.exists():
            if any(self.path.iterdir()) and not (self.path / MANIFEST).exists():
                raise TraceError(f"{self.path}: not empty, and no trace of an earlier run")
            shutil.rmtree(self.path)
        self.path.mkdir(parents=True)
        (self.path / MANIFEST).touch()  # a run that is interrupted leaves a folder that the next may clear

    def rows(self) -> tuple[int, int]:
        """How many rows the files of records have, and how many those of their truth."""
        heard, truth = (
            sum(int(pl.scan_parquet(file).select(pl.len()).collect().item()) for file in self.path.glob(f"*/??.{kind}"))
            for kind in ("heard.parquet", "truth.parquet")
        )
        return heard, truth

    def digests(self) -> dict[str, str]:
        """The SHA-256 of every file, by its path in the folder."""
        files = sorted(file for file in self.path.rglob("*") if file.is_file() and file.name != MANIFEST)
        return {file.relative_to(self.path).as_posix(): _sha256(file) for file in files}

    def finish(self, manifest: Manifest) -> None:
        """Writes the manifest."""
        (self.path / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


class DayFiles:
    """One day's files, written while it is played."""

    def __init__(self, folder: Folder, scenario: Scenario, trace: DayTrace) -> None:
        self._path = folder.path / f"{trace.day.date:%Y-%m-%d}"
        self._path.mkdir()
        self._trace = trace
        self._scenario = scenario
        zones = [zone.zone for zone in scenario.zones]
        self._nodes = pl.Series(trace.radio.nodes, dtype=pl.Enum(trace.radio.nodes))
        self._zones = pl.Series([*zones, None], dtype=pl.Enum(zones))  # NOWHERE, -1, is the last
        self._hour = -1
        self._heard: list[pl.DataFrame] = []
        self._truth: list[pl.DataFrame] = []

    def add(self, part: Part) -> None:
        """Takes a part; an hour is written when the next begins."""
        hour = part.from_us // HOUR_US
        if hour != self._hour:
            self._write_hour()
            self._hour = hour
        self._heard.append(self._heard_frame(part.records))
        self._truth.append(self._truth_frame(part.records))

    def finish(self, receipts: list[tuple[int, Receipt]], until_us: int) -> None:
        """Writes the last hour, the adverts, the receipts and what really happened until an instant."""
        self._write_hour()
        self._write_adverts()
        _write_lines(self._path / "receipts.jsonl", (receipt for _, receipt in receipts))
        day = self._trace.day
        stays = [stay for stay in day.intervals() if stay.exit_us <= until_us]
        found = triggers(day, stays, self._scenario.campaign)
        with TruthFile(self._path / "truth.jsonl") as truth:
            truth.write_all("person", (person for person in day.people if person.enters_us < until_us))
            truth.write_all("zone", stays)
            truth.write_all("trigger", (trigger for trigger in found if trigger.at_us < until_us))
            truth.write_all("receipt", (BuyersReceipt(buyer, receipt.receipt_uid) for buyer, receipt in receipts))

    def _heard_frame(self, records: Records) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "node": self._nodes.gather(records.node),
                "at_us": records.at_us,
                "sent_us": records.sent_us,
                "advert": records.advert.astype(np.uint32),
                "rssi_dbm": records.rssi_dbm.astype(np.int8),
            }
        )

    def _truth_frame(self, records: Records) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "clock_us": (records.at_us - records.true_us).astype(np.int32),
                "device": records.device.astype(np.uint32),
                "person": pl.Series(records.person, dtype=pl.Int32).replace(NOBODY, None),
                "x_cm": np.rint(records.x_m * 100).astype(np.int16),
                "y_cm": np.rint(records.y_m * 100).astype(np.int16),
                "zone": self._zones.gather(records.zone % len(self._zones)),
            }
        )

    def _write_hour(self) -> None:
        if not self._heard:
            return
        name = f"{self._hour % 24:02d}"
        _write(self._path / f"{name}.heard.parquet", pl.concat(self._heard))
        _write(self._path / f"{name}.truth.parquet", pl.concat(self._truth))
        self._heard, self._truth = [], []

    def _write_adverts(self) -> None:
        book, devices, people = self._trace.book, self._trace.devices, self._trace.day.people
        adverts = {
            "advert": np.arange(len(book.adverts), dtype=np.uint32),
            "address": [advert.address.hex() for advert in book.adverts],
            "address_type": [advert.address_type for advert in book.adverts],
            "data": [advert.data.hex() for advert in book.adverts],
        }
        owners = [int(devices.owner[device]) for device in book.device]
        truth = {
            "advert": adverts["advert"],
            "device": np.array(book.device, np.uint32),
            "person": pl.Series([None if owner == NOBODY else owner for owner in owners], dtype=pl.Int32),
            "radio": pl.Series([_radio(people, owner) for owner in owners], dtype=pl.String),
        }
        _write(self._path / "adverts.parquet", pl.DataFrame(adverts))
        _write(self._path / "adverts.truth.parquet", pl.DataFrame(truth))


def _radio(people: tuple[Person, ...], owner: int) -> str | None:
    return None if owner == NOBODY else people[owner].radio


def _write(path: Path, frame: pl.DataFrame) -> None:
    frame.write_parquet(path, compression="zstd", compression_level=_ZSTD_LEVEL, statistics=False)


def _write_lines(path: Path, records: Iterable[object]) -> None:
    path.write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
