"""Up to which instant a store's story may be told: when every node has spoken, or cannot be waited for any longer."""

from dataclasses import dataclass, field

LIVE_US = 60_000_000
"""Data younger than this is live: nobody waits for a node that said it hears nothing. Older data is a backlog."""
WAIT_S = 1.5
"""Real seconds that the others wait for a node that has not spoken, while the story is live."""
WAIT_BACKLOG_S = 10.0
"""The same while a backlog is told, when nothing is urgent."""


@dataclass(slots=True)
class _Node:
    until_us: int
    silent: bool
    lagging_since_s: float | None = None
    """Real time since when others are ahead of it."""


@dataclass(slots=True)
class Timeline:
    """The nodes of one store and how far each has told what it heard."""

    told_until_us: int = 0
    """How far the story has been told; windows from before it come too late to count."""
    _nodes: dict[str, _Node] = field(default_factory=dict)

    def heard(self, node: str, until_us: int, *, silent: bool) -> None:
        """A node has told all it heard before `until_us`; silent if that was nothing."""
        known = self._nodes.setdefault(node, _Node(until_us, silent))
        if until_us >= known.until_us:
            known.until_us, known.silent, known.lagging_since_s = until_us, silent, None

    def ready_until(self, now_us: int, real_s: float) -> int:
        """The instant up to which to go on. `now_us` is the clock's present, `real_s` a monotonic time."""
        if not self._nodes:
            return self.told_until_us
        newest = max(node.until_us for node in self._nodes.values())
        live = now_us - newest < LIVE_US
        ready = newest
        for node in self._nodes.values():
            if node.until_us >= newest or (live and node.silent):
                continue
            if node.lagging_since_s is None:
                node.lagging_since_s = real_s
            if real_s - node.lagging_since_s < (WAIT_S if live else WAIT_BACKLOG_S):
                ready = min(ready, node.until_us)
        return max(ready, self.told_until_us)

    def is_waiting(self) -> bool:
        """Whether somebody is being waited for, so that time alone may let the story go on."""
        return any(node.lagging_since_s is not None for node in self._nodes.values())

    def alive(self, node: str, at_us: int) -> bool:
        """Whether the node's silence about a subject at an instant means that it did not hear it."""
        known = self._nodes.get(node)
        return known is not None and (known.until_us >= at_us or known.silent)
