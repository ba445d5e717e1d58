"""The Wi-Fi source on real interfaces: an adapter in monitor mode made of a tap device, a veth pair, UDP."""

import asyncio
import functools
import itertools
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from contract.clock import SystemClock
from edge.crowd import SPAN_US
from edge.frames.dot11 import PROBE_REQUEST, Frame
from edge.settings import Wifi
from edge.sources import Source
from edge.sources.packets import CannotListen, open_monitor
from edge.sources.wifi import WifiSource
from edge.wifi_crowd import WifiCrowd, WifiSpan
from simulators import wifi_air
from simulators.wifi_air import MODELS, air, datagrams, monitor, phones, probe_request, radiotap, tagged, wire

IP = shutil.which("ip") or shutil.which("ip", path="/usr/sbin:/sbin")
START_US = 1_790_000_100_000_000 // SPAN_US * SPAN_US
FRAMES = 20_000
AHEAD = 1_000
"""Frames that a sender may be ahead of the node."""

_names = (f"ais{os.getpid() % 100_000}{letter}" for letter in itertools.chain("abcdefghijklmnopqrstuvwxyz"))


def _may_make_interfaces() -> str:
    """Why no interface can be made here; empty if it can."""
    if IP is None:
        return "ip is not installed: apt install iproute2"
    if not hasattr(socket, "AF_PACKET"):
        return "packet sockets are Linux's"
    name = f"ais{os.getpid() % 100_000}try"
    made = subprocess.run([IP, "link", "add", name, "type", "veth"], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no interface can be made here ({made.stderr.strip()}): run as root"
    subprocess.run([IP, "link", "del", name], check=False, capture_output=True)
    return ""


WHY_NOT = _may_make_interfaces()
needs_root = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)
needs_tap = pytest.mark.skipif(
    bool(WHY_NOT) or not Path("/dev/net/tun").exists(), reason=WHY_NOT or "there is no /dev/net/tun"
)


def ip(*words: str) -> None:
    assert IP is not None
    subprocess.run([IP, *words], check=True, capture_output=True)


@contextmanager
def adapter() -> Iterator[tuple[str, Callable[[bytes], None]]]:
    """An adapter in monitor mode that is up: its name and what makes it hear a frame."""
    name = next(_names)
    with monitor(name) as send:
        ip("link", "set", name, "addrgenmode", "none")
        ip("link", "set", name, "up")
        yield name, send


@contextmanager
def pair() -> Iterator[tuple[str, Callable[[bytes], None]]]:
    """A veth pair: the near end's name, and what puts a frame on the far one."""
    near, far = next(_names), next(_names)
    ip("link", "add", near, "type", "veth", "peer", "name", far)
    try:
        for name in (near, far):
            ip("link", "set", name, "addrgenmode", "none")
            ip("link", "set", name, "up")
        with wire(far) as send:
            yield near, send
    finally:
        ip("link", "del", near)


