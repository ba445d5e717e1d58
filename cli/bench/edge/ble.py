"""Bluetooth on a node: how fast adverts are read, and what a real node process makes of a full air on a real D-Bus.

The peers read the same adverts: beacontools, and advlib (reelyActive, Node.js) where a folder has it:
`npm install advlib advlib-ble advlib-ble-services advlib-ble-manufacturers advlib-interoperable`. Pareto Anywhere
itself is not run: measured once on such a machine, it told of an advert after 2,052 ms, lost 1 to 5 % of 10,000 a
second and took 250 MB.
"""

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from cli import ROOT
from cli.stack.broker import Broker, cloud_client, node_client, open_broker
from cli.stack.processes import StackError, last_line, spawn, stop_process
from contract.codec import column_values, decode, encode_small
from contract.identity import member_token
from contract.messages import SIGHTING_COLUMNS, Ack, Presence, Sightings
from contract.topics import ALL_UP, NodeAddress, parse_up
from edge.sightings import RadioDigest, RawSightings
from simulators.adverts import Advert, ibeacon_advert, token_advert
from simulators.bluez import BlueZ
from simulators.system_bus import private_bus

UUID = "e2c56db5-dffb-48d2-b060-d0f5a71096e0"
NODE = NodeAddress("bench", "store", "door-1")
FEW, MANY = 200, 2_000
"""Devices in the air."""
RATE = 10_000
"""Adverts a second of all of them together."""
ADVERTS = 200_000
BEACONTOOLS_ADVERTS = 3_000
NEWCOMER_EVERY_S = 0.23
"""Not in step with the node's windows, so that newcomers come at all times of one."""
READY_S = 30.0
_SUBJECT, _COUNT = ([column.name for column in SIGHTING_COLUMNS].index(name) for name in ("subject", "count"))

_ADVLIB = """
const need = (name) => require(process.argv[1] + "/node_modules/" + name);
const processors = [{ processor: need("advlib-ble"),
  libraries: [need("advlib-ble-services"), need("advlib-ble-manufacturers")],
  options: { ignoreProtocolOverhead: true } }];
const interpreters = [need("advlib-interoperable")], advlib = need("advlib");
const packets = JSON.parse(require("fs").readFileSync(0));
const run = (times) => {
  for (let i = 0; i < times; i++) advlib.process(packets[i % packets.length], processors, interpreters);
};
run(20000);
const begun = process.cpuUsage();
run(100000);
const used = process.cpuUsage(begun);
console.log(100000 / ((used.user + used.system) / 1e6));
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """Rates are per second of CPU time, medians over the runs; of a node's load the worse run is told."""

    ibeacon_per_s: int
    """Raw adverts of 200 iBeacons to sightings, one core."""
    ibeacon_2000_per_s: int
    """The same with 2,000."""
    beacontools_per_s: int | None
    """beacontools, the same adverts; None where it is not installed."""
    advlib_per_s: int | None
    """advlib, the same adverts; None where it is not installed."""
    dbus_us: float
    """CPU time of the node process for an advert, from BlueZ's D-Bus signal to a window sent and acknowledged."""
    event_p50_ms: float
    """From a subject's first advert at BlueZ's radio to the first MQTT message at a subscriber that names it."""
    event_p95_ms: float
    sent: int
    """Adverts told on the D-Bus."""
    sent_per_s: int
    """The lower rate of the two runs: 10,000 unless the machine was too busy to send so many."""
    lost: int
    """Those of them in no window that the broker's subscriber got."""
    rss_mb: float
    core_share: float
    """Of one core."""


def measure(seconds: float = 5.0, newcomers: int = 60, runs: int = 3, advlib: Path | None = None) -> Figures:
    """All of it, about 45 s by default; `advlib` is the folder it is installed in. Raises StackError."""
    if shutil.which("dbus-daemon") is None:
        raise StackError("dbus-daemon is not installed: apt-get install dbus")
    adverts = _beacons(FEW)
    loads = [_load(devices, seconds) for devices in (FEW, MANY)]
    delays_ms = _newcomers(newcomers)
    p95 = quantiles(delays_ms, n=20)[-1]
    return Figures(
        ibeacon_per_s=_ours(FEW, runs),
        ibeacon_2000_per_s=_ours(MANY, runs),
        beacontools_per_s=_beacontools(adverts, runs),
        advlib_per_s=_advlib(adverts, advlib) if advlib is not None else None,
        dbus_us=max(round(load.cpu_s / load.sent * 1e6, 1) for load in loads),
        event_p50_ms=round(median(delays_ms), 1),
        event_p95_ms=round(p95, 1),
        sent=sum(load.sent for load in loads),
        sent_per_s=min(round(load.sent / load.seconds) for load in loads),
        lost=sum(load.sent - load.heard for load in loads),
        rss_mb=max(load.rss_mb for load in loads),
        core_share=max(round(load.cpu_s / load.seconds, 3) for load in loads),
    )


