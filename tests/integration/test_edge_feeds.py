"""Feeds over real sockets: Meraki's posts, the login page, RADIUS, hostapd, raddec, and exports to a local broker."""

import asyncio
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import msgspec
import pytest
from paho.mqtt import publish
from paho.mqtt.client import Client as MqttClient
from paho.mqtt.enums import CallbackAPIVersion

from contract.identity import SubjectKind
from contract.messages import Health
from contract.topics import NodeAddress
from edge.clients import Clients, Login, StationSeen
from edge.frames.ibeacon import APPLE
from edge.frames.raddec import EPC96, EUI64, Decoding, Raddec, parse_raddec, raddec_bytes, raddec_json
from edge.frames.radius import INTERIM, START, STOP, accounting_request
from edge.home_assistant import HomeAssistantExport
from edge.settings import HomeAssistant, Hostapd, Http, Meraki, Portal, Radius
from edge.settings import Raddec as RaddecSettings
from edge.sources import Source
from edge.sources.feeds import host_port, is_loopback
from edge.sources.hostapd import HostapdControl, HostapdLines
from edge.sources.http import HttpReceiver, Request, Response, Routes
from edge.sources.meraki import MerakiFeed
from edge.sources.portal import PortalHook
from edge.sources.raddec import Heard, RaddecExport, RaddecSource
from edge.sources.radius import RadiusSource
from edge.tags import TagRead
from edge.windows import Window
from simulators.adverts import ibeacon_advert
from simulators.meraki import Client, MerakiCloud, NotOurReceiver, Shop
from simulators.meraki import Heard as MerakiHeard
from simulators.raddec import raddec_of_advert, raddec_of_tag
from tests.integration.edge_support import Mosquitto, eventually, needs_mosquitto

NOW_US = 1_790_078_400_000_000
SECRET = "correct horse battery"
PHONE = bytes.fromhex("020000000100")
PHONE_TEXT = "02:00:00:00:01:00"
TOKEN = 0x0123456789ABCDEF
READER, OTHER_READER = bytes.fromhex("001bc50940810000"), bytes.fromhex("001bc50940810001")
NODE = NodeAddress("acme", "main-street", "door-1")


def now_us() -> int:
    return NOW_US


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(SECRET + "\n")
    return tmp_path


@asynccontextmanager
async def running(*sources: Source) -> AsyncIterator[None]:
    """Sources at work; that they end when cancelled, and by nothing else, is part of every test."""
    tasks = [asyncio.create_task(source.run()) for source in sources]
    try:
        yield
        assert not [task for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], object], what: str, within_s: float = 10.0) -> None:
    try:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110  # what is waited for changes by callbacks of many kinds
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"not within {within_s:g} s: {what}")


@asynccontextmanager
async def receiver(routes: Routes, folder: Path, **settings) -> AsyncIterator[tuple[HttpReceiver, str]]:
    http = HttpReceiver(Http(listen="127.0.0.1:0", **settings), folder, routes)
    async with running(http):
        await until(lambda: http.port, "http listens")
        yield http, f"127.0.0.1:{http.port}"


# Meraki


def meraki(folder: Path, seen: list[StationSeen], **more) -> MerakiFeed:
    aps = {"00:18:0a:00:00:01": "door", "00-18-0A-00-00-02": "coffee"}
    settings = Meraki(validator="c0ffee", secret_file="secret", aps=aps, **more)
    return MerakiFeed(settings, folder, now_us, seen.append)


def heard_by_meraki(client: Client, ap: str = "00:18:0a:00:00:01", at_s: int = -30) -> MerakiHeard:
    return MerakiHeard(client, NOW_US + at_s * 1_000_000, {ap: -50})


GUEST, PASSER = Client(PHONE_TEXT, "guest"), Client("02:00:00:00:02:00", None)
MEMBER = Client("02:00:00:00:03:00", "guest", f"{TOKEN:016x}")


def test_merakis_cloud_validates_and_posts_and_stations_come_out(folder):
    async def run() -> None:
        seen: list[StationSeen] = []
        feed = meraki(folder, seen)
        async with receiver(feed.routes, folder) as (_, address):
            cloud = MerakiCloud(f"http://{address}/meraki", "c0ffee", SECRET)
            await asyncio.to_thread(cloud.validate)
            heard = [heard_by_meraki(GUEST), heard_by_meraki(PASSER), heard_by_meraki(MEMBER, "00:18:0a:00:00:02", -9)]
            assert await asyncio.to_thread(cloud.post, heard) == 200
            cloud.close()
        guest = StationSeen(NOW_US - 30_000_000, PHONE, None, "door", -50, "seen")
        member = StationSeen(NOW_US - 9_000_000, None, TOKEN, "coffee", -50, "seen")
        assert seen == [guest, member], "who passes by is left out, who is known by a token loses the address"
        assert (feed.health().state, feed.health().heard) == ("ok", 2)

    asyncio.run(run())


