"""`./aisle COMMAND …`: finds the command's module and runs its Typer app. Only that module is imported."""

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from typing import Protocol

NOT_BUILT_YET = 3
"""The exit code of a name that is promised and not there yet."""


@dataclass(frozen=True, slots=True)
class Family:
    """A command or a family of them: the module that holds its `app` and what it is for."""

    module: str
    help: str


FAMILIES = {
    "demo": Family("cli.demo", "a simulated store from radio to offer, with its console and app"),
    "replay": Family("cli.replay", "feed real recordings through a node's own code"),
    "eval": Family("cli.evaluate", "accuracy on recorded data, as one JSON object"),
    "bench": Family("cli.bench", "speed, beside its peer where there is one"),
    "chaos": Family("cli.chaos", "kill parts of a running stack and count what is lost"),
    "simulate": Family("cli.simulate", "a scenario into files with its truth; --report checks it"),
    "edge": Family("cli.edge", "run, check, watch and survey a node"),
    "ingest": Family("cli.ingest", "look into batches, dead letters and what nodes still hold"),
    "db": Family("cli.db", "the database: migrate, open, retain"),
    "receipts": Family("cli.receipts", "import and check receipts"),
    "models": Family("cli.models", "train, evaluate and verify models"),
    "app": Family("cli.app", "the member's app"),
    "check": Family("cli.check", "format, lint, types, boundaries (--fix mends what it can)"),
    "test": Family("cli.test", "all tests with real servers; --long for the slow ones"),
}
"""What happens on which word. `lock` is the launcher's own: it writes requirements/*.txt anew."""


class App(Protocol):
    """What a family's module calls `app`: a typer.Typer."""

    def __call__(self, args: list[str], *, prog_name: str) -> object: ...


def usage() -> str:
    """The list of commands, those that are there first."""
    rows = [f"  {name:<10} {family.help}" for name, family in FAMILIES.items() if _is_built(family)]
    return "\n".join(
        ["Usage: ./aisle COMMAND [OPTIONS]", "", *rows, "  lock       write requirements/*.txt anew", ""]
        + ["./aisle COMMAND --help says more."]
    )


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(usage())
        return 0
    name, rest = arguments[0], arguments[1:]
    family = FAMILIES.get(name)
    if family is None:
        print(f"aisle: no command {name!r}{_nearest(name)}\n\n{usage()}", file=sys.stderr)
        return 2
    if not _is_built(family):
        print(f"aisle: {name} is not built yet", file=sys.stderr)
        return NOT_BUILT_YET
    app: App = importlib.import_module(family.module).app
    app(rest, prog_name=f"./aisle {name}")  # ends with SystemExit, as Typer does
    return 0


def _is_built(family: Family) -> bool:
    return importlib.util.find_spec(family.module) is not None


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, FAMILIES, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
