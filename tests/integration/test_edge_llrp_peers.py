"""The simulated reader as others see it: llrpkit and sllurp, two independent clients, read the right tags from it."""

import asyncio
import math
import threading

import pytest

from simulators.llrp_reader import SimulatedLlrpReader
from simulators.llrp_tags import ScriptedTag, scripted

TAGS = [
    ScriptedTag(bytes.fromhex("3074257bf7194e4000001a85"), 1, -48.25, phase_rad=math.pi, doppler_hz=-2.5),
    ScriptedTag(bytes.fromhex("3074257bf7194e4000001a86"), 2, -61.5, phase_rad=1.0),
    ScriptedTag(bytes.fromhex("3074257bf7194e4000001a8700000000"), 4, -70.75),  # EPC-128
]


def expected():
    return {(tag.epc.hex(), tag.antenna) for tag in TAGS}


def test_llrpkit_reads_the_right_tags_with_impinjs_content():
    from llrpkit import Reader

    async def scenario():
        async with SimulatedLlrpReader(scripted(TAGS), round_s=0.01) as reader:
            async with Reader("127.0.0.1", reader.port) as client:
                assert client.is_impinj
                assert client.max_antennas == 4
                assert client.capabilities.power_index_for_dbm(27.0) == 69
                for _ in range(2):  # a second inventory after the first one was deleted
                    found = {}
                    async for tag in client.inventory(
                        include_phase=True, include_doppler=True, tx_power_dbm=25.0, max_tags=30
                    ):
                        found[tag.epc_hex.lower()] = tag
                    assert {(epc, tag.antenna) for epc, tag in found.items()} == expected()
                    first = found[TAGS[0].epc.hex()]
                    assert first.rssi_dbm == pytest.approx(-48.25)
                    assert first.phase_deg == pytest.approx(180.0, abs=0.1)
                    assert first.doppler_hz == pytest.approx(-2.5)
                assert await client.get_config() is not None
                await client.set_keepalive(50)
            assert reader.rospecs == {}
            assert "ErrorMessage" not in reader.received

    asyncio.run(scenario())


def test_llrpkit_reads_from_a_reader_that_is_no_impinj():
    from llrpkit import Reader

    async def scenario():
        async with SimulatedLlrpReader(scripted(TAGS), impinj=False, round_s=0.01) as reader:
            async with Reader("127.0.0.1", reader.port) as client:
                assert not client.is_impinj
                found = {}
                async for tag in client.inventory(antennas=(1, 2), max_tags=20):
                    found[tag.epc_hex.lower()] = tag.rssi_dbm
                assert found == {TAGS[0].epc.hex(): -48, TAGS[1].epc.hex(): pytest.approx(-61.5, abs=0.51)}

    asyncio.run(scenario())


def test_llrpkit_is_refused_while_another_is_served():
    from llrpkit import LLRPClient, LLRPConnectionError

    async def scenario():
        async with SimulatedLlrpReader(scripted(TAGS)) as reader, LLRPClient("127.0.0.1", reader.port):
            with pytest.raises(LLRPConnectionError):
                await LLRPClient("127.0.0.1", reader.port).connect()

    asyncio.run(scenario())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # sllurp calls logger.warn
@pytest.mark.parametrize("extended", [False, True], ids=["plain", "with Impinj's content"])
def test_sllurp_reads_the_right_tags(extended):
    from sllurp.llrp import LLRPReaderClient, LLRPReaderConfig  # type: ignore[import-untyped]  # ships no types

    found, enough = [], threading.Event()

    def reported(_reader, tags):
        found.extend(tags)
        if len(found) >= 30:
            enough.set()

    settings = {
        "antennas": [1, 2, 3, 4],
        "report_every_n_tags": 3,
        "keepalive_interval": 100,
        "tag_content_selector": {
            "EnableAntennaID": True,
            "EnablePeakRSSI": True,
            "EnableFirstSeenTimestamp": True,
            "EnableTagSeenCount": True,
        },
    }
    if extended:
        settings["impinj_tag_content_selector"] = {
            "EnableRFPhaseAngle": True,
            "EnablePeakRSSI": True,
            "EnableRFDopplerFrequency": True,
        }

    async def scenario():
        async with SimulatedLlrpReader(scripted(TAGS), round_s=0.01) as reader:
            client = LLRPReaderClient("127.0.0.1", reader.port, LLRPReaderConfig(settings))
            client.add_tag_report_callback(reported)
            await asyncio.to_thread(client.connect)
            try:
                assert await asyncio.to_thread(enough.wait, 10)
                async with asyncio.timeout(5):
                    while "KeepAliveAck" not in reader.received:  # noqa: ASYNC110  # sllurp's thread makes it so
                        await asyncio.sleep(0.01)
            finally:
                await asyncio.to_thread(client.disconnect, 5)
            assert not client.is_alive()
            async with asyncio.timeout(5):
                while reader.connected:  # noqa: ASYNC110  # sllurp's thread makes it so
                    await asyncio.sleep(0.01)
            assert reader.rospecs == {}, "sllurp deletes all when it goes"

    asyncio.run(scenario())

    # sllurp calls every EPC "EPC", in hexadecimal digits as bytes.
    assert {(tag["EPC"].decode(), tag["AntennaID"]) for tag in found} == expected()
    first = next(tag for tag in found if tag["EPC"].decode() == TAGS[0].epc.hex())
    assert first["PeakRSSI"] == -48
    assert (first.get("ImpinjPeakRSSI"), first.get("ImpinjRFPhaseAngle"), first.get("ImpinjRFDopplerFrequency")) == (
        (-4825, 2048, -40) if extended else (None, None, None)
    )
