"""The node's LLRP client against a reader on the wire: it reads, and comes back from whatever a reader does to it."""

import asyncio
import json
import logging
import math
from contextlib import asynccontextmanager

import pytest

from contract.clock import SystemClock
from edge.frames.llrp.codec import Element, Framer, encode_message
from edge.frames.llrp.orders import rospec
from edge.frames.llrp.view import Json, from_json
from edge.settings import Llrp
from edge.sources.llrp import LlrpSource
from edge.tags import TagRead
from simulators.llrp_limits import capabilities
from simulators.llrp_reader import SimulatedLlrpReader
from simulators.llrp_tags import ScriptedTag, scripted

TAGS = [
    ScriptedTag(bytes.fromhex("3074257bf7194e4000001a85"), 1, -48.25, phase_rad=math.pi, doppler_hz=-2.5),
    ScriptedTag(bytes.fromhex("3074257bf7194e4000001a86"), 2, -61.0),
    ScriptedTag(bytes.fromhex("3074257bf7194e4000001a8700000000"), 4, -70.5),  # EPC-128
]


async def until(condition, seconds=8.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # what is waited for changes by callbacks of many kinds
            await asyncio.sleep(0.005)


class Heard(list[TagRead]):
    """What a source handed on, and its health."""

    source: LlrpSource

    def trouble(self):
        return self.source.health().detail

    async def more(self):
        """Waits until it is set up and reads: a ROSpec of the connection before may tell tags earlier."""
        before = len(self)
        await until(lambda: len(self) > before and self.source.health().state != "down")


@asynccontextmanager
async def reading(port, folder=None, **settings):
    heard = Heard()
    given = {"name": "door", "host": "127.0.0.1", "port": port, "timeout_s": 2.0, **settings}
    heard.source = LlrpSource(Llrp(**given), heard.extend, SystemClock(), *([folder] if folder else []))
    task = asyncio.create_task(heard.source.run())
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def fake_reader(answer, hang_up_after=""):
    """A server that says what `answer(None)` gives, then answers each message with the bytes of `answer(frame)`."""
    connections: set[asyncio.Task[object]] = set()

    async def serve(stream, writer):
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        framer = Framer()
        try:
            writer.write(answer(None))
            while data := await stream.read(4096):
                for frame in framer.feed(data):
                    writer.write(answer(frame))
                    if frame.name == hang_up_after:
                        return
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


def greeting(status=0):
    data = {"UTCTimestamp": 1, "ConnectionAttemptEvent": status}
    return encode_message(from_json("ReaderEventNotification", {"ReaderEventNotificationData": data}))


def willing(frame):
    """Agrees to all, and never says anything by itself."""
    if frame is None:
        return greeting()
    if frame.name == "EnableEventsAndReports":
        return b""
    told = tuple(capabilities(0, False, 4)) if frame.name == "GetReaderCapabilities" else ()
    return encode_message(Element(f"{frame.name}Response", {}, (from_json("LLRPStatus", {}), *told)), frame.id)


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# -- reading


def test_an_impinj_reader_tells_rssi_phase_and_doppler():
    async def scenario():
        async with SimulatedLlrpReader(scripted(TAGS), round_s=0.01) as reader, reading(reader.port) as heard:
            began_us = SystemClock().now_us()
            await until(lambda: len(heard) >= 30)
            by_epc = {read.epc: read for read in heard}
            assert {epc: (read.antenna, read.rssi, read.count) for epc, read in by_epc.items()} == {
                tag.epc: (f"door/{tag.antenna}", tag.rssi_dbm, 1) for tag in TAGS
            }
            first = by_epc[TAGS[0].epc]
            assert first.phase_rad == pytest.approx(math.pi, abs=0.001)
            assert first.doppler_hz == -2.5
            assert all(began_us - 1_000_000 <= read.at_us <= SystemClock().now_us() for read in heard)
            health = heard.source.health()
            assert (health.state, health.restarts) == ("ok", 0)
            assert health.heard == len(heard)
            assert health.per_s > 0
            assert health.detail == "Impinj model 2001002, firmware 5.14.0.240, 4 antennas"

    asyncio.run(scenario())


def test_another_makers_reader_is_read_without_extensions():
    async def scenario():
        async with (
            SimulatedLlrpReader(scripted(TAGS), impinj=False, round_s=0.01) as reader,
            reading(reader.port, antennas=(2, 3), tx_power_dbm=20.0, session=0, mode=1002) as heard,
        ):
            await until(lambda: len(heard) >= 5)
            assert {(read.epc, read.antenna, read.rssi, read.phase_rad, read.doppler_hz) for read in heard} == {
                (TAGS[1].epc, "door/2", -61.0, None, None)
            }
            assert "CustomMessage" not in reader.received
            transmitter = reader.rospecs[1].spec.child(
                "AISpec", "InventoryParameterSpec", "AntennaConfiguration", "RFTransmitter"
            )
            assert transmitter is not None
            assert transmitter.number("TransmitPowerIndex") == 41  # 10 dBm and 40 steps of 0.25

    asyncio.run(scenario())


def test_an_empty_field_is_silence_and_no_trouble():
    async def scenario():
        async with (
            SimulatedLlrpReader(scripted([]), round_s=0.01) as reader,
            reading(reader.port, keepalive_s=0.1) as heard,
        ):
            # Long past the three keepalives after which a reader is given up.
            await until(lambda: reader.received.count("KeepAliveAck") >= 6)
            health = heard.source.health()
            assert (health.state, health.heard, health.restarts) == ("silent", 0, 0)

    asyncio.run(scenario())


def test_a_rospec_of_ones_own_is_used_and_started_where_it_waits_for_that(tmp_path):
    boundary = {"StartTrigger": {"Trigger": 0}, "StopTrigger": {}}
    spec = rospec(antennas=(2,), report_every=4) | {"ROSpecID": 77, "ROBoundarySpec": boundary}
    (tmp_path / "mine.json").write_text(json.dumps(spec))

    async def scenario():
        async with (
            SimulatedLlrpReader(scripted(TAGS), round_s=0.01) as reader,
            reading(reader.port, tmp_path, rospec_file="mine.json") as heard,
        ):
            await until(lambda: len(heard) >= 8)
            assert "StartROSpec" in reader.received
            assert [*reader.rospecs] == [77]
            assert len(heard) % 4 == 0

    asyncio.run(scenario())


def test_a_source_that_ends_leaves_no_reader_radiating():
    async def scenario():
        async with SimulatedLlrpReader(scripted(TAGS), round_s=0.01) as reader:
            async with reading(reader.port) as heard:
                await heard.more()
                assert reader.rospecs
            await until(lambda: not reader.connected)
            assert reader.rospecs == {}

    asyncio.run(scenario())


# -- trouble


def test_a_broken_connection_is_made_again():
    async def scenario():
        async with SimulatedLlrpReader(scripted(TAGS), round_s=0.01) as reader, reading(reader.port) as heard:
            for restarts in (1, 2):
                await heard.more()
                reader.drop()
                await until(lambda: heard.source.health().state == "down")
                await heard.more()
                assert heard.source.health().restarts == restarts

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it does not speak LLRP: a header of"),
        (encode_message(Element("KeepAlive"))[:4], "it hung up in the middle of a message"),
        (b"", "it hung up"),
    ],
)
def test_garbage_half_a_message_and_hanging_up_are_said_and_tried_again(said, trouble, caplog):
    def answer(frame):
        return said if frame is not None and frame.name == "EnableEventsAndReports" else willing(frame)

    async def scenario():
        async with fake_reader(answer, hang_up_after="EnableEventsAndReports") as port, reading(port) as heard:
            await until(lambda: heard.trouble().startswith(trouble) and heard.source.health().state == "down")
            await until(lambda: heard.source.health().restarts >= 1)

    asyncio.run(scenario())
    assert trouble in warnings(caplog)[0]
    assert warnings(caplog)[0].endswith("; trying again")


