"""Sources: thin adapters that open a device or a socket and hand on what they hear as values."""

from typing import Protocol

from contract.messages import SourceHealth


class Source(Protocol):
    """What the node runs for each radio, reader or feed."""

    @property
    def name(self) -> str:
        """`ble`, `wifi`, `rfid.door`: as the heartbeat and the logs name it."""
        ...

    async def run(self) -> None:
        """Works until cancelled. Trouble with the device or the network is said once and tried again, never raised."""
        ...

    def health(self) -> SourceHealth:
        """How it is now, for the heartbeat: reads a few numbers, from whatever thread."""
        ...
