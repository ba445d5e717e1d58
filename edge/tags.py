"""One read of an RFID tag as a value: what every reader, networked or serial, hands to the inventory."""

from typing import NamedTuple


class TagRead(NamedTuple):
    """A tag answered at an antenna. Some readers sum up several answers in one report."""

    at_us: int
    """When it was read, microseconds since 1970 UTC."""
    epc: bytes
    """The EPC memory bank's identifier, without the protocol control word."""
    antenna: str
    """READER/PORT, as `[rfid.zones]` names it: `door/1`."""
    rssi: float | None
    """dBm; None where the reader does not measure."""
    count: int = 1  # type: ignore[assignment]  # tuple.count is what nobody asks of a read
    """Answers in this report."""
    phase_rad: float | None = None
    """Phase of the backscatter, radians, 0 to 2π (Impinj extension)."""
    doppler_hz: float | None = None
    """Doppler shift, Hz (Impinj extension)."""
