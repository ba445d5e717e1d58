"""All fuzz targets by name: one for each parser of the product."""

from tests.fuzz import ble, feeds, node, rfid, wifi, wire
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        *ble.TARGETS,
        *wifi.TARGETS,
        *rfid.TARGETS,
        *feeds.TARGETS,
        *wire.TARGETS,
        *node.TARGETS,
    )
}
