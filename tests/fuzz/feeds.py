"""What networks tell: raddec, RADIUS, Meraki's posts, hostapd, names, and all that is posted over HTTP."""

import asyncio
import atexit
import functools
import json
import re
from collections.abc import Iterator
from hashlib import md5
from pathlib import Path

from edge.frames.hostapd import parse_event, parse_station
from edge.frames.meraki import Malformed, parse_post, scan_of
from edge.frames.names import client_token_of, mac_bytes, mac_text
from edge.frames.raddec import (
    Raddec,
    adverts_of,
    identifier_bytes,
    parse_raddec,
    raddec_bytes,
    raddec_json,
    strongest,
)
from edge.frames.radius import START, Accounting, accounting_request, accounting_response, parse_accounting
from edge.settings import Http, Meraki, Portal
from edge.sources.http import HttpReceiver
from edge.sources.meraki import MerakiFeed
from edge.sources.portal import PortalHook
from simulators.adverts import ibeacon_advert
from simulators.meraki import Client, Heard, wifi_post
from simulators.raddec import raddec_of_advert, raddec_of_tag
from tests.fuzz.mutate import JSON, Form, Tree
from tests.fuzz.target import Target, pieces, scratch, text_of

NOW_US = 1_790_078_400_000_000
SECRET = "correct horse battery"
MAC = "02:00:00:00:01:00"
READER = bytes.fromhex("001bc50940810000")
TOKEN = "0123456789abcdef"

# -- raddec


def read_raddec(data: bytes) -> None:
    """a raddec, as bytes or JSON"""
    framed = b"\x10" + (len(data) + 4).to_bytes(2, "big") + data
    for told in (data, framed + bytes([sum(framed) & 0xFF])):
        found = parse_raddec(told)
        if found is None:
            continue
        strongest(found, frozenset({READER}))
        for advert in adverts_of(found, -60):
            assert len(advert.address) == 6
        _settles(found)
    identifier_bytes(text_of(data))


def _settles(found: Raddec) -> None:
    """Written and read once, a raddec is what the format can say of it: from then on nothing changes."""
    for write in (raddec_bytes, raddec_json):
        once = parse_raddec(write(found))
        if once is not None:
            assert parse_raddec(write(once)) == once


def raddecs() -> Iterator[bytes]:
    beacon = raddec_of_advert(ibeacon_advert("2f234454-cf6d-4a0f-adf2-f4911ba9ffa6", 1, 2), {READER: -60}, NOW_US)
    beacon = beacon._replace(position=(1.5, -2.5), events=(0, 2))
    tag = raddec_of_tag(bytes.fromhex("3074257bf7194e4000001a85"), READER, 2, -51, NOW_US)
    for made in (beacon, tag):
        yield from (raddec_bytes(made), raddec_bytes(made)[3:-1], raddec_json(made))
    # the example of raddec's tests that has everything, and its README's JSON
    yield bytes.fromhex(
        "1000a002aabbccddeeff02550101001bc50940810001350401001bc50940810000f0014aa3175900f103"
        "1d061bffeeddccbbaa02010611074449555520657669746341796c656572"
        "1d061bffeeddccbbaa02010611074449555520657669746341796c65656c"
        "1d061bffeeddccbbaa02010611074449555520657669746341796c656576"
        "f206f3c052648ede54b48d4046c122a6f3f5307fffffffffffffff60"
    )
    heard = b'"rssiSignature":[{"receiverId":"00-1b","rssi":-9.5}]'
    yield b'{"transmitterId":"aa:bb:cc:dd:ee:ff","transmitterIdType":2,' + heard + b"}"


# -- RADIUS


def read_accounting(data: bytes) -> None:
    """an accounting request, with and without the right authenticator, and the answer"""
    secret = SECRET.encode()
    body = data[20:4096]
    head = b"\x04" + data[1:2].rjust(1, b"\0") + (20 + len(body)).to_bytes(2, "big")
    for packet in (data, head + md5(head + bytes(16) + body + secret).digest() + body):
        found = parse_accounting(packet, secret)
        if found is not None:
            _answered(found, secret)
            client_token_of(found.user)
            mac_bytes(found.calling)


