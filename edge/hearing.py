"""What a node listens with: every source that its configuration asks for, joined to the pipeline."""

from collections.abc import Callable
from pathlib import Path

from contract.clock import Clock
from edge.adapter import RebootBudget
from edge.config import NodeConfig
from edge.frames.advert import Advert
from edge.pipeline import Pipeline
from edge.sources import Source


def sources(config: NodeConfig, folder: Path, pipeline: Pipeline, clock: Clock) -> list[Source]:
    """Opens nothing yet. What is not asked for is not even imported: a node with Bluetooth alone stays small.

    `folder` is where the files lie that the configuration names. Raises ValueError or OSError if a source cannot ever
    work as it is configured.
    """
    found = [*_bluetooth(config, folder, pipeline, clock), *_rfid(config, folder, pipeline, clock)]
    if config.wifi.interface is not None:
        from edge.sources.wifi import WifiSource

        found.append(WifiSource(config.wifi, clock, pipeline.hear_wifi))
    return [*found, *_feeds(config, folder, pipeline, clock.now_us)]


def _bluetooth(config: NodeConfig, folder: Path, pipeline: Pipeline, clock: Clock) -> list[Source]:
    if config.ble.mode == "off":
        return []
    from edge.sources.ble import BleSource

    def heard(advert: Advert) -> None:
        pipeline.hear(advert, clock.now_us())

    after_s = config.ble.reboot_after_s
    beside = folder / config.outbox.path
    reboots = None if after_s is None else RebootBudget(beside.with_name("bluetooth-reboot"), after_s)
    return [BleSource(config.ble, heard, reboots)]


def _rfid(config: NodeConfig, folder: Path, pipeline: Pipeline, clock: Clock) -> list[Source]:
    found: list[Source] = []
    if config.llrp:
        from edge.sources.llrp import LlrpSource

        found += [LlrpSource(reader, pipeline.hear_tags, clock, folder) for reader in config.llrp]
    if config.uhf:
        from edge.sources.uhf_serial import UhfSerialSource

        found += [UhfSerialSource(module, pipeline.hear_tags, clock) for module in config.uhf]
    return found


def _feeds(config: NodeConfig, folder: Path, pipeline: Pipeline, now_us: Callable[[], int]) -> list[Source]:
    """What the store's network and other vendors' readers tell."""
    found: list[Source] = _posts(config, folder, pipeline, now_us)
    if config.radius is not None:
        from edge.sources.radius import RadiusSource

        found.append(RadiusSource(config.radius, folder, now_us, pipeline.station))
    if config.hostapd is not None:
        from edge.sources.hostapd import HostapdControl, HostapdLines

        hostapd = config.hostapd
        found += [HostapdControl(path, hostapd, now_us, pipeline.station) for path in hostapd.control]
        if hostapd.listen is not None:
            found.append(HostapdLines(hostapd, now_us, pipeline.station))
    if config.raddec is not None:
        from edge.sources.raddec import RaddecSource

        found.append(
            RaddecSource(
                config.raddec,
                folder,
                now_us,
                heard=lambda heard: pipeline.hear(heard.advert, heard.at_us),
                read=lambda read: pipeline.hear_tags([read]),
            )
        )
    return found


def _posts(config: NodeConfig, folder: Path, pipeline: Pipeline, now_us: Callable[[], int]) -> list[Source]:
    """What comes over HTTP: one receiver, and those whose paths it serves."""
    if config.meraki is None and config.portal is None:
        return []
    from edge.sources.http import Handler, HttpReceiver
    from edge.sources.meraki import MerakiFeed
    from edge.sources.portal import PortalHook

    found: list[Source] = []
    routes: dict[tuple[str, str], Handler] = {}
    if config.meraki is not None:
        meraki = MerakiFeed(config.meraki, folder, now_us, pipeline.station)
        found.append(meraki)
        routes |= meraki.routes
    if config.portal is not None:
        zones: dict[str, str] = {}
        for named in (
            config.meraki and config.meraki.aps,
            config.radius and config.radius.nas,
            config.hostapd and config.hostapd.aps,
        ):
            zones |= named or {}
        portal = PortalHook(config.portal, folder, now_us, pipeline.login, pipeline.station, zones)
        found.append(portal)
        routes |= portal.routes
    return [*found, HttpReceiver(config.http, folder, routes)]
