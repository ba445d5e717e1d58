"""The serial protocol of UHF modules of the M100 family (QM100, YRM100, R200, JRD-4035): frames and what is in them.

    BB type command length-high length-low payload… checksum 7E

The checksum is the low byte of the sum from `type` to the payload's end. BB and 7E may stand in a payload, so only a
right checksum makes a frame. Facts: MagicRF M100/QM100 firmware manual V2.3; electron.id EL-UHF-RMT01 protocol.
"""

from binascii import crc_hqx
from enum import IntEnum
from typing import NamedTuple

HEAD, TAIL = 0xBB, 0x7E
PAYLOAD_MOST = 512
"""Bytes; the longest are reads of a tag's user memory. A false head can hold up what follows by no more than this."""
_FRAMING = 7
"""Bytes of a frame besides its payload."""


class FrameType(IntEnum):
    """Who says it, and why."""

    COMMAND = 0x00
    """From the host."""
    RESPONSE = 0x01
    NOTIFICATION = 0x02
    """From the module, unasked: a tag was read."""


class Command(IntEnum):
    """The commands that a node needs."""

    INFO = 0x03
    SET_REGION = 0x07
    GET_REGION = 0x08
    GET_QUERY = 0x0D
    SET_QUERY = 0x0E
    SINGLE_POLL = 0x22
    """Also the command of a notification: one tag of a round."""
    MULTIPLE_POLL = 0x27
    STOP_POLL = 0x28
    SET_POWER = 0xB6
    GET_POWER = 0xB7
    FAILED = 0xFF
    """The command of an error response; the payload's first byte says what failed."""


class Frame(NamedTuple):
    """One frame, its checksum found right."""

    type: int
    command: int
    payload: bytes = b""


class TagAnswer(NamedTuple):
    """A tag that answered in a round."""

    rssi: int
    """dBm."""
    pc: int
    """The tag's protocol control word."""
    epc: bytes


NO_TAG = 0x15
"""The error of a round in which no tag answered, or none whose CRC was right."""
ERRORS = {
    0x09: "reading the tag failed",
    0x10: "writing the tag failed",
    0x12: "killing the tag failed",
    0x13: "locking the tag failed",
    NO_TAG: "no tag answered",
    0x16: "wrong access password",
    0x17: "unknown command or parameter",
    0x20: "no free channel",
}

REGIONS = {"cn900": 0x01, "us": 0x02, "eu": 0x03, "cn800": 0x04, "kr": 0x06}
"""Codes of the bands: 920–925, 902–928, 865–868, 840–845 and 917–923 MHz."""


def encode(frame: Frame) -> bytes:
    """A frame as it goes over the line."""
    body = bytes((frame.type, frame.command, len(frame.payload) >> 8, len(frame.payload) & 0xFF)) + frame.payload
    return bytes((HEAD, *body, sum(body) & 0xFF, TAIL))


