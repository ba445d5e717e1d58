"""Plays walks into nodes in order of time, as fast as the cloud takes them or at a multiple of real time."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain

from cli.replay.node import ReplayNode
from cli.replay.recording import SECOND_US, Heard, Walk
from cli.stack.processes import StackError
from contract.clock import Clock

SLICE_US = 60 * SECOND_US
"""Played at once when speed is max: few enough batches (one a second and node) that an uplink sends them in order."""
PACED_SLICE_S = 0.1
SILENCE_US = 2 * SECOND_US
"""After the last advertisement: its window has ended, and the silence after it."""
POLL_S = 0.05
STALLED_S = 60.0

Pace = Callable[[int], None]


def feed(nodes: Mapping[str, ReplayNode], walks: Sequence[Walk], slice_us: int, pace: Pace) -> int:
    """Plays laid-out walks; after each slice of time calls `pace` with its end. Returns the last instant played."""
    begin_us = walks[0].heard[0].at_us // SECOND_US * SECOND_US
    end_us = -(-walks[-1].heard[-1].at_us // SECOND_US) * SECOND_US + SILENCE_US
    for node in nodes.values():  # all must be known before the first of them tells
        node.tell_silence(begin_us)
    pace(begin_us)
    packets = chain.from_iterable(walk.heard for walk in walks)
    for until_us, part in _slices(packets, begin_us, end_us, slice_us):
        for heard in part:
            heard.tell(nodes[heard.node].pipeline)
        for node in nodes.values():
            node.pipeline.tick(until_us)
            if until_us == end_us:
                node.pipeline.finish(until_us)
                node.tell_silence(until_us)
        pace(until_us)
    return end_us


def _slices(
    packets: Iterator[Heard], begin_us: int, end_us: int, slice_us: int
) -> Iterator[tuple[int, Sequence[Heard]]]:
    """(end, packets before it) of each slice of time."""
    following = next(packets, None)
    until_us = begin_us
    while until_us < end_us:
        until_us = min(until_us + slice_us, end_us)
        part = []
        while following is not None and following.at_us < until_us:
            part.append(following)
            following = next(packets, None)
        yield until_us, part


def paced_by(clock: Clock) -> Pace:
    """Waits until a clock has reached an instant."""

    def pace(until_us: int) -> None:
        while clock.now_us() < until_us:
            time.sleep(0.01)

    return pace


def wait_until_none(left: Callable[[], int], what: str, check: Callable[[], None]) -> None:
    """Returns once nothing is left. Raises StackError if that stalls, and what `check` raises meanwhile."""
    before, since = -1, time.monotonic()
    while now := left():
        check()
        if now != before:
            before, since = now, time.monotonic()
        elif time.monotonic() - since > STALLED_S:
            raise StackError(f"the replay stands still: {now} {what}, for {STALLED_S:g} s")
        time.sleep(POLL_S)
