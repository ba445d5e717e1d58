"""A node, put together: sources → pipeline → outbox → uplink, and the cloud's orders back. Reads from top to bottom."""

import asyncio
import datetime
import fcntl
import logging
import os
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from contract.clock import Clock, clock_from
from contract.messages import Health
from contract.orders import OptOutList
from edge import __version__, safe_mode
from edge.broker import Broker
from edge.config import NodeConfig
from edge.desired import DesiredConfig
from edge.files import OWN_FILE, make_folder
from edge.health import Heartbeat
from edge.hearing import sources
from edge.machine import boot_id, tell_systemd, watchdog_s
from edge.orders import Orders
from edge.outbox import Outbox
from edge.pipeline import Pipeline
from edge.privacy import OPT_OUTS, OptOuts, Pseudonyms, read_opt_outs
from edge.safe_mode import Loaded
from edge.status import NodeStatus, StatusServer, socket_of
from edge.time_trust import NodeTime
from edge.uplink import Uplink
from edge.windows import Window

if TYPE_CHECKING:
    from edge.daykey import DayKey

log = logging.getLogger(__name__)

TICK_S = 0.05


async def run(loaded: Loaded, path: Path) -> None:
    """Runs the node until SIGTERM or SIGINT, or until it has to start anew. `path` is node.toml's.

    Raises ValueError, OSError or sqlite3.Error if it cannot even begin.
    """
    folder = path.parent
    kept = folder / loaded.config.outbox.path
    clock = clock_from(loaded.config.node.clock)
    with ExitStack() as open_now:
        _be_alone(kept, open_now)
        boot = boot_id()
        outbox = Outbox(kept, loaded.config.outbox.max_mb, loaded.config.outbox.synchronous, boot)
        open_now.callback(outbox.close)
        moment = NodeTime(clock, earliest_us=outbox.newest_us)
        desired = DesiredConfig(loaded, path, kept.with_name(f"{kept.stem}-desired.json"), moment.wall)
        config = desired.config

        opt_outs = _OptOuts(folder / OPT_OUTS, desired)
        pseudonyms = Pseudonyms()
        daykey = _day_key(config, folder, pseudonyms)
        export = _raddec_export(config, folder, open_now)
        pipeline = Pipeline(
            config,
            outbox,
            moment.steady,
            boot,
            is_out=opt_outs.is_out,
            pseudonym=_pseudonym(config, pseudonyms, moment.wall),
            on_windows=export,
        )
        pipeline.resume(moment.steady.now_us())
        listening = sources(config, folder, pipeline, moment.steady)

        broker = Broker(config.uplink, folder, config.address, moment.wall, boot)
        cert = folder / config.uplink.cert_file if config.uplink.cert_file else None

        def heartbeat() -> Heartbeat:
            return Heartbeat(
                moment,
                outbox,
                boot,
                config.digest,
                counted=pipeline,
                line=broker,
                sources=listening,
                mode=loaded.mode,
                config_version=desired.version,
                ack_lag_s=lambda: uplink.ack_lag_s,
                cert_days=lambda: _days_left(cert),
            )

        beat = _told_to(_home_assistant(config, folder, boot, moment.wall, open_now), heartbeat())
        uplink = Uplink(broker, config.address, outbox, moment.wall, beat, config.health.every_s, time=moment)
        orders = Orders(uplink, moment.wall, desired, daykey, knows_day=lambda: moment.state != "unset")
        open_now.callback(orders.close)
        watched = heartbeat()  # rates are since the last call: whoever watches must not disturb the cloud's
        status = StatusServer(
            socket_of(kept), lambda: NodeStatus(str(config.address), uplink.connected, pipeline.subjects, watched())
        )

        orders.begin(asyncio.get_running_loop())
        stop = _stop_event()
        uplink.start()
        log.info("node %s runs, %d batches wait in its outbox", config.address, outbox.rows())
        tell_systemd("READY=1")
        work: list[Coroutine[object, object, None]] = [status.run(), *(source.run() for source in listening)]
        if cert is not None:
            work.append(_keep_renewed(cert.parent, stop.set))
        failure = await _until_stopped(stop, work, lambda: _tick(pipeline, orders, moment), uplink, loaded, path)
        if orders.restart:
            log.info("ending to start anew with the configuration that the cloud sent")
        tell_systemd("STOPPING=1")
        pipeline.finish(moment.steady.now_us())
        crashed = not uplink.alive
        await asyncio.to_thread(uplink.stop)
        log.info("node %s ended, %d batches kept for next time", config.address, outbox.rows())
    if failure is not None:
        raise failure
    if crashed:
        raise OSError("the uplink stopped working, see above")


