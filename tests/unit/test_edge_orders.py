"""Orders on their way through the node: from the uplink's thread to the loop's, and the answers back."""

import asyncio
import datetime
import threading
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from contract.clock import SimulatedClock
from contract.orders import Desired, Reported, Roster, Sibling, decode_keys, decode_order, encode_order
from contract.topics import NodeAddress
from edge import claim as claiming
from edge import safe_mode
from edge.claim import ClaimError, keep_renewed
from edge.daykey import MAKE_AFTER_S, DayKey
from edge.desired import CONFIRM_S, DesiredConfig
from edge.orders import Orders
from tests.unit.test_edge_claim import Cloud, run
from tests.unit.test_edge_daykey import IDENTITIES, NOON_US

FILE = '[node]\ntenant = "acme"\nstore = "main"\nnode = "node-1"\n[uplink]\nhost = "localhost"\n'


class Line:
    """An uplink that keeps what is said."""

    def __init__(self) -> None:
        self.orders: dict[str, Callable[[bytes], None]] = {}
        self.greetings: list[Callable[[], None]] = []
        self.connected = True
        self.said: list[tuple[str, bytes]] = []

    def say(self, stream: str, payload: bytes, qos: int = 0) -> bool:
        assert qos == 1
        self.said.append((stream, payload))
        return True


class Node:
    """All that an order can reach."""

    def __init__(self, folder: Path, keys: bool = True) -> None:
        path = folder / "node.toml"
        path.write_text(FILE)
        clock = SimulatedClock(NOON_US, 0, 0.0)
        self.line = Line()
        self.at_s = 0.0
        self.knows_day = True
        self.desired = DesiredConfig(safe_mode.load(path), path, folder / "desired.json", clock)
        address = NodeAddress("acme", "main", "node-1")
        self.daykey = DayKey(address, ZoneInfo("Europe/Berlin"), IDENTITIES["node-1"]) if keys else None
        self.orders = Orders(self.line, clock, self.desired, self.daykey, lambda: self.knows_day, lambda: self.at_s)

    async def bring(self, *calls: Callable[[], None]) -> None:
        """As the uplink's thread does, then a moment for the loop."""
        thread = threading.Thread(target=lambda: [call() for call in calls])
        thread.start()
        await asyncio.to_thread(thread.join)
        await asyncio.sleep(0)

    def order(self, name: str, payload: bytes) -> Callable[[], None]:
        return lambda: self.line.orders[name](payload)


def test_a_report_is_said_at_each_connection_and_after_each_order(tmp_path: Path) -> None:
    async def scene() -> None:
        node = Node(tmp_path)
        node.orders.begin(asyncio.get_running_loop())
        await node.bring(*node.line.greetings, node.order("config", encode_order(Desired(1, {"ble": {"mode": "x"}}))))
        reports = [decode_order(payload, Reported) for stream, payload in node.line.said if stream == "config"]
        assert [(r.version, r.state) for r in reports] == [(0, "applied"), (1, "refused")]
        ends = [node.orders.restart]
        await node.bring(node.order("config", encode_order(Desired(2, {"ble": {"mode": "passive"}}))))
        ends.append(node.orders.restart)
        assert ends == [False, True], "it reports when it is back"
        assert len(node.line.said) == 2
        await node.bring(node.order("config", b"\xff"))

    asyncio.run(scene())


def test_the_key_of_the_day_is_asked_for_and_made(tmp_path: Path) -> None:
    async def scene() -> None:
        node = Node(tmp_path)
        assert node.daykey is not None
        node.orders.begin(asyncio.get_running_loop())
        for node.at_s in (0.0, 1.0):
            node.orders.tick()
        assert [stream for stream, _ in node.line.said] == ["keys"]
        want = decode_keys(node.line.said[0][1])
        roster = encode_order(Roster(want.day, (Sibling("node-1", True),)))
        await node.bring(node.order("keys", roster), node.order("keys", b"{"))
        node.at_s = 1.0 + MAKE_AFTER_S
        node.orders.tick()
        held = [node.daykey.held is not None]
        node.knows_day = False
        node.orders.tick()
        held.append(node.daykey.held is not None)
        assert held == [True, False]
        node.orders.close()

    asyncio.run(scene())


def test_a_node_without_a_certificate_has_no_part_in_keys(tmp_path: Path) -> None:
    async def scene() -> None:
        node = Node(tmp_path, keys=False)
        node.orders.begin(asyncio.get_running_loop())
        node.orders.tick()
        node.orders.close()
        assert "keys" not in node.line.orders and node.line.said == []

    asyncio.run(scene())


def test_what_lasted_a_minute_is_believed_in(tmp_path: Path) -> None:
    first = Node(tmp_path)
    first.desired.take(encode_order(Desired(1, {"ble": {"mode": "passive"}})))
    second = Node(tmp_path)
    second.at_s = CONFIRM_S
    second.orders.tick()
    for _ in range(5):
        assert Node(tmp_path).desired.version == 1


def test_a_loop_that_ended_is_not_called(tmp_path: Path) -> None:
    node = Node(tmp_path)
    loop = asyncio.new_event_loop()
    node.orders.begin(loop)
    loop.close()
    node.line.greetings[0]()
    assert node.line.said == []


def test_a_certificate_is_renewed_when_it_is_due_and_tried_again_when_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cloud = Cloud()
    run(tmp_path, cloud)
    before = (tmp_path / "node.pem").read_bytes()
    tries: list[int] = []
    real = claiming.renew

    def renew(into: Path) -> object:
        tries.append(1)
        if len(tries) == 1:
            raise ClaimError("the api is away")
        return real(into, cloud)

    monkeypatch.setattr(claiming, "renew", renew)
    monkeypatch.setattr(claiming, "renewal_due", lambda *_: len(tries) < 2)

    async def scene() -> None:
        done = asyncio.Event()
        keeping = asyncio.create_task(keep_renewed(tmp_path, done.set, every_s=0.01))
        await asyncio.wait_for(done.wait(), 10)
        keeping.cancel()

    asyncio.run(scene())
    assert len(tries) == 2 and "the api is away; trying again" in caplog.text
    assert (tmp_path / "node.pem").read_bytes() != before
    assert not (claiming.days_left(tmp_path / "node.pem", datetime.datetime.now(datetime.UTC)) or 0) < 89
