"""The simulated reader does what the standard says, order by order, and refuses what cannot be."""

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest

from edge.frames.llrp.codec import Element, Framer, decode, encode_frame, encode_message
from edge.frames.llrp.orders import failure, impinj_enable_extensions, reader_config, rospec
from edge.frames.llrp.tables import BY_NAME
from edge.frames.llrp.view import from_json, to_json
from simulators.llrp_reader import SimulatedLlrpReader
from simulators.llrp_tags import ScriptedTag, scripted

NULL_START, DISABLED, INACTIVE, ACTIVE = 0, 0, 1, 2
TAGS = [ScriptedTag(bytes(11) + bytes([at]), 1 + at % 4, -40.0 - at) for at in range(4)]


class Client:
    """Sends and receives messages, one after the other."""

    def __init__(self, stream, writer):
        self._stream, self._writer, self._framer, self._id = stream, writer, Framer(), 0
        self._waiting = []
        self.news = []
        """Messages that were no answers."""

    async def frame(self):
        async with asyncio.timeout(5):
            while not self._waiting:
                data = await self._stream.read(4096)
                if not data:
                    raise EOFError
                self._waiting += self._framer.feed(data)
        return self._waiting.pop(0)

    async def message(self, name):
        """The next one of a name."""
        while True:
            frame = await self.frame()
            message = found(decode(frame.type, frame.payload))
            if message.name == name:
                return message
            self.news.append(message)

    async def ask(self, name, **told):
        return await self.order(from_json(name, told))

    async def order(self, order):
        self._id += 1
        self._writer.write(encode_message(order, self._id))
        return await self._answer()

    async def raw(self, data):
        self._id += 1
        self._writer.write(data)
        return await self._answer()

    async def _answer(self):
        while True:
            frame = await self.frame()
            message = found(decode(frame.type, frame.payload))
            if frame.name not in ("ROAccessReport", "ReaderEventNotification", "KeepAlive"):
                assert frame.id == self._id
                return message
            self.news.append(message)

    def tell(self, name):
        self._writer.write(encode_message(Element(name)))

    async def state(self):
        specs = (await self.ask("GetROSpecs")).all("ROSpec")
        return [spec.number("ROSpecCurrentState") for spec in specs]


@asynccontextmanager
async def connected(reader):
    stream, writer = await asyncio.open_connection("127.0.0.1", reader.port)
    try:
        yield Client(stream, writer)
    finally:
        writer.close()


@asynccontextmanager
async def served(tags=TAGS, **settings):
    async with SimulatedLlrpReader(scripted(tags), round_s=0.005, **settings) as reader, connected(reader) as client:
        greeting = await client.message("ReaderEventNotification")
        attempt = greeting.child("ReaderEventNotificationData", "ConnectionAttemptEvent")
        assert attempt is not None and attempt.number("Event") == 0
        yield reader, client


def spec(trigger=NULL_START, report=None, **settings):
    # Any: JSON, whose inner objects the tests change.
    told: dict[str, Any] = rospec(**settings)
    told["ROBoundarySpec"]["StartTrigger"]["Trigger"] = trigger
    told["ROReportSpec"] |= report or {}
    return told


def found(element: Element | None) -> Element:
    """What must be there."""
    assert element is not None
    return element


def test_a_rospec_goes_through_its_states():
    async def scenario():
        async with served() as (_, client):
            assert await client.state() == []
            assert failure(await client.ask("AddROSpec", ROSpec=spec())) == ""
            assert await client.state() == [DISABLED]
            assert "ROSpec 1 is disabled" in failure(await client.ask("StartROSpec", ROSpecID=1))
            assert failure(await client.ask("EnableROSpec", ROSpecID=1)) == ""
            assert await client.state() == [INACTIVE]
            assert "is not active" in failure(await client.ask("StopROSpec", ROSpecID=1))
            assert failure(await client.ask("StartROSpec", ROSpecID=1)) == ""
            assert await client.state() == [ACTIVE]
            await client.message("ROAccessReport")
            assert failure(await client.ask("StopROSpec", ROSpecID=1)) == ""
            assert await client.state() == [INACTIVE]
            assert failure(await client.ask("DisableROSpec", ROSpecID=0)) == ""
            assert await client.state() == [DISABLED]
            assert failure(await client.ask("DeleteROSpec", ROSpecID=0)) == ""
            assert await client.state() == []
            assert failure(await client.ask("DeleteROSpec", ROSpecID=0)) == ""  # all of none
            assert "there is no ROSpec 1" in failure(await client.ask("DeleteROSpec", ROSpecID=1))

    asyncio.run(scenario())