def _answered(request: Accounting, secret: bytes) -> None:
    answer = accounting_response(request, secret)
    assert answer[:2] == bytes([5, request.identifier])
    assert int.from_bytes(answer[2:4], "big") == len(answer) <= 4096
    states = b"".join(bytes([33, 2 + len(state)]) + state for state in request.proxy_states)
    assert answer[20:] == states
    assert answer[4:20] == md5(answer[:4] + request.authenticator + states + secret).digest()


def accountings() -> Iterator[bytes]:
    status = (40, START.to_bytes(4, "big"))
    for attributes in (
        [status, (1, TOKEN.encode()), (31, MAC.encode()), (30, b"00-18-0A-00-00-01:guest"), (44, b"7")],
        [status, (33, b"a proxy's"), (33, b"another's"), (4, bytes(4)), (41, b"\0\0\0\5"), (32, b"ap-1")],
        [],
    ):
        for sign in (False, True):
            yield accounting_request(9, attributes, SECRET.encode(), sign)


# -- Meraki, hostapd, names


def read_post(data: bytes) -> None:
    """a post of Meraki's Scanning API, and its observations"""
    post = parse_post(data)
    if isinstance(post, Malformed):
        return
    scan = scan_of(post)
    if isinstance(scan, Malformed):
        return
    instants = [observation.at_us for observation in scan.observations]
    assert instants == sorted(instants) and scan.unreadable >= 0
    for observation in scan.observations:
        assert len(observation.mac) == 6 and not observation.mac[0] & 1
        assert observation.rssi is None or -127 <= observation.rssi <= 20


def posts() -> Iterator[bytes]:
    aps = {f"00:18:0a:00:00:0{number}": -50 - number for number in range(1, 4)}
    heard = [
        Heard(Client(MAC, "guest", TOKEN), NOW_US, aps),
        Heard(Client(MAC, None), NOW_US, dict([*aps.items()][:1])),
    ]
    yield wifi_post(SECRET, "N_1", heard)
    record = {"time": "2021-11-23T14:01:49.5+01:00", "nearestApMac": "0018.0a00.0001", "nearestApRssi": "-52"}
    entry: dict[str, object] = {
        "clientMac": MAC,
        "ssid": "",
        "latestRecord": record,
        "locations": [None, {"rssiRecords": [{}]}],
    }
    data: dict[str, object] = {"observations": [entry, {}, 7]}
    yield json.dumps({"version": "3.0", "secret": SECRET, "type": "WiFi", "data": data}).encode()


def read_hostapd(data: bytes) -> None:
    """hostapd's events and stations"""
    for line in (data, b"wlan0: AP-STA-CONNECTED " + data, data + b" AP-STA-DISCONNECTED " + MAC.encode()):
        event = parse_event(line)
        assert event is None or len(event.mac) == 6
    for reply in (data, MAC.encode() + b"\n" + data):
        station = parse_station(reply)
        assert station is None or station.rssi is None or -999 <= station.rssi <= 0


def events() -> Iterator[bytes]:
    yield from (
        b"<3>AP-STA-CONNECTED 02:00:00:00:01:00 keyid=guest auth_alg=open",
        b"IFNAME=wlan0 <3>AP-STA-DISCONNECTED 02:00:00:00:01:00",
        b"<30>Oct 10 12:00:00 door hostapd[812]: wlan0: AP-STA-CONNECTED 02:00:00:00:01:00",
        b"Sat Oct 10 12:00:00 2026 daemon.notice hostapd: wlan0: AP-STA-CONNECTED 02-00-00-00-01-00",
        b"02:00:00:00:01:00\nflags=[AUTH][AUTHORIZED]\nsignal=-47\ndot1xAuthSessionUserName=0123456789abcdef@x\n",
    )


def read_name(data: bytes) -> None:
    """addresses and client tokens in text"""
    text = text_of(data)
    mac = mac_bytes(text)
    assert mac is None or (len(mac) == 6 and mac_bytes(mac_text(mac)) == mac)
    token = client_token_of(text)
    assert token is None or 0 <= token < 1 << 64


def names() -> Iterator[bytes]:
    yield from (MAC.encode(), b"02-00-00-00-01-00", b"0200.0000.0100", b"020000000100", TOKEN.encode() + b"@guest")


# -- HTTP


def read_http(data: bytes) -> None:
    """what is posted to the node over HTTP: requests, Meraki's observations, logins"""
    loop = _loop()
    answer = loop.run_until_complete(_exchange(data))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 ")


