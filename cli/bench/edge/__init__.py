"""A node's figures, part by part: what it parses, keeps and tells in a second, beside its peers in the same run."""

from collections.abc import Callable, Sequence
from dataclasses import asdict

from cli.bench.edge import ble, epc, llrp, outbox, wifi

PARTS: dict[str, Callable[[float], dict[str, object]]] = {
    "ble": lambda seconds: asdict(ble.measure(seconds)),
    "wifi": lambda _: asdict(wifi.measure()),
    "llrp": lambda _: asdict(llrp.measure()),
    "epc": lambda _: asdict(epc.measure()),
    "outbox": lambda _: asdict(outbox.measure()),
}
"""By name, what measures it; `seconds` is how long a node is put under load."""


def measure(parts: Sequence[str], seconds: float) -> dict[str, object]:
    """The figures of these parts together, about two minutes for all. Raises StackError."""
    figures: dict[str, object] = {}
    for name in parts:
        figures |= PARTS[name](seconds)
    return figures
