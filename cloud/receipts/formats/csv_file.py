"""CSV and TSV, in any encoding, as a mapping says."""

import contextlib
import csv
import io
from collections.abc import Iterator
from typing import BinaryIO

from cloud.errors import Invalid
from cloud.receipts.canonical import Found
from cloud.receipts.formats.mapping import Mapping
from cloud.receipts.formats.table import Numbered, Place, receipts

csv.field_size_limit(131_072)  # its own default, said so that another library's choice does not become ours


class NotATable(Invalid):
    """The file is no table in the encoding that the mapping names."""


def read(stream: BinaryIO, mapping: Mapping, place: Place) -> Iterator[Found]:
    """Receipts of a table. Raises NotATable with the line, MappingError where a column is not there."""
    return receipts(_rows(stream, mapping), mapping, place)


def _rows(stream: BinaryIO, mapping: Mapping) -> Iterator[Numbered]:
    text = io.TextIOWrapper(stream, mapping.encoding, newline="")
    reader = csv.reader(text, delimiter=mapping.delimiter, quotechar=mapping.quote, strict=True)
    before = 0
    try:
        for row in reader:
            yield before + 1, row
            before = reader.line_num
    except UnicodeError as error:
        raise NotATable(f"after line {before}: not {mapping.encoding}: {error}") from None
    except csv.Error as error:
        raise NotATable(f"line {before + 1}: {error}") from None
    finally:
        with contextlib.suppress(ValueError):  # closed by whoever opened it, before this generator was
            text.detach()
