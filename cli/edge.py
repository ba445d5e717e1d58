"""`./aisle edge …`: the node's own commands, as `python -m edge` has them on a Pi."""

import sys

from edge.__main__ import main


def app(args: list[str], *, prog_name: str) -> object:
    """Hands the words over and ends with the command's exit code."""
    sys.exit(main(args, prog_name))
