"""`python -m edge opt-out node.toml`: whoever does not want to be heard at this node is not, from its next start on.

The address is asked for, not taken from the command line: a shell keeps what it was told. The list holds three bytes of
a salted hash of it and nothing else.
"""

import argparse
import sys
from pathlib import Path

from edge.node import OPT_OUTS
from edge.privacy import OptOutError, add_opt_out


def main(arguments: list[str]) -> int:
    """The command. Exit code 1: the address cannot be entered, or the list cannot be written."""
    parser = argparse.ArgumentParser(
        prog="python -m edge opt-out", description="Enters a device that must not be heard; its address is asked for."
    )
    parser.add_argument("config", type=Path, help="the node.toml; the list lies beside it")
    options = parser.parse_args(arguments)
    path = options.config.resolve().parent / OPT_OUTS
    print("the device's own address, from its settings (00:11:22:33:44:55): ", end="", file=sys.stderr, flush=True)
    try:
        entries = add_opt_out(path, sys.stdin.readline().strip())
    except OptOutError as error:
        print(f"opt-out: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"opt-out: {path}: {error.strerror}", file=sys.stderr)
        return 1
    print(
        f"{path.name} has {entries} entries; they count once the node was restarted: sudo systemctl restart aisle-edge"
    )
    return 0
