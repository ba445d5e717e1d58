"""RFID readers on the network: an LLRP client that sets a reader up, hands on its tags, and comes back by itself."""

import asyncio
import json
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import starmap
from pathlib import Path

from contract.clock import Clock
from contract.messages import SourceHealth
from edge.frames.llrp.codec import Element, Frame, Framer, decode, encode_message
from edge.frames.llrp.instants import ReaderTime
from edge.frames.llrp.orders import (
    REFUSALS,
    Capabilities,
    capabilities,
    failure,
    impinj_enable_extensions,
    reader_config,
    rospec,
)
from edge.frames.llrp.reports import TagColumns, TagReader
from edge.frames.llrp.view import Json, from_json
from edge.settings import Llrp
from edge.tags import TagRead

log = logging.getLogger(__name__)

RETRY_MOST_S = 60.0
HELD_S = 10.0
"""A connection that held for less is a failure like any other: two nodes would else take turns at one reader."""
KEEPALIVES_MISSED = 3
"""So many signs of life may fail to come before the reader is taken for gone."""
READ_BYTES = 1 << 16

_TAGS = 61
_KEEPALIVE = 62
_EVENT = 63
_ERROR = 100
_UNASKED = (_TAGS, _KEEPALIVE, _EVENT)


class ReaderTrouble(Exception):
    """Why a reader cannot be used just now."""


class Refused(ReaderTrouble):
    """The reader did not do what it was asked."""