def test_an_immediate_start_trigger_starts_it_with_the_enabling_and_the_answer_comes_first():
    async def scenario():
        async with served() as (_, client):
            await client.ask("AddROSpec", ROSpec=spec(trigger=1))
            assert client.news == []
            await client.ask("EnableROSpec", ROSpecID=1)
            assert client.news == []
            await client.message("ROAccessReport")
            assert await client.state() == [ACTIVE]

    asyncio.run(scenario())


def test_a_duration_ends_it():
    async def scenario():
        async with served() as (_, client):
            told = spec(trigger=1)
            told["ROBoundarySpec"]["StopTrigger"] = {"Trigger": 1, "DurationTriggerValue": 30}
            config = reader_config(60_000)
            await client.ask("SetReaderConfig", **config)
            await client.ask("AddROSpec", ROSpec=told)
            await client.ask("EnableROSpec", ROSpecID=1)
            events: list[int] = []
            while not events or events[-1] != 1:
                event = await client.message("ReaderEventNotification")
                events.append(event.child("ReaderEventNotificationData", "ROSpecEvent").number("Event"))
            assert events == [0, 1]
            assert await client.state() == [INACTIVE]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("report", "sizes"),
    [
        ({"Trigger": 1, "N": 1}, {1}),
        ({"Trigger": 1, "N": 7}, {7}),
        ({"Trigger": 6, "N": 20}, {4}),  # every 20 ms: each of the 4 tags once, with a count
    ],
)
def test_reports_come_as_they_were_asked_for(report, sizes):
    async def scenario():
        async with served() as (_, client):
            await client.ask("AddROSpec", ROSpec=spec(trigger=1, report=report))
            await client.ask("EnableROSpec", ROSpecID=1)
            reports = [await client.message("ROAccessReport") for _ in range(4)]
            assert {len(told.all("TagReportData")) for told in reports} == sizes
            if report["Trigger"] == 6:
                first = reports[0].all("TagReportData")[0]
                assert first.child("TagSeenCount").number("TagSeenCount") > 1

    asyncio.run(scenario())


def test_without_a_report_trigger_reports_are_fetched():
    async def scenario():
        async with served() as (_, client):
            await client.ask("AddROSpec", ROSpec=spec(trigger=1, report={"Trigger": 0, "N": 0}))
            await client.ask("EnableROSpec", ROSpecID=1)
            tags = 0
            while not tags:
                client.tell("GetReport")
                report = await client.message("ROAccessReport")
                tags = len(report.all("TagReportData"))
            assert tags == len(TAGS)

    asyncio.run(scenario())


