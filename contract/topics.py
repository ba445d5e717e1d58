"""The MQTT topics: who speaks to whom. Up and down are apart: a shared subscription never meets its own words."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from contract.errors import BadTopic

Stream = Literal["sightings", "presence", "tags", "crowd", "faces", "shown", "health", "keys", "config"]
Order = Literal["config", "command", "ack", "keys"]

STREAMS: tuple[str, ...] = get_args(Stream)
ORDERS: tuple[str, ...] = get_args(Order)

ROOT = "aisle/v1"
ALL_UP = f"{ROOT}/up/#"
SHARED_UP = f"$share/ingest/{ALL_UP}"
ALL_STATUS = f"{ROOT}/status/#"

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""Tenant, store and node names: safe in a topic, in a certificate's name and in a file name."""


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """A node's place in the world: node names are unique within a tenant."""

    tenant: str
    store: str
    node: str

    def __str__(self) -> str:
        return f"{self.tenant}/{self.store}/{self.node}"

    def up(self, stream: Stream) -> str:
        """Where the node publishes a stream."""
        return f"{ROOT}/up/{self}/{stream}"

    def down(self, order: Order) -> str:
        """Where only the cloud publishes to the node."""
        return f"{ROOT}/down/{self}/{order}"

    @property
    def all_down(self) -> str:
        """What the node subscribes to."""
        return f"{ROOT}/down/{self}/#"

    @property
    def status(self) -> str:
        """The node's retained online/offline state."""
        return f"{ROOT}/status/{self}"


def parse_up(topic: str) -> tuple[NodeAddress, str]:
    """The node and stream of an `up` topic. Raises BadTopic."""
    parts = topic.split("/")
    if len(parts) != 7 or parts[:3] != ["aisle", "v1", "up"] or parts[6] not in STREAMS:
        raise BadTopic(f"{topic!r}: expected {ROOT}/up/tenant/store/node/stream, stream one of {', '.join(STREAMS)}")
    return _address(topic, parts), parts[6]


def parse_status(topic: str) -> NodeAddress:
    """The node of a `status` topic. Raises BadTopic."""
    parts = topic.split("/")
    if len(parts) != 6 or parts[:3] != ["aisle", "v1", "status"]:
        raise BadTopic(f"{topic!r}: expected {ROOT}/status/tenant/store/node")
    return _address(topic, parts)


def _address(topic: str, parts: list[str]) -> NodeAddress:
    for name in parts[3:6]:
        if not NAME.fullmatch(name):
            raise BadTopic(f"{topic!r}: {name!r} is not a name (a-z, 0-9 and -, at most 63)")
    return NodeAddress(*parts[3:6])
