"""The line to the cloud: name, port, TLS, MQTT with the node's own identity, what it may say, and that the cloud hears.

A running node is not disturbed: the broker knows a session by its client id, and the doctor brings one of its own,
while its rights hang on the certificate or user name, which are the node's. It has no will and never touches the node's
status.
"""

import contextlib
import secrets
import socket
import sqlite3
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from contract.codec import CONTENT_TYPE, decode_small, header_only
from contract.errors import ContractError
from contract.messages import Ack
from contract.topics import NodeAddress
from edge.broker import properties
from edge.config import NodeConfig
from edge.doctor.finding import Finding, failed, passed, skipped, warned
from edge.doctor.patient import Patient
from edge.settings import Uplink

ANSWER_S = 5.0
NOBODY_LISTENS = 16
_REFUSED = 128
"""MQTT 5 reason codes from here on are errors (2.4)."""
NOT_AUTHORIZED = 135
ELSEWHERE = "doctor-elsewhere"
"""The node that the doctor pretends to speak for; if there were one of this name, it would be told nonsense once."""


class LineError(Exception):
    """The line is cut at some point."""

    def __init__(self, found: str, fix: str) -> None:
        super().__init__(found)
        self.found, self.fix = found, fix


@dataclass(frozen=True, slots=True)
class Waiting:
    """A batch in the outbox that may be sent twice without harm."""

    stream: str
    epoch: str
    seq: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Spoken:
    """What came of speaking to the broker."""

    elsewhere: int
    """The broker's answer to speaking under another node's name: it should be NOT_AUTHORIZED."""
    own: int | None = None
    """Its answer to a batch of the node's own; None if there was none to send."""
    acknowledged_ms: float | None = None
    """After how long the cloud said that it holds the batch, or never will."""
    refused: str = ""
    """Why it never will."""

    @property
    def unanswered(self) -> bool:
        """Whether the broker took a batch and the cloud said nothing of it."""
        return self.own is not None and self.own < _REFUSED and self.acknowledged_ms is None


def broker(patient: Patient) -> Iterator[Finding]:
    """Everything between this node and the cloud, up to the first thing that is broken."""
    config = patient.config
    if config is None:
        yield skipped("broker", patient.unread)
        return
    try:
        yield passed("broker", reach(config.uplink, patient.folder))
        waiting = None if patient.outbox is None else oldest_waiting(patient.outbox)
        spoken = speak(config, patient.folder, waiting)
    except LineError as error:
        yield failed("broker", error.found, error.fix)
        return
    if waiting is not None and spoken.unanswered and patient.outbox is not None and _is_gone(patient.outbox, waiting):
        spoken = Spoken(spoken.elsewhere)  # the running node sent it meanwhile, and it was the node that got the answer
    yield from judge(spoken, config, patient.outbox is not None and _has_run(patient.outbox))


def judge(spoken: Spoken, config: NodeConfig, ran: bool) -> Iterator[Finding]:
    """Judges the rights that the broker gives, then whether the cloud hears."""
    yield passed("broker", f"greets this node as {config.address}")
    if spoken.elsewhere != NOT_AUTHORIZED:
        yield warned(
            "broker",
            "it lets this node speak under another node's name",
            "give the broker the access list of firmware_configs/broker/acl",
        )
    if spoken.own == NOT_AUTHORIZED:
        yield failed(
            "broker",
            "it does not let this node speak under its own name",
            f"the certificate's or user's name must be {config.address}; broker/acl",
        )
    elif spoken.own is None:
        told = "all that it told is acknowledged" if ran else "it has told nothing yet"
        yield passed("cloud", f"nothing waits to be sent: {told}")
    elif spoken.own == NOBODY_LISTENS:
        yield failed("cloud", "nobody listens at the broker", "start the cloud's ingest: docker compose up -d ingest")
    elif spoken.own >= _REFUSED:
        yield failed("broker", f"it refuses a batch (MQTT reason {spoken.own})", "see the broker's log")
    elif spoken.acknowledged_ms is None:
        yield warned("cloud", f"no acknowledgement in {ANSWER_S:g} s", "is the cloud's database up? the node keeps all")
    elif spoken.refused:
        yield failed("cloud", f"it refuses: {spoken.refused}", "UnknownNode: put the node into the store's plan")
    else:
        yield passed("cloud", f"holds a batch {spoken.acknowledged_ms:.0f} ms after it was sent")


