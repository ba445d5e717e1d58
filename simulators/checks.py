"""One line of a simulation's report: what was measured, what was expected, and whether that fits."""

from typing import Literal

import msgspec

Verdict = Literal["pass", "fail", "departs"]


class Check(msgspec.Struct, frozen=True):
    """A figure with its target, or a law that a trace obeys."""

    name: str
    verdict: Verdict
    """`departs`: the figure is off because the scenario means it to be."""
    measured: str
    expected: str
    source: str = ""


def law(name: str, broken: int, of: int, what: str) -> Check:
    """A law and how many of the things that it is about break it."""
    return Check(name, "fail" if broken else "pass", f"{broken} broken", f"none of {of:,} {what}")


def figure(name: str, measured: float, target: float, within: tuple[float, float], unit: str, source: str) -> Check:
    """A measured figure beside its target; it passes inside `within`."""
    fits = within[0] <= measured <= within[1]
    expected = f"{target:.4g} ({within[0]:.4g} … {within[1]:.4g})"
    return Check(name, "pass" if fits else "fail", f"{measured:.4g} {unit}".strip(), expected, source)
