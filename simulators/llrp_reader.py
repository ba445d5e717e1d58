"""A simulated RFID reader on the network: speaks LLRP 1.0.1 as an Impinj Speedway does, and reads a field of tags.

What it is asked it does by the standard (LLRP 1.1, chapters 8 to 14): ROSpecs with states and triggers, reports with
just the content that was asked for, keepalives, events, and an LLRPStatus that names what it cannot do. It keeps
AccessSpecs but runs none, and has no RF survey and no start triggers by time or input.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

from contract.clock import Clock, SystemClock
from edge.frames.llrp.codec import Element, Frame, Framer, Raw, decode, encode_message, encode_parameter
from edge.frames.llrp.tables import MESSAGES
from edge.frames.llrp.view import from_json
from simulators.llrp_limits import (
    CONFIG_ORDER,
    DURATION,
    IMMEDIATE,
    IMPINJ,
    M_PARAMETER_ERROR,
    M_UNSUPPORTED,
    M_VERSION,
    MAX_ROSPECS,
    OBSERVATION,
    P_OVERFLOW,
    Wrong,
    capabilities,
    check,
    check_rospec,
    factory_config,
    impinj_contents,
    wrong_id,
    wrong_parameter,
)
from simulators.llrp_tags import Answer, Field, Read, tag_report

DISABLED, INACTIVE, ACTIVE = 0, 1, 2
"""States of a ROSpec."""
ROSPEC_EVENT, AISPEC_EVENT, ANTENNA_EVENT = 2, 6, 8
ALL = 0
"""As an id: every ROSpec, AccessSpec or antenna."""
SECONDS = (3, 4)
"""Report triggers whose N is in seconds; 5 and 6 are in milliseconds, 1 and 2 in tags."""
MILLISECONDS = (5, 6)
AT_AISPEC_END = (1, 3, 5)
TAGS_A_REPORT = 500
"""More go into several messages."""


@dataclass(slots=True)
class RoSpec:
    """A ROSpec in the reader."""

    spec: Element
    state: int = DISABLED
    work: asyncio.Task[None] | None = None
    reads: list[Read] = field(default_factory=list)
    """Not reported yet."""

    @property
    def id(self) -> int:
        return self.spec.number("ROSpecID")

    @property
    def immediate(self) -> bool:
        start = self.spec.child("ROBoundarySpec", "ROSpecStartTrigger")
        return start is not None and start.number("Trigger") == IMMEDIATE

    def told(self) -> Element:
        """The ROSpec with its present state."""
        return replace(self.spec, fields={**self.spec.fields, "ROSpecCurrentState": self.state})


class _Session:
    """The client that is served."""

    def __init__(self, writer: asyncio.StreamWriter, held: bool) -> None:
        self.writer = writer
        self.extensions = False
        """Whether it may use Impinj's parameters."""
        self.held: list[bytes] | None = [] if held else None
        """Events and reports that wait for ENABLE_EVENTS_AND_REPORTS."""
        self.keepalive: asyncio.Task[None] | None = None
        self._id = 0

    def answer(self, message: Element, id_: int) -> None:
        self.writer.write(encode_message(message, id_))

    def news(self, message: Element) -> None:
        """What was not asked for: it may be held back."""
        self._id += 1
        told = encode_message(message, self._id)
        if self.held is None:
            self.writer.write(told)
        else:
            self.held.append(told)