def reach(settings: Uplink, folder: Path) -> str:
    """How the broker was reached: name, port, TLS. Raises LineError."""
    place = f"{settings.host}:{settings.port}"
    started = time.perf_counter()
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise LineError(
            f"the name {settings.host} is not known ({getattr(error, 'strerror', None) or error})",
            "is the network there? resolvectl query " + settings.host,
        ) from None
    try:
        line = socket.create_connection((settings.host, settings.port), ANSWER_S)
    except OSError as error:
        why = error.strerror or str(error) or "no answer"
        raise LineError(
            f"{place} ({found[0][4][0]}): {why}",
            f"is the broker up, and the port open? nc -vz {settings.host} {settings.port}",
        ) from None
    with line:
        took_ms = (time.perf_counter() - started) * 1e3
        context = tls(settings, folder)
        if context is None:
            return f"{place} answers in {took_ms:.0f} ms, not encrypted"
        line.settimeout(ANSWER_S)
        try:
            with context.wrap_socket(line, server_hostname=settings.host) as wrapped:
                return f"{place} answers in {took_ms:.0f} ms, {wrapped.version()}"
        except ssl.SSLCertVerificationError as error:
            raise LineError(
                f"{place}: its certificate is not trusted: {error.verify_message}",
                "ca_file must be the authority of the broker, host a name that its certificate has",
            ) from None
        except OSError as error:
            raise LineError(f"{place}: no TLS ({error.strerror or error})", "is it the TLS port, 8883?") from None


def tls(settings: Uplink, folder: Path) -> ssl.SSLContext | None:
    """The context the node itself uses; None for a line that is not encrypted. Raises LineError."""
    if settings.ca_file is None and settings.cert_file is None:
        return None
    try:
        context = ssl.create_default_context(cafile=str(folder / settings.ca_file) if settings.ca_file else None)
        if settings.cert_file is not None and settings.key_file is not None:
            context.load_cert_chain(folder / settings.cert_file, folder / settings.key_file)
    except PermissionError:
        raise LineError("the node's key is not ours to read", "run the doctor with sudo") from None
    except OSError as error:
        raise LineError(
            f"certificate or key cannot be used: {error.strerror or error}", "see the certificate's row"
        ) from None
    return context


def _has_run(outbox: Path) -> bool:
    try:
        return outbox.exists()
    except PermissionError:  # the service's own folder
        return True


