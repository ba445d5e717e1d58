"""The line to the MQTT 5 broker: connects before anything else, comes back by itself, and says each trouble seldom."""

import logging
import random
import socket
import sqlite3
import ssl
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from contract.clock import Clock
from contract.codec import encode_small
from contract.messages import Status
from contract.topics import NodeAddress
from edge.settings import Uplink as Settings

log = logging.getLogger(__name__)

RECONNECT_MOST_S = 120
HELD_S = 10.0
"""A connection that held for less is a failure like any other: two nodes of one name would take turns for ever."""
SAY_AGAIN_S = (60.0, 300.0, 1_800.0, 7_200.0)
"""After so long a trouble that lasts is told again, with what waits; the last of these for ever."""


def properties(content_type: str, **user: str) -> Properties:
    """The MQTT 5 properties of a published batch."""
    made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho left this one without types
    made.ContentType = content_type
    made.UserProperty = list(user.items())
    return made


def _nothing(*_: object) -> None:
    """What happens while nobody listens."""


class Broker:
    """A client that is always either connected or trying. Callbacks run on paho's thread and must return at once."""

    def __init__(self, settings: Settings, folder: Path, address: NodeAddress, clock: Clock, boot: str) -> None:
        """Reads the files that the settings name. Raises OSError (ssl.SSLError among them) if one cannot be used."""
        self._settings = settings
        self._address = address
        self._clock = clock
        self._boot = boot
        self._failures = 0
        self._told: set[str] = set()
        self._told_times = 0
        self._say_again = 0.0
        self._since = time.monotonic()
        self._stopping = False
        self.connected = False
        self.connects = 0
        """Sessions begun since start; one less is the number of reconnects."""
        self.on_connected: Callable[[], None] = _nothing
        self.on_message: Callable[[str, bytes], None] = _nothing
        self.waiting: Callable[[], int] = int
        """How many batches wait for this line."""
        self._client = self._make_client(folder)

    @property
    def name(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"

    def start(self) -> None:
        """Begins to connect, in paho's own thread."""
        self._client.will_set(self._address.status, self._status("offline"), qos=1, retain=True)
        self._client.connect_async(
            self._settings.host, self._settings.port, keepalive=self._settings.keepalive_s, clean_start=True
        )
        self._client.loop_start()

    def stop(self, patience_s: float) -> None:
        """Says that the node goes offline, and hangs up. Waits `patience_s` at most, twice if connected."""
        self._stopping = True
        if self.connected:
            goodbye = self._client.publish(self._address.status, self._status("offline"), qos=1, retain=True)
            try:
                goodbye.wait_for_publish(patience_s)
            except (RuntimeError, ValueError):
                log.info("the broker went away before the goodbye")
        self._client.disconnect()
        # paho's loop_stop waits without limit, and its thread, a daemon, may be in a name look-up: leave it there.
        ender = threading.Thread(target=self._client.loop_stop, daemon=True)
        ender.start()
        ender.join(patience_s)
        # paho closes its inner sockets only when it is collected: let go of it, it must not hold us either.
        client = self._client
        client.on_connect = client.on_connect_fail = client.on_disconnect = client.on_message = None
        self.on_connected, self.on_message, self.waiting = _nothing, _nothing, int

    def publish(
        self, topic: str, payload: bytes, qos: int, properties: Properties | None = None
    ) -> mqtt.MQTTMessageInfo:
        """Hands a message to paho, which keeps it until the broker has it."""
        return self._client.publish(topic, payload, qos=qos, properties=properties)

    def _make_client(self, folder: Path) -> mqtt.Client:
        settings = self._settings
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"{self._address.tenant}.{self._address.node}",
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        client.max_inflight_messages_set(100)
        if settings.username is not None:
            password = None
            if settings.password_file is not None:
                password = (folder / settings.password_file).read_text().strip()
            client.username_pw_set(settings.username, password)
        if settings.ca_file is not None or settings.cert_file is not None:
            context = ssl.create_default_context(cafile=str(folder / settings.ca_file) if settings.ca_file else None)
            if settings.cert_file is not None and settings.key_file is not None:
                context.load_cert_chain(folder / settings.cert_file, folder / settings.key_file)
            client.tls_set_context(context)
        client.on_connect = self._connect_answered
        client.on_connect_fail = self._connect_failed
        client.on_disconnect = self._disconnected
        client.on_message = lambda _client, _data, message: self.on_message(message.topic, bytes(message.payload))
        return client

    def _status(self, state: str) -> bytes:
        return encode_small(
            Status(state="online" if state == "online" else "offline", boot=self._boot, at=self._clock.now_us())
        )

    # -- paho's thread

    def _connect_answered(
        self,
        client: mqtt.Client,
        userdata: object,
        flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._say(f"broker {self.name} refuses this node: {str(reason).lower()}")
            return
        self.connected = True
        self.connects += 1
        away_s, self._since = time.monotonic() - self._since, time.monotonic()
        if not self._told:
            log.info("connected to broker %s", self.name)
        else:
            log.info("connected to broker %s again after %.0f s", self.name, away_s)
        self._told.clear()
        self._told_times = 0
        client.subscribe(self._address.all_down, qos=1)
        client.publish(self._address.status, self._status("online"), qos=1, retain=True)
        self.on_connected()

    def _connect_failed(self, client: mqtt.Client, userdata: object) -> None:
        error = sys.exc_info()[1]  # paho calls this while it handles the error, and hands it over in no other way
        if isinstance(error, socket.gaierror):
            self._say(f"broker {self.name}: no address for this name ({error.strerror})")
        else:
            self._say(f"broker {self.name} cannot be reached: {error}")
        self._back_off()

    def _disconnected(
        self,
        client: mqtt.Client,
        userdata: object,
        flags: mqtt.DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        was_connected, self.connected = self.connected, False
        if self._stopping:
            return
        if was_connected:
            if time.monotonic() - self._since >= HELD_S:
                self._failures = 0
            self._since = time.monotonic()
            self._say(f"lost broker {self.name}: {str(reason).lower()}")
        client.will_set(self._address.status, self._status("offline"), qos=1, retain=True)
        self._back_off()

    def _back_off(self) -> None:
        """Sets how long paho waits before it tries again: full jitter up to 2ⁿ s, at most 120 s."""
        self._failures += 1
        delay_s = random.randint(1, min(RECONNECT_MOST_S, 2 ** min(self._failures, 8)))
        self._client.reconnect_delay_set(delay_s, delay_s)

    def _say(self, trouble: str) -> None:
        """A trouble is told when it is new, and while it lasts at growing intervals."""
        now = time.monotonic()
        if trouble not in self._told:
            log.warning("%s; trying again, nothing is lost", trouble)
            if not self._told:
                self._say_again = now + SAY_AGAIN_S[0]
            self._told.add(trouble)
        elif now >= self._say_again:
            self._told_times += 1
            self._say_again = now + SAY_AGAIN_S[min(self._told_times, len(SAY_AGAIN_S) - 1)]
            minutes, batches = round((now - self._since) / 60), self._how_many_wait()
            log.warning("%s; away for %d min now, %s batches wait, nothing is lost", trouble, minutes, batches)

    def _how_many_wait(self) -> str:
        try:
            return str(self.waiting())
        except sqlite3.Error:
            return "some"
