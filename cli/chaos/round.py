"""One round of chaos: a whole stack under a steady load, its parts killed, then everything accepted counted again."""

from collections.abc import Sequence
from dataclasses import dataclass

from cli.chaos.design import NODES, Count, Design
from cli.chaos.killer import VICTIMS, Killer
from cli.chaos.lines import FAULTS, Lines
from cli.chaos.load import Load
from cli.chaos.naive import REPLACED, Naive
from cli.chaos.ours import ALSO, Ours
from cli.stack.cloud import Say
from cli.stack.local_air import LocalAir
from cli.stack.scratch import scratch_cloud


@dataclass(frozen=True, slots=True)
class Round:
    """What a round found."""

    accepted: int
    """Events that the nodes have taken: from then on none may be lost."""
    stored: int
    """Events that the cloud holds, each once."""
    lost: int
    duplicated: int
    """Rows beyond those."""
    kills: int
    drain_s: float
    """From the last start to empty outboxes and an empty queue of the locator."""
    killed: dict[str, int]
    faults: dict[str, int]
    """How often what went wrong on which line."""
    refused: int
    """Events in dead letters: of two nodes with one card, those whose name the other had used."""
    gone: int
    """Events that lay on a card when it was wiped, and nowhere else."""


def run(
    seconds: float,
    rate: int,
    victims: Sequence[str],
    seed: int,
    say: Say,
    *,
    faults: Sequence[str] = (),
    also: Sequence[str] = (),
    naive: bool = False,
) -> Round:
    """The whole round. Raises ValueError for an unknown name, StackError if a part does not start or never drains."""
    _check("--kill", victims, [v for v in VICTIMS if not naive or v == "ingest" or v not in REPLACED])
    if not victims and not faults and not also:
        raise ValueError(f"--kill: found nothing, expected some of {','.join(VICTIMS)}")
    _check("--faults", faults, list(FAULTS))
    _check("--also", also, [] if naive else ALSO)
    load = Load([node.node for node in NODES], rate, seed)
    with scratch_cloud("chaos", NODES[0].tenant, NODES, say) as cloud, Lines(cloud, faults) as lines:
        ours = None if naive else Ours(cloud, lines, say)
        design: Design = ours or Naive(cloud, lines)
        with LocalAir([node.node for node in NODES], load.speak, load.every_s) as air:
            design.begin(air.port)
            say(f"{rate} events/s from {len(NODES)} nodes, {', '.join([*victims, *faults, *also])}, for {seconds:g} s")
            killer = Killer(cloud, lines, design.nodes, seed, say)
            if ours and also:
                killer.work_for(seconds / 2, victims)
                for what in also:
                    ours.also(what)
                killer.work_for(seconds / 2, victims)
            else:
                killer.work_for(seconds, victims)
            air.stop()
        drain_s = design.drain()
        count = design.count()
    say(_told(count, sum(killer.killed.values())))
    return Round(
        count.accepted,
        count.stored,
        count.lost,
        count.duplicated,
        sum(killer.killed.values()),
        round(drain_s, 2),
        dict(killer.killed),
        dict(killer.spoilt),
        count.refused,
        count.gone,
    )


def _check(option: str, given: Sequence[str], known: Sequence[str]) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"{option}: found {','.join(unknown)}, expected some of {','.join(known) or 'nothing'}")


def _told(count: Count, kills: int) -> str:
    more = f", {count.refused} refused" if count.refused else ""
    more += f", {count.gone} gone with a card" if count.gone else ""
    found = f"{count.accepted} accepted, {count.stored} stored{more}"
    return f"{kills} kills: {found}, {count.lost} lost, {count.duplicated} duplicated"
