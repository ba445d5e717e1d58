"""Live and history against a small product over real sockets: nothing is lost, and what is told is true."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path

import msgspec
import pytest
import uvicorn
from bleak import BleakScanner
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from contract.clock import Clock, SimulatedClock, clock_from
from edge.frames.dot11 import Frame
from edge.settings import UhfSerial, Wifi
from edge.sources import Source
from edge.sources.uhf_serial import UhfSerialSource
from edge.sources.wifi import WifiSource
from edge.tags import TagRead
from simulators import scenario_files as scenarios
from simulators.ble import SimulatedScanner
from simulators.history import history
from simulators.run import RunFiles, serial_port
from simulators.setup import busiest_start_us, members_document
from simulators.summary import Summary
from simulators.tagged import card_epc, card_prefix, holds_card, pieces
from simulators.truth import triggers
from simulators.world import World, card
from tests.integration.edge_support import cloud, eventually, mosquitto, needs_mosquitto

ROOT = Path(__file__).resolve().parents[2]
TUESDAY = date(2026, 11, 17)
SEED = 7


class Product:
    """The product's HTTP side as tills and phones see it. The first two posts of receipts meet a server in trouble."""

    def __init__(self) -> None:
        self.receipts: dict[str, dict[str, object]] = {}
        self.order: list[str] = []
        self.posts = 0
        self.offers: dict[str, list[dict[str, object]]] = {}
        self.reports: dict[int, list[dict[str, object]]] = {}
        self.log_ins: list[str] = []
        self.cards: dict[str, str] = {}
        self.queue = [2, 1]
        self.clock: SimulatedClock | None = None
        self.app = self._make()

    def offer(self, number: str, sent_us: int) -> dict[str, object]:
        return {
            "push_id": int(number),
            "offer": "coffee-20",
            "title": "t",
            "body": "b",
            "coupon": f"C{number}",
            "state": "sent",
            "sent_us": sent_us,
            "expires_us": sent_us + 600_000_000,
            "why": "w",
        }

    def _make(self) -> FastAPI:
        app = FastAPI()

        def member(request: Request) -> str:
            return request.headers["Authorization"].removeprefix("Bearer token ")

        @app.post("/app/v1/session")
        def log_in(body: dict[str, object]) -> dict[str, object]:
            assert body["code"] == f"code {body['card']}" and body["bearer"] is True
            self.log_ins.append(str(body["card"]))
            return {"member_id": "m", "name": "n", "token": f"token {body['card']}"}

        @app.get("/app/v1/offers")
        def offers(request: Request) -> list[dict[str, object]]:
            return self.offers.get(member(request), [])

        @app.post("/app/v1/pushes/{push_id}", status_code=204)
        def report(push_id: int, body: dict[str, object]) -> None:
            self.reports.setdefault(push_id, []).append(body)

        @app.post("/v1/members/{number}/tags", status_code=204)
        def enrol(number: str, body: dict[str, str], request: Request) -> None:
            assert request.headers["Authorization"] == "Bearer desk key"
            self.cards[number] = body["epc"]

        @app.get("/app/v1/stream")
        def stream(request: Request) -> StreamingResponse:
            number = member(request)

            async def events():
                yield ": hello\n\nevent: ping\ndata: {}\n\n"
                if self.clock is not None:
                    offer = self.offer(number, self.clock.now_us())
                    yield f"event: offer\nid: {offer['push_id']}\ndata: {json.dumps(offer)}\n\n"
                while True:
                    await asyncio.sleep(0.5)
                    yield "event: ping\ndata: {}\n\n"

            return StreamingResponse(events(), media_type="text/event-stream")

        @app.post("/v1/receipts")
        def receipts(body: dict[str, list[dict[str, object]]], request: Request, response: Response) -> dict[str, int]:
            assert request.headers["Authorization"] == "Bearer till key"
            self.posts += 1
            if self.posts <= 2:
                response.status_code = 503
                return {}
            for receipt in body["receipts"]:
                self.receipts[str(receipt["receipt_uid"])] = receipt
                self.order.append(str(receipt["receipt_uid"]))
            return {"stored": len(body["receipts"]), "duplicates": 0}

        @app.post("/v1/session")
        def staff(body: dict[str, str]) -> dict[str, object]:
            return {"login": body["login"]}

        @app.get("/v1/progress/queue")
        def progress() -> dict[str, int]:
            return {"queue": self.queue.pop() if self.queue else 0}

        return app


