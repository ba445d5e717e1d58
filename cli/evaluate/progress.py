"""What a long evaluation says meanwhile, on stderr: a bar on a terminal, one line elsewhere."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

QUIET_S = 2.0
"""In a pipe, what is done sooner says nothing but its figures."""


@contextmanager
def working(what: str, steps: int | None = None) -> Iterator[Callable[[], None]]:
    """Gives what to call after each of the steps. Without their number the bar only shows that something goes on.

    As a decorator it covers a whole function.
    """
    if not sys.stderr.isatty():
        line = threading.Timer(QUIET_S, print, (what,), {"file": sys.stderr})
        line.start()
        try:
            yield lambda: None
        finally:
            line.cancel()
            line.join()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=steps)
        yield lambda: bar.advance(task)
