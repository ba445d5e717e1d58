"""Which format a file has, and the one function that reads them all."""

from collections.abc import Iterator
from pathlib import PurePath
from typing import BinaryIO, Literal

from cloud.errors import Invalid
from cloud.receipts.canonical import Found
from cloud.receipts.formats import csv_file, fiscal, jsonl, parquet, poslog
from cloud.receipts.formats.mapping import Mapping
from cloud.receipts.formats.table import Place

Format = Literal["csv", "parquet", "ffd", "poslog", "jsonl"]
BY_SUFFIX: dict[str, Format] = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".json": "ffd",
                                ".xml": "poslog", ".jsonl": "jsonl", ".ndjson": "jsonl"}  # fmt: skip


class UnknownFormat(Invalid):
    """What kind of file that is cannot be told."""


def format_of(name: str) -> Format:
    """By the file's name. Raises UnknownFormat."""
    found = BY_SUFFIX.get(PurePath(name).suffix.lower())
    if found is None:
        raise UnknownFormat(f"{name}: its name ends in none of {', '.join(BY_SUFFIX)}; say which format it is")
    return found


def read(stream: BinaryIO, form: Format, mapping: Mapping | None, place: Place) -> Iterator[Found]:
    """Receipts, good and bad, with their places. Raises Invalid where the file as a whole cannot be read."""
    match form:
        case "ffd":
            return fiscal.read(stream, place)
        case "poslog":
            return poslog.read(stream, place)
        case "jsonl":
            return jsonl.read(stream, place)
    if mapping is None:
        raise UnknownFormat("a table needs a mapping that names its columns")
    return csv_file.read(stream, mapping, place) if form == "csv" else parquet.read(stream, mapping, place)
