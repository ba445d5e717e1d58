"""`python -m edge node.toml`: runs a node. Exit code 2: the configuration is wrong; 1: it cannot begin."""

import argparse
import asyncio
import logging
import sqlite3
import sys
from pathlib import Path

from edge import node
from edge.config import ConfigError, read_config


def main(arguments: list[str] | None = None) -> int:
    """Reads the configuration and runs the node; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m edge", description="Runs an Aisle node.")
    parser.add_argument("config", type=Path, help="the node.toml to follow")
    parser.add_argument("--log", default="info", choices=["debug", "info", "warning", "error"])
    options = parser.parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr, level=options.log.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    logging.getLogger("bleak").setLevel(logging.WARNING)  # it logs addresses below that level
    logging.getLogger("dbus_fast").setLevel(logging.WARNING)
    try:
        config = read_config(options.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{options.config}: {error.strerror}, expected a configuration file", file=sys.stderr)
        return 2
    try:
        asyncio.run(node.run(config, options.config.resolve().parent))
    except (ValueError, OSError, sqlite3.Error) as error:
        print(f"{options.config.name}: the node cannot run: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