@asynccontextmanager
async def running(settings: Wifi, heard: Callable[[Frame, int], None]) -> AsyncIterator[WifiSource]:
    """A source at work; cancelled in the end, as the node does it."""
    source = WifiSource(settings, SystemClock(), heard)
    as_the_node_sees_it: Source = source
    task = asyncio.create_task(as_the_node_sees_it.run())
    try:
        yield source
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def in_loop(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """A test that is a coroutine, run in a loop of its own."""

    @functools.wraps(test)
    def run(*arguments: object, **fixtures: object) -> None:
        asyncio.run(test(*arguments, **fixtures))

    return run


async def until(condition: Callable[[], object], what: str, within_s: float = 15.0) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"not within {within_s:g} s: {what}"
        await asyncio.sleep(0.005)


def settings(interface: str, **other: object) -> Wifi:
    return Wifi(interface=interface, hop=(), **other)  # type: ignore[arg-type]  # settings by name


FRAME = radiotap(probe_request(bytes.fromhex("02aabbccddee"), 7, tagged(MODELS[0], 6)), 6, -55)


async def all_is_heard(settings: Wifi, send: Callable[[bytes], None]) -> None:
    """Sends 20,000 frames of known phones: each is heard, in order, and the phones are counted."""
    people = phones(len(MODELS), 3)
    packets = list(itertools.islice(air(people, START_US, 40_000.0, 3), FRAMES))
    assert len(packets) == FRAMES
    got: list[Frame] = []

    def caught_up(number: int) -> bool:
        return number - len(got) < AHEAD // 2

    async with running(settings, lambda frame, _: got.append(frame)) as source:
        await until(lambda: source.health().state == "silent", "it listens")
        for number, packet in enumerate(packets):
            send(packet.data)
            if number % 100 == 0:
                await asyncio.sleep(0)
            if number - len(got) > AHEAD:
                await until(functools.partial(caught_up, number), "the node keeps up")
        await until(lambda: len(got) >= FRAMES, "everything is heard")
        health = source.health()
    assert len(got) == FRAMES
    assert (health.state, health.heard, health.restarts, source.dropped) == ("ok", FRAMES, 0, 0)
    assert health.per_s > 0
    assert "dropped" not in health.detail
    spans = count(zip((packet.at_us for packet in packets), got, strict=True))
    assert len(spans) > 20
    assert {span.devices for span in spans} == {len(MODELS)}, "neither more nor fewer, whatever addresses they took"
    assert all(span.radios > span.devices for span in spans)


def count(heard: Iterator[tuple[int, Frame]]) -> list[WifiSpan]:
    """What a crowd tells of frames at their own instants, of whole spans."""
    crowd, spans = WifiCrowd(), []
    for at_us, frame in heard:
        due_us = crowd.due_us()
        if due_us is not None and due_us <= at_us:
            spans.append(crowd.close(at_us))
        crowd.add(frame, at_us)
    return [span for span in spans if span is not None]


@needs_tap
@in_loop
async def test_every_frame_of_an_adapter_in_monitor_mode_is_heard_and_the_phones_are_counted():
    with adapter() as (name, send):
        await all_is_heard(settings(name), send)


@needs_root
@in_loop
async def test_every_frame_of_a_veth_pair_is_heard_and_the_phones_are_counted():
    with pair() as (name, send):
        await all_is_heard(settings(name, backend="simulators.wifi_air:hear_wire"), send)


@in_loop
async def test_frames_that_come_as_datagrams_are_heard_without_any_rights(monkeypatch):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv(wifi_air.ENVIRONMENT, f"127.0.0.1:{port}")
    with datagrams("127.0.0.1", port) as send:
        await all_is_heard(settings("air0", backend="simulators.wifi_air:listen"), send)


@needs_tap
@in_loop
async def test_only_management_frames_wake_the_node():
    got: list[Frame] = []
    with adapter() as (name, send):
        async with running(settings(name), lambda frame, _: got.append(frame)) as source:
            await until(lambda: source.health().state == "silent", "it listens")
            for control in (b"\x88", b"\xd4", b"\x41"):
                data = bytearray(FRAME)
                data[38:39] = control
                send(bytes(data))
            send(b"\xff" * 60)  # its header would end behind the packet
            send(FRAME)
            await until(lambda: got, "the request")
            opened = source._socket
            assert opened is not None
            packets = int.from_bytes(opened.getsockopt(263, 6, 8)[:4], "little")  # PACKET_STATISTICS: behind the filter
    assert packets == 1, "the kernel dropped the others"
    assert [frame.subtype for frame in got] == [PROBE_REQUEST]
    assert (got[0].rssi, got[0].mhz, got[0].sequence) == (-55, 2437, 7)


@needs_tap
@in_loop
async def test_what_the_kernel_had_no_room_for_is_counted():
    got: list[Frame] = []
    sent = 60_000  # 8 MiB hold some ten thousand
    with adapter() as (name, send):
        async with running(settings(name), lambda frame, _: got.append(frame)) as source:
            await until(lambda: source.health().state == "silent", "it listens")
            for _ in range(sent):  # the loop does not turn meanwhile
                send(FRAME)
            await until(lambda: source.health() and len(got) + source.dropped >= sent, "the rest is read")
    assert source.dropped > 0
    assert len(got) + source.dropped == sent
    assert f"{source.dropped} frames dropped" in source.health().detail


@needs_tap
@in_loop
async def test_an_interface_that_goes_down_and_comes_back_is_heard_again(caplog, monkeypatch):
    got: list[Frame] = []
    with adapter() as (name, send):
        async with running(settings(name), lambda frame, _: got.append(frame)) as source:
            await until(lambda: source.health().state == "silent", "it listens")
            send(FRAME)
            await until(lambda: len(got) == 1, "the first frame")
            ip("link", "set", name, "down")
            await until(lambda: source.health().state == "down", "it noticed")
            assert "went away" in source.health().detail
            ip("link", "set", name, "up")
            await until(lambda: source.health().state == "silent", "it listens again")
            send(FRAME)
            await until(lambda: len(got) == 2, "the second frame")
            assert source.restarts == 1
            assert source.health().state == "ok"
    assert "02aabbccddee" not in caplog.text.replace(":", "").lower()


@needs_root
@in_loop
async def test_what_hinders_it_is_said_once_with_what_to_do(caplog):
    caplog.set_level(logging.INFO)
    absent = next(_names)
    async with running(settings(absent), lambda *_: None) as source:
        await until(lambda: "no interface" in source.health().detail, "it says so")
        assert source.health().state == "down"
        with pair() as (name, _):
            with pytest.raises(CannotListen, match=r"not in monitor mode \(its link type is 1, not 803\)"):
                open_monitor(name)
            ip("link", "set", name, "down")
            with pytest.raises(CannotListen, match="not in monitor mode"):
                open_monitor(name)
            with pytest.raises(CannotListen, match=f"{name} is down: run `ip link set {name} up`"):
                wifi_air.hear_wire(name)
        # The second try, a second later, says nothing new.
        await until(lambda: source.tries >= 2, "it tried again")
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [
        f"Wi-Fi cannot be used: there is no interface {absent}: plug the adapter in; "
        "`iw dev` lists what is there; trying again"
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up a right")
def test_without_the_right_it_says_which_one():
    script = (
        "import os\n"
        "from edge.sources.packets import open_monitor, CannotListen\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: open_monitor('lo')\n"
        "except CannotListen as error: print(error)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    ).stdout
    assert "CAP_NET_RAW" in told


@needs_tap
@in_loop
async def test_a_silent_interface_is_opened_again_with_growing_pauses():
    with adapter() as (name, _):
        async with running(settings(name, watchdog_s=1.0), lambda *_: None) as source:
            await until(lambda: source.restarts == 1, "the watchdog", 5.0)
            assert source.health().state == "silent"


@needs_tap
@in_loop
async def test_channels_are_gone_round_by_iw(tmp_path, monkeypatch):
    calls = tmp_path / "calls"
    iw = tmp_path / "iw"
    iw.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n[ "$5" != 11 ] || {{ echo "busy (-16)" >&2; exit 240; }}\n')
    iw.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with adapter() as (name, _):
        plan = Wifi(interface=name, hop=(1, 6, 11), dwell_s=0.1)
        async with running(plan, lambda *_: None) as source:
            await until(lambda: calls.exists() and len(calls.read_text().splitlines()) >= 5, "two rounds")
            await until(lambda: "busy (-16)" in source.health().detail, "the refusal is told")
            await until(lambda: source.health().detail == f"{name}, on channel 1", "and forgotten when it works")
    told = calls.read_text().splitlines()[:5]
    assert told == [f"dev {name} set channel {channel}" for channel in (1, 6, 11, 1, 6)]


@needs_tap
@in_loop
async def test_without_iw_it_stays_where_it_is_and_says_so_once(caplog, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with adapter() as (name, _):
        async with running(Wifi(interface=name), lambda *_: None) as source:
            await until(lambda: "apt install iw" in source.health().detail, "it says so")
            assert source.health().state == "silent", "it listens all the same"
    assert caplog.text.count("apt install iw") == 1


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (Wifi(), "[wifi] interface: found nothing"),
        (Wifi(interface="radio1", aggregate_only=False), "[wifi] aggregate_only: found false, expected true"),
        (Wifi(interface="radio1", backend="no.such:thing"), "[wifi] backend: found 'no.such:thing'"),
        (Wifi(interface="radio1", backend="os:sep"), "[wifi] backend: found 'os:sep', expected a function"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong, told):
    with pytest.raises(ValueError, match="wifi") as refused:
        WifiSource(wrong, SystemClock(), lambda *_: None)
    assert told in str(refused.value)