def test_garbage_instead_of_a_greeting_is_said(caplog):
    async def scenario():
        async with fake_reader(lambda frame: b"SSH-2.0-OpenSSH_9.2\r\n") as port, reading(port) as heard:
            await until(lambda: "does not speak LLRP" in heard.trouble())
            assert heard.source.health().state == "down"

    asyncio.run(scenario())


def test_a_reader_that_serves_another_client_is_waited_for():
    async def scenario():
        async with SimulatedLlrpReader(scripted(TAGS), round_s=0.01) as reader:
            async with reading(reader.port) as first:
                await first.more()
                late = Heard()
                late.source = LlrpSource(
                    Llrp(name="late", host="127.0.0.1", port=reader.port), late.extend, SystemClock()
                )
                task = asyncio.create_task(late.source.run())
                await until(lambda: late.trouble() == "it refuses the connection: it serves another client already")
                assert late.source.health().state == "down"
                await first.more()  # which is not disturbed
                assert first.source.health().restarts == 0
            await late.more()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())


def test_an_order_that_is_refused_is_told_in_the_readers_words(caplog):
    async def scenario():
        async with SimulatedLlrpReader(scripted(TAGS)) as reader, reading(reader.port, mode=77) as heard:
            await until(lambda: heard.source.health().state == "down" and "refuses" in heard.trouble())
            assert heard.trouble() == (
                "it refuses AddROSpec: parameter error, no such RF mode, C1G2RFControl: "
                "error in a parameter's field, field 0: invalid value"
            )
            assert reader.rospecs == {}

    asyncio.run(scenario())


