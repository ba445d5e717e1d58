"""Power, warmth and memory: what makes a board slow or wrong without a word."""

from collections.abc import Iterator
from dataclasses import dataclass

from edge import machine
from edge.doctor.finding import Finding, passed, skipped, warned
from edge.doctor.patient import Patient

HOT_C = 80.0
"""A Pi slows down from here on."""
MEMORY_LEAST_MB = 100.0
WEAK_DBM = -75
"""The node's own Wi-Fi loses packets below."""
UNDER_VOLTAGE, CAPPED, THROTTLED, SOFT_LIMIT = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_SINCE_BOOT = 16
"""By so many bits the same are shifted for `has happened since boot`."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What the machine told; None for what it does not tell."""

    model: str | None = None
    temperature_c: float | None = None
    throttled: int | None = None
    memory_mb: float | None = None
    load: float = 0.0
    wifi_dbm: int | None = None


def power(_: Patient) -> Iterator[Finding]:
    """Under-voltage, heat, memory, load and the strength of the node's own Wi-Fi."""
    yield from judge(
        Probe(
            machine.model(),
            machine.temperature_c(),
            machine.throttled(),
            machine.memory_free_mb(),
            machine.load(),
            machine.wifi_dbm(),
        )
    )


def judge(found: Probe) -> Iterator[Finding]:
    """Judges the machine."""
    yield _power(found.throttled)
    if found.temperature_c is not None and found.temperature_c >= HOT_C:
        yield warned(
            "machine", f"{found.temperature_c:.0f} °C: it slows down", "give it a heat sink, air, a cooler place"
        )
    if found.memory_mb is not None and found.memory_mb < MEMORY_LEAST_MB:
        yield warned("machine", f"{found.memory_mb:.0f} MiB of memory left", "ps aux --sort=-rss | head")
    if found.wifi_dbm is not None and found.wifi_dbm < WEAK_DBM:
        yield warned(
            "machine", f"its Wi-Fi hears its access point at {found.wifi_dbm} dBm", "use a cable, or move nearer"
        )
    told = [found.model or "this machine"]
    told += [f"{found.temperature_c:.0f} °C"] if found.temperature_c is not None else []
    told += [f"{found.memory_mb:.0f} MiB free"] if found.memory_mb is not None else []
    told += [f"load {found.load:.2f} a core"]
    told += [f"Wi-Fi {found.wifi_dbm} dBm"] if found.wifi_dbm is not None else []
    yield passed("machine", ", ".join(told))


def _power(bits: int | None) -> Finding:
    if bits is None:
        return skipped("power", "only a Raspberry Pi tells")
    past = bits >> _SINCE_BOOT
    if bits & UNDER_VOLTAGE or past & UNDER_VOLTAGE:
        when = "now" if bits & UNDER_VOLTAGE else "since boot"
        return warned("power", f"under-voltage {when}", "use the official power supply and its own cable")
    if bits & (CAPPED | THROTTLED | SOFT_LIMIT) or past & (CAPPED | THROTTLED | SOFT_LIMIT):
        when = "now" if bits & (CAPPED | THROTTLED | SOFT_LIMIT) else "since boot"
        return warned("power", f"slowed down by heat {when}", "give it a heat sink, air, a cooler place")
    return passed("power", "no under-voltage and no throttling since boot")
