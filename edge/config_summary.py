"""What a node would do with its node.toml, in sentences; what is off; and what in the file cannot be meant so."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from edge.config import NodeConfig

_RECEIVER = re.compile(r"[0-9a-f]{12,32}")
"""A raddec's receiver, as it stands in the name of its antennas."""


def summary(config: NodeConfig) -> Iterator[str]:
    """What the node would do, a sentence a line."""
    yield f"node {config.address}"
    yield from _bluetooth(config)
    if config.wifi.interface is not None:
        yield f"counts devices by Wi-Fi on {config.wifi.interface}"
    yield from _rfid(config)
    yield from _feeds(config)
    uplink = config.uplink
    if uplink.cert_file is not None:
        line = "encrypted, with its own certificate"
    elif uplink.ca_file is not None:
        line = "encrypted"
    else:
        line = "NOT ENCRYPTED"
    yield f"sends to {uplink.host}:{uplink.port}, {line}; heartbeat every {config.health.every_s:g} s"
    yield f"keeps up to {config.outbox.max_mb:g} MiB in {config.outbox.path} while the line is cut"
    yield from _off(config)


def doubts(config: NodeConfig) -> Iterator[str]:
    """What the file says and cannot mean: the node would run, and something in it would never happen."""
    yield from _zones_without_reader(config)
    yield from _readers_without_zone(config)
    names = [*(reader.name for reader in config.llrp), *(module.name for module in config.uhf)]
    for name, times in Counter(names).items():
        if times > 1:
            yield f"{times} readers are named {name}: their antennas cannot be told apart"
    for feed, places in (
        ("meraki.aps", config.meraki and config.meraki.aps),
        ("radius.nas", config.radius and config.radius.nas),
        ("hostapd.aps", config.hostapd and config.hostapd.aps),
    ):
        if places == {}:
            yield f"[{feed}] names no access point: members on the Wi-Fi enter no zone"
    missing = list(_missing_for_pseudonyms(config))
    if config.privacy.pseudonyms and missing:
        yield f"[privacy] pseudonyms is on and gives none without {' and '.join(missing)}"


# -- what is on


def _bluetooth(config: NodeConfig) -> Iterator[str]:
    ble = config.ble
    if ble.mode == "off":
        yield "does not hear Bluetooth"
    else:
        heard_by = f"through {ble.backend}" if ble.backend else f"on {ble.adapter or 'the first adapter'}"
        yield f"hears Bluetooth {heard_by}, {ble.mode} scan, told every {config.windows.seconds:g} s"
    if config.node.zone is None:
        yield "has no zone of its own: it tells what it hears, the cloud finds the place"
    else:
        enter, leave = config.presence.enter_dbm, config.presence.exit_dbm
        yield f"tells who enters and leaves {config.node.zone} (from {enter:g} dBm, below {leave:g} dBm)"


def _rfid(config: NodeConfig) -> Iterator[str]:
    yield from (f"reads RFID tags at {reader.host}:{reader.port} ({reader.name})" for reader in config.llrp)
    yield from (f"reads RFID tags at {module.port} ({module.name})" for module in config.uhf)
    if not _reads_tags(config):
        return
    rules = config.inventory
    if rules.zones:
        gone = "as its window says" if rules.window == "smurf" else f"after {rules.departed_s:g} s unread"
        yield f"tells things in {_by_zone(rules.zones)}; one is gone {gone}"
    if rules.cards:
        yield f"takes EPCs that begin with {', '.join(rules.cards)} for members' cards: told as people, never as things"
    else:
        yield "knows no members' cards ([inventory] cards): every tag is a thing"


def _feeds(config: NodeConfig) -> Iterator[str]:
    scheme = "https" if config.http.cert_file else "http"
    if meraki := config.meraki:
        yield f"[meraki]: posts to {scheme}://{config.http.listen}{meraki.path}, {_access_points(meraki.aps)}"
    if config.portal:
        yield f"[portal]: logins to {scheme}://{config.http.listen}/portal/login"
    if radius := config.radius:
        yield f"[radius]: accounting on UDP {radius.listen}, {_access_points(radius.nas)}"
    if hostapd := config.hostapd:
        ways = [*hostapd.control]
        if hostapd.listen:
            ways.append(f"lines on UDP {hostapd.listen} from {', '.join(hostapd.peers) or 'this machine'}")
        yield f"[hostapd]: {', '.join(ways) or 'neither asks nor listens'}, {_access_points(hostapd.aps)}"
    if raddec := config.raddec:
        ways = [f"raddecs on UDP {raddec.listen}"] if raddec.listen else []
        if raddec.mqtt_listen:
            ways.append(f"raddecs from {raddec.mqtt_listen} at {raddec.mqtt_host}")
        ways += [f"beacons told to {to}" for to in (raddec.export_udp, raddec.export_topic) if to]
        yield f"[raddec]: {', '.join(ways) or 'nothing in, nothing out'}"
    if home := config.home_assistant:
        yield f"[home_assistant]: health shown by {home.host}:{home.port}"