def test_an_antenna_that_the_reader_does_not_have_is_told():
    async def scenario():
        async with (
            SimulatedLlrpReader(scripted(TAGS), antennas=2) as reader,
            reading(reader.port, antennas=(3,)) as heard,
        ):
            await until(lambda: heard.trouble() == "antenna 3 is asked for, it has 2")

    asyncio.run(scenario())


@pytest.mark.parametrize("known_id", [True, False], ids=["with its id", "with id 0"])
def test_an_error_message_for_an_answer_is_told(known_id):
    def answer(frame):
        if frame is not None and frame.name == "SetReaderConfig":
            status = {"Status": 110, "ErrorDescription": "upgrade me"}
            return encode_message(from_json("ErrorMessage", {"LLRPStatus": status}), frame.id if known_id else 0)
        return willing(frame)

    async def scenario():
        async with fake_reader(answer) as port, reading(port) as heard:
            await until(lambda: heard.trouble() == "it refuses SetReaderConfig: unsupported version, upgrade me")

    asyncio.run(scenario())


def test_a_reader_that_refuses_its_extensions_is_read_without():
    def answer(frame):
        if frame is not None and frame.name == "GetReaderCapabilities":
            told = (from_json("LLRPStatus", {}), *capabilities(0, True, 4))
            return encode_message(Element("GetReaderCapabilitiesResponse", {}, told), frame.id)
        if frame is not None and frame.name == "CustomMessage":
            return encode_message(from_json("ErrorMessage", {"LLRPStatus": {"Status": 109}}), frame.id)
        return willing(frame)

    async def scenario():
        async with fake_reader(answer) as port, reading(port) as heard:
            await until(lambda: heard.source.health().state == "silent")

    asyncio.run(scenario())


def test_answers_that_do_not_come_are_not_awaited_for_ever():
    async def scenario():
        async with fake_reader(lambda frame: b"") as port, reading(port, timeout_s=0.1) as heard:
            await until(lambda: heard.trouble() == "no LLRP greeting for 0.1 s")
        async with (
            fake_reader(lambda frame: b"" if frame else greeting()) as port,
            reading(port, timeout_s=0.1) as heard,
        ):
            await until(lambda: heard.trouble() == "no answer to GetReaderCapabilities for 0.1 s")

    asyncio.run(scenario())


def test_a_reader_without_signs_of_life_is_given_up():
    async def scenario():
        async with fake_reader(willing) as port, reading(port, keepalive_s=0.1) as heard:
            await until(lambda: heard.source.health().restarts >= 1)

    asyncio.run(scenario())