def oldest_waiting(outbox: Path) -> Waiting | None:
    """The oldest batch that the cloud has not acknowledged; sending it once more is harmless, since names are unique.

    Only one with a trusted clock: another may still be told anew, and then its name would stand for two contents.
    """
    with contextlib.suppress(sqlite3.Error, OSError):
        with contextlib.closing(sqlite3.connect(f"{outbox.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as db:
            for stream, payload in db.execute("select stream, payload from batch order by seq limit 100"):
                header = header_only(payload)
                if header is not None and header.clock == "trusted":
                    return Waiting(stream, header.epoch, header.seq, payload)
    return None


def _is_gone(outbox: Path, waiting: Waiting) -> bool:
    """Whether a batch that waited is not in the outbox any more: the cloud has it."""
    try:
        with contextlib.closing(sqlite3.connect(f"{outbox.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as db:
            return db.execute("select 1 from batch where seq = ?", (waiting.seq,)).fetchone() is None
    except sqlite3.Error:
        return False


def speak(config: NodeConfig, folder: Path, waiting: Waiting | None) -> Spoken:
    """Connects with the node's identity, tries another's name, and sends what waits. Raises LineError."""
    settings, address = config.uplink, config.address
    with _Call(settings, folder) as call:
        call.subscribe(address.down("ack"))
        elsewhere = NodeAddress(address.tenant, address.store, ELSEWHERE)
        # To a node that is not there: where the list lets it pass, nobody is harmed by it.
        answered = call.publish(elsewhere.down("ack"), b"", "application/json")
        if waiting is None:
            return Spoken(answered)
        sent = time.perf_counter()
        topic = f"{address.up('health').rpartition('/')[0]}/{waiting.stream}"
        bulk = waiting.stream == "sightings"
        own = call.publish(topic, waiting.payload, CONTENT_TYPE if bulk else "application/json")
        if own >= NOT_AUTHORIZED or own == NOBODY_LISTENS:
            return Spoken(answered, own)
        verdict = call.verdict(address.down("ack"), waiting)
        if verdict is None:
            return Spoken(answered, own)
        return Spoken(answered, own, (time.perf_counter() - sent) * 1e3, verdict)


@dataclass
class _Call:
    """One session at the broker."""

    settings: Uplink
    folder: Path
    _heard: list[tuple[str, bytes]] = field(default_factory=list)
    _answers: dict[int, int] = field(default_factory=dict)
    _greeted: ReasonCode | None = None
    _gone: str = ""
    _news: Condition = field(default_factory=Condition)

    def __enter__(self) -> "_Call":
        settings = self.settings
        self._client = client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"doctor-{secrets.token_hex(6)}",
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        if settings.username is not None:
            password = None
            if settings.password_file is not None:
                try:
                    password = (self.folder / settings.password_file).read_text().strip()
                except OSError as error:
                    raise LineError(
                        f"the password cannot be read: {error.strerror}", "run the doctor with sudo"
                    ) from None
            client.username_pw_set(settings.username, password)
        context = tls(settings, self.folder)
        if context is not None:
            client.tls_set_context(context)
        client.on_connect = lambda _c, _d, _f, code, _p: self._note(greeted=code)
        client.on_disconnect = lambda _c, _d, _f, code, _p: self._note(gone=str(code))
        client.on_publish = lambda _c, _d, mid, code, _p: self._note(answer=(mid, int(code.value)))
        client.on_subscribe = lambda _c, _d, mid, codes, _p: self._note(answer=(mid, int(codes[0].value)))
        client.on_message = lambda _c, _d, message: self._note(heard=(message.topic, bytes(message.payload)))
        try:
            client.connect(settings.host, settings.port, keepalive=20)
        except (OSError, ValueError) as error:
            raise LineError(f"the broker hung up: {error}", "see the broker's log") from None
        client.loop_start()
        try:
            self._greet()
        except LineError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        # paho closes its inner sockets only when it is collected.
        client = self._client
        client.on_connect = client.on_disconnect = client.on_publish = client.on_subscribe = client.on_message = None

    def _greet(self) -> None:
        self._wait(lambda: self._greeted is not None or bool(self._gone))
        if self._greeted is None:
            raise LineError(f"the broker does not greet ({self._gone or 'no answer'})", "does it speak MQTT 5?")
        if self._greeted.is_failure:
            raise LineError(
                f"the broker refuses this node: {self._greeted}",
                "its certificate may be revoked, or its user name or password wrong; see the broker's log",
            )

    def subscribe(self, topic: str) -> None:
        mid = self._client.subscribe(topic, qos=1)[1]
        if mid is not None:
            self._wait(lambda: mid in self._answers)

    def publish(self, topic: str, payload: bytes, content_type: str) -> int:
        """The broker's reason code. Raises LineError if it gives none."""
        mid = self._client.publish(topic, payload, qos=1, properties=properties(content_type)).mid
        if not self._wait(lambda: mid in self._answers):
            raise LineError(f"the broker does not answer ({self._gone or 'it is silent'})", "see the broker's log")
        return self._answers[mid]

    def verdict(self, topic: str, waiting: Waiting) -> str | None:
        """What the cloud said of the batch: empty if it holds it, why it never will, or None if it said nothing."""
        found: list[str] = []

        def settled() -> bool:
            found[:] = [
                said for name, payload in self._heard if name == topic if (said := _said(payload, waiting)) is not None
            ]
            return bool(found)

        return found[0] if self._wait(settled) else None

    def _wait(self, condition: Callable[[], bool]) -> bool:
        with self._news:
            return self._news.wait_for(condition, ANSWER_S)

    def _note(
        self,
        greeted: ReasonCode | None = None,
        gone: str = "",
        answer: tuple[int, int] | None = None,
        heard: tuple[str, bytes] | None = None,
    ) -> None:
        with self._news:
            if greeted is not None:
                self._greeted = greeted
            if gone:
                self._gone = gone
            if answer is not None:
                self._answers[answer[0]] = answer[1]
            if heard is not None:
                self._heard.append(heard)
            self._news.notify_all()


def _said(payload: bytes, waiting: Waiting) -> str | None:
    try:
        ack = decode_small(payload, Ack)
    except ContractError:
        return None
    if ack.epoch != waiting.epoch:
        return None
    if any(first <= waiting.seq <= last for first, last in ack.stored):
        return ""
    return next((each.reason for each in ack.rejected if each.seq == waiting.seq), None)
