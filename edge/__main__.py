"""`python -m edge node.toml` runs a node; `python -m edge doctor node.toml` and others look after one."""

import argparse
import asyncio
import importlib
import importlib.util
import logging
import os
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

NOT_BUILT_YET = 3


@dataclass(frozen=True, slots=True)
class Tool:
    """A technician's command: a module whose `main(arguments, prog)` returns the exit code; `prog` is its name here."""

    module: str
    help: str


TOOLS = {
    "doctor": Tool("edge.doctor", "what is wrong with this node, and the command that mends it"),
    "watch": Tool("edge.watch", "what the running node hears, keeps and sends"),
    "survey": Tool("edge.survey", "the walk test that makes a floor's radio map"),
    "config": Tool("edge.config_check", "check a node.toml, show all settings"),
    "opt-out": Tool("edge.opt_out", "enter a device that must not be heard"),
    "claim": Tool("edge.claim", "make this machine a node of a store by a one-time code"),
}
"""Only the module of the word that was said is imported: a Pi starts a node without the tools."""


def usage(prog: str) -> str:
    """The list of commands."""
    rows = [f"  {name:<9}{tool.help}" for name, tool in TOOLS.items() if _is_built(tool)]
    return "\n".join(
        [
            f"usage: {prog} [run] node.toml [--log LEVEL]",
            f"       {prog} COMMAND …",
            "",
            "  run      run a node; what is done without a command",
            *rows,
            "",
            f"{prog} COMMAND --help says more.",
        ]
    )


def main(arguments: list[str] | None = None, prog: str = "python -m edge") -> int:
    """Does what the first word says; returns the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage(prog))
        return 0 if words else 2
    tool = TOOLS.get(words[0])
    if tool is None and words[0].isalpha() and words[0] != "run" and not Path(words[0]).exists():
        near = get_close_matches(words[0], [*TOOLS, "run"], n=1)
        print(f"{prog}: no command {words[0]!r}{f'; did you mean {near[0]}?' if near else ''}\n", file=sys.stderr)
        print(usage(prog), file=sys.stderr)
        return 2
    if tool is None:
        return run(words[1:] if words[0] == "run" else words, f"{prog} run")
    if not _is_built(tool):
        print(f"{prog} {words[0]}: not built yet", file=sys.stderr)
        return NOT_BUILT_YET
    begin: Callable[[list[str], str], int] = importlib.import_module(tool.module).main
    return begin(words[1:], f"{prog} {words[0]}")


def run(arguments: list[str], prog: str) -> int:
    """Runs a node. Exit code 2: the configuration is wrong; 1: it cannot begin."""
    from edge import node
    from edge.config import ConfigError
    from edge.safe_mode import load

    parser = argparse.ArgumentParser(prog=prog, description="Runs an Aisle node.")
    parser.add_argument("config", type=Path, help="the node.toml to follow")
    parser.add_argument("--log", default="info", choices=["debug", "info", "warning", "error"])
    options = parser.parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr, level=options.log.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    logging.getLogger("bleak").setLevel(logging.WARNING)  # it logs addresses below that level
    logging.getLogger("dbus_fast").setLevel(logging.WARNING)
    try:
        loaded = load(options.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{options.config}: {error.strerror}, expected a configuration file", file=sys.stderr)
        return 2
    os.umask(0o077)  # whatever a node makes is its own to read, whoever starts it
    try:
        asyncio.run(node.run(loaded, options.config.resolve()))
    except (ValueError, OSError, sqlite3.Error) as error:
        print(f"{options.config.name}: the node cannot run: {error}", file=sys.stderr)
        return 1
    return 0


def _is_built(tool: Tool) -> bool:
    return importlib.util.find_spec(tool.module) is not None


if __name__ == "__main__":
    sys.exit(main())
