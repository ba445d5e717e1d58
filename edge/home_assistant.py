"""A node's health in Home Assistant, by MQTT discovery (https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery).

Off by default. It names the node and its machine, never anybody who was heard.
"""

import json
from pathlib import Path
from typing import NamedTuple

from contract.codec import encode_small
from contract.messages import Health, Status
from contract.topics import NodeAddress
from edge.local_broker import LocalBroker, Message, password_in
from edge.settings import HomeAssistant


class _Entity(NamedTuple):
    """One value of the heartbeat as Home Assistant shows it."""

    name: str
    field: str
    """Of contract.messages.Health."""
    unit: str | None = None
    device_class: str | None = None
    total: bool = False
    """Whether it only ever counts up (until the node starts again)."""


_SENSORS = (
    _Entity("Adverts", "adverts_per_s", "1/s"),
    _Entity("Waiting batches", "outbox_rows"),
    _Entity("Oldest waiting batch", "outbox_oldest_s", "s", "duration"),
    _Entity("Windows given up", "dropped", total=True),
    _Entity("Reconnects", "reconnects", total=True),
    _Entity("Bluetooth restarts", "restarts", total=True),
    _Entity("Acknowledgement lag", "ack_lag_s", "s", "duration"),
    _Entity("Memory", "rss_mb", "MiB", "data_size"),
    _Entity("Free disk", "disk_free_mb", "MiB", "data_size"),
    _Entity("Load", "load"),
    _Entity("Temperature", "temperature_c", "°C", "temperature"),
    _Entity("Uplink Wi-Fi", "wifi_dbm", "dBm", "signal_strength"),
    _Entity("Certificate ends in", "cert_days", "d", "duration"),
    _Entity("Uptime", "uptime_s", "s", "duration"),
)
_PROBLEMS = (
    ("Clock", "clock", "value_json.clock != 'trusted'"),
    ("Configuration", "mode", "value_json.mode != 'normal'"),
    ("Power or heat", "throttled", "(value_json.throttled or 0) | bitwise_and(15) != 0"),
    ("Sources", "sources", "value_json.sources.values() | selectattr('state', 'eq', 'down') | list | length > 0"),
)
"""(name, field, template that is true when something is wrong)."""


def discovery(address: NodeAddress, version: str, prefix: str = "homeassistant") -> list[tuple[str, bytes]]:
    """(topic, payload) of each entity, to be published retained: what it is and where its value is told.

    All values come from the heartbeat, at the node's `health` topic; availability from its `status` topic.
    """
    node = f"aisle_{address.tenant}_{address.node}".replace("-", "_")
    shared = {
        "state_topic": address.up("health"),
        "availability_topic": address.status,
        "availability_template": "{{ value_json.state }}",
        "entity_category": "diagnostic",
        "device": {
            "identifiers": [node],
            "name": f"Aisle {address.node}",
            "manufacturer": "Aisle",
            "model": "Edge node",
            "sw_version": version,
            "suggested_area": address.store,
        },
        "origin": {"name": "Aisle", "sw_version": version},
    }
    found: list[tuple[str, bytes]] = []
    for entity in _SENSORS:
        config = {
            "name": entity.name,
            "unique_id": f"{node}_{entity.field}",
            "value_template": f"{{{{ value_json.{entity.field} }}}}",
            "unit_of_measurement": entity.unit,
            "device_class": entity.device_class,
            "state_class": "total_increasing" if entity.total else "measurement",
        }
        told = {key: value for key, value in config.items() if value is not None}
        found.append((f"{prefix}/sensor/{node}/{entity.field}/config", _json({**told, **shared})))
    for name, field, wrong in _PROBLEMS:
        config = {
            "name": name,
            "unique_id": f"{node}_{field}_problem",
            "device_class": "problem",
            "value_template": f"{{{{ 'ON' if {wrong} else 'OFF' }}}}",
        }
        found.append((f"{prefix}/binary_sensor/{node}/{field}/config", _json({**config, **shared})))
    return found


def state(address: NodeAddress, health: Health) -> tuple[str, bytes]:
    """(topic, payload) of a heartbeat: the values of all entities, retained for a Home Assistant that starts again."""
    return address.up("health"), encode_small(health)


class HomeAssistantExport:
    """Tells a local broker what `discovery` and `state` say. `tell` may be called from any thread."""

    def __init__(
        self, settings: HomeAssistant, folder: Path, address: NodeAddress, version: str, boot: str, at_us: int
    ) -> None:
        """Raises OSError if the password cannot be read."""
        self._address = address
        self._version = version
        self._prefix = settings.prefix
        self._online = Message(address.status, encode_small(Status("online", boot, at_us)), retain=True)
        self._offline = Message(address.status, encode_small(Status("offline", boot, at_us)), retain=True)
        self._last: Health | None = None
        self._broker = LocalBroker(
            settings.host,
            settings.port,
            f"aisle-{address.tenant}-{address.node}-ha",
            greeting=self._greeting,
            will=self._offline,
            username=settings.username,
            password=password_in(folder, settings.password_file),
        )

    def start(self) -> None:
        """Connects, and goes on trying."""
        self._broker.start()

    def tell(self, health: Health) -> None:
        """Shows a heartbeat."""
        self._last = health
        self._broker.publish(Message(*state(self._address, health), retain=True))

    def stop(self) -> None:
        """Shows the node as offline and closes the line."""
        self._broker.stop(self._offline)

    def _greeting(self) -> list[Message]:
        told = [
            Message(topic, payload, retain=True)
            for topic, payload in discovery(self._address, self._version, self._prefix)
        ]
        last = [] if self._last is None else [Message(*state(self._address, self._last), retain=True)]
        return [*told, self._online, *last]


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