def _off(config: NodeConfig) -> Iterator[str]:
    """What is off, and what it would need."""
    if config.ble.mode == "off":
        yield 'off: Bluetooth; [ble] mode = "active" and an adapter'
    if config.wifi.interface is None:
        yield "off: counts by Wi-Fi; [wifi] interface, of an adapter in monitor mode"
    if not _reads_tags(config):
        yield "off: RFID; [[llrp]] or [[uhf]] for a reader, [inventory.zones] for its antennas"
    if not (config.meraki or config.radius or config.hostapd or config.raddec):
        yield "off: what the store's network tells; [meraki], [radius], [hostapd] or [raddec], see docs/feeds.md"
    if not config.privacy.pseudonyms:
        needs = ["[privacy] pseudonyms = true", *_missing_for_pseudonyms(config)]
        yield f"off: pseudonyms of the day; {' and '.join(needs)}"


def _reads_tags(config: NodeConfig) -> bool:
    return bool(config.llrp or config.uhf or (config.raddec and config.inventory.zones))


def _missing_for_pseudonyms(config: NodeConfig) -> Iterator[str]:
    if not config.node.tz:
        yield "[node] tz"
    if not (config.uplink.ca_file and config.uplink.cert_file and config.uplink.key_file):
        yield "a certificate (claim the node)"


def _by_zone(zones: dict[str, str]) -> str:
    names = dict.fromkeys(zones.values())
    return ", ".join(f"{zone} ({', '.join(a for a, z in zones.items() if z == zone)})" for zone in names)


def _access_points(zones: dict[str, str]) -> str:
    return f"{len(zones)} access points in {', '.join(dict.fromkeys(zones.values())) or 'no zone'}"


# -- what cannot be meant


def _zones_without_reader(config: NodeConfig) -> Iterator[str]:
    antennas = [f"{reader.name}/{port}" for reader in config.llrp for port in reader.antennas or (1, 2, 3, 4)]
    antennas += [f"{module.name}/1" for module in config.uhf]
    for antenna, zone in config.inventory.zones.items():
        if not _is_read(config, antenna):
            near = _nearest(antenna, antennas)
            yield f'[inventory.zones] "{antenna}" = "{zone}": no reader has this antenna; nothing is told there{near}'


def _is_read(config: NodeConfig, antenna: str) -> bool:
    name, _, port = antenna.rpartition("/")
    if not re.fullmatch(r"[1-9]\d{0,2}", port):
        return False
    if any(name == reader.name and (not reader.antennas or int(port) in reader.antennas) for reader in config.llrp):
        return True
    if any(name == module.name and port == "1" for module in config.uhf):
        return True
    if config.raddec is None or _RECEIVER.fullmatch(name) is None:
        return False
    receivers = {re.sub(r"[^0-9a-f]", "", receiver.lower()) for receiver in config.raddec.receivers}
    return not receivers or name in receivers


def _readers_without_zone(config: NodeConfig) -> Iterator[str]:
    zones = config.inventory.zones
    for reader in config.llrp:
        silent = [f"{reader.name}/{port}" for port in reader.antennas if f"{reader.name}/{port}" not in zones]
        if not reader.antennas and not any(antenna.startswith(f"{reader.name}/") for antenna in zones):
            silent = [f"{reader.name}/1"]
        yield from map(_without_zone, silent)
    yield from (_without_zone(f"{module.name}/1") for module in config.uhf if f"{module.name}/1" not in zones)


def _without_zone(antenna: str) -> str:
    return f'antenna {antenna} has no zone, so its reads are left aside; [inventory.zones] "{antenna}" = "…"'


def _nearest(antenna: str, known: Iterable[str]) -> str:
    near = get_close_matches(antenna, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""
