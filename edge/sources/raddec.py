"""raddec as a feed and as an export: other vendors' readers through reelyActive's open format, and ours for theirs."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from contract.identity import SubjectKind
from contract.messages import SourceHealth
from edge.frames.advert import Advert
from edge.frames.raddec import (
    EPC96,
    EUI48,
    EUI64,
    RND48,
    TID96,
    Decoding,
    Raddec,
    adverts_of,
    identifier_bytes,
    parse_raddec,
    raddec_bytes,
    raddec_json,
    strongest,
)
from edge.local_broker import LocalBroker, Message, password_in
from edge.settings import Raddec as RaddecSettings
from edge.sources.feeds import Tally, UdpPort, host_port, is_loopback
from edge.tags import TagRead
from edge.windows import Window

log = logging.getLogger(__name__)

LATE_MOST_US = 4_000_000
"""A reader's own timestamp is believed this far back (readers gather for a second or two); else it is now: the pipeline
takes a larger step back for a change of the clock."""


class Heard(NamedTuple):
    """An advert in a raddec, and when it was heard."""

    at_us: int
    advert: Advert


class RaddecSource:
    """The source `raddec`. `heard` and `read` are called on the event loop's thread.

    A node stands for the readers at one place: `receivers` says which, so two nodes may share a stream.
    """

    name = "raddec"

    def __init__(
        self,
        settings: RaddecSettings,
        folder: Path,
        now_us: Callable[[], int],
        heard: Callable[[Heard], object],
        read: Callable[[TagRead], object],
    ) -> None:
        """Raises ValueError if a receiver is no identifier, or others could send and nobody said who; OSError."""
        if settings.listen is not None and not settings.peers and not is_loopback(settings.listen):
            raise ValueError("[raddec] peers: found nothing, expected the senders' addresses: raddecs are unsigned")
        self._settings = settings
        self._peers = frozenset(settings.peers)
        self._receivers = frozenset(_receiver(text) for text in settings.receivers)
        self._now_us = now_us
        self._heard = heard
        self._read = read
        self._password = password_in(folder, settings.mqtt_password_file)
        self._tally = Tally()
        listen = settings.listen
        self.socket = UdpPort(self.name, listen, self._tally, self._received) if listen is not None else None

    async def run(self) -> None:
        """Listens until cancelled, on UDP, on a local broker, or on both."""
        broker = self._broker(asyncio.get_running_loop())
        if broker is not None:
            broker.start()
        try:
            await (self.socket.run() if self.socket is not None else asyncio.Event().wait())
        finally:
            if broker is not None:
                await asyncio.to_thread(broker.stop)

    def health(self) -> SourceHealth:
        """Counts raddecs of our receivers."""
        return self._tally.health()

    def _broker(self, loop: asyncio.AbstractEventLoop) -> LocalBroker | None:
        settings = self._settings
        if settings.mqtt_host is None or settings.mqtt_listen is None:
            return None

        def received(payload: bytes) -> None:
            loop.call_soon_threadsafe(self._take, payload)

        return LocalBroker(
            settings.mqtt_host,
            settings.mqtt_port,
            client_id="",
            username=settings.mqtt_username,
            password=self._password,
            listen=settings.mqtt_listen,
            received=received,
        )

    def _received(self, data: bytes, sender: tuple[str, int]) -> None:
        if self._peers and sender[0] not in self._peers:
            self._tally.refused += 1
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        raddec = parse_raddec(data)
        if raddec is None:
            self._tally.refused += 1
            return
        decoding = strongest(raddec, self._receivers)
        if decoding is None:
            return  # heard by readers of another place only
        self._tally.hear()
        at_us = self._at_us(raddec)
        if raddec.transmitter_type in (EPC96, TID96):  # some listeners call every EPC that is no GS1 scheme a TID
            for entry in raddec.signature:
                if not self._receivers or entry.receiver in self._receivers:
                    self._read(_tag_read(raddec, entry, at_us))
        elif raddec.transmitter_type in (EUI48, RND48):
            for advert in adverts_of(raddec, decoding.rssi):
                self._heard(Heard(at_us, advert))

    def _at_us(self, raddec: Raddec) -> int:
        now_us = self._now_us()
        told_us = (raddec.timestamp_ms or 0) * 1_000
        return told_us if now_us - LATE_MOST_US <= told_us <= now_us else now_us


class RaddecExport:
    """Tells others what this node hears of fixed beacons. People's devices are never told, whatever form asks for them.

    The transmitter is the digest of the beacon's radio, in the form of a random address: no address leaves the node.
    """

    def __init__(self, settings: RaddecSettings, folder: Path) -> None:
        """Raises OSError if the password cannot be read, ValueError if the receiver's identifier is missing."""
        if settings.export_receiver is None:
            raise ValueError("[raddec] export_receiver: found nothing, expected this node's identifier")
        self._receiver = bytes.fromhex(settings.export_receiver)
        self._topic = settings.export_topic
        self._to = None if settings.export_udp is None else host_port(settings.export_udp)
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.setblocking(False)
        self._broker = None
        if settings.mqtt_host is not None and settings.export_topic is not None:
            self._broker = LocalBroker(
                settings.mqtt_host,
                settings.mqtt_port,
                client_id="",
                username=settings.mqtt_username,
                password=password_in(folder, settings.mqtt_password_file),
            )

    def start(self) -> None:
        """Connects to the local broker, where one is asked for."""
        if self._broker is not None:
            self._broker.start()

    def tell(self, windows: Iterable[Window]) -> int:
        """Sends the windows of fixed beacons, and says how many they were. Nothing waits for anybody: UDP may lose."""
        told = 0
        for window in windows:
            raddec = raddec_of(window, self._receiver)
            if raddec is None:
                continue
            told += 1
            if self._to is not None:
                try:
                    self._udp.sendto(raddec_bytes(raddec), self._to)
                except OSError as error:
                    log.debug("raddec: not sent: %s", error)
            if self._broker is not None and self._topic is not None:
                topic = f"{self._topic}/{raddec.transmitter.hex()}/{raddec.transmitter_type}/raddec"
                self._broker.publish(Message(topic, raddec_json(raddec)))
        return told

    def stop(self) -> None:
        """Closes what was opened."""
        self._udp.close()
        if self._broker is not None:
            self._broker.stop()


def raddec_of(window: Window, receiver: bytes) -> Raddec | None:
    """A window of a fixed beacon as a raddec; None for everything else."""
    if window.kind != SubjectKind.BEACON:
        return None
    rssi = round(window.mean_ddbm / 10)
    decoding = Decoding(receiver, EUI64 if len(receiver) == 8 else EUI48, rssi, min(window.count, 255))
    return Raddec(b"\xc0\x00" + window.radio.to_bytes(4, "big"), RND48, (decoding,), window.end_us // 1_000)


def _tag_read(raddec: Raddec, entry: Decoding, at_us: int) -> TagRead:
    antenna = f"{entry.receiver.hex()}/{1 if entry.antenna is None else entry.antenna}"
    # Readers that do not measure say 0 or what stands for "nothing".
    rssi = float(entry.rssi) if -127 < entry.rssi < 0 else None
    return TagRead(at_us, raddec.transmitter, antenna, rssi, entry.decodings)


def _receiver(text: str) -> bytes:
    found = identifier_bytes(text)
    if not found:
        raise ValueError(f'[raddec] receivers: found "{text}", expected an identifier in hexadecimal digits')
    return found