def test_passers_by_are_counted_only_if_the_shop_asked_for_it(folder):
    async def run() -> None:
        seen: list[StationSeen] = []
        async with receiver(meraki(folder, seen, passers_by=True).routes, folder) as (_, address):
            cloud = MerakiCloud(f"http://{address}/meraki", "c0ffee", SECRET)
            await asyncio.to_thread(cloud.post, [heard_by_meraki(PASSER)])
            cloud.close()
        assert [station.mac for station in seen] == [bytes.fromhex("020000000200")]

    asyncio.run(run())


def test_two_hours_of_merakis_posts_follow_members_through_the_shop(folder):
    async def run() -> None:
        aps = {"00:18:0a:00:00:01": "door", "00:18:0a:00:00:02": "coffee"}
        clients = Clients(away_s=300)
        shop = Shop(list(aps), [MEMBER, GUEST], seed=7)
        zone: dict[str, str] = {}
        right = minutes = 0

        def take(station: StationSeen) -> None:
            for transition in clients.seen(station):
                assert transition.subject == TOKEN
                if transition.state == "enter":
                    zone["member"] = transition.zone

        settings = Meraki(validator="v", secret_file="secret", aps=aps)
        clock = [NOW_US]
        feed = MerakiFeed(settings, folder, lambda: clock[0], take)
        async with receiver(feed.routes, folder) as (_, address):
            cloud = MerakiCloud(f"http://{address}/meraki", "v", SECRET)
            for _ in range(120):
                clock[0] += 60_000_000
                heard = shop.minute(clock[0])
                assert await asyncio.to_thread(cloud.post, heard) == 200
                minutes += 1
                right += zone["member"] == aps[shop.truth[MEMBER.mac]]
            cloud.close()
        assert right / minutes > 0.85  # a move is believed at the second post that tells it: a minute late
        assert feed.health().heard == 240

    asyncio.run(run())


def test_a_wrong_secret_is_forbidden_and_nothing_is_taken_or_logged_of_it(folder, caplog):
    async def run() -> None:
        seen: list[StationSeen] = []
        feed = meraki(folder, seen)
        async with receiver(feed.routes, folder) as (http, address):
            cloud = MerakiCloud(f"http://{address}/meraki", "c0ffee", "guessed secret")
            assert await asyncio.to_thread(cloud.post, [heard_by_meraki(GUEST)]) == 403
            cloud.close()
            assert (http.health().state, http.health().detail) == ("silent", "1 refused")
        assert seen == [] and feed.health().detail == "1 refused"

    asyncio.run(run())
    assert "secret: not ours" in caplog.text
    for raw in ("guessed", SECRET, PHONE_TEXT):
        assert raw not in caplog.text


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b'{"secret": "correct horse battery", "version": "2.0"}', "version: expected 3.x"),
        (
            b'{"secret": "correct horse battery", "version": "3.0", "type": "WiFi", "data": {}}',
            "data.observations: expected a list",
        ),
    ],
)
def test_a_malformed_post_gets_its_reason_and_is_counted(folder, body, reason):
    async def run() -> None:
        feed = meraki(folder, [])
        async with receiver(feed.routes, folder) as (_, address), httpx.AsyncClient() as client:
            answer = await client.post(f"http://{address}/meraki", content=body)
            assert (answer.status_code, answer.text) == (400, reason)
        assert feed.health().detail == "1 refused"

    asyncio.run(run())


def test_bluetooth_posts_and_observations_of_the_future_are_left_out(folder):
    async def run() -> None:
        seen: list[StationSeen] = []
        feed = meraki(folder, seen)
        bluetooth = {"version": "3.0", "secret": SECRET, "type": "Bluetooth", "data": {"observations": []}}
        async with receiver(feed.routes, folder) as (_, address), httpx.AsyncClient() as client:
            assert (await client.post(f"http://{address}/meraki", json=bluetooth)).status_code == 200
            cloud = MerakiCloud(f"http://{address}/meraki", "c0ffee", SECRET)
            assert await asyncio.to_thread(cloud.post, [heard_by_meraki(GUEST, at_s=3600)]) == 200
            cloud.close()
        assert seen == [] and feed.health().detail == "1 refused"

    asyncio.run(run())


def test_a_receiver_that_is_not_ours_fails_the_simulators_validation(folder):
    async def run() -> None:
        async with receiver(meraki(folder, []).routes, folder) as (_, address):
            cloud = MerakiCloud(f"http://{address}/meraki", "another validator", SECRET)
            with pytest.raises(NotOurReceiver):
                await asyncio.to_thread(cloud.validate)
            cloud.close()

    asyncio.run(run())


