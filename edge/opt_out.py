"""`python -m edge opt-out node.toml ADDRESS`: a device that does not want to be heard at this node any more."""

import argparse
import sys
from pathlib import Path

from edge.privacy import OPT_OUTS, OptOutError, add_opt_out


def main(arguments: list[str]) -> int:
    """Enters the device; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m edge opt-out",
        description="Enters a device into this node's own list of opt-outs. The list names no device: an entry is 3 "
        "bytes of a salted digest. For all nodes of a store use the console's API: POST /v1/stores/{store}/opt-outs.",
    )
    parser.add_argument("config", type=Path, help="the node.toml of the node")
    parser.add_argument("address", help="the device's own address, like 00:11:22:33:44:55")
    options = parser.parse_args(arguments)
    path = options.config.resolve().parent / OPT_OUTS
    try:
        entries = add_opt_out(path, options.address)
    except (OptOutError, OSError) as error:
        print(f"opt-out: {error}", file=sys.stderr)
        return 2
    print(f"{path}: {entries} {'entry' if entries == 1 else 'entries'}. Restart the node: systemctl restart aisle-edge")
    return 0