# -- reading


def _beacons(devices: int) -> list[Advert]:
    return [ibeacon_advert(UUID, 1, minor) for minor in range(devices)]


def _ours(devices: int, runs: int) -> int:
    """Adverts a second. Every advert is an object of its own, as it would be off a socket: no hash is remembered."""
    rng, beacons = random.Random(1), _beacons(devices)
    chosen = rng.choices(beacons, k=ADVERTS)
    heard = [(bytes(bytearray(a.address)), rng.randint(-90, -50), bytes(bytearray(a.data))) for a in chosen]
    rates = []
    for _ in range(runs):
        sighting = RawSightings(RadioDigest())
        begun = time.process_time()
        for address, rssi, data in heard:
            sighting(address, rssi, data, 0)
        rates.append(ADVERTS / (time.process_time() - begun))
    return round(median(rates))


def _beacontools(adverts: list[Advert], runs: int) -> int | None:
    try:
        from beacontools import parse_packet  # type: ignore[import-untyped]
    except ImportError:
        return None
    rates = []
    for _ in range(runs):
        begun = time.process_time()
        for n in range(BEACONTOOLS_ADVERTS):
            parse_packet(adverts[n % len(adverts)].data)
        rates.append(BEACONTOOLS_ADVERTS / (time.process_time() - begun))
    return round(median(rates))


def _advlib(adverts: list[Advert], folder: Path) -> int | None:
    node = shutil.which("node")
    if node is None or not (folder / "node_modules" / "advlib").is_dir():
        return None
    # A whole PDU as advlib wants it: header, length, the address from its last byte on, the AD structures.
    packets = [(bytes([0x42, 6 + len(a.data)]) + a.address[::-1] + a.data).hex() for a in adverts]
    told = subprocess.run(
        [node, "-e", _ADVLIB, str(folder.absolute())], input=json.dumps(packets), capture_output=True, text=True
    )
    if told.returncode:
        raise StackError(f"advlib: {told.stderr.strip().splitlines()[-1]}")
    return round(float(told.stdout))


# -- a node


@dataclass(frozen=True, slots=True)
class _Load:
    """One run of a node under a full air."""

    sent: int
    heard: int
    seconds: float
    cpu_s: float
    rss_mb: float