def test_the_poster_runs_as_a_command(folder):
    async def run() -> None:
        seen: list[StationSeen] = []
        feed = MerakiFeed(
            Meraki(validator="v", secret_file="secret"), folder, lambda: 4_000_000_000_000_000, seen.append
        )
        async with receiver(feed.routes, folder) as (_, address):
            poster = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "simulators.meraki", f"http://{address}/meraki", "--validator", "v"),
                *("--secret-file", str(folder / "secret"), "--clients", "5", "--every", "0.05"),
                stdout=subprocess.DEVNULL,
            )
            await until(lambda: len(seen) >= 10, "two posts of five clients", 20)
            poster.kill()
            await poster.wait()

    asyncio.run(run())


# The HTTP receiver itself


def echo(request: Request) -> Response:
    return Response(200, f"{request.method} {request.path} {len(request.body)}")


ECHO: Routes = {("POST", "/echo"): echo, ("GET", "/echo"): echo}


def test_unknown_paths_and_methods_are_told_apart(folder):
    async def run() -> None:
        async with receiver(ECHO, folder) as (_, address), httpx.AsyncClient() as client:
            assert (await client.get(f"http://{address}/elsewhere")).status_code == 404
            refused = await client.put(f"http://{address}/echo", content=b"x")
            assert (refused.status_code, refused.headers["allow"]) == (405, "GET, POST")
            assert (await client.get(f"http://{address}/echo?query=1")).text == "GET /echo 0"

    asyncio.run(run())


def test_one_connection_carries_many_requests_of_both_lengths_and_chunks(folder):
    async def run() -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(10):
                yield b"x" * 1000

        async with receiver(ECHO, folder) as (http, address), httpx.AsyncClient() as client:
            for size in (0, 1, 100_000):
                assert (await client.post(f"http://{address}/echo", content=bytes(size))).text == f"POST /echo {size}"
            assert (await client.post(f"http://{address}/echo", content=chunks())).text == "POST /echo 10000"
            assert http.health().heard == 4

    asyncio.run(run())


async def talk(address: str, *parts: bytes) -> bytes:
    """All that a receiver answers to bytes sent as they are."""
    reader, writer = await asyncio.open_connection(*host_port(address))
    for part in parts:
        writer.write(part)
    await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 15)
    await hang_up(writer)
    return answer


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):  # the other end was quicker
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /echo HTTP/1.1\r\nHost: n\r\nContent-Length: 99999999\r\n\r\n", b"413"),
        (
            b"POST /echo HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n\r\n"
            + (b"8000\r\n" + bytes(0x8000) + b"\r\n") * 3,
            b"413",
        ),
        (b"not a request\r\n\r\n", b"400"),
        (b"GET /echo HTTP/1.1\r\nX: " + b"x" * 40_000, b"431"),
        (b"POST /echo HTTP/1.1\r\nHost: n\r\nContent-Length: wrong\r\n\r\n", b"400"),
    ],
)  # fmt: skip
def test_what_is_too_large_or_no_http_is_refused_and_cut_off(folder, sent, status):
    async def run() -> None:
        async with receiver(ECHO, folder, max_mb=1 / 16) as (http, address):
            assert (await talk(address, sent)).startswith(b"HTTP/1.1 " + status)
            assert http.health().detail == "1 refused"
            async with httpx.AsyncClient() as client:
                assert (await client.get(f"http://{address}/echo")).status_code == 200

    asyncio.run(run())


def test_a_sender_that_waits_to_be_asked_is_asked(folder):
    async def run() -> None:
        async with receiver(ECHO, folder) as (_, address):
            reader, writer = await asyncio.open_connection(*host_port(address))
            writer.write(
                b"POST /echo HTTP/1.1\r\nHost: n\r\nContent-Length: 4\r\nExpect: 100-continue\r\n"
                b"Connection: close\r\n\r\n"
            )
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
            writer.write(b"body")
            assert (await reader.read()).endswith(b"POST /echo 4")
            await hang_up(writer)

    asyncio.run(run())


def test_who_is_slow_or_silent_is_cut_off_and_others_are_served_meanwhile(folder, monkeypatch):
    monkeypatch.setattr("edge.sources.http.HEADER_S", 0.3)
    monkeypatch.setattr("edge.sources.http.BODY_S", 0.3)

    async def run() -> None:
        async with receiver(ECHO, folder) as (http, address), httpx.AsyncClient() as client:
            slow = [
                asyncio.create_task(talk(address, part))
                for part in (b"", b"POST /echo HT", b"POST /echo HTTP/1.1\r\nHost: n\r\nContent-Length: 9\r\n\r\nhalf")
            ]
            assert (await client.get(f"http://{address}/echo")).status_code == 200
            assert await asyncio.gather(*slow) == [b"", b"", b""]
            assert http.health().detail == "2 refused", "one that never said anything did nothing wrong"

    asyncio.run(run())


def test_more_connections_than_are_served_are_turned_away(folder, monkeypatch):
    monkeypatch.setattr("edge.sources.http.CONNECTIONS_MOST", 2)

    async def run() -> None:
        async with receiver(ECHO, folder) as (_, address):
            held = [await asyncio.open_connection(*host_port(address)) for _ in range(3)]
            assert await asyncio.wait_for(held[2][0].read(), 5) == b""
            for _, writer in held:
                await hang_up(writer)

    asyncio.run(run())


