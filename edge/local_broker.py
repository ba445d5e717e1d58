"""A connection to a broker of the store's own, for exporters: Home Assistant, Pareto Anywhere.

It is another broker than the cloud's: there a node may publish under `aisle/v1/…` and nowhere else. What is told here
is the state of things, so nothing is kept while the broker is away.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

log = logging.getLogger(__name__)

RETRY_S = (1, 120)
"""The shortest and longest wait before connecting again, seconds."""


class Message(NamedTuple):
    """What is published."""

    topic: str
    payload: bytes
    retain: bool = False


class LocalBroker:
    """Connects in a thread of paho's, and again when the line was cut. `publish` may be called from any thread."""

    def __init__(
        self,
        host: str,
        port: int,
        client_id: str,
        greeting: Callable[[], list[Message]] = list,
        will: Message | None = None,
        username: str | None = None,
        password: str | None = None,
        listen: str | None = None,
        received: Callable[[bytes], object] | None = None,
    ) -> None:
        """`greeting`: published at each connection; `will`: by the broker when this node is gone.

        `received` gets the payloads of the topic filter `listen`, on paho's thread.
        """
        self._host, self._port = host, port
        self._greeting = greeting
        self._listen = listen
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id)
        self._client.reconnect_delay_set(*RETRY_S)
        if username is not None:
            self._client.username_pw_set(username, password)
        if will is not None:
            self._client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        self._client.on_connect = self._connected
        self._received = received
        self._client.on_message = self._message

    @property
    def connected(self) -> bool:
        """Whether the line is up at the moment."""
        return self._client.is_connected()

    def start(self) -> None:
        """Begins to connect, and goes on until `stop`."""
        self._client.connect_async(self._host, self._port)
        self._client.loop_start()

    def publish(self, message: Message) -> None:
        """Publishes now, or never."""
        if self._client.is_connected():
            self._client.publish(message.topic, message.payload, qos=0, retain=message.retain)

    def stop(self, farewell: Message | None = None) -> None:
        """Says a last word and closes the line."""
        if farewell is not None and self._client.is_connected():
            self._client.publish(farewell.topic, farewell.payload, qos=1, retain=farewell.retain)
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(
        self,
        client: mqtt.Client,
        _data: object,
        _flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            log.warning("the local broker %s:%d refused us: %s", self._host, self._port, reason)
            return
        log.info("connected to the local broker %s:%d", self._host, self._port)
        if self._listen is not None:
            client.subscribe(self._listen, qos=0)
        for message in self._greeting():
            client.publish(message.topic, message.payload, qos=1, retain=message.retain)

    def _message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        if self._received is not None:
            self._received(bytes(message.payload))


def password_in(folder: Path, name: str | None) -> str | None:
    """The password in a file, without the white space around it. Raises OSError."""
    return None if name is None else (folder / name).read_text().strip()
