"""How fast EPCs and a serial module's frames are read, on one core; llrpkit and epcpy on the same EPCs."""

import random
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from contract.epc import Epc, decode, encode
from edge.frames.uhf_serial import Decoder, tag_frame, tag_of
from edge.frames.uhf_serial import encode as encode_frame

PIECE = 512
"""Bytes that a serial port gives at once under load."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians. None where a peer is not installed."""

    sgtin_per_s: float
    """SGTIN-96 to its fields, pure identity, tag URI and GTIN-14; random ones of all seven partitions."""
    sgtin_llrpkit_per_s: float | None
    """The same fields and texts."""
    sgtin_epcpy_per_s: float | None
    """Pure identity and GTIN only: it makes no tag URI of its own accord."""
    uhf_frames_per_s: float
    """Tag notifications of a serial module, from bytes in pieces to EPC and RSSI, both checksums looked at."""
    sgtins: int


def measure(sgtins: int = 20_000, runs: int = 5) -> Figures:
    """A few seconds of it."""
    data = _some(sgtins)
    line = b"".join(encode_frame(tag_frame(-30 - number % 50, epc)) for number, epc in enumerate(data))
    pieces = [line[at : at + PIECE] for at in range(0, len(line), PIECE)]
    return Figures(
        sgtin_per_s=_rate(lambda: _ours(data), len(data), runs),
        sgtin_llrpkit_per_s=_peer(_llrpkit, data, runs),
        sgtin_epcpy_per_s=_peer(_epcpy, data, runs),
        uhf_frames_per_s=_rate(lambda: _frames(pieces, len(data)), len(data), runs),
        sgtins=sgtins,
    )


def _some(count: int) -> list[bytes]:
    draw, made = random.Random(1), list[bytes]()
    for number in range(count):
        digits = 6 + number % 7
        company = f"{draw.randrange(10**digits):0{digits}d}"
        reference = f"{draw.randrange(10 ** (13 - digits)):0{13 - digits}d}"
        made.append(encode(Epc("sgtin-96", 1, company, reference, str(draw.randrange(1 << 38)))))
    return made


def _ours(data: Sequence[bytes]) -> None:
    for one in data:
        epc = decode(one)
        assert epc is not None
        assert epc.uri and epc.tag_uri and epc.gtin


def _llrpkit(data: Sequence[bytes]) -> None:
    from llrpkit import decode_epc

    for one in data:
        epc = decode_epc(one)
        assert epc is not None
        assert epc.pure_identity_uri and epc.tag_uri and epc.fields["gtin"]


def _epcpy(data: Sequence[bytes]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it has regular expressions with stray backslashes
        from epcpy.epc_schemes.sgtin import SGTIN
    for one in data:
        epc = SGTIN.from_hex(one.hex())
        assert epc.epc_uri and epc.gtin()


def _frames(pieces: Sequence[bytes], wanted: int) -> None:
    decoder = Decoder()
    found = sum(tag_of(frame) is not None for piece in pieces for frame in decoder.feed(piece))
    assert found == wanted


def _peer(work: Callable[[Sequence[bytes]], None], data: Sequence[bytes], runs: int) -> float | None:
    try:
        return _rate(lambda: work(data), len(data), runs)
    except ImportError:
        return None


def _rate(work: Callable[[], None], count: int, runs: int) -> float:
    taken = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return round(count / median(taken))