class LlrpSource:
    """One reader. `heard` gets the tags of each report on the event loop's thread and must return at once."""

    def __init__(
        self,
        settings: Llrp,
        heard: Callable[[Sequence[TagRead]], None],
        clock: Clock,
        folder: Path = Path(),
    ) -> None:
        """Reads the files that the settings name, from a folder. Raises OSError, or ValueError with the file's name."""
        self._settings = settings
        self._heard = heard
        self._clock = clock
        self._rospec = _order("ROSpec", settings.rospec_file, folder)
        self._config = _order("SetReaderConfig", settings.reader_config_file, folder)
        self._ports = _Ports(settings.name)
        self._capabilities: Capabilities | None = None
        self._connected = False
        self._connects = 0
        self._trouble = ""
        self._time, self._tags = ReaderTime(), TagReader()
        self._silence_s: float | None = None
        """How long nothing may come; None if the reader was not told to give signs of life."""
        self._away: set[int] = set()
        """Antennas that the reader calls disconnected."""
        self._count = self._told_count = 0
        self._told_at = time.monotonic()

    @property
    def name(self) -> str:
        return f"rfid.{self._settings.name}"

    def health(self) -> SourceHealth:
        """Rates and silence are since the last call."""
        now, count = time.monotonic(), self._count
        news = count - self._told_count
        rate = news / max(now - self._told_at, 1e-3)
        self._told_at, self._told_count = now, count
        return SourceHealth(
            state="down" if not self._connected else "ok" if news else "silent",
            heard=count,
            per_s=round(rate, 2),
            restarts=max(0, self._connects - 1),
            detail=self._detail() if self._connected else self._trouble or "connecting",
        )

    def _detail(self) -> str:
        label = self._capabilities.label if self._capabilities else ""
        away = ", ".join(map(str, sorted(self._away)))
        return f"{label}; antenna {away} disconnected" if away else label

    async def run(self) -> None:
        """Reads until cancelled; a reader that cannot be used is said once and tried again, up to once a minute."""
        failures = 0
        while True:
            began = time.monotonic()
            try:
                await self._serve()
            except (ReaderTrouble, OSError) as error:
                self._say(str(error) or type(error).__name__)
            finally:
                self._connected = False
            failures = 0 if time.monotonic() - began > HELD_S else failures + 1
            await asyncio.sleep(random.uniform(0.1, min(RETRY_MOST_S, 0.5 * 2 ** min(failures, 8))))

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("reader %s: %s; trying again", self._settings.name, trouble, extra={"action": "llrp_down"})
            self._trouble = trouble

    async def _serve(self) -> None:
        """One connection, from its beginning to its end."""
        settings = self._settings
        where = f"{settings.host}:{settings.port}"
        try:
            async with asyncio.timeout(settings.timeout_s):
                stream, writer = await asyncio.open_connection(settings.host, settings.port)
        except TimeoutError:
            raise ReaderTrouble(f"{where} does not answer") from None
        except OSError as error:
            raise ReaderTrouble(f"{where} cannot be reached: {error.strerror or error}") from None
        line = _Line(stream, writer, settings.timeout_s, self._received)
        self._time, self._tags = ReaderTime(), TagReader()
        self._away.clear()
        greeted = False
        try:
            await line.opened()
            greeted = True
            await self._set_up(line)
            self._connected = True
            self._connects += 1
            log.info("reader %s: %s; reading", settings.name, self._detail(), extra={"action": "llrp_up"})
            self._trouble = ""
            while True:
                await line.receive(self._silence_s)
        finally:
            if greeted:  # it must not go on radiating for nobody
                line.leave(from_json("DeleteROSpec", {"ROSpecID": 0}), Element("CloseConnection"))
            writer.close()

    async def _set_up(self, line: "_Line") -> None:
        """Learns what the reader is and makes it read."""
        settings = self._settings
        found = capabilities(await line.ask(from_json("GetReaderCapabilities", {"ReaderCapabilitiesRequestedData": 0})))
        self._capabilities = found
        impinj = found.impinj and await self._extended(line)
        config = self._config or from_json("SetReaderConfig", reader_config(round(settings.keepalive_s * 1000)))
        await line.ask(config)
        keepalive = config.child("KeepAliveSpec")
        periodic = keepalive is not None and keepalive.number("Trigger") == 1
        self._silence_s = KEEPALIVES_MISSED * keepalive.number("Interval") / 1000 if keepalive and periodic else None
        await line.ask(from_json("DeleteROSpec", {"ROSpecID": 0}))
        spec = self._rospec or from_json("ROSpec", self._made_rospec(found, impinj))
        which: Json = {"ROSpecID": spec.number("ROSpecID")}
        await line.ask(Element("AddROSpec", {}, (spec,)))
        await line.ask(from_json("EnableROSpec", which))
        start = spec.child("ROBoundarySpec", "ROSpecStartTrigger")
        if start is not None and start.number("Trigger") == 0:
            await line.ask(from_json("StartROSpec", which))
        # A client before us may have told the reader to hold back all until this.
        line.send(Element("EnableEventsAndReports"))

    async def _extended(self, line: "_Line") -> bool:
        """Whether the reader lets its own extensions be used; without them it reads as others do."""
        try:
            await line.ask(impinj_enable_extensions())
        except Refused as error:
            log.info("reader %s: without Impinj's extensions: %s", self._settings.name, error)
            return False
        return True

    def _made_rospec(self, found: Capabilities, impinj: bool) -> Json:
        settings = self._settings
        power = None
        if settings.tx_power_dbm is not None:
            index = found.power_index(settings.tx_power_dbm)
            if index is not None:
                power = (found.hop_table, index)
                if found.powers[index] > settings.tx_power_dbm:
                    log.warning("reader %s: its least power is %.1f dBm", settings.name, found.powers[index])
        missing = [port for port in settings.antennas if port > found.antennas > 0]
        if missing:
            raise ReaderTrouble(f"antenna {missing[0]} is asked for, it has {found.antennas}")
        return rospec(
            antennas=settings.antennas,
            session=settings.session,
            population=settings.population,
            mode=settings.mode,
            power=power,
            report_every=settings.report_every,
            impinj=impinj,
        )

    # -- what comes unasked

    def _received(self, frame: Frame, line: "_Line") -> None:
        if frame.type == _TAGS:
            self._tags_reported(frame.payload)
        elif frame.type == _KEEPALIVE:
            line.send(Element("KeepAliveAck"))
        elif frame.type == _EVENT:
            event = decode(_EVENT, frame.payload)
            if event is not None and (data := event.child("ReaderEventNotificationData")) is not None:
                self._happened(data)
        elif frame.type == _ERROR:
            answer = decode(_ERROR, frame.payload)
            log.warning(
                "reader %s complains of %s",
                self._settings.name,
                failure(answer) if answer else "something",
                extra={"action": "llrp_error"},
            )

    def _tags_reported(self, payload: bytes) -> None:
        found = self._tags.read(payload)
        if not found.epc:
            return
        self._count += len(found.epc)
        self._heard(tag_reads(found, self._time, self._ports, self._clock.now_us()))

    def _happened(self, data: Element) -> None:
        """An event of the reader. Raises ReaderTrouble if it ends the reading."""
        told = data.child("UTCTimestamp") or data.child("Uptime")
        if told is not None:  # told just now, unlike a tag that may have waited for its report
            self._time.heard(told.number("Microseconds"), self._clock.now_us())
        name = self._settings.name
        if (attempt := data.child("ConnectionAttemptEvent")) is not None and attempt.number("Event"):
            log.info("reader %s: another client tried to connect", name)
        if data.child("ConnectionCloseEvent") is not None:
            raise ReaderTrouble("it closed the connection")
        ended = data.child("ROSpecEvent")
        if self._connected and ended is not None and ended.number("Event") == 1:  # before, it was another client's
            raise ReaderTrouble("it stopped reading")
        if (antenna := data.child("AntennaEvent")) is not None:
            port = antenna.number("AntennaID")
            if antenna.number("Event"):
                self._away.discard(port)
                log.info("reader %s: antenna %d connected", name, port, extra={"action": "antenna"})
            else:
                self._away.add(port)
                log.warning("reader %s: antenna %d disconnected", name, port, extra={"action": "antenna"})
        if data.child("ReportBufferOverflowErrorEvent") is not None:
            log.warning("reader %s lost reads: its memory is full", name, extra={"action": "llrp_overflow"})
        if (exception := data.child("ReaderExceptionEvent")) is not None:
            text = " ".join(exception.text("Message").split())
            log.warning("reader %s: %s", name, text or "an exception", extra={"action": "llrp_exception"})


