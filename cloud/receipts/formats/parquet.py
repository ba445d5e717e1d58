"""Parquet, as a mapping says: the same columns, their numbers and instants as texts."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from cloud.errors import Invalid
from cloud.receipts.canonical import Found
from cloud.receipts.formats.mapping import Mapping
from cloud.receipts.formats.table import Numbered, Place, receipts

if TYPE_CHECKING:
    import polars

BATCH_ROWS = 100_000
FLOAT_DIGITS = 4
"""What a float holds past these is its own making: 3.99 comes as 3.9900000000000002."""


class NotParquet(Invalid):
    """The file is no Parquet that can be read here."""


def read(stream: BinaryIO, mapping: Mapping, place: Place) -> Iterator[Found]:
    """Receipts of a Parquet file; its rows are counted from 1. Raises NotParquet, MappingError."""
    return receipts(_rows(stream, mapping, place.zone), mapping, place)


def _rows(stream: BinaryIO, mapping: Mapping, zone: str) -> Iterator[Numbered]:
    try:
        import polars
    except ImportError:
        raise NotParquet("reading Parquet needs polars: pip install polars") from None

    try:
        frame = polars.read_parquet(stream)
    except BaseException as error:  # what polars panics with on damaged bytes is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
            raise
        raise NotParquet((str(error) or type(error).__name__).splitlines()[0][:200]) from None
    wanted = _wanted(mapping)
    frame = frame.select([name for name in frame.columns if name in wanted])
    numbers: Iterator[int] = iter(range(1, len(frame) + 1))
    uid = mapping.columns["receipt_uid"]
    if not mapping.sorted and isinstance(uid, str) and uid in frame.columns:
        order = frame.select(polars.col(uid).arg_sort())[uid]
        frame, numbers = frame[order], iter((order + 1).to_list())
    texts = frame.select([_text(column, mapping, zone).fill_null("") for column in frame.iter_columns()])
    yield 0, texts.columns
    for batch in texts.iter_slices(BATCH_ROWS):
        for row in batch.iter_rows():  # not zip: it would take a number more than there are rows in the batch
            yield next(numbers), row


def _text(column: "polars.Series", mapping: Mapping, zone: str) -> "polars.Series":
    """A column as a table of texts would hold it."""
    import polars

    kind = column.dtype
    if isinstance(kind, polars.Datetime):
        if kind.time_zone is not None:
            column = column.dt.convert_time_zone(mapping.zone or zone).dt.replace_time_zone(None)
        return column.dt.to_string(mapping.date_format)
    if kind.is_float():
        column = column.round(FLOAT_DIGITS)
    return column.cast(polars.String, strict=False)


def _wanted(mapping: Mapping) -> set[str]:
    found = set[str]()
    for said in (*mapping.columns.values(), *mapping.line_columns.values()):
        found |= set(said) if isinstance(said, tuple) else {said} if isinstance(said, str) else set()
    return found
