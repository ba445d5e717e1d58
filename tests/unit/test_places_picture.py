"""Pictures of floors: PNG and JPEG that are whole are taken, without what else was in the file; nothing else is."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.places.picture import BYTES_MOST, Plate, read_picture

# Tables and one scan of a grey picture of 8 x 8 px; the entropy-coded part is not decoded here, only found.
_DQT = b"\xff\xdb\x00\x43\x00" + bytes([16] * 64)
_SOF = b"\xff\xc0\x00\x0b\x08\x00\x08\x00\x08\x01\x01\x11\x00"
_DHT = b"\xff\xc4\x00\x14\x00" + bytes([1] + [0] * 15) + b"\x00"
_SOS = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
JPEG = b"\xff\xd8" + _DQT + _SOF + _DHT + _SOS + b"\x12\xff\x00\x34\xff\xd0\x56" + b"\xff\xd9"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int = 3, height: int = 2, *more: bytes, rows: bytes | None = None, interlace: int = 0) -> bytes:
    """Grey, 8 bits."""
    pixels = bytes((1 + width) * height) if rows is None else rows
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, interlace))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def test_a_png_keeps_its_pixels_and_loses_what_an_editor_wrote() -> None:
    text = chunk(b"tEXt", b"Author\0Somebody")
    plate = read_picture(png(3, 2, text) + b"PK\x03\x04 an archive behind the end")
    assert plate == Plate("image/png", 3, 2, png(3, 2))


def test_an_interlaced_png_is_counted_by_its_passes() -> None:
    # 3 x 2 px in Adam7: passes of 1x1, 1x1 (x=2 of pass 4), 1x1 (x=1 of pass 6), 3x1 (pass 7): each row with a filter.
    rows = bytes(2 + 2 + 2 + 4)
    plate = read_picture(png(3, 2, rows=rows, interlace=1))
    assert isinstance(plate, Plate) and (plate.width_px, plate.height_px) == (3, 2)


def test_a_jpeg_keeps_its_pixels_and_loses_where_it_was_taken() -> None:
    exif = b"\xff\xe1\x00\x13Exif\0\0GPS 52 N 13"
    comment = b"\xff\xfe\x00\x06oops"
    assert read_picture(b"\xff\xd8" + exif + comment + JPEG[2:] + b"\0\0tail") == Plate("image/jpeg", 8, 8, JPEG)


REFUSED = [
    ("nothing", b"", "neither"),
    ("an SVG", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "neither"),
    ("a GIF", b"GIF89a", "neither"),
    ("too many bytes", b"\x89PNG\r\n\x1a\n" + bytes(BYTES_MOST), "bytes"),
    ("too many pixels", png(9000, 9000, rows=b""), "9000 x 9000 px"),
    ("no pixels", png(0, 5, rows=b""), "0 x 5 px"),
    ("fewer pixels than it says", png(3, 2, rows=bytes(7)), "not all there"),
    ("more pixels than it says", png(3, 2, rows=bytes(1 << 24)), "not all there"),
    ("a broken checksum", png()[:-1] + b"\0", "damaged"),
    ("a cut end", png()[:-20], "early"),
    ("a moving picture's own part", png(3, 2, chunk(b"ABCD", b"")), "not known"),
    ("a JPEG that is cut", JPEG[:-2], "early"),
    ("a JPEG without a picture", b"\xff\xd8\xff\xd9", "no picture"),
    ("a lossless JPEG", JPEG.replace(b"\xff\xc0", b"\xff\xc3"), "C3"),
    ("a JPEG of 20,000 px", JPEG.replace(b"\x08\x00\x08\x00\x08\x01", b"\x08\x4e\x20\x4e\x20\x01"), "20000"),
]


@pytest.mark.parametrize(("data", "why"), [pytest.param(*case[1:], id=case[0]) for case in REFUSED])
def test_what_is_no_picture_of_ours_is_refused_with_the_reason(data: bytes, why: str) -> None:
    told = read_picture(data)
    assert isinstance(told, str) and why in told


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", png()[:33], JPEG[:90]]))
def test_any_bytes_give_a_picture_or_a_reason(tail: bytes, head: bytes) -> None:
    assert isinstance(read_picture(head + tail), Plate | str)


@given(st.integers(0, len(png()) - 1), st.integers(1, 255))
def test_a_png_with_one_byte_changed_is_never_taken_as_something_else(at: int, flip: int) -> None:
    whole = bytearray(png())
    whole[at] ^= flip
    assert isinstance(read_picture(bytes(whole)), str)


def test_what_was_kept_is_kept_again_as_it_is() -> None:
    for data in (png(), JPEG):
        once = read_picture(data)
        assert isinstance(once, Plate) and read_picture(once.content) == once
