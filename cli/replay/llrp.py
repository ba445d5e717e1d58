"""Reports of an RFID reader, as the payloads of LLRP messages: one second from each to the next."""

import re
from pathlib import Path

from cli.replay.place import plan
from cli.replay.recording import SECOND_US, HeardTags, Recording, UnknownRecording, Walk
from edge.frames.llrp.instants import ReaderTime
from edge.frames.llrp.reports import TagReader
from edge.settings import Inventory
from edge.sources.llrp import tag_reads

NODE, READER = "reader", "reader"
BEGIN_US = 1_700_000_000 * SECOND_US
"""Payloads have no instants that could be kept: readers count from their own start."""


def reports(path: Path) -> list[Path]:
    """The tag reports of a file or a folder, in the order of their names."""
    found = [path] if path.is_file() else sorted(path.rglob("*.bytes"))
    return [file for file in found if re.match(r"ROAccessReport\b.*\.bytes$", file.name)]


def read(path: Path, store: str | None) -> Recording:
    """The recording in a file or folder. Raises UnknownRecording if no report holds a tag."""
    store = store or "rfid"
    node = f"{store}-{NODE}"
    heard = [_heard(file, node, BEGIN_US + i * SECOND_US) for i, file in enumerate(reports(path))]
    tags = [read for report in heard for read in report.reads]
    if not tags:
        raise UnknownRecording(path, "no ROAccessReport of it holds a tag")
    zones = {antenna: antenna.replace("/", "-") for antenna in sorted({read.antenna for read in tags})}
    return Recording(
        store=store,
        plan=plan(f"Replay of {path.name}", node, 10.0, 10.0, list(zones.values())),
        nodes=(node,),
        walks=[Walk(path.name, heard)],
        notes=["one report a second; each antenna is a zone, and a single read counts, since most tags have no second"],
        figures={"reports": len(heard), "reads": len(tags), "tags": len({read.epc for read in tags})},
        inventory=Inventory(reads=1, zones=zones),
    )


def _heard(file: Path, node: str, at_us: int) -> HeardTags:
    found = TagReader().read(file.read_bytes())
    ports = {port: f"{READER}/{port}" for port in found.antenna}
    reads = tag_reads(found, ReaderTime(), ports, at_us)
    return HeardTags(at_us, node, tuple(read._replace(at_us=at_us) for read in reads))
