"""hostapd as a feed: its control sockets on this machine, or lines that access points send (syslog, action scripts)."""

import asyncio
import contextlib
import logging
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from contract.messages import SourceHealth
from edge.clients import StationSeen
from edge.frames.hostapd import Station, StationEvent, parse_event, parse_station
from edge.settings import Hostapd
from edge.sources.feeds import RETRY_S, Tally, UdpPort, is_loopback

log = logging.getLogger(__name__)

ANSWER_S = 2.0
STATIONS_MOST = 2_007
"""Association ids of one access point end there (IEEE 802.11)."""
_REPLY_BYTES = 8 << 10


class ControlClosed(OSError):
    """hostapd does not answer on its control socket."""


class HostapdControl:
    """The source `hostapd.INTERFACE`: events as they come, and now and then all stations with their strength."""

    def __init__(
        self, path: str, settings: Hostapd, now_us: Callable[[], int], seen: Callable[[StationSeen], object]
    ) -> None:
        self._path = path
        self._interface = Path(path).name
        self._zone = settings.aps.get(self._interface)
        self._poll_s = settings.poll_s
        self._now_us = now_us
        self._seen = seen
        self._tally = Tally()
        self._replies: asyncio.Queue[bytes] = asyncio.Queue()
        self._present: set[bytes] = set()

    @property
    def name(self) -> str:
        return f"hostapd.{self._interface}"

    def health(self) -> SourceHealth:
        """Counts events and stations listed."""
        return self._tally.health()

    async def run(self) -> None:
        """Follows hostapd until cancelled; attaches again when it was restarted."""
        while True:
            try:
                await self._follow()
            except OSError as error:
                if not self._tally.trouble:
                    log.warning("%s: %s; trying again", self.name, error)
                self._tally.trouble = "hostapd does not answer"
                self._tally.restarts += 1
                await asyncio.sleep(min(RETRY_S, self._poll_s))

    async def _follow(self) -> None:
        """Attaches and polls; raises OSError when hostapd is away."""
        loop = asyncio.get_running_loop()
        with _bound() as channel:
            channel.connect(self._path)
            loop.add_reader(channel, self._readable, channel)
            try:
                if await self._ask(channel, b"ATTACH") != b"OK\n":
                    raise ControlClosed("hostapd refused ATTACH")
                self._tally.trouble = ""
                log.info("%s: attached", self.name)
                while True:
                    await self._list(channel)
                    await asyncio.sleep(self._poll_s)
            finally:
                loop.remove_reader(channel)
                with contextlib.suppress(OSError):
                    channel.send(b"DETACH")

    def _readable(self, channel: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                data = channel.recv(_REPLY_BYTES)
                if data.startswith((b"<", b"IFNAME=")):  # only events begin so
                    self._event(data)
                else:
                    self._replies.put_nowait(data)

    def _event(self, data: bytes) -> None:
        event = parse_event(data)
        if event is None:
            return
        self._tally.hear()
        (self._present.add if event.connected else self._present.discard)(event.mac)
        self._seen(_seen_of(event, self._zone, self._now_us()))

    async def _list(self, channel: socket.socket) -> None:
        """Asks for every station. One that vanished without an event (hostapd restarted, a message was lost) left."""
        listed: dict[bytes, Station] = {}
        reply = await self._ask(channel, b"STA-FIRST")
        while (station := parse_station(reply)) is not None and len(listed) < STATIONS_MOST:
            if station.mac in listed:
                break
            listed[station.mac] = station
            reply = await self._ask(channel, b"STA-NEXT " + station.mac.hex(":").encode())
        now_us = self._now_us()
        present = {mac for mac, station in listed.items() if station.authorized}
        for mac in sorted(self._present - present):
            self._seen(StationSeen(now_us, mac, None, self._zone, None, "left"))
        for mac in sorted(present):
            self._tally.hear()
            self._seen(StationSeen(now_us, mac, listed[mac].token, self._zone, listed[mac].rssi, "associated"))
        self._present = present

    async def _ask(self, channel: socket.socket, command: bytes) -> bytes:
        while not self._replies.empty():  # an answer that came too late is nobody's
            self._replies.get_nowait()
        channel.send(command)
        try:
            return await asyncio.wait_for(self._replies.get(), ANSWER_S)
        except TimeoutError:
            raise ControlClosed(f"no answer to {command.split()[0].decode()} within {ANSWER_S:g} s") from None


class HostapdLines:
    """The source `hostapd.lines`: a UDP port for the lines of access points that are machines of their own."""

    name = "hostapd.lines"

    def __init__(self, settings: Hostapd, now_us: Callable[[], int], seen: Callable[[StationSeen], object]) -> None:
        """Raises ValueError if others could reach the port and nobody said whose lines are taken."""
        assert settings.listen is not None  # made only where the setting is there
        if not settings.peers and not is_loopback(settings.listen):
            raise ValueError(
                "[hostapd] peers: found nothing, expected the access points' addresses: lines are unsigned"
            )
        self._peers = frozenset(settings.peers)
        self._zones = settings.aps
        self._now_us = now_us
        self._seen = seen
        self._tally = Tally()
        self.socket = UdpPort(self.name, settings.listen, self._tally, self._received)

    async def run(self) -> None:
        """Listens until cancelled."""
        await self.socket.run()

    def health(self) -> SourceHealth:
        """Counts events; other lines of a log are left out in silence."""
        return self._tally.health()

    def _received(self, data: bytes, sender: tuple[str, int]) -> None:
        if self._peers and sender[0] not in self._peers:
            self._tally.refused += 1
            return
        for line in data.splitlines():
            event = parse_event(line)
            if event is not None:
                self._tally.hear()
                self._seen(_seen_of(event, self._zone(event.access_point, sender[0]), self._now_us()))

    def _zone(self, access_point: str, sender: str) -> str | None:
        """By HOST/INTERFACE, by the sender's address and interface, or by the interface alone."""
        interface = access_point.rpartition("/")[2]
        for name in (access_point, f"{sender}/{interface}", interface):
            if name in self._zones:
                return self._zones[name]
        return None


def _seen_of(event: StationEvent, zone: str | None, at_us: int) -> StationSeen:
    return StationSeen(at_us, event.mac, None, zone, None, "associated" if event.connected else "left")


@contextlib.contextmanager
def _bound() -> Iterator[socket.socket]:
    """A datagram socket with a name of its own, which hostapd needs to answer to.

    It lies in the service's runtime folder, where systemd made one: a private /tmp would hide it from hostapd.
    """
    with tempfile.TemporaryDirectory(prefix="hostapd-", dir=os.environ.get("RUNTIME_DIRECTORY")) as folder:
        os.chmod(folder, 0o711)  # hostapd may run as another user
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)
            path = f"{folder}/ctrl"
            channel.bind(path)
            os.chmod(path, 0o777)
            yield channel
