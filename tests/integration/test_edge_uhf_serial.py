"""A serial UHF module on a pty: set up, read, unplugged, silent, noisy; the source says it once and comes back."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from contract.clock import SimulatedClock
from edge.frames import uhf_serial as uhf
from edge.frames.uhf_serial import Command
from edge.settings import UhfSerial
from edge.sources import uhf_serial as source_module
from edge.sources.uhf_serial import UhfSerialSource
from edge.tags import TagRead
from simulators.uhf_module import FieldTag, UhfModule

EPC = bytes.fromhex("3034257bf7194e4000001a85")
CLOCK = SimulatedClock(1_790_000_000_000_000, 0, 0.0)


def one_tag() -> list[FieldTag]:
    return [FieldTag(EPC, -52)]


def nothing() -> list[FieldTag]:
    return []


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("ANSWER_S", 0.3), ("RETRY_FIRST_S", 0.05), ("SILENT_S", 0.3), ("IDLE_S", 0.05)):
        monkeypatch.setattr(source_module, name, seconds)


@asynccontextmanager
async def running(settings: UhfSerial) -> AsyncIterator[tuple[UhfSerialSource, list[TagRead]]]:
    heard: list[TagRead] = []

    def take(reads: Sequence[TagRead]) -> None:
        heard.extend(reads)

    source = UhfSerialSource(settings, take, CLOCK)
    task = asyncio.create_task(source.run())
    try:
        yield source, heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()


async def until(condition: Callable[[], object], what: str, within_s: float = 20.0) -> None:
    try:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110  # what it waits for lies in another thread
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"not within {within_s:g} s: {what}")


def test_a_module_is_set_up_polled_and_stopped_at_the_end() -> None:
    async def scene() -> None:
        with UhfModule(one_tag, baud=115_200) as module:
            settings = UhfSerial(name="shelf", port=module.port, region="us", power_dbm=18.5, session=1, q=5)
            async with running(settings) as (source, heard):
                await until(lambda: len(heard) >= 5, "five reads")
                assert heard[0] == TagRead(CLOCK.start_us, EPC, "shelf/1", -52.0)
                assert source.name == "rfid.shelf"
                health = source.health()
                assert (health.state, health.restarts, health.heard >= 5) == ("ok", 0, True)
                assert health.detail == f"M100 26dBm V1.0 on {module.port}, 0 resyncs, 0 bad CRC"
            told = [uhf.stop_poll(), uhf.info(), uhf.set_region("us"), uhf.set_power(18.5), uhf.set_query(1, 5)]
            assert module.commands[:6] == [*told, uhf.multiple_poll()]
            await until(lambda: module.rounds == 0, "the module stops when the node ends")

    asyncio.run(scene())


def test_of_20_000_frames_with_noise_only_the_destroyed_are_lost() -> None:
    draw = random.Random(5)
    epcs = [draw.randbytes(12) for _ in range(50)]
    rounds = iter([[FieldTag(epc, -60) for epc in epcs]] * 400)

    async def scene() -> None:
        with UhfModule(lambda: next(rounds, []), rounds_per_s=400, noise=0.005, damage=0.005, seed=11) as module:
            async with running(UhfSerial(name="door", port=module.port)) as (source, heard):
                await until(lambda: module.told == 20_000, "all are told", 60)
                wanted = module.told - module.destroyed
                await until(lambda: len(heard) >= wanted, "all that is whole is heard")
                assert 50 < module.destroyed < 200
                assert (len(heard), source.bad_crc) == (wanted, 0)
                assert 0.5 * (module.noises + module.destroyed) < source.resyncs < 2 * module.noises + module.destroyed

    asyncio.run(scene())


def test_a_port_that_is_not_there_is_said_once_and_found_when_it_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    link = tmp_path / "reader"

    async def scene() -> None:
        async with running(UhfSerial(name="door", port=str(link))) as (source, heard):
            await until(lambda: "reader" in source.health().detail, "the port is missed")
            await asyncio.sleep(0.5)  # several tries
            assert source.health().state == "down"
            with UhfModule(one_tag, link=link):
                await until(lambda: heard, "reads once it is there")
                assert source.health().state == "ok"

    with caplog.at_level(logging.WARNING):
        asyncio.run(scene())
    missed = [record for record in caplog.records if "could not open" in record.getMessage()]
    assert len(missed) == 1


def test_a_module_unplugged_in_the_middle_is_used_again_when_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    link = tmp_path / "reader"

    async def scene() -> None:
        async with running(UhfSerial(name="door", port=str(link))) as (source, heard):
            with UhfModule(one_tag, link=link):
                await until(lambda: heard, "reads")
            await until(lambda: source.health().state == "down", "the loss is noticed")
            before = len(heard)
            with UhfModule(one_tag, link=link):
                await until(lambda: len(heard) > before, "reads again")
                assert (source.health().state, source.restarts) == ("ok", 1)

    with caplog.at_level(logging.WARNING):
        asyncio.run(scene())
    assert 1 <= len(caplog.records) <= 3
    assert EPC.hex() not in caplog.text


def test_a_module_that_does_not_answer_is_named_with_its_speed() -> None:
    async def scene() -> None:
        with UhfModule(one_tag) as module:
            module.mute = True
            async with running(UhfSerial(name="door", port=module.port, baud=9600)) as (source, heard):
                await until(lambda: "no module answers" in source.health().detail, "it is said")
                assert source.health().detail == f"no module answers on {module.port} at 9600 baud"
                assert (source.health().state, heard) == ("down", [])
                module.mute = False
                await until(lambda: heard, "reads when it has power")

    asyncio.run(scene())


def test_a_module_that_refuses_a_setting_is_told_with_its_reason() -> None:
    async def scene() -> None:
        with UhfModule(one_tag) as module:
            module.refuse = 0x17
            async with running(UhfSerial(name="door", port=module.port)) as (source, _):
                await until(lambda: "refused" in source.health().detail, "it is said")
                assert source.health().detail == "the module refused INFO: unknown command or parameter"

    asyncio.run(scene())


def test_polling_that_ended_by_itself_is_begun_again() -> None:
    async def scene() -> None:
        with UhfModule(one_tag, rounds_per_s=500) as module:
            async with running(UhfSerial(name="door", port=module.port)) as (source, heard):
                await until(lambda: heard, "reads")
                module.rounds = 0  # what 65,535 rounds come to
                before = len(module.commands)
                await until(lambda: len(module.commands) > before, "it is asked again")
                assert module.commands[before].command == Command.MULTIPLE_POLL
                after = len(heard)
                await until(lambda: len(heard) > after, "reads again")
                assert source.restarts == 0

    asyncio.run(scene())


def test_an_empty_field_is_silent_and_not_down() -> None:
    async def scene() -> None:
        with UhfModule(nothing) as module:
            async with running(UhfSerial(name="door", port=module.port)) as (source, heard):
                await until(lambda: source.health().state == "silent", "set up")
                await asyncio.sleep(1.0)  # longer than any silence that would be taken for a fault
                assert (source.health().state, source.restarts, heard) == ("silent", 0, [])
                assert [frame.command for frame in module.commands].count(Command.MULTIPLE_POLL) == 1

    asyncio.run(scene())