@contextmanager
def serving(product: Product):
    """The product's address while it listens."""
    server = uvicorn.Server(
        uvicorn.Config(product.app, port=0, log_level="error", ws="none", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    eventually(lambda: server.started, "the test's product listens")
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def world():
    return World(scenarios.load("corner-store"), SEED)


def write_run(folder: Path, world: World, **settings: object) -> Path:
    members = [
        {
            "card": member["card"],
            "member_id": f"id {member['card']}",
            "activation_code": f"code {member['card']}",
            "token_key_hex": f"{int(member['card']):032x}",
        }
        for member in members_document(world.scenario, SEED)["members"]
    ]
    (folder / "members.json").write_text(json.dumps(members))
    run = {"scenario": "corner-store", "seed": SEED, "till_key": "till key", "members": "members.json"}
    (folder / "run.json").write_text(json.dumps(run | settings))
    return folder / "run.json"


def truth(folder: Path) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = {}
    for line in (folder / "truth.jsonl").read_text().splitlines():
        record = json.loads(line)
        found.setdefault(record.pop("what"), []).append(record)
    return found


@contextmanager
def playing(run: Path):
    """`python -m simulators live` in a process of its own."""
    command = [sys.executable, "-m", "simulators", "live", "--run", str(run)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


async def listen(world, port, monkeypatch, enough):
    """Every node's scanner on the air until `enough` says so; how many adverts each heard."""
    heard, met = {node.node: 0 for node in world.scenario.nodes}, asyncio.Event()
    scanners = []

    def count(node, _device, _advertisement):
        heard[node] += 1
        if enough(heard):
            met.set()

    for node in heard:
        monkeypatch.setenv("AISLE_AIR", f"127.0.0.1:{port}/{node}")
        scanners.append(BleakScanner(partial(count, node), backend=SimulatedScanner))
        await scanners[-1].start()
    async with asyncio.timeout(40):
        await met.wait()
    for scanner in scanners:
        await scanner.stop()
    return heard


def enough(product, heard):
    return len(product.receipts) >= 3 and len(product.reports) >= 3 and min(heard.values()) >= 100


def test_a_live_store_is_heard_pays_and_shows_its_offers(tmp_path, world, monkeypatch):
    product = Product()
    start_us = busiest_start_us(world, TUESDAY)
    spec = SimulatedClock(start_us, time.time_ns() // 1_000, 20).spec()
    product.clock = clock_from(spec)  # type: ignore[assignment]
    with serving(product) as api:
        run = write_run(tmp_path, world, api=api, clock=spec)
        with playing(run) as process:
            assert process.stdout is not None
            port = json.loads(process.stdout.readline())["air_port"]
            heard = asyncio.run(listen(world, port, monkeypatch, lambda heard: enough(product, heard)))
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0

    summary = msgspec.json.decode((tmp_path / "summary.json").read_bytes(), type=Summary)
    really = truth(tmp_path)
    assert len(heard) == 6
    assert summary.receipts_waiting == summary.receipts_refused == 0
    assert summary.receipts_stored == len(product.receipts) == len(really["receipt"])
    assert len(product.order) == len(set(product.order))
    assert summary.people >= summary.members > 5
    assert summary.pushes_shown == len(really["shown"])
    assert {shown["push_id"] for shown in really["shown"]} >= set(product.reports)
    for states in product.reports.values():
        assert states[0]["state"] == "shown" and len([s for s in states if s["state"] == "shown"]) == 1


async def read_tags(folder: Path, clock: Clock, enough: Callable[[list[TagRead], list[Frame]], bool]) -> None:
    """The node's own code on the serial ports of both readers, and on the port for frames, until it is enough."""
    reads: list[TagRead] = []
    frames: list[Frame] = []
    met = asyncio.Event()

    def heard_tags(heard: Sequence[TagRead]) -> None:
        reads.extend(heard)

    def heard_frame(frame: Frame, _at_us: int) -> None:
        frames.append(frame)
        if enough(reads, frames):
            met.set()

    ports = {
        name: str(serial_port(folder, node, name)) for node, name in (("cosmetics", "shelf"), ("tills", "counter"))
    }
    settings = [UhfSerial(name=name, port=port) for name, port in ports.items()]
    wifi = WifiSource(Wifi(interface="radio0", hop=(), backend="simulators.wifi_air:listen"), clock, heard_frame)
    sources: list[Source] = [wifi, *(UhfSerialSource(each, heard_tags, clock) for each in settings)]
    tasks = [asyncio.create_task(source.run()) for source in sources]
    async with asyncio.timeout(60):
        await met.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_a_live_store_has_readers_on_serial_ports_and_phones_that_look_for_wifi(tmp_path, world, monkeypatch):
    product = Product()
    spec = SimulatedClock(busiest_start_us(world, TUESDAY), time.time_ns() // 1_000, 10).spec()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("AISLE_WIFI_AIR", f"127.0.0.1:{port}")
    tagged = world.scenario.tagged
    prefix = card_prefix(tagged)

    def enough(reads: list[TagRead], frames: list[Frame]) -> bool:
        cards = {read.epc for read in reads if read.epc.startswith(prefix)}
        return len(frames) >= 20 and bool(cards) and {read.antenna for read in reads} == {"shelf/1", "counter/1"}

    with serving(product) as api:
        run = write_run(tmp_path, world, api=api, clock=spec, desk_key="desk key", wifi_ports={"back": port})
        with playing(run) as process:
            assert process.stdout is not None
            process.stdout.readline()
            asyncio.run(read_tags(tmp_path, clock_from(spec), enough))
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0

    day = world.day(TUESDAY)
    known = {
        card(person.member): card_epc(tagged, person.member).hex()
        for person in day.people
        if person.member is not None and holds_card(tagged, SEED, person.member)
    }
    assert product.cards.items() <= known.items()
    summary = msgspec.json.decode((tmp_path / "summary.json").read_bytes(), type=Summary)
    assert summary.cards_enrolled == len(product.cards) > 0
    assert summary.tags_told > 0 and summary.wifi_frames >= 20
    handled = truth(tmp_path).get("handled", [])
    assert len(handled) == summary.things_bought + summary.things_put_back
    assert {one["epc"] for one in handled} <= {piece.epc.hex() for piece in pieces(world.scenario, SEED, day)}
    assert not list(tmp_path.glob("*.tty")), "the ports go with their modules"


@needs_mosquitto
def test_history_goes_through_outboxes_phones_and_tills_in_that_order(tmp_path, world, capsys):
    product = Product()
    scenario = world.scenario
    until_us = scenario.instant_us(TUESDAY, "10:00")
    day = world.day(TUESDAY)
    dwelt = [
        trigger
        for trigger in triggers(day, day.intervals(), scenario.campaign)
        if trigger.card is not None and trigger.at_us < until_us and day.people[trigger.person].app
    ]
    assert len(dwelt) >= 3
    for trigger in dwelt:
        assert trigger.card is not None
        product.offers[trigger.card] = [product.offer(trigger.card, trigger.at_us)]
    with serving(product) as api, mosquitto(tmp_path) as broker, cloud(broker.port) as stored:
        nodes = []
        for node in scenario.nodes:
            folder = tmp_path / node.node
            folder.mkdir()
            (folder / "node.toml").write_text(
                f'[node]\ntenant = "acme"\nstore = "corner-store"\nnode = "{node.node}"\n'
                f'[uplink]\nhost = "127.0.0.1"\nport = {broker.port}\n[outbox]\npath = "outbox.db"\n'
            )
            nodes.append(f"{node.node}/node.toml")
        admin = {"login": "admin", "password": "secret"}
        run = write_run(tmp_path, world, api=api, nodes=nodes, admin=admin)
        result = asyncio.run(history(RunFiles(run), until_us, 0))
        events = stored.events
        batches = len(stored.batches)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told[-1]["share"] == 1 and told[-1]["events"] == result.events == events > 5_000
    assert result.batches == batches and result.rejected_batches == 0
    assert result.until_us == until_us and result.receipts == len(product.receipts) > 5
    really = truth(tmp_path)
    assert result.shown == len(really["shown"]) >= len(dwelt) - 2  # one or two may be on their way out
    for shown in really["shown"]:
        assert product.reports[int(str(shown["push_id"]))][0] == {"state": "shown", "at_us": shown["at_us"]}
    coupons = {str(code) for receipt in product.receipts.values() for code in receipt["coupon_codes"]}  # type: ignore[attr-defined]
    assert coupons <= {f"C{shown['card']}" for shown in really["shown"]}
    cards = {card(person.member) for person in day.people if person.member is not None}
    assert set(product.log_ins) <= cards and len(product.log_ins) == len(set(product.log_ins))
    assert oct((tmp_path / "phones.jsonl").stat().st_mode & 0o777) == "0o600"