def _be_alone(outbox: Path, open_now: ExitStack) -> None:
    """Holds the outbox for this process: two nodes on one would give two batches one name. Raises OSError."""
    make_folder(outbox.parent)
    held = os.open(outbox.with_name(outbox.name + ".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, OWN_FILE)
    open_now.callback(os.close, held)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go of it however the process ends
    except BlockingIOError:
        raise OSError(f"another node runs with this outbox ({outbox})") from None


def _tick(pipeline: Pipeline, orders: Orders, moment: NodeTime) -> bool:
    """One look at what fell due; False when the node is to end."""
    pipeline.tick(moment.steady.now_us())
    orders.tick()
    return not orders.restart


async def _until_stopped(
    stop: asyncio.Event,
    work: list[Coroutine[object, object, None]],
    tick: Callable[[], bool],
    uplink: Uplink,
    loaded: Loaded,
    path: Path,
) -> Exception | None:
    """Runs everything until the node is told to end or a part of it died; what it died of."""
    tasks = [asyncio.create_task(each) for each in work]
    feed_s = watchdog_s()
    fed = begun = time.monotonic()
    good = False
    while not stop.is_set() and uplink.alive and tick():
        now = time.monotonic()
        if feed_s is not None and now - fed >= feed_s:
            fed = now
            tell_systemd("WATCHDOG=1")
        if not good and now - begun >= 1.0:  # it runs: what it runs on is worth falling back to
            good = True
            safe_mode.keep(loaded, path)
        # The status and a source that was asked for nothing may end; none of them may fail.
        if any(task.done() and not task.cancelled() and task.exception() for task in tasks):
            break
        await asyncio.sleep(TICK_S)
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    return next((each for each in ended if isinstance(each, Exception)), None)


class _OptOuts:
    """Whom not to hear: the cloud's list and the node's own, which may change while the node runs."""

    def __init__(self, file: Path, desired: DesiredConfig) -> None:
        self._own = read_opt_outs(file)
        self._all = OptOuts(())
        self._follow(desired.opt_outs)
        desired.opt_outs_changed = self._follow

    def is_out(self, address: bytes) -> bool:
        return self._all.is_out(address)

    def _follow(self, told: OptOutList | None) -> None:
        self._all = OptOuts(tuple(each for each in (told, self._own) if each is not None))


def _day_key(config: NodeConfig, folder: Path, pseudonyms: Pseudonyms) -> "DayKey | None":
    """The store's key of the day; only a node with a certificate and a time zone can have one."""
    link = config.uplink
    if not (config.privacy.pseudonyms and config.node.tz and link.cert_file and link.key_file and link.ca_file):
        return None
    from edge.daykey import DayKey
    from edge.seal import Identity

    identity = Identity.read(folder / link.cert_file, folder / link.key_file, folder / link.ca_file)
    daykey = DayKey(config.address, ZoneInfo(config.node.tz), identity)
    daykey.changed = pseudonyms.follow
    return daykey


def _pseudonym(config: NodeConfig, pseudonyms: Pseudonyms, wall: Clock) -> Callable[[bytes, bool], int | None] | None:
    if not config.privacy.pseudonyms:
        return None
    return lambda address, random: pseudonyms.subject(address, random, wall.now_us())


def _raddec_export(config: NodeConfig, folder: Path, open_now: ExitStack) -> Callable[[list[Window]], object] | None:
    if config.raddec is None or (config.raddec.export_udp is None and config.raddec.export_topic is None):
        return None
    from edge.sources.raddec import RaddecExport

    export = RaddecExport(config.raddec, folder)
    export.start()
    open_now.callback(export.stop)
    return export.tell


def _home_assistant(
    config: NodeConfig, folder: Path, boot: str, wall: Clock, open_now: ExitStack
) -> Callable[[Health], object] | None:
    if config.home_assistant is None:
        return None
    from edge.home_assistant import HomeAssistantExport

    export = HomeAssistantExport(config.home_assistant, folder, config.address, __version__, boot, wall.now_us())
    export.start()
    open_now.callback(export.stop)
    return export.tell


def _told_to(listener: Callable[[Health], object] | None, beat: Heartbeat) -> Callable[[], Health]:
    """A heartbeat that somebody else in the store sees too."""
    if listener is None:
        return beat

    def told() -> Health:
        health = beat()
        listener(health)
        return health

    return told


def _days_left(cert: Path | None) -> float | None:
    if cert is None:
        return None
    from edge.claim import days_left

    return days_left(cert, datetime.datetime.now(datetime.UTC))


async def _keep_renewed(into: Path, renewed: Callable[[], None]) -> None:
    from edge.claim import keep_renewed

    await keep_renewed(into, renewed)


def _stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):
            loop.add_signal_handler(name, stop.set)
    return stop