def test_a_port_in_use_is_told_and_not_fatal(folder):
    async def run() -> None:
        async with receiver(ECHO, folder) as (_, address):
            second = HttpReceiver(Http(listen=address), folder, ECHO)
            async with running(second):
                await until(lambda: second.health().state == "down", "the second receiver says that it is down")
                assert address in second.health().detail

    asyncio.run(run())


def test_it_speaks_tls_with_a_certificate_and_not_without_its_key(folder):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=node", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem",
         "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip

    async def run() -> None:
        async with receiver(ECHO, folder, cert_file="cert.pem", key_file="key.pem") as (_, address):
            trust = ssl.create_default_context(cafile=str(folder / "cert.pem"))
            async with httpx.AsyncClient(verify=trust) as client:
                assert (await client.get(f"https://{address}/echo")).text == "GET /echo 0"
            assert await talk(address, b"GET /echo HTTP/1.1\r\nHost: n\r\n\r\n") == b""

    asyncio.run(run())
    with pytest.raises(ValueError, match="key_file"):
        HttpReceiver(Http(cert_file="cert.pem"), folder, ECHO)


@pytest.mark.parametrize(
    ("listen", "ours"), [("127.0.0.1:1", True), ("[::1]:1", True), ("localhost:1", True), ("0.0.0.0:1", False)]
)
def test_what_only_this_machine_can_reach_is_known(listen, ours):
    assert is_loopback(listen) is ours


@pytest.mark.parametrize("listen", ["127.0.0.1:65536", "127.0.0.1:99999", "127.0.0.1", ":80", "[::1]:port"])
def test_an_address_without_a_port_that_exists_is_refused(listen):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"listen": listen}, Http)


# The login page


def hook(folder: Path, logged: list[Login], seen: list[StationSeen]) -> PortalHook:
    zones = {"ap-door/wlan0": "door"}
    return PortalHook(Portal(secret_file="secret"), folder, now_us, logged.append, seen.append, zones)


def test_the_login_page_tells_who_uses_which_device_and_where(folder, caplog):
    async def run() -> None:
        logged: list[Login] = []
        seen: list[StationSeen] = []
        bearer = {"Authorization": f"Bearer {SECRET}"}
        async with (
            receiver(hook(folder, logged, seen).routes, folder) as (_, address),
            httpx.AsyncClient(base_url=f"http://{address}", headers=bearer) as client,
        ):
            login = {"mac": PHONE_TEXT, "token": f"{TOKEN:016x}"}
            assert (await client.post("/portal/login", json=login)).status_code == 204
            assert seen == []
            assert (await client.post("/portal/login", json={**login, "ap": "AP-door/wlan0"})).status_code == 204
            assert (await client.post("/portal/logout", json={"mac": PHONE_TEXT})).status_code == 204
        assert logged == [Login(NOW_US, PHONE, TOKEN), Login(NOW_US, PHONE, TOKEN), Login(NOW_US, PHONE, None)]
        assert seen == [StationSeen(NOW_US, PHONE, None, "door", None, "associated")]

    asyncio.run(run())
    assert PHONE_TEXT not in caplog.text and f"{TOKEN:016x}" not in caplog.text


@pytest.mark.parametrize(
    ("authorization", "body", "status"),
    [
        (None, b"{}", 401),
        ("Bearer wrong", b"{}", 401),
        (SECRET, b"{}", 401),
        (f"Bearer {SECRET}", b"[", 400),
        (f"Bearer {SECRET}", b"[]", 400),
        (f"Bearer {SECRET}", b"{}", 400),
        (f"Bearer {SECRET}", b'{"mac": "02:00:00:00:01:00", "token": "short"}', 400),
        (f"Bearer {SECRET}", b'{"mac": 5, "token": "0123456789abcdef"}', 400),
    ],
)
def test_the_hook_takes_nothing_from_anybody_else_and_nothing_half(folder, authorization, body, status):
    async def run() -> None:
        logged: list[Login] = []
        portal = hook(folder, logged, [])
        headers = {} if authorization is None else {"Authorization": authorization}
        async with receiver(portal.routes, folder) as (_, address), httpx.AsyncClient() as client:
            answer = await client.post(f"http://{address}/portal/login", content=body, headers=headers)
            assert answer.status_code == status
        assert logged == [] and portal.health().detail == "1 refused"

    asyncio.run(run())


# RADIUS


def radius_request(number: int, status: int, user: str = f"{TOKEN:016x}", **more: bytes) -> bytes:
    attributes = [(40, status.to_bytes(4, "big")), (1, user.encode()), (31, b"02-00-00-00-01-00")]
    attributes += [(30, more.get("called", b"00-18-0A-00-00-01:guest")), (32, more.get("nas", b"ap-door"))]
    if "delay" in more:
        attributes.append((41, more["delay"]))
    return accounting_request(number, attributes, SECRET.encode())