class Decoder:
    """Bytes in pieces of any size in, whole frames out. What belongs to no frame is skipped and counted."""

    def __init__(self) -> None:
        self._rest = b""
        self._lost = False
        self.frames = 0
        self.noise = 0
        """Bytes that belonged to no frame."""
        self.resyncs = 0
        """Times such bytes stood between frames."""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now."""
        frames, self._rest = self._scan(self._rest + data)
        return frames

    def idle(self) -> list[Frame]:
        """The line is quiet, so a frame that is not complete will never be: what it held up comes out."""
        frames = list[Frame]()
        while self._rest:
            self._skip(1)
            found, self._rest = self._scan(self._rest[1:])
            frames += found
        return frames

    @property
    def waiting(self) -> bool:
        """Whether the beginning of a frame waits for its end."""
        return bool(self._rest)

    def _scan(self, data: bytes) -> tuple[list[Frame], bytes]:
        """The frames in some bytes, and the bytes from which on more are needed."""
        frames = list[Frame]()
        at, end = 0, len(data)
        while (start := data.find(HEAD, at)) >= 0:
            if start > at:
                self._skip(start - at)
                at = start
            if end - start < _FRAMING:
                break
            length = data[start + 3] << 8 | data[start + 4]
            stop = start + _FRAMING + length
            if data[start + 1] <= FrameType.NOTIFICATION and length <= PAYLOAD_MOST:
                if stop > end:
                    break
                if data[stop - 1] == TAIL and sum(data[start + 1 : stop - 2]) & 0xFF == data[stop - 2]:
                    frames.append(Frame(data[start + 1], data[start + 2], data[start + 5 : stop - 2]))
                    self._lost = False
                    at = stop
                    continue
            self._skip(1)
            at = start + 1
        else:
            self._skip(end - at)
            at = end
        self.frames += len(frames)
        return frames, data[at:]

    def _skip(self, count: int) -> None:
        if count:
            self.noise += count
            self.resyncs += not self._lost
            self._lost = True


def tag_of(frame: Frame) -> TagAnswer | None:
    """The tag that a frame tells of; None if it tells of none, or if the tag's own CRC does not fit what it said.

    The payload is RSSI, protocol control, EPC, CRC-16 over the latter two (EPC Gen2, 6.3.1.5: CCITT, inverted). A tag
    with extended protocol control (bit 9 of PC) sends it before its EPC.
    """
    _, command, payload = frame
    if command != Command.SINGLE_POLL or frame.type == FrameType.COMMAND or len(payload) < 7:
        return None
    if crc_hqx(payload[1:-2], 0xFFFF) ^ 0xFFFF != payload[-2] << 8 | payload[-1]:
        return None
    rssi, pc, epc = payload[0], payload[1] << 8 | payload[2], payload[3:-2]
    if pc & 0x0200 and len(epc) == 2 * (pc >> 11) + 2:
        epc = epc[2:]
    return TagAnswer(rssi - 256 if rssi > 127 else rssi, pc, epc) if epc else None


def error_of(frame: Frame) -> int | None:
    """The code of an error response, None for any other frame; ERRORS has the words."""
    return frame.payload[0] if frame.command == Command.FAILED and frame.payload else None


def tag_frame(rssi: int, epc: bytes) -> Frame:
    """What a module says of a tag: for simulators and tests. `epc` has whole 16-bit words."""
    said = (len(epc) // 2 << 11).to_bytes(2, "big") + epc
    return Frame(
        FrameType.NOTIFICATION,
        Command.SINGLE_POLL,
        bytes((rssi & 0xFF,)) + said + (crc_hqx(said, 0xFFFF) ^ 0xFFFF).to_bytes(2, "big"),
    )


def info() -> Frame:
    """What module is it? The answer's text follows one byte."""
    return Frame(FrameType.COMMAND, Command.INFO, b"\x00")


def set_region(region: str) -> Frame:
    """Work in a band of REGIONS."""
    return Frame(FrameType.COMMAND, Command.SET_REGION, bytes((REGIONS[region],)))


def set_power(dbm: float) -> Frame:
    """Transmit with so much; the wire has hundredths of a dBm."""
    return Frame(FrameType.COMMAND, Command.SET_POWER, round(dbm * 100).to_bytes(2, "big"))


def set_query(session: int, q: int) -> Frame:
    """How a round goes: session S0 to S3, and Q, which makes 2^Q slots; target A, all tags, no subcarrier, pilot tone.

    The wire has the Gen2 Query's bits: DR, M (2), TRext, Sel (2), session (2); target, Q (4), three zeros.
    """
    return Frame(FrameType.COMMAND, Command.SET_QUERY, bytes((0x10 | session & 0x03, (q & 0x0F) << 3)))


def multiple_poll(rounds: int = 0xFFFF) -> Frame:
    """Do so many rounds; each tells of its tags, or fails with NO_TAG. 0x22 is reserved."""
    return Frame(FrameType.COMMAND, Command.MULTIPLE_POLL, b"\x22" + rounds.to_bytes(2, "big"))


def stop_poll() -> Frame:
    """Do no more rounds."""
    return Frame(FrameType.COMMAND, Command.STOP_POLL)


def single_poll() -> Frame:
    """Do one round."""
    return Frame(FrameType.COMMAND, Command.SINGLE_POLL)