def test_tags_come_and_go_and_antennas_hear_their_own():
    # the field is asked by the clock: tags in reach before 1,000 or after, as their script says
    class Clock:
        at_us = 0
        trusted = True

        def now_us(self):
            return self.at_us

    clock = Clock()
    early = ScriptedTag(bytes(12), 1, until_us=1_000)
    late = ScriptedTag(bytes(11) + b"\x01", 1, from_us=1_000)
    elsewhere = ScriptedTag(bytes(11) + b"\x02", 2)

    async def scenario():
        async with served([early, late, elsewhere], clock=clock) as (_, client):
            await client.ask("AddROSpec", ROSpec=spec(trigger=1, antennas=(1,)))
            await client.ask("EnableROSpec", ROSpecID=1)

            async def tag():
                report = await client.message("ROAccessReport")
                return report.child("TagReportData", "EPC96").data("EPC")

            assert [await tag() for _ in range(3)] == [early.epc] * 3
            clock.at_us = 1_000
            seen = {await tag() for _ in range(10)}
            assert seen <= {early.epc, late.epc}
            assert [await tag() for _ in range(3)] == [late.epc] * 3

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda told: told.update(ROSpecID=0), "ROSpecID 0"),
        (lambda told: told.update(ROSpecCurrentState=1), "a ROSpec is added disabled"),
        (lambda told: told.update(AISpecs=None), "a ROSpec without an AISpec"),
        (lambda told: told["AISpecs"][0].update(AntennaIDs=[5]), "antennas are 1 to 4"),
        (
            lambda told: told["ROBoundarySpec"]["StartTrigger"].update(Trigger=2),
            "start triggers are null and immediate",
        ),
        (
            lambda told: told.update(Unknown=[{"Type": 900, "Data": "AA=="}]),
            "unknown parameter, parameter 900 in ROSpec",
        ),
        (lambda told: told["ROReportSpec"].update(Custom=spec(impinj=True)["ROReportSpec"]["Custom"]), "extensions"),
    ],
)
def test_a_rospec_that_cannot_be_done_is_refused_with_the_reason(change, complaint):
    async def scenario():
        async with served() as (reader, client):
            told = spec()
            change(told)
            assert complaint in failure(await client.ask("AddROSpec", ROSpec=told))
            assert reader.rospecs == {}

    asyncio.run(scenario())


def test_there_is_room_for_one_rospec_and_for_none_of_its_name():
    async def scenario():
        async with served() as (_, client):
            await client.ask("AddROSpec", ROSpec=spec())
            assert "ROSpec 1 is there already" in failure(await client.ask("AddROSpec", ROSpec=spec()))
            assert "at most 1 ROSpec" in failure(await client.ask("AddROSpec", ROSpec=spec() | {"ROSpecID": 2}))

    asyncio.run(scenario())


def test_extensions_are_enabled_by_the_makers_message_and_only_at_the_maker():
    async def scenario():
        async with served() as (_, client):
            answer = await client.order(impinj_enable_extensions())
            assert (answer.name, answer.number("MessageSubtype"), failure(answer)) == ("CustomMessage", 22, "")
            assert failure(await client.ask("AddROSpec", ROSpec=spec(impinj=True))) == ""
        async with served(impinj=False) as (_, client):
            answer = await client.order(impinj_enable_extensions())
            assert answer.name == "ErrorMessage"

    asyncio.run(scenario())


def test_capabilities_and_configuration_are_told_in_parts():
    async def scenario():
        async with served() as (_, client):
            parts = []
            for wanted in range(5):
                answer = await client.ask("GetReaderCapabilities", ReaderCapabilitiesRequestedData=wanted)
                parts.append([child.name for child in answer.children[1:]])
            assert parts[0] == [name for part in parts[1:] for name in part]
            await client.ask("SetReaderConfig", **reader_config(1_234))
            whole: dict[str, Any] = to_json(await client.ask("GetReaderConfig"))
            assert whole["KeepAliveSpec"] == {"Trigger": 1, "Interval": 1_234}
            states = whole["ReaderEventNotificationSpec"]["EventNotificationStates"]
            assert [state["ReaderEventType"] for state in states if state["NotificationEnabled"]] == [2, 3, 4, 8]
            assert len(whole["AntennaProperties"]) == 4
            one: dict[str, Any] = to_json(await client.ask("GetReaderConfig", RequestedData=3, AntennaID=2))
            assert [antenna["AntennaID"] for antenna in one["AntennaConfigurations"]] == [2]
            assert one["KeepAliveSpec"] is None
            await client.ask("SetReaderConfig", ResetToFactoryDefaults=True)
            reset: dict[str, Any] = to_json(await client.ask("GetReaderConfig"))
            assert reset["KeepAliveSpec"]["Interval"] == 0

    asyncio.run(scenario())