async def ask(port: int, *packets: bytes) -> list[bytes]:
    """The answers to packets sent one after the other, each waited for; empty where none came."""
    loop = asyncio.get_running_loop()
    answers = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.setblocking(False)
        channel.connect(("127.0.0.1", port))
        for packet in packets:
            await loop.sock_sendall(channel, packet)
            try:
                answers.append(await asyncio.wait_for(loop.sock_recv(channel, 4096), 1.0))
            except TimeoutError:
                answers.append(b"")
    return answers


def test_sessions_are_told_by_radius_and_every_request_is_answered_once_or_again(folder):
    async def run() -> None:
        seen: list[StationSeen] = []
        nas = {"00:18:0A:00:00:01": "door", "ap-coffee": "coffee"}
        source = RadiusSource(Radius(secret_file="secret", listen="127.0.0.1:0", nas=nas), folder, now_us, seen.append)
        async with running(source):
            await until(lambda: source.socket.port, "radius listens")
            assert source.socket.port is not None
            start = radius_request(1, START)
            other = radius_request(2, INTERIM, user="020000000100", called=b"", nas=b"ap-coffee")
            stop = radius_request(3, STOP, delay=(30).to_bytes(4, "big"))
            on = radius_request(4, 7)
            answers = await ask(source.socket.port, start, start, other, stop, on)
            assert answers[0] == answers[1], "a repeated request gets the same answer"
            assert [(answer[0], answer[1]) for answer in answers] == [(5, 1), (5, 1), (5, 2), (5, 3), (5, 4)]
        assert seen == [
            StationSeen(NOW_US, None, TOKEN, "door", None, "associated"),
            StationSeen(NOW_US, PHONE, None, "coffee", None, "associated"),
            StationSeen(NOW_US - 30_000_000, None, TOKEN, "door", None, "left"),
        ]
        assert (source.health().heard, source.health().detail) == (4, "")

    asyncio.run(run())


def test_radius_with_another_secret_gets_no_answer(folder):
    async def run() -> None:
        seen: list[StationSeen] = []
        source = RadiusSource(Radius(secret_file="secret", listen="127.0.0.1:0"), folder, now_us, seen.append)
        async with running(source):
            await until(lambda: source.socket.port, "radius listens")
            assert source.socket.port is not None
            forged = accounting_request(1, [(40, START.to_bytes(4, "big"))], b"another")
            assert await ask(source.socket.port, forged, b"\x04") == [b"", b""]
        assert seen == [] and source.health().detail == "2 refused"

    asyncio.run(run())


# hostapd


class FakeHostapd:
    """hostapd's end of its control interface: a datagram socket, commands and events as its source has them."""

    def __init__(self, path: Path) -> None:
        self.stations: dict[str, str] = {}
        self.attached: set[str] = set()
        self.commands: list[bytes] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def event(self, text: str) -> None:
        for ear in self.attached:
            self._socket.sendto(f"<3>{text}".encode(), ear)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            command, sender = self._socket.recvfrom(4096)
            if not command:
                return
            self.commands.append(command)
            if answer := self._answer(command.decode(), sender):
                self._socket.sendto(answer.encode(), sender)

    def _answer(self, command: str, sender: str) -> str:
        verb, _, argument = command.partition(" ")
        macs = list(self.stations)
        match verb:
            case "ATTACH":
                self.attached.add(sender)
                return "OK\n"
            case "DETACH":
                self.attached.discard(sender)
                return ""
            case "STA-FIRST" if macs:
                return self._mib(macs[0])
            case "STA-NEXT" if argument in macs and macs.index(argument) + 1 < len(macs):
                return self._mib(macs[macs.index(argument) + 1])
            case _:
                return "FAIL\n"

    def _mib(self, mac: str) -> str:
        return f"{mac}\nflags=[AUTH][ASSOC]{self.stations[mac]}\nsignal=-47\nconnected_time=31\n"


def hostapd_settings(path: Path, **more) -> Hostapd:
    return Hostapd(control=[str(path)], poll_s=1.0, aps={path.name: "door"}, **more)