def test_an_answer_that_cannot_be_read_is_told():
    def answer(frame):
        if frame is not None and frame.name == "DeleteROSpec":
            return encode_message(Element("DeleteROSpecResponse", {}, ()), frame.id)
        return willing(frame)

    async def scenario():
        async with fake_reader(answer) as port, reading(port) as heard:
            await until(lambda: heard.trouble() == "it refuses DeleteROSpec: no LLRPStatus in its answer")

    asyncio.run(scenario())


def test_a_reader_that_ends_the_inventory_is_set_up_again():
    async def scenario():
        async with SimulatedLlrpReader(scripted(TAGS), round_s=0.01) as reader, reading(reader.port) as heard:
            await heard.more()
            reader.give_up(1)
            await until(lambda: heard.trouble() == "it stopped reading")
            await heard.more()
            assert heard.source.health().restarts == 1

    asyncio.run(scenario())


def test_an_antenna_that_is_unplugged_stands_in_the_health():
    async def scenario():
        async with SimulatedLlrpReader(scripted(TAGS), round_s=0.01) as reader, reading(reader.port) as heard:
            await heard.more()
            reader.plug(3, False)
            await until(lambda: heard.trouble().endswith("; antenna 3 disconnected"))
            reader.plug(3, True)
            await until(lambda: heard.trouble().endswith("4 antennas"))

    asyncio.run(scenario())


def test_what_the_reader_complains_of_is_logged_and_reading_goes_on(caplog):
    events: list[Json] = [
        {"ReportBufferOverflowErrorEvent": {}},
        {"ReaderExceptionEvent": {"Message": "antenna\n2 hot"}},
        {"ConnectionAttemptEvent": 4},
    ]

    async def scenario():
        async with SimulatedLlrpReader(scripted(TAGS), round_s=0.01) as reader, reading(reader.port) as heard:
            await heard.more()
            for event in events:
                data: Json = {"ReaderEventNotificationData": {"UTCTimestamp": 1, **event}}
                reader.say(encode_message(from_json("ReaderEventNotification", data)))
            reader.say(encode_message(from_json("ErrorMessage", {"LLRPStatus": {"Status": 101}}), 999))
            await until(lambda: any("complains" in text for text in warnings(caplog)))
            await heard.more()
            assert heard.source.health().restarts == 0

    asyncio.run(scenario())
    assert warnings(caplog) == [
        "reader door lost reads: its memory is full",
        "reader door: antenna 2 hot",
        "reader door complains of field error",
    ]


def test_a_reader_that_says_goodbye_is_connected_again():
    async def scenario():
        async with SimulatedLlrpReader(scripted(TAGS), round_s=0.01) as reader, reading(reader.port) as heard:
            await heard.more()
            data = {"ReaderEventNotificationData": {"UTCTimestamp": 1, "ConnectionCloseEvent": {}}}
            reader.say(encode_message(from_json("ReaderEventNotification", data)))
            await until(lambda: heard.source.health().restarts == 1)
            await heard.more()

    asyncio.run(scenario())


def test_a_reader_that_is_not_there_is_said_once(caplog, unused_port):
    async def scenario():
        async with reading(unused_port) as heard:
            await until(lambda: "cannot be reached" in heard.trouble())
            async with SimulatedLlrpReader(scripted(TAGS), round_s=0.01, port=unused_port):
                await heard.more()  # tried again, more than once perhaps

    asyncio.run(scenario())
    assert len(warnings(caplog)) == 1
    assert "cannot be reached" in warnings(caplog)[0]


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def test_no_epc_is_in_any_log_line(caplog):
    caplog.set_level(logging.DEBUG)

    async def scenario():
        async with SimulatedLlrpReader(scripted(TAGS), round_s=0.01) as reader, reading(reader.port) as heard:
            await heard.more()
            reader.drop()
            await until(lambda: heard.source.health().state == "down")
            await heard.more()

    asyncio.run(scenario())
    assert caplog.records
    assert not any(tag.epc.hex() in record.getMessage().lower() for record in caplog.records for tag in TAGS)
