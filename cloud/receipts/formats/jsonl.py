"""The canonical receipt itself, one JSON object a line."""

from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from cloud.receipts.canonical import Found, Receipt
from cloud.receipts.formats.table import Place

LONGEST = 16 * 1024 * 1024
"""Bytes of a line: a receipt of 2,000 lines has half a megabyte."""
_decoder = msgspec.json.Decoder(Receipt)


def read(stream: BinaryIO, place: Place) -> Iterator[Found]:
    """Receipts of a file of lines; never raises for what stands in it."""
    number = 0
    while line := stream.readline(LONGEST):
        number += 1
        if not line.strip():
            continue
        try:
            receipt = _decoder.decode(line)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            yield Found(number, None, "", str(error)[:300], line[:100_000].decode("utf-8", "replace"))
        else:
            yield Found(number, msgspec.structs.replace(receipt, source=place.source))