def test_hostapd_tells_who_joins_and_lists_who_is_there(tmp_path):
    async def run() -> None:
        path = tmp_path / "wlan0"
        daemon = FakeHostapd(path)
        daemon.stations = {
            PHONE_TEXT: "[AUTHORIZED]\ndot1xAuthSessionUserName=" + f"{TOKEN:016x}",
            "02:00:00:00:02:00": "[AUTHORIZED]",
            "02:00:00:00:03:00": "",
        }
        seen: list[StationSeen] = []
        source = HostapdControl(str(path), hostapd_settings(path), now_us, seen.append)
        assert source.name == "hostapd.wlan0"
        async with running(source):
            await until(lambda: len(seen) >= 2, "the stations are listed")
            assert seen[:2] == [
                StationSeen(NOW_US, PHONE, TOKEN, "door", -47, "associated"),
                StationSeen(NOW_US, bytes.fromhex("020000000200"), None, "door", -47, "associated"),
            ], "one that may not send yet is not there yet"
            seen.clear()
            daemon.event("AP-STA-CONNECTED 02:00:00:00:04:00 auth_alg=open")
            daemon.event("CTRL-EVENT-EAP-STARTED 02:00:00:00:04:00")
            daemon.event("AP-STA-DISCONNECTED 02:00:00:00:04:00")
            await until(lambda: len([s for s in seen if s.mac and s.mac[4] == 4]) == 2, "both events come")
            assert [s.state for s in seen if s.mac and s.mac[4] == 4] == ["associated", "left"]
            del daemon.stations["02:00:00:00:02:00"]
            await until(lambda: [s.state for s in seen if s.mac and s.mac[4] == 2][-1:] == ["left"], "one vanished")
        await until(lambda: not daemon.attached, "it says good-bye")
        daemon.close()

    asyncio.run(run())


def test_hostapd_that_comes_late_or_is_restarted_is_found_again(tmp_path):
    async def run() -> None:
        path = tmp_path / "wlan0"
        seen: list[StationSeen] = []
        source = HostapdControl(str(path), hostapd_settings(path), now_us, seen.append)
        async with running(source):
            await until(lambda: source.health().state == "down", "it says that nobody answers")
            for _ in range(2):
                daemon = FakeHostapd(path)
                daemon.stations = {PHONE_TEXT: "[AUTHORIZED]"}
                seen.clear()
                await until(lambda: seen, "the station is listed")
                assert source.health().state == "ok"
                daemon.close()
                path.unlink()
                await until(lambda: source.health().state == "down", "it notices the end")

    asyncio.run(run())


def send(port: int, *datagrams: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        for datagram in datagrams:
            channel.sendto(datagram, ("127.0.0.1", port))


def test_lines_of_access_points_are_stations_by_their_host_and_interface():
    async def run() -> None:
        seen: list[StationSeen] = []
        aps = {"door/wlan0": "door", "127.0.0.1/phy1-ap0": "coffee", "phy0-ap0": "till"}
        source = HostapdLines(Hostapd(listen="127.0.0.1:0", aps=aps), now_us, seen.append)
        async with running(source):
            await until(lambda: source.socket.port, "it listens")
            assert source.socket.port is not None
            send(
                source.socket.port,
                b"door/wlan0 AP-STA-CONNECTED 02:00:00:00:01:00\nwlan9 AP-STA-CONNECTED 02:00:00:00:01:00\n",
                b"<30>Oct 10 12:00:00 ap hostapd: phy1-ap0: AP-STA-CONNECTED 02:00:00:00:01:00",
                b"<30>Oct 10 12:00:00 ap hostapd: phy0-ap0: AP-STA-DISCONNECTED 02:00:00:00:01:00",
                b"<30>Oct 10 12:00:00 ap dnsmasq-dhcp[1]: DHCPACK(br-lan) 192.168.1.142 02:00:00:00:01:00 phone",
                b"\xff\x00",
            )
            await until(lambda: len(seen) >= 4, "the lines come")
        assert [(station.zone, station.state) for station in seen] == [
            ("door", "associated"),
            (None, "associated"),
            ("coffee", "associated"),
            ("till", "left"),
        ]

    asyncio.run(run())


def test_lines_of_strangers_are_refused_and_an_open_port_needs_to_know_its_peers():
    async def run() -> None:
        seen: list[StationSeen] = []
        source = HostapdLines(Hostapd(listen="127.0.0.1:0", peers=["192.0.2.1"]), now_us, seen.append)
        async with running(source):
            await until(lambda: source.socket.port, "it listens")
            assert source.socket.port is not None
            send(source.socket.port, b"wlan0 AP-STA-CONNECTED 02:00:00:00:01:00")
            await until(lambda: source.health().detail == "1 refused", "it is refused")
        assert seen == []

    asyncio.run(run())
    with pytest.raises(ValueError, match="peers"):
        HostapdLines(Hostapd(listen="0.0.0.0:0"), now_us, print)


# raddec


def raddec_source(
    heard: list[Heard], read: list[TagRead], folder: Path, now: Callable[[], int] = now_us, **more
) -> RaddecSource:
    settings = RaddecSettings(listen="127.0.0.1:0", **more)
    return RaddecSource(settings, folder, now, heard.append, read.append)


BEACON = ibeacon_advert("2f234454-cf6d-4a0f-adf2-f4911ba9ffa6", 1, 2)


@pytest.mark.parametrize("encode", [raddec_bytes, raddec_json])
def test_other_vendors_readers_are_heard_through_raddec(tmp_path, encode):
    async def run() -> None:
        heard: list[Heard] = []
        read: list[TagRead] = []
        source = raddec_source(heard, read, tmp_path, receivers=[READER.hex(":")])
        epc = bytes.fromhex("3074257bf7194e4000001a85")
        async with running(source):
            assert source.socket is not None
            await until(lambda: source.socket and source.socket.port, "raddec listens")
            assert source.socket.port is not None
            send(
                source.socket.port,
                encode(raddec_of_advert(BEACON, {READER: -70, OTHER_READER: -50}, NOW_US - 1_000_000)),
                encode(raddec_of_advert(BEACON, {OTHER_READER: -50}, NOW_US)),
                encode(raddec_of_tag(epc, READER, 1, -61, NOW_US - 86_400_000_000)),
                b"no raddec",
            )
            await until(lambda: heard and read and source.health().detail == "1 refused", "all are taken")
        assert [(at, advert.rssi, advert.address) for at, advert in heard] == [
            (NOW_US - 1_000_000, -70, BEACON.address)
        ], "the level at our reader, not the strongest; another place's readers are not ours"
        assert set(heard[0].advert.manufacturer) == {APPLE}
        assert read == [TagRead(NOW_US, epc, f"{READER.hex()}/1", -61.0, 1)], "a time of yesterday is not believed"
        assert source.health().heard == 2

    asyncio.run(run())


def test_raddecs_from_strangers_are_refused_and_an_open_port_needs_to_know_its_peers(tmp_path):
    async def run() -> None:
        heard: list[Heard] = []
        source = raddec_source(heard, [], tmp_path, peers=["192.0.2.1"])
        async with running(source):
            await until(lambda: source.socket and source.socket.port, "raddec listens")
            assert source.socket is not None and source.socket.port is not None
            send(source.socket.port, raddec_bytes(raddec_of_advert(BEACON, {READER: -70}, NOW_US)))
            await until(lambda: source.health().detail == "1 refused", "it is refused")
        assert heard == []

    asyncio.run(run())
    with pytest.raises(ValueError, match="peers"):
        RaddecSource(RaddecSettings(listen="0.0.0.0:0"), tmp_path, now_us, print, print)
    with pytest.raises(ValueError, match="receivers"):
        RaddecSource(RaddecSettings(receivers=["reader one"]), tmp_path, now_us, print, print)


def test_the_readers_run_as_a_command(tmp_path):
    async def run() -> None:
        heard: list[Heard] = []
        read: list[TagRead] = []
        source = raddec_source(heard, read, tmp_path)
        async with running(source):
            await until(lambda: source.socket and source.socket.port, "raddec listens")
            assert source.socket is not None
            readers = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "simulators.raddec", "--to", f"127.0.0.1:{source.socket.port}"),
                *("--rate", "500"),
            )
            await until(lambda: len(heard) > 20 and len(read) > 20, "adverts and tags", 20)
            readers.kill()
            await readers.wait()

    asyncio.run(run())


