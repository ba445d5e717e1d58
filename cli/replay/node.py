"""A node that hears a recording instead of an antenna: the edge's own pipeline, outbox and uplink, in this process."""

from functools import partial
from pathlib import Path

from contract.clock import Clock
from contract.codec import encode
from contract.messages import SIGHTING_COLUMNS, Header, Sightings
from contract.topics import NodeAddress
from edge import settings
from edge.broker import Broker
from edge.config import NodeConfig
from edge.health import Heartbeat
from edge.machine import boot_id
from edge.outbox import Outbox
from edge.pipeline import Pipeline
from edge.time_trust import NodeTime
from edge.uplink import Uplink


class ReplayNode:
    """Open with `start`, close with `close`. Its instants are the recording's; `clock` is only its heartbeat's."""

    def __init__(
        self,
        folder: Path,
        address: NodeAddress,
        broker_port: int,
        password: str,
        clock: Clock,
        inventory: settings.Inventory,
    ) -> None:
        """`folder` keeps the outbox: what an interrupted replay did not deliver is delivered by the next."""
        folder.mkdir(parents=True, exist_ok=True)
        secret = folder / "password"
        secret.touch(0o600)
        secret.write_text(password)
        self._address = address
        self._boot = boot_id()
        config = NodeConfig(
            node=settings.Node(tenant=address.tenant, store=address.store, node=address.node),
            uplink=settings.Uplink(
                host="127.0.0.1", port=broker_port, username=str(address), password_file=secret.name
            ),
            outbox=settings.Outbox(path="outbox.db", synchronous="normal"),
            inventory=inventory,
        )
        self.outbox = Outbox(folder / config.outbox.path, config.outbox.max_mb, config.outbox.synchronous)
        self._accepted_before = self.outbox.events_accepted
        self.pipeline = Pipeline(config, self.outbox, clock, self._boot)
        broker = Broker(config.uplink, folder, address, clock, self._boot)
        heartbeat = Heartbeat(
            NodeTime(clock),
            self.outbox,
            self._boot,
            "replay",
            counted=self.pipeline,
            line=broker,
        )
        self._uplink = Uplink(broker, address, self.outbox, clock, heartbeat, config.health.every_s)

    def start(self) -> None:
        """Begins to connect."""
        self._uplink.start()

    def tell_silence(self, until_us: int) -> None:
        """Says that all heard before an instant has been told: the cloud then waits for nobody."""
        self.outbox.put("sightings", until_us, 0, partial(self._nothing, until_us))

    @property
    def events_accepted(self) -> int:
        """Events taken into the outbox by this replay."""
        return self.outbox.events_accepted - self._accepted_before

    def close(self) -> None:
        """Hangs up; what was not acknowledged stays in the outbox."""
        self._uplink.stop()
        self.outbox.close()

    def _nothing(self, at_us: int, epoch: str, seq: int) -> bytes:
        header = Header(
            kind="sightings",
            tenant=self._address.tenant,
            store=self._address.store,
            node=self._address.node,
            epoch=epoch,
            seq=seq,
            boot=self._boot,
            clock="trusted",
            t0=at_us,
            n=0,
        )
        return encode(Sightings(header, (b"",) * len(SIGHTING_COLUMNS)))