def tag_reads(found: TagColumns, reader_time: ReaderTime, ports: Mapping[int, str], now_us: int) -> list[TagRead]:
    """A report's tags as reads, on the node's clock and with antennas by name."""
    at_us = reader_time.at_us(found.seen_us, now_us)
    antennas = map(ports.__getitem__, found.antenna)
    columns = (at_us, found.epc, antennas, found.rssi, found.times, found.phase_rad, found.doppler_hz)
    return list(starmap(TagRead, zip(*columns, strict=True)))


class _Ports(dict[int, str]):
    """Names of antennas by port: `door/1`."""

    def __init__(self, reader: str) -> None:
        super().__init__()
        self._reader = reader

    def __missing__(self, port: int) -> str:
        self[port] = name = f"{self._reader}/{port}"
        return name


class _Line:
    """A connection: asks and waits for the answer, and gives what comes unasked to `received`."""

    def __init__(
        self,
        stream: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        timeout_s: float,
        received: "Callable[[Frame, _Line], None]",
    ) -> None:
        self._stream = stream
        self._writer = writer
        self._timeout_s = timeout_s
        self._received = received
        self._framer = Framer()
        self._frames: deque[Frame] = deque()
        """Came together with the one before, and not looked at yet."""
        self._id = 0

    async def opened(self) -> None:
        """Waits for the reader to take us as its client. Raises ReaderTrouble if it does not."""
        async with self._in_time("no LLRP greeting", self._timeout_s):
            while True:
                frame = await self._next()
                event = decode(_EVENT, frame.payload) if frame.type == _EVENT else None
                attempt = event and event.child("ReaderEventNotificationData", "ConnectionAttemptEvent")
                if attempt and (reason := attempt.number("Event")):
                    raise ReaderTrouble(f"it refuses the connection: {REFUSALS.get(reason, f'reason {reason}')}")
                self._received(frame, self)
                if attempt:
                    return

    async def ask(self, order: Element) -> Element:
        """The answer to an order. Raises ReaderTrouble if none comes, Refused if it says that the order failed."""
        self._id += 1
        self.send(order, self._id)
        async with self._in_time(f"no answer to {order.name}", self._timeout_s):
            frame = await self._next()
            while not self._answers(frame):
                self._received(frame, self)
                frame = await self._next()
        answer = decode(frame.type, frame.payload)
        wrong = failure(answer) if answer else "an answer that cannot be read"
        if answer is None or wrong:
            raise Refused(f"it refuses {order.name}: {wrong}")
        return answer

    def _answers(self, frame: Frame) -> bool:
        if frame.type == _ERROR:  # what a reader could not even read it answers with id 0
            return frame.id in (self._id, 0)
        return frame.id == self._id and frame.type not in _UNASKED

    async def receive(self, silence_s: float | None) -> None:
        """Hands on what comes next. Raises ReaderTrouble if nothing does for so long."""
        async with self._in_time("no sign of life", silence_s):
            self._received(await self._next(), self)
        while self._frames:
            self._received(self._frames.popleft(), self)

    def send(self, message: Element, id_: int = 0) -> None:
        """Does not wait: what we say is short."""
        self._writer.write(encode_message(message, id_))

    def leave(self, *messages: Element) -> None:
        """The last words, for which no answer is awaited."""
        for message in messages:
            self._id += 1
            self.send(message, self._id)

    async def _next(self) -> Frame:
        while not self._frames:
            try:
                data = await self._stream.read(READ_BYTES)
            except OSError as error:
                raise ReaderTrouble(f"the connection broke: {error.strerror or error}") from None
            if not data:
                raise ReaderTrouble("it hung up" + (" in the middle of a message" if self._framer.partial else ""))
            self._frames.extend(self._framer.feed(data))
            if self._framer.garbled:
                raise ReaderTrouble(f"it does not speak LLRP: {self._framer.garbled}")
        return self._frames.popleft()

    @asynccontextmanager
    async def _in_time(self, complaint: str, limit_s: float | None) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(limit_s):
                yield
        except TimeoutError:
            raise ReaderTrouble(f"{complaint} for {limit_s:g} s") from None


def _order(name: str, file: str | None, folder: Path) -> Element | None:
    """What a file of JSON orders. Raises OSError, or ValueError with the file's name and the place in it."""
    if file is None:
        return None
    try:
        told = json.loads((folder / file).read_bytes())
        return from_json(name, told)
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or LlrpError
        raise ValueError(f"{file}: found no {name} ({error})") from None