async def _exchange(data: bytes) -> bytes:
    """One connection over which these bytes come in two pieces, and then an end; what the receiver says."""
    reader = asyncio.StreamReader(limit=1 << 16)
    line = _Line(asyncio.StreamReaderProtocol(reader))
    writer = asyncio.StreamWriter(line, line.protocol, reader, asyncio.get_running_loop())
    half = len(data) // 2
    reader.feed_data(data[:half])
    asyncio.get_running_loop().call_soon(_rest, reader, data[half:])
    async with asyncio.timeout(5.0):  # an end has come: to wait for more is a fault
        await _receiver()._accepted(reader, writer)
    return bytes(line.said)


def _rest(reader: asyncio.StreamReader, data: bytes) -> None:
    reader.feed_data(data)
    reader.feed_eof()


class _Line(asyncio.Transport):
    """A connection without a network, as far as a stream's writer needs one."""

    def __init__(self, protocol: asyncio.StreamReaderProtocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.said = bytearray()
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.said += data

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    atexit.register(loop.close)
    return loop


@functools.cache
def _receiver() -> HttpReceiver:
    folder = _folder()
    meraki = MerakiFeed(Meraki(validator="0" * 40, secret_file="secret"), folder, lambda: NOW_US, _nothing)
    portal = PortalHook(Portal(secret_file="secret"), folder, lambda: NOW_US, _nothing, _nothing, {"wlan0": "door"})
    return HttpReceiver(Http(listen="127.0.0.1:0", max_mb=1.0), folder, meraki.routes | portal.routes)


@functools.cache
def _folder() -> Path:
    (scratch() / "secret").write_text(SECRET)
    return scratch()


def _nothing(_: object) -> None:
    """Who is told of stations and logins."""


def requests() -> Iterator[bytes]:
    host = b" HTTP/1.1\r\nHost: node\r\n"
    for body in posts():
        yield b"POST /meraki" + host + b"Content-Length: %d\r\n\r\n" % len(body) + body
        parts = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces(body))
        yield b"POST /meraki?x=1" + host + b"Transfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"
    login = json.dumps({"mac": MAC, "token": TOKEN, "ap": "WLAN0"}).encode()
    bearer = f"Authorization: Bearer {SECRET}\r\n".encode()
    logged = b"POST /portal/login" + host + bearer + b"Content-Length: %d\r\n\r\n" % len(login) + login
    yield logged + logged.replace(b"login", b"logout", 1) + b"GET /meraki" + host + b"\r\n"
    yield b"GET /meraki" + host + b"Connection: close\r\n\r\n" + logged
    yield b"POST /meraki" + host + b"Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n"
    yield b"POST /meraki" + host + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}"
    yield b"POST /meraki" + host + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n"
    yield b"DELETE /nowhere HTTP/1.0\r\n\r\n"
    yield b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n"


def _request(data: bytes) -> Tree:
    """A request with JSON in its body as a document: its head, what it says."""
    head, _, body = data.partition(b"\r\n\r\n")
    return [head.decode("latin-1"), json.loads(body)]


def _request_bytes(tree: Tree) -> bytes:
    head, told = tree
    body = json.dumps(told).encode()
    return re.sub(rb"(?<=Content-Length: )\d+", b"%d" % len(body), head.encode("latin-1")) + b"\r\n\r\n" + body


_WORDS = (
    "observations",
    "latestRecord",
    "locations",
    "rssiRecords",
    "nearestApMac",
    "nearestApRssi",
    "clientMac",
    "time",
)

TARGETS = [
    Target(
        "raddec",
        read_raddec,
        raddecs,
        longest=1024,
        words=("rssiSignature", "packets", "events", "position", "numberOfDecodings", "receiverAntenna"),
        forms=(JSON,),
    ),
    Target("radius", read_accounting, accountings, longest=512),
    Target("meraki", read_post, posts, longest=2048, words=_WORDS, forms=(JSON,)),
    Target("hostapd", read_hostapd, events, longest=512),
    Target("client-name", read_name, names, longest=64),
    Target(
        "http",
        read_http,
        requests,
        longest=4096,
        words=("chunked", "Connection", "upgrade", "keep-alive", "token", "mac", "ap", *_WORDS),
        forms=(Form(_request, _request_bytes),),
    ),
]
