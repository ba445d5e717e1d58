"""The service desk: a card is told until the product has it or refuses it for good."""

import asyncio

import httpx
import pytest

from simulators import desk
from simulators.desk import Desk

EPC = bytes.fromhex("2d164521480000000c000000")


def enrol(monkeypatch: pytest.MonkeyPatch, answers: list[int | None], key: str = "desk key") -> tuple[Desk, list[str]]:
    """Two cards at a desk whose product gives these answers, None for no connection; returns what it was asked."""
    monkeypatch.setattr(desk, "RETRY_S", (0.001, 0.002))
    asked = []
    last = asyncio.Event()

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == f"Bearer {key}"
        asked.append(f"{request.url.path} {request.content.decode()}")
        status = answers.pop(0)
        if not answers:
            last.set()
        if status is None:
            raise httpx.ConnectError("down")
        return httpx.Response(status)

    async def work() -> Desk:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://product") as client:
            there = Desk(client, key)
            there.enrol("4100000001", EPC)
            there.enrol("4100000002", EPC[::-1])
            working = asyncio.create_task(there.run())
            if answers:
                async with asyncio.timeout(5):
                    await last.wait()
            for _ in range(5):  # what is done with the last answer, or with nothing
                await asyncio.sleep(0)
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            return there

    return asyncio.run(work()), asked


def test_each_card_is_told_with_its_epc(monkeypatch):
    there, asked = enrol(monkeypatch, [204, 204])
    assert asked == [
        f'/v1/members/4100000001/tags {{"epc":"{EPC.hex()}"}}',
        f'/v1/members/4100000002/tags {{"epc":"{EPC[::-1].hex()}"}}',
    ]
    assert there.enrolled == 2


def test_a_product_in_trouble_is_asked_again(monkeypatch):
    there, asked = enrol(monkeypatch, [None, 503, 204, 204])
    assert [line.split("/")[3] for line in asked] == ["4100000001"] * 3 + ["4100000002"]
    assert there.enrolled == 2


def test_a_card_that_is_refused_is_left_aside(monkeypatch):
    there, asked = enrol(monkeypatch, [404, 204])
    assert len(asked) == 2 and there.enrolled == 1


def test_without_a_key_nobody_is_told(monkeypatch):
    there, asked = enrol(monkeypatch, [], key="")
    assert asked == [] and there.enrolled == 0
