"""How exactly recorded LLRP messages are read: each decoded, encoded again, and compared with the JSON beside it.

A payload is NAME-*.bytes, a message's bytes after its header, and NAME-*.json the same as EdgeX device-rfid-llrp-go
tells it; NAME is the message's, such as ROAccessReport.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from edge.frames.llrp.codec import decode, encode
from edge.frames.llrp.reports import TagReader
from edge.frames.llrp.tables import MESSAGES
from edge.frames.llrp.view import to_json

TYPES = {shape.name: number for number, shape in MESSAGES.items()}


@dataclass(frozen=True, slots=True)
class LlrpReport:
    """Counts of payloads; `tags` are those in the reports among them."""

    payloads: int
    decoded: int
    reencoded_exact: int
    tags: int
    mismatches: int
    """Payloads that are not decoded, not encoded to the same bytes, or told otherwise than their JSON does."""
    wrong: dict[str, str]
    """Each of these by its file's name, with the reason."""


def evaluate(payloads: Path) -> LlrpReport:
    """All payloads in a folder and below. Raises ValueError if there are none or a file's name names no message."""
    if not payloads.is_dir():
        raise ValueError(f"{payloads}: no such folder")
    files = sorted(payloads.rglob("*.bytes"))
    if not files:
        raise ValueError(f"{payloads}: no *.bytes in it")
    decoded = exact = tags = 0
    wrong: dict[str, str] = {}
    for file in files:
        name = file.stem.partition("-")[0]
        if name not in TYPES:
            raise ValueError(f"{file}: {name!r} is no LLRP message, expected a name such as ROAccessReport-001.bytes")
        payload, reasons = file.read_bytes(), []
        message = decode(TYPES[name], payload)
        if message is None:
            wrong[str(file.relative_to(payloads))] = f"is no {name}"
            continue
        decoded += 1
        if encode(message) == payload:
            exact += 1
        else:
            reasons.append("encodes to other bytes")
        if name == "ROAccessReport":
            fast = len(TagReader().read(payload).epc)
            tags += fast
            if fast != len(message.all("TagReportData")):
                reasons.append(f"has {len(message.all('TagReportData'))} tags, read were {fast}")
        reasons += _compared(to_json(message), file.with_suffix(".json"))
        if reasons:
            wrong[str(file.relative_to(payloads))] = ", ".join(reasons)
    return LlrpReport(len(files), decoded, exact, tags, len(wrong), wrong)


def _compared(told: object, file: Path) -> list[str]:
    try:
        expected = json.loads(file.read_bytes())
    except FileNotFoundError:
        return [f"has no {file.name} beside it"]
    except ValueError as error:
        return [f"{file.name} is no JSON ({error})"]
    place = difference(told, expected)
    return [] if place is None else [f"differs from {file.name} at {place}"]


def difference(found: object, expected: object, where: str = "") -> str | None:
    """The first place where two JSON values differ, None if they are the same; true is not 1."""
    match found, expected:
        case dict(), dict():
            for key in [*expected, *found]:
                if key not in found or key not in expected:
                    return f"{where}.{key}".lstrip(".")
                if (place := difference(found[key], expected[key], f"{where}.{key}")) is not None:
                    return place
            return None
        case list(), list() if len(found) == len(expected):
            for at, (left, right) in enumerate(zip(found, expected, strict=True)):
                if (place := difference(left, right, f"{where}[{at}]")) is not None:
                    return place
            return None
    return None if type(found) is type(expected) and found == expected else where.lstrip(".") or "its root"
