"""A node, put together: Bluetooth → pipeline → outbox → uplink. Reads from top to bottom."""

import asyncio
import logging
import signal
import time
from pathlib import Path

from contract.clock import clock_from
from edge.broker import Broker
from edge.config import NodeConfig
from edge.frames.advert import Advert
from edge.health import Heartbeat
from edge.machine import boot_id, tell_systemd, watchdog_s
from edge.outbox import Outbox
from edge.pipeline import Pipeline
from edge.sources.ble import BleSource
from edge.uplink import Uplink

log = logging.getLogger(__name__)

TICK_S = 0.05


async def run(config: NodeConfig, folder: Path) -> None:
    """Runs the node until SIGTERM or SIGINT. `folder` is where the files lie that the configuration names.

    Raises ValueError, OSError or sqlite3.Error if it cannot even begin.
    """
    boot = boot_id()
    clock = clock_from(config.node.clock)
    outbox = Outbox(folder / config.outbox.path, config.outbox.max_mb, config.outbox.synchronous)
    broker = Broker(config.uplink, folder, config.address, clock, boot)
    pipeline = Pipeline(config, outbox, clock, boot)

    def heard(advert: Advert) -> None:
        pipeline.hear(advert, clock.now_us())

    ble = BleSource(config.ble, heard)
    heartbeat = Heartbeat(
        clock,
        outbox,
        boot,
        config.digest,
        adverts=lambda: pipeline.adverts,
        windows=lambda: pipeline.windows,
        reconnects=lambda: max(0, broker.connects - 1),
        restarts=lambda: ble.restarts,
    )
    uplink = Uplink(broker, config.address, outbox, clock, heartbeat, config.health.every_s)

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)

    uplink.start()
    scan = asyncio.create_task(ble.run(), name="ble")
    scan.add_done_callback(lambda _: stop.set())
    tell_systemd("READY=1")
    log.info("node %s runs, %d batches wait in its outbox", config.address, outbox.rows())

    feed_s = watchdog_s()
    fed = time.monotonic()
    while not stop.is_set() and uplink.alive:
        pipeline.tick(clock.now_us())
        if feed_s is not None and time.monotonic() - fed >= feed_s:
            fed = time.monotonic()
            tell_systemd("WATCHDOG=1")
        await asyncio.sleep(TICK_S)

    tell_systemd("STOPPING=1")
    scan.cancel()
    (failure,) = await asyncio.gather(scan, return_exceptions=True)
    pipeline.finish(clock.now_us())
    crashed = not uplink.alive
    await asyncio.to_thread(uplink.stop)
    left = outbox.rows()
    outbox.close()
    log.info("node %s ended, %d batches kept for next time", config.address, left)
    if isinstance(failure, Exception):
        raise failure
    if crashed:
        raise OSError("the uplink stopped working, see above")