def test_twenty_thousand_raddecs_sent_as_fast_as_they_are_taken_all_arrive(tmp_path):
    async def run() -> None:
        heard: list[Heard] = []
        source = raddec_source(heard, [], tmp_path)
        datagram = raddec_bytes(raddec_of_advert(BEACON, {READER: -70}, NOW_US))
        async with running(source):
            await until(lambda: source.socket and source.socket.port, "raddec listens")
            assert source.socket is not None and source.socket.port is not None
            for _ in range(100):
                send(source.socket.port, *[datagram] * 200)  # half a second at 400 a second, at once
                await asyncio.sleep(0)
            await until(lambda: len(heard) == 20_000, "every one arrived")

    asyncio.run(run())


WINDOWS = [
    Window(NOW_US, 1, SubjectKind.BEACON, 0xA1B2C3D4, -655, -60, 7),
    *(Window(NOW_US, 2, kind, 5, -500, -50, 1) for kind in SubjectKind if kind is not SubjectKind.BEACON),
]


def test_beacons_are_exported_over_udp_and_people_are_not(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as pareto:
        pareto.bind(("127.0.0.1", 0))
        pareto.settimeout(5)
        to = f"127.0.0.1:{pareto.getsockname()[1]}"
        export = RaddecExport(RaddecSettings(export_udp=to, export_receiver=READER.hex()), tmp_path)
        export.start()
        assert export.tell(WINDOWS) == 1
        told = parse_raddec(pareto.recv(4096))
        export.stop()
        pareto.setblocking(False)
        with pytest.raises(BlockingIOError):
            pareto.recv(4096)
    assert told == Raddec(
        bytes.fromhex("c000a1b2c3d4"), 3, (Decoding(READER, EUI64, -66, 7),), timestamp_ms=NOW_US // 1_000
    )


# A broker of the store's own


@pytest.fixture
def mosquitto(tmp_path):
    broker = Mosquitto(tmp_path, "allow_anonymous true")
    broker.start()
    yield broker
    broker.kill()


class Ear:
    """Everything that is published on a broker."""

    def __init__(self, port: int) -> None:
        self.heard: dict[str, tuple[bytes, bool]] = {}
        self._client = MqttClient(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("#")
        self._client.on_message = self._message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _message(self, _client: MqttClient, _data: object, message) -> None:
        self.heard[message.topic] = (message.payload, message.retain)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@needs_mosquitto
def test_home_assistant_finds_the_node_its_values_and_its_absence(tmp_path, mosquitto):
    settings = HomeAssistant(host="127.0.0.1", port=mosquitto.port)
    export = HomeAssistantExport(settings, tmp_path, NODE, "0.1.0", "boot", NOW_US)
    health = Health(
        at=NOW_US, boot="b", version="0.1.0", config="c", uptime_s=5.0, clock="trusted", adverts=9,
        adverts_per_s=1.5, windows=3, outbox_rows=42, outbox_oldest_s=0.5, dropped=0, reconnects=1,
        rss_mb=33.0, restarts=0,
    )  # fmt: skip
    export.tell(health)  # before there is a line: told when there is one
    export.start()
    ear = Ear(mosquitto.port)
    eventually(lambda: NODE.up("health") in ear.heard, "the heartbeat is told")
    eventually(lambda: NODE.status in ear.heard, "the status is told")
    assert json.loads(ear.heard[NODE.status][0])["state"] == "online"
    late = Ear(mosquitto.port)
    config = "homeassistant/sensor/aisle_acme_door_1/outbox_rows/config"
    eventually(lambda: config in late.heard, "who comes later finds it too")
    payload, retained = late.heard[config]
    assert retained and json.loads(payload)["state_topic"] == NODE.up("health")
    assert json.loads(ear.heard[NODE.up("health")][0])["outbox_rows"] == 42
    export.stop()
    eventually(lambda: json.loads(ear.heard[NODE.status][0])["state"] == "offline", "it says good-bye")
    ear.close()
    late.close()


@needs_mosquitto
def test_raddecs_come_and_go_over_a_broker_too(tmp_path, mosquitto):
    async def run() -> None:
        heard: list[Heard] = []
        settings = RaddecSettings(
            mqtt_host="127.0.0.1",
            mqtt_port=mosquitto.port,
            mqtt_listen="paretoanywhere/devices/+/+/raddec",
            export_topic="aisle/devices",
            export_receiver=READER.hex(),
        )
        source = RaddecSource(settings, tmp_path, now_us, heard.append, print)
        export = RaddecExport(settings, tmp_path)
        export.start()
        ear = Ear(mosquitto.port)
        message = raddec_json(raddec_of_advert(BEACON, {READER: -70}, NOW_US))
        topic = f"paretoanywhere/devices/{BEACON.address.hex()}/3/raddec"

        def tell() -> bool:
            publish.single(topic, message, port=mosquitto.port)
            export.tell(WINDOWS)
            return bool(heard) and "aisle/devices/c000a1b2c3d4/3/raddec" in ear.heard

        async with running(source):
            await until_told(tell)
        await asyncio.to_thread(export.stop)
        ear.close()
        assert [topic for topic in ear.heard if topic.startswith("aisle/")] == ["aisle/devices/c000a1b2c3d4/3/raddec"]
        told = parse_raddec(ear.heard["aisle/devices/c000a1b2c3d4/3/raddec"][0])
        assert told is not None and told.transmitter_type != EPC96

    async def until_told(tell: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not await asyncio.to_thread(tell):  # noqa: ASYNC110  # each round tells again
                await asyncio.sleep(0.05)

    asyncio.run(run())


# The technician's page

SETTINGS: dict[str, type[msgspec.Struct]] = {
    "http": Http,
    "meraki": Meraki,
    "radius": Radius,
    "hostapd": Hostapd,
    "portal": Portal,
    "raddec": RaddecSettings,
    "home_assistant": HomeAssistant,
}
PAGE = (Path(__file__).parents[2] / "docs" / "feeds.md").read_text()
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def uncommented(example: str) -> str:
    """An example with the settings that it shows behind a # as well."""
    return re.sub(r"^# (\w+ = )", r"\1", example, flags=re.MULTILINE)


@pytest.mark.parametrize("example", [*EXAMPLES, *map(uncommented, EXAMPLES)])
def test_every_example_of_the_page_is_a_valid_configuration(example):
    sections = tomllib.loads(example)
    assert len(sections) == 1
    for name, section in sections.items():
        settings = msgspec.convert(section, SETTINGS[name], strict=True)
        assert set(section) <= set(settings.__struct_fields__), "a setting that nothing reads"


def test_every_setting_is_on_the_page():
    for name, shape in SETTINGS.items():
        shown = "".join(example for example in EXAMPLES if example.startswith(f"[{name}]"))
        text = shown if shown else PAGE
        for field in msgspec.structs.fields(shape):
            assert field.name in text or f"`{field.name}`" in PAGE, f"[{name}] {field.name}"