def test_what_is_held_back_comes_after_the_word_and_signs_of_life_come_always():
    async def scenario():
        async with SimulatedLlrpReader(scripted(TAGS), round_s=0.005) as reader:
            async with connected(reader) as client:
                await client.message("ReaderEventNotification")
                config = reader_config(20) | {"EventsAndReports": True}
                await client.ask("SetReaderConfig", **config)
                await client.ask("AddROSpec", ROSpec=spec(trigger=1))
                await client.ask("EnableROSpec", ROSpecID=1)
                await client.message("ROAccessReport")  # held back from the next connection on
            async with asyncio.timeout(5):
                while reader.connected:  # noqa: ASYNC110  # the other end makes it so
                    await asyncio.sleep(0.005)
            async with connected(reader) as client:
                await client.message("ReaderEventNotification")
                for _ in range(3):
                    await client.message("KeepAlive")
                assert await client.state() == [ACTIVE]
                assert client.news == []
                client.tell("EnableEventsAndReports")
                await client.message("ROAccessReport")

    asyncio.run(scenario())


def test_a_second_client_is_refused_and_the_first_one_told():
    async def scenario():
        async with served() as (reader, client):
            async with connected(reader) as second:
                refusal = await second.message("ReaderEventNotification")
                assert refusal.child("ReaderEventNotificationData", "ConnectionAttemptEvent").number("Event") == 2
                with pytest.raises(EOFError):
                    await second.frame()
            told = await client.message("ReaderEventNotification")
            assert told.child("ReaderEventNotificationData", "ConnectionAttemptEvent").number("Event") == 4
            assert failure(await client.ask("GetROSpecs")) == ""

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("type_", "payload", "version", "status"),
    [
        (999, b"", 1, "unsupported message"),
        (BY_NAME["ROAccessReport"].number, b"", 1, "unsupported message"),  # readers send these
        (BY_NAME["DeleteROSpec"].number, b"?", 1, "parameter error"),
        (BY_NAME["GetROSpecs"].number, b"", 2, "unsupported version"),
        (BY_NAME["GetSupportedVersion"].number, b"", 1, "unsupported version"),
    ],
)
def test_what_it_does_not_speak_is_answered_with_an_error_message(type_, payload, version, status):
    async def scenario():
        async with served() as (_, client):
            answer = await client.raw(encode_frame(type_, 1, payload, version))
            assert answer.name == "ErrorMessage"
            assert failure(answer).startswith(status)

    asyncio.run(scenario())


def test_a_required_parameter_that_is_missing_is_named():
    async def scenario():
        async with served() as (_, client):
            assert "AddROSpec without ROSpec" in failure(await client.order(Element("AddROSpec")))

    asyncio.run(scenario())


def test_access_specs_are_kept():
    access = {
        "AccessSpecID": 5,
        "AirProtocolID": 1,
        "Trigger": {},
        "AccessCommand": {"C1G2TagSpec": {"TagPattern1": {}}, "C1G2Read": {"OpSpecID": 1, "WordCount": 2}},
    }

    async def scenario():
        async with served() as (_, client):
            assert failure(await client.ask("AddAccessSpec", AccessSpec=access)) == ""
            assert "is there already" in failure(await client.ask("AddAccessSpec", AccessSpec=access))
            assert failure(await client.ask("EnableAccessSpec", AccessSpecID=5)) == ""
            (kept,) = (await client.ask("GetAccessSpecs")).all("AccessSpec")
            assert kept.number("IsActive")
            assert failure(await client.ask("DeleteAccessSpec", AccessSpecID=0)) == ""
            assert "there is no AccessSpec 5" in failure(await client.ask("DisableAccessSpec", AccessSpecID=5))

    asyncio.run(scenario())


def test_a_client_that_closes_the_connection_is_answered_first():
    async def scenario():
        async with served() as (_, client):
            assert failure(await client.ask("CloseConnection")) == ""
            with pytest.raises(EOFError):
                await client.frame()

    asyncio.run(scenario())
