"""An uploaded picture of a floor: PNG or JPEG, whole, of bounded size, without what else was in the file.

A file is read by its parts and written anew from those that make the picture. So what a camera or an editor added (the
place where it was taken, names, a second file behind the end) is not kept, and a file that is also something else is
not served from here. SVG is a program and is not taken.
"""

import struct
import zlib
from dataclasses import dataclass

BYTES_MOST = 8 * 1024 * 1024
PIXELS_MOST = 24_000_000
"""6000 x 4000: a plan of 100 m by 60 m at 1.6 cm a pixel; a browser holds it in 96 MB."""
SIDE_MOST_PX = 10_000

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"gAMA", b"cHRM", b"sRGB", b"pHYs"}
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_DEPTHS = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
_INFLATE_STEP = 1 << 20
# Starts of frames: baseline, extended, progressive (ITU T.81 table B.1). The rest is not what browsers draw.
_JPEG_FRAMES = {0xC0, 0xC1, 0xC2}
_JPEG_KEPT = _JPEG_FRAMES | {
    0xC4,
    0xDB,
    0xDD,
    0xDA,
    0xE0,
    0xEE,
}  # tables, restarts, scans, JFIF, Adobe's colour transform


@dataclass(frozen=True, slots=True)
class Plate:
    """A picture as it is kept."""

    media_type: str
    width_px: int
    height_px: int
    content: bytes


def read_picture(data: bytes) -> Plate | str:
    """The picture in a file, or why there is none that we take. Total: any bytes."""
    if len(data) > BYTES_MOST:
        return f"the file has {len(data)} bytes, at most {BYTES_MOST} are taken"
    if data.startswith(_PNG):
        return _read_png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _read_jpeg(data)
    return "the file is neither PNG nor JPEG"


def _too_large(width: int, height: int) -> str | None:
    if not (0 < width <= SIDE_MOST_PX and 0 < height <= SIDE_MOST_PX and width * height <= PIXELS_MOST):
        return (
            f"the picture has {width} x {height} px, at most {SIDE_MOST_PX} a side and {PIXELS_MOST} in all are taken"
        )
    return None


# -- PNG (W3C PNG, third edition)


def _read_png(data: bytes) -> Plate | str:
    chunks: list[tuple[bytes, bytes]] = []
    at = len(_PNG)
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        if at + 12 + size > len(data):
            break
        if zlib.crc32(data[at + 4 : at + 8 + size]) != struct.unpack_from(">I", data, at + 8 + size)[0]:
            return f"the PNG is damaged at byte {at}"
        if kind in _PNG_KEPT:
            chunks.append((kind, body))
        elif kind[:1].isupper():
            return f"the PNG has a part {kind!r} that is not known"
        at += 12 + size
        if kind == b"IEND":
            return _png_of(chunks)
    return "the PNG ends early"


def _png_of(chunks: list[tuple[bytes, bytes]]) -> Plate | str:
    if chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13 or [kind for kind, _ in chunks].count(b"IHDR") != 1:
        return "the PNG does not begin with its size"
    width, height, depth, colour, packing, filtering, interlace = struct.unpack(">IIBBBBB", chunks[0][1])
    if depth not in _PNG_DEPTHS.get(colour, ()) or (packing, filtering) != (0, 0) or interlace > 1:
        return "the PNG's kind of pixels is not known"
    if why := _too_large(width, height):
        return why
    if colour == 3 and b"PLTE" not in [kind for kind, _ in chunks]:
        return "the PNG has no palette"
    packed = b"".join(body for kind, body in chunks if kind == b"IDAT")
    if _inflated_size(packed, limit := _png_size(width, height, depth * _PNG_CHANNELS[colour], interlace)) != limit:
        return "the PNG's pixels are not all there"
    out = bytearray(_PNG)
    for kind, body in chunks:
        out += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return Plate("image/png", width, height, bytes(out))


def _png_size(width: int, height: int, bits: int, interlace: int) -> int:
    """Bytes of the pixels before packing: each row has a byte for its filter. Interlaced, there are Adam7's passes."""
    if not interlace:
        return height * (1 + (width * bits + 7) // 8)
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    total = 0
    for x, y, dx, dy in passes:
        columns, rows = (width - x + dx - 1) // dx, (height - y + dy - 1) // dy
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def _inflated_size(packed: bytes, limit: int) -> int:
    """How many bytes are packed; counting ends beyond the limit, so a small file cannot become a large one."""
    inflate = zlib.decompressobj()
    size = 0
    while size <= limit and not inflate.eof:
        try:
            part = inflate.decompress(packed, _INFLATE_STEP)
        except zlib.error:
            return -1
        packed = inflate.unconsumed_tail
        size += len(part)
        if not part and not packed:
            break
    return size if inflate.eof else -1


# -- JPEG (ITU T.81, annex B)


def _read_jpeg(data: bytes) -> Plate | str:
    out = bytearray(b"\xff\xd8")
    size: tuple[int, int] | None = None
    at = 2
    while at + 2 <= len(data):
        if data[at] != 0xFF:
            return f"the JPEG is damaged at byte {at}"
        marker = data[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        if marker == 0xD9:
            if size is None or b"\xff\xda" not in out:
                return "the JPEG has no picture"
            return Plate("image/jpeg", *size, bytes(out + b"\xff\xd9"))
        if at + 4 > len(data):
            break
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if end < at + 4 or end > len(data):
            break
        if marker in _JPEG_FRAMES:
            if end - at < 10 or size is not None:
                return "the JPEG does not have one size"
            height, width = struct.unpack_from(">HH", data, at + 5)
            if why := _too_large(width, height):
                return why
            size = (width, height)
        elif marker not in _JPEG_KEPT and not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            return f"the JPEG has a part {marker:02X} that is not taken"
        if marker == 0xDA:
            if size is None:
                return "the JPEG does not tell its size"
            end = _scan_end(data, end)
        if marker in _JPEG_KEPT:
            out += data[at:end]
        at = end
    return "the JPEG ends early"


def _scan_end(data: bytes, at: int) -> int:
    """Where the packed pixels end: at a marker that is neither a stuffed FF nor a restart."""
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        if data[at + 1] != 0 and not 0xD0 <= data[at + 1] <= 0xD7:
            return at
        at += 2
    return len(data)
