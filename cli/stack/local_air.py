"""The simulated air in a thread of this process, for commands and tests that decide themselves what is on it."""

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Self

from simulators.air import Air


class LocalAir:
    """While entered, calls `speak(air)` every `every_s` seconds in a thread of its own.

    with LocalAir(["node-1"], lambda air: air.send("node-1", frames)) as sky:
        start_node(air_port=sky.port)
    """

    def __init__(self, nodes: Iterable[str], speak: Callable[[Air], None], every_s: float = 0.1) -> None:
        self._nodes = frozenset(nodes)
        self._speak = speak
        self._every_s = every_s
        self._thread = threading.Thread(target=self._main, name="air", daemon=True)
        self._ready = threading.Event()
        self._stop: Callable[[], object] = lambda: None
        self._error: Exception | None = None
        self.port = 0
        """Where scanners connect, once entered."""

    def __enter__(self) -> Self:
        """Raises OSError if no port can be had."""
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Fall silent for good. Raises what `speak` raised, if it did."""
        self._stop()
        self._thread.join()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except Exception as error:  # told to whoever enters or stops us: a thread has nobody to raise to
            self._error = error
        finally:
            self._ready.set()

    async def _run(self) -> None:
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        async with Air(self._nodes) as air:
            self.port = air.port

            def stop() -> None:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(stopped.set)

            self._stop = stop
            self._ready.set()
            due_s = loop.time()
            while not stopped.is_set():
                self._speak(air)
                due_s = max(due_s + self._every_s, loop.time())
                try:
                    async with asyncio.timeout_at(due_s):
                        await stopped.wait()
                except TimeoutError:
                    continue