class SimulatedLlrpReader:
    """Listens while entered. One client at a time is served; ROSpecs outlive it, as they do in a reader."""

    def __init__(
        self,
        tags: Field,
        clock: Clock | None = None,
        *,
        impinj: bool = True,
        antennas: int = 4,
        round_s: float = 0.05,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """`round_s`: a round of inventory, in which every tag in reach answers once. `port` 0: one that is free."""
        self._field = tags
        self._clock = clock or SystemClock()
        self._impinj = impinj
        self._antennas = antennas
        self._round_s = round_s
        self._host = host
        self.port = port
        """Where it listens."""
        self.reported = 0
        """Tags told to clients."""
        self.received: list[str] = []
        """Names of the messages that clients sent."""
        self.rospecs: dict[int, RoSpec] = {}
        self._access_specs: dict[int, Element] = {}
        self._config = factory_config(antennas)
        self._server: asyncio.Server | None = None
        self._session: _Session | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        tasks = [*self._connections, *(rospec.work for rospec in self.rospecs.values() if rospec.work)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def connected(self) -> bool:
        """Whether it serves a client."""
        return self._session is not None

    # -- mishaps

    def drop(self) -> None:
        """Breaks the connection, as a crash or a pulled plug does."""
        if self._session is not None:
            self._session.writer.transport.abort()

    def say(self, data: bytes) -> None:
        """Sends bytes as they are."""
        if self._session is not None:
            self._session.writer.write(data)

    def plug(self, antenna: int, connected: bool) -> None:
        """Somebody plugs an antenna in, or out."""
        self._tell(ANTENNA_EVENT, AntennaEvent={"Event": int(connected), "AntennaID": antenna})

    def give_up(self, rospec_id: int) -> None:
        """The reader ends a ROSpec by itself."""
        self._stop(self.rospecs[rospec_id])

    # -- connections

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if self._session is None:
                await self._serve(reader, writer)
            else:
                self._session.news(self._event(ConnectionAttemptEvent=4))
                writer.write(encode_message(self._event(ConnectionAttemptEvent=2)))
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client hung up, or the reader is switched off
        finally:
            writer.close()
            self._connections.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held = self._config["EventsAndReports"][0].number("HoldEventsAndReportsUponReconnect")
        session = self._session = _Session(writer, bool(held))
        writer.write(encode_message(self._event(ConnectionAttemptEvent=0)))
        self._keep_alive()
        framer = Framer()
        try:
            while (data := await reader.read(1 << 16)) and not framer.garbled:
                for frame in framer.feed(data):
                    self.received.append(frame.name)
                    self._take(frame, session)
                    await writer.drain()
                    if frame.name == "CloseConnection":
                        return
        finally:
            self._session = None
            if session.keepalive is not None:
                session.keepalive.cancel()

    def _take(self, frame: Frame, session: _Session) -> None:
        """Does what a message says, and answers."""
        if frame.version != 1 or frame.name in ("GetSupportedVersion", "SetProtocolVersion"):
            # What a reader of LLRP 1.0.1 says to a client of 1.1 (LLRP 1.1, 9.1).
            session.answer(_error(M_VERSION, "LLRP 1.0.1 only"), frame.id)
            return
        message = decode(frame.type, frame.payload)
        if message is None:
            status = M_PARAMETER_ERROR if frame.type in MESSAGES else M_UNSUPPORTED
            session.answer(_error(status, frame.name), frame.id)
            return
        match message.name:
            case "KeepAliveAck":
                pass
            case "EnableEventsAndReports":  # has no answer
                held, session.held = session.held, None
                session.writer.writelines(held or [])
            case "GetReport":
                tags = [tag for rospec in self.rospecs.values() for tag in self._collect(rospec)]
                session.answer(Element("ROAccessReport", {}, tuple(tags)), frame.id)
            case "CustomMessage":
                session.answer(self._custom(message, session), frame.id)
            case name if name in _ORDERS:
                session.answer(self._obey(message), frame.id)
                for rospec in self.rospecs.values():  # after the answer: a client looks for the answer first
                    if rospec.state == INACTIVE and rospec.immediate and name == "EnableROSpec":
                        self._start(rospec)
            case name:
                session.answer(_error(M_UNSUPPORTED, name), frame.id)

    def _obey(self, message: Element) -> Element:
        try:
            check(message)
            found = _ORDERS[message.name](self, message)
            status = from_json("LLRPStatus", {})
        except Wrong as wrong:
            found, status = [], from_json("LLRPStatus", wrong.status)
        return Element(f"{message.name}Response", {}, (status, *found))

    def _custom(self, message: Element, session: _Session) -> Element:
        vendor, subtype = message.number("VendorID"), message.number("MessageSubtype")
        if not (self._impinj and vendor == IMPINJ and subtype == 21):  # IMPINJ_ENABLE_EXTENSIONS
            return _error(M_UNSUPPORTED, f"custom message {subtype} of vendor {vendor}")
        session.extensions = True
        status = encode_parameter(from_json("LLRPStatus", {}))
        return Element("CustomMessage", {"VendorID": IMPINJ, "MessageSubtype": 22, "Data": status})

    def _event(self, **events: object) -> Element:
        data = {"UTCTimestamp": self._clock.now_us(), **events}
        return from_json("ReaderEventNotification", {"ReaderEventNotificationData": data})

    def _tell(self, kind: int, **events: object) -> None:
        """An event, if the client wants to hear of its kind."""
        states = self._config["ReaderEventNotificationSpec"][0].all("EventNotificationState")
        wanted = {state.number("ReaderEventType") for state in states if state.number("NotificationEnabled")}
        if self._session is not None and kind in wanted:
            self._session.news(self._event(**events))

    def _keep_alive(self) -> None:
        """Begins to send signs of life as the configuration says, or ends it."""
        session, spec = self._session, self._config["KeepAliveSpec"][0]
        if session is None:
            return
        if session.keepalive is not None:
            session.keepalive.cancel()
            session.keepalive = None
        if spec.number("Trigger") and spec.number("Interval"):
            session.keepalive = asyncio.create_task(self._keep_sending(session, spec.number("Interval") / 1000))

    async def _keep_sending(self, session: _Session, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            session.answer(Element("KeepAlive"), 0)  # never held back

    # -- orders: each does its work and gives the parameters of its answer after the status, or raises Wrong

    def _get_capabilities(self, message: Element) -> list[Element]:
        return capabilities(message.number("ReaderCapabilitiesRequestedData"), self._impinj, self._antennas)

    def _get_config(self, message: Element) -> list[Element]:
        wanted, antenna = message.number("RequestedData"), message.number("AntennaID")
        return [
            element
            for part, name in CONFIG_ORDER.items()
            if wanted in (0, part)
            for element in self._config.get(name, [])
            if antenna in (ALL, element.fields.get("AntennaID", antenna))
        ]

    def _set_config(self, message: Element) -> list[Element]:
        if message.number("ResetToFactoryDefaults"):
            self._config = factory_config(self._antennas)
            self._access_specs.clear()
            self._delete_all()
        given: dict[str, list[Element]] = {}
        for child in message.children:
            assert isinstance(child, Element)  # checked
            given.setdefault(child.name, []).append(child)
        for name, elements in given.items():
            if name in ("AntennaConfiguration", "AntennaProperties"):
                for element in elements:
                    self._configure_antenna(element)
            elif name == "ReaderEventNotificationSpec":
                self._notify(elements[0])
            elif name in self._config:
                self._config[name] = elements
        self._keep_alive()
        return []

    def _notify(self, given: Element) -> None:
        """Events that are not named stay as they are."""
        states: dict[int, Element | Raw] = {}
        for spec in (*self._config["ReaderEventNotificationSpec"], given):
            states |= {state.number("ReaderEventType"): state for state in spec.all("EventNotificationState")}
        self._config["ReaderEventNotificationSpec"] = [replace(given, children=tuple(states.values()))]

    def _configure_antenna(self, given: Element) -> None:
        kept = self._config[given.name]
        port = given.number("AntennaID")
        if port > self._antennas:
            raise wrong_id(f"antennas are 1 to {self._antennas}")
        for place, old in enumerate(kept):
            if port in (ALL, old.number("AntennaID")):
                kept[place] = replace(given, fields={**given.fields, "AntennaID": old.number("AntennaID")})

    def _add(self, message: Element) -> list[Element]:
        spec = message.all("ROSpec")[0]
        check_rospec(spec, self._session is not None and self._session.extensions, self._antennas)
        if spec.number("ROSpecID") in self.rospecs:
            raise wrong_id(f"ROSpec {spec.number('ROSpecID')} is there already")
        if len(self.rospecs) >= MAX_ROSPECS:
            raise wrong_parameter(f"at most {MAX_ROSPECS} ROSpec", 177, P_OVERFLOW)
        self.rospecs[spec.number("ROSpecID")] = RoSpec(spec)
        return []

    def _delete(self, message: Element) -> list[Element]:
        if message.number("ROSpecID") == ALL:
            self._delete_all()
        for rospec in self._named(message):
            self._disable_one(rospec)
            del self.rospecs[rospec.id]
        return []

    def _delete_all(self) -> None:
        for rospec in self.rospecs.values():
            self._disable_one(rospec)
        self.rospecs.clear()

    def _enable(self, message: Element) -> list[Element]:
        for rospec in self._named(message):
            if rospec.state == DISABLED:
                rospec.state = INACTIVE
        return []

    def _disable(self, message: Element) -> list[Element]:
        for rospec in self._named(message):
            self._disable_one(rospec)
        return []

    def _disable_one(self, rospec: RoSpec) -> None:
        if rospec.state == ACTIVE:
            self._stop(rospec)
        rospec.state = DISABLED

    def _start_ordered(self, message: Element) -> list[Element]:
        rospec = self._one(message)
        if rospec.state == DISABLED:
            raise wrong_id(f"ROSpec {rospec.id} is disabled")
        if rospec.state == INACTIVE:
            self._start(rospec)
        return []

    def _stop_ordered(self, message: Element) -> list[Element]:
        rospec = self._one(message)
        if rospec.state != ACTIVE:
            raise wrong_id(f"ROSpec {rospec.id} is not active")
        self._stop(rospec)
        return []

    def _get_rospecs(self, message: Element) -> list[Element]:
        return [rospec.told() for rospec in self.rospecs.values()]

    def _named(self, message: Element) -> list[RoSpec]:
        """The ROSpec that a message names, or all."""
        return [*self.rospecs.values()] if message.number("ROSpecID") == ALL else [self._one(message)]

    def _one(self, message: Element) -> RoSpec:
        rospec = self.rospecs.get(message.number("ROSpecID"))
        if rospec is None:
            raise wrong_id(f"there is no ROSpec {message.number('ROSpecID')}")
        return rospec

    def _add_access(self, message: Element) -> list[Element]:
        spec = message.all("AccessSpec")[0]
        id_ = spec.number("AccessSpecID")
        if not id_ or id_ in self._access_specs:
            raise wrong_id(f"AccessSpec {id_} is there already" if id_ else "AccessSpecID 0")
        self._access_specs[id_] = spec
        return []

    def _change_access(self, message: Element) -> list[Element]:
        """Enables, disables or deletes one or all."""
        id_ = message.number("AccessSpecID")
        if id_ != ALL and id_ not in self._access_specs:
            raise wrong_id(f"there is no AccessSpec {id_}")
        for named in [*self._access_specs] if id_ == ALL else [id_]:
            if message.name == "DeleteAccessSpec":
                del self._access_specs[named]
            else:
                spec = self._access_specs[named]
                fields = {**spec.fields, "IsActive": message.name == "EnableAccessSpec"}
                self._access_specs[named] = replace(spec, fields=fields)
        return []

    def _get_access(self, message: Element) -> list[Element]:
        return [*self._access_specs.values()]

    def _close(self, message: Element) -> list[Element]:
        return []

    # -- inventory

    def _start(self, rospec: RoSpec) -> None:
        rospec.state = ACTIVE
        rospec.work = asyncio.create_task(self._run(rospec), name=f"ROSpec {rospec.id}")
        self._tell(ROSPEC_EVENT, ROSpecEvent={"Event": 0, "ROSpecID": rospec.id})

    def _stop(self, rospec: RoSpec) -> None:
        """Ends the work on a ROSpec; what it has read is reported."""
        if rospec.work is not None and rospec.work is not asyncio.current_task():
            rospec.work.cancel()
        rospec.work = None
        rospec.state = INACTIVE
        self._report(rospec)
        self._tell(ROSPEC_EVENT, ROSpecEvent={"Event": 1, "ROSpecID": rospec.id})

    async def _run(self, rospec: RoSpec) -> None:
        """One AISpec after the other, over and over, until the ROSpec's time is up or it is stopped."""
        stop = rospec.spec.child("ROBoundarySpec", "ROSpecStopTrigger")
        timed = stop is not None and stop.number("Trigger") == DURATION
        limit_s = stop.number("DurationTriggerValue") / 1000 if stop is not None and timed else None
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    for place, aispec in enumerate(rospec.spec.all("AISpec"), 1):
                        await self._run_aispec(rospec, aispec, place)
        except TimeoutError:
            self._stop(rospec)

    async def _run_aispec(self, rospec: RoSpec, aispec: Element, place: int) -> None:
        ports = aispec.numbers("AntennaIDs")
        report = self._report_spec(rospec)
        trigger, n = report.number("Trigger"), report.number("N")
        every_s = n if trigger in SECONDS else n / 1000 if trigger in MILLISECONDS else math.inf
        most, limit_s = _limits(aispec)
        began = last_report = time.monotonic()
        seen = 0
        while seen < most and time.monotonic() - began < limit_s:
            await asyncio.sleep(self._round_s)
            now_us = self._clock.now_us()
            for answer in self._field(now_us):
                if ALL in ports or answer.antenna in ports:
                    seen += 1
                    self._note(rospec, answer, now_us, place, gather=trigger not in (1, 2) or not n)
                    if trigger in (1, 2) and 0 < n <= len(rospec.reads):
                        self._report(rospec)
            if time.monotonic() - last_report >= every_s > 0:
                self._report(rospec)
                last_report = time.monotonic()
        if trigger in AT_AISPEC_END:
            self._report(rospec)
        self._tell(AISPEC_EVENT, AISpecEvent={"Event": 0, "ROSpecID": rospec.id, "SpecIndex": place})

    def _note(self, rospec: RoSpec, answer: Answer, now_us: int, place: int, gather: bool) -> None:
        """Keeps a read for the next report; where reports are not counted in tags, repeated reads become one."""
        for read in rospec.reads if gather else ():
            if read.answer.epc == answer.epc and read.answer.antenna == answer.antenna:
                read.times += 1
                read.last_us = now_us
                if answer.rssi_dbm > read.answer.rssi_dbm:
                    read.answer = answer
                return
        rospec.reads.append(Read(answer, now_us, now_us, place))

    def _report_spec(self, rospec: RoSpec) -> Element:
        return rospec.spec.child("ROReportSpec") or self._config["ROReportSpec"][0]

    def _report(self, rospec: RoSpec) -> None:
        """Tells the client what was read; without one it is lost: this reader keeps no reports for the next client."""
        tags = self._collect(rospec)
        if self._session is not None:
            for at in range(0, len(tags), TAGS_A_REPORT):
                self._session.news(Element("ROAccessReport", {}, tuple(tags[at : at + TAGS_A_REPORT])))
                self.reported += len(tags[at : at + TAGS_A_REPORT])

    def _collect(self, rospec: RoSpec) -> list[Element]:
        report = self._report_spec(rospec)
        content = report.child("TagReportContentSelector") or Element("TagReportContentSelector")
        extras = impinj_contents(report)
        reads, rospec.reads = rospec.reads, []
        return [tag_report(rospec.id, read, content, extras) for read in reads]


_Order = Callable[[SimulatedLlrpReader, Element], list[Element]]
_ORDERS: dict[str, _Order] = {
    "GetReaderCapabilities": SimulatedLlrpReader._get_capabilities,
    "GetReaderConfig": SimulatedLlrpReader._get_config,
    "SetReaderConfig": SimulatedLlrpReader._set_config,
    "AddROSpec": SimulatedLlrpReader._add,
    "DeleteROSpec": SimulatedLlrpReader._delete,
    "StartROSpec": SimulatedLlrpReader._start_ordered,
    "StopROSpec": SimulatedLlrpReader._stop_ordered,
    "EnableROSpec": SimulatedLlrpReader._enable,
    "DisableROSpec": SimulatedLlrpReader._disable,
    "GetROSpecs": SimulatedLlrpReader._get_rospecs,
    "AddAccessSpec": SimulatedLlrpReader._add_access,
    "DeleteAccessSpec": SimulatedLlrpReader._change_access,
    "EnableAccessSpec": SimulatedLlrpReader._change_access,
    "DisableAccessSpec": SimulatedLlrpReader._change_access,
    "GetAccessSpecs": SimulatedLlrpReader._get_access,
    "CloseConnection": SimulatedLlrpReader._close,
}
"""What is answered with a status."""


def _error(status: int, description: str) -> Element:
    return from_json("ErrorMessage", {"LLRPStatus": {"Status": status, "ErrorDescription": description}})


def _limits(aispec: Element) -> tuple[float, float]:
    """Reads and seconds after which an AISpec ends."""
    stop = aispec.child("AISpecStopTrigger")
    if stop is None:
        return math.inf, math.inf
    observation = stop.child("TagObservationTrigger")
    if stop.number("Trigger") == OBSERVATION and observation is not None:
        return observation.number("NumberOfTags") or math.inf, observation.number("Timeout") / 1000 or math.inf
    return math.inf, stop.number("DurationTriggerValue") / 1000 if stop.number("Trigger") == DURATION else math.inf
