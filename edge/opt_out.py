"""`python -m edge opt-out node.toml`: enters a device that does not want to be heard at this node any more."""

import argparse
import sys
from pathlib import Path

from edge.privacy import OPT_OUTS, OptOutError, add_opt_out


def main(arguments: list[str], prog: str = "python -m edge opt-out") -> int:
    """Enters the device whose address stands on the standard input; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Enters a device into this node's own list of opt-outs. Its address is read from the standard "
        "input, so that no history or list of processes shows it; the list itself names no device: an entry is 3 bytes "
        "of a salted digest. For all nodes of a store: POST /v1/stores/{store}/opt-outs.",
    )
    parser.add_argument("config", type=Path, help="the node.toml of the node")
    config = parser.parse_args(arguments).config
    if not config.is_file():
        print(f"opt-out: {config} is not there, expected the node.toml of a node", file=sys.stderr)
        return 1
    path = config.resolve().parent / OPT_OUTS
    if sys.stdin.isatty():
        print("address of the device, like 00:11:22:33:44:55: ", end="", flush=True)
    try:
        entries = add_opt_out(path, sys.stdin.readline().strip())
    except (OptOutError, OSError) as error:
        print(f"opt-out: {error}", file=sys.stderr)
        return 1
    print(f"{path} has {entries} entries; the node heeds them from its next start: systemctl restart aisle-edge")
    return 0