class _Subscriber:
    """Counts what a node tells, notes when it first names whom, and acknowledges all of it."""

    def __init__(self, broker: Broker) -> None:
        self.heard = 0
        self.named_s: dict[int, float] = {}
        self._ready = threading.Event()
        user = broker.clients["cloud"]
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.username_pw_set("cloud", user.password)
        self._client.on_connect = lambda client, *_: client.subscribe(ALL_UP, qos=1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _client, _data, message: self._hear(message)
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        if not self._ready.wait(READY_S):
            raise StackError("the broker takes no subscriber")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _hear(self, message: mqtt.MQTTMessage) -> None:
        now_s = time.monotonic()
        address, stream = parse_up(message.topic)
        if stream not in ("sightings", "presence"):
            return
        batch = decode(bytes(message.payload))
        if isinstance(batch, Sightings):
            self.heard += sum(column_values(SIGHTING_COLUMNS[_COUNT], batch.columns[_COUNT]))
            subjects = column_values(SIGHTING_COLUMNS[_SUBJECT], batch.columns[_SUBJECT])
        elif isinstance(batch, Presence):
            subjects = [int(row.subject, 16) for row in batch.rows]
        else:
            return
        for subject in subjects:
            self.named_s.setdefault(subject, now_s)
        seq = batch.header.seq
        ack = Ack(epoch=batch.header.epoch, stored=((seq, seq),))
        self._client.publish(address.down("ack"), encode_small(ack), qos=1)


@dataclass(slots=True)
class _Scene:
    """A bus, a broker, its subscriber, and the means to start a node between them."""

    folder: Path
    bus: str
    broker: Broker
    subscriber: _Subscriber

    @contextmanager
    def node(self) -> Iterator["subprocess.Popen[bytes]"]:
        """`python -m edge`, with the product's own defaults but for what it must be told."""
        (self.folder / "password").write_text(self.broker.clients[str(NODE)].password)
        config = self.folder / "node.toml"
        config.write_text(
            f"""[node]
tenant = "{NODE.tenant}"
store = "{NODE.store}"
node = "{NODE.node}"
zone = "entrance"
[uplink]
host = "127.0.0.1"
port = {self.broker.port}
username = "{NODE}"
password_file = "password"
[outbox]
path = "outbox.db"
"""
        )
        environment = os.environ | {"PYTHONPATH": str(ROOT), "DBUS_SYSTEM_BUS_ADDRESS": self.bus}
        log = self.folder / "node.log"
        process = spawn([sys.executable, "-m", "edge", str(config)], log=log, env=environment, cwd=ROOT)
        try:
            yield process
            if process.poll() is not None:
                raise StackError(f"the node ended: {last_line(log)}")
        finally:
            stop_process(process, 10)


@contextmanager
def _scene() -> Iterator[_Scene]:
    folder = Path(tempfile.mkdtemp(prefix="aisle-ble-"))
    folder.chmod(0o711)  # the broker may run as another account
    broker = open_broker(folder / "broker", {str(NODE): node_client(NODE), "cloud": cloud_client()})
    try:
        with private_bus(folder) as bus, broker:
            subscriber = _Subscriber(broker)
            try:
                yield _Scene(folder, bus, broker, subscriber)
            finally:
                subscriber.close()
    finally:
        broker.destroy()
        shutil.rmtree(folder, ignore_errors=True)


def _load(devices: int, seconds: float) -> _Load:
    """A node while so many devices send 10,000 adverts a second, BlueZ in a process of its own."""
    command = ["--devices", str(devices), "--rate", str(RATE), "--after", "1", "--for", str(seconds)]
    with _scene() as scene:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "simulators.bluez", "--bus", scene.bus, *command],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        try:
            _line(daemon, "ready")
            with scene.node() as node:
                _line(daemon, "begins")
                before_s = _cpu_s(node.pid)
                told = _line(daemon, "sent")
                sent = int(told["sent"])
                _until(lambda: scene.subscriber.heard >= sent, 10.0)
                cpu_s, rss_mb = _cpu_s(node.pid) - before_s, _peak_rss_mb(node.pid)
            _until(lambda: scene.subscriber.heard >= sent, 2.0)  # what it told last
        finally:
            daemon.kill()
            daemon.wait()
            assert daemon.stdout is not None
            daemon.stdout.close()
        return _Load(sent, scene.subscriber.heard, float(told["seconds"]), cpu_s, rss_mb)


def _newcomers(wanted: int) -> list[float]:
    """Milliseconds from each newcomer's first advert to the first message that names it, among 200 beacons."""
    with _scene() as scene, scene.node():
        first_s = asyncio.run(_walk_in(scene.bus, wanted))
        _until(lambda: first_s.keys() <= scene.subscriber.named_s.keys(), 10.0)
        named_s = dict(scene.subscriber.named_s)
    missing = first_s.keys() - named_s.keys()
    if missing:
        raise StackError(f"{len(missing)} of {wanted} newcomers were never named")
    return [(named_s[subject] - at_s) * 1e3 for subject, at_s in first_s.items()]


async def _walk_in(bus: str, wanted: int) -> dict[int, float]:
    """Tags that come one after the other and then send ten times a second. By subject, when each was first heard."""
    keys = [f"newcomer {number}".encode() for number in range(wanted)]
    beacons, first_s = _beacons(FEW), dict[int, float]()
    async with BlueZ(bus) as daemon:
        async with asyncio.timeout(READY_S):
            await daemon.wait_until_listened_to()
        begun, step = time.monotonic(), 0
        while (passed_s := time.monotonic() - begun - 2.0) < wanted * NEWCOMER_EVERY_S + 3.0:
            rssi = -60 - step % 2
            for beacon in beacons[step % 10 :: 10]:
                daemon.hear(beacon, rssi)
            for number, key in enumerate(keys[: max(0, int(passed_s / NEWCOMER_EVERY_S))]):
                subject = member_token(key, 0)
                if subject not in first_s:
                    first_s[subject] = time.monotonic()
                elif (step + number) % 10:
                    continue
                daemon.hear(token_advert(key, 0), rssi)
            step += 1
            await asyncio.sleep(0.01)
    return first_s


# -- small helpers


def _line(process: "subprocess.Popen[str]", key: str) -> dict[str, float]:
    """The next line of JSON that has a key. Raises StackError if the process ends before."""
    assert process.stdout is not None
    for line in process.stdout:
        told: dict[str, float] = json.loads(line)
        if key in told:
            return told
    raise StackError(f"the fake BlueZ ended with {process.wait()}")


def _until(condition: Callable[[], bool], within_s: float) -> None:
    end_s = time.monotonic() + within_s
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.05)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime: fields 14, 15 of proc(5)


def _peak_rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise StackError("/proc tells no memory of the node")
