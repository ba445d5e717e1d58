"""`python -m simulators live | history --run RUN.json`: a store that lives, or its past in fast-forward."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

import httpx
import msgspec

from simulators.history import history
from simulators.live import live
from simulators.run import RunError, RunFiles
from simulators.scenario_files import ScenarioError


def main() -> int:
    """Exit code 0 when the run ended as it should, 2 when it cannot even begin, 1 when the product refused it."""
    parser = argparse.ArgumentParser(prog="python -m simulators", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    now = commands.add_parser("live", help="play the store by the shared clock until SIGTERM")
    past = commands.add_parser("history", help="fast-forward through the store's past")
    past.add_argument(
        "--until-us", type=int, required=True, help="the instant at which history ends, µs since 1970 UTC"
    )
    past.add_argument("--days", type=int, default=2, help="whole days before that day (default 2)")
    for command in (now, past):
        command.add_argument("--run", type=Path, required=True, help="RUN.json")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        files = RunFiles(arguments.run)
        if arguments.command == "live":
            asyncio.run(live(files))
        else:
            result = asyncio.run(history(files, arguments.until_us, arguments.days))
            print(msgspec.json.encode(result).decode(), flush=True)
    except (RunError, ScenarioError) as error:
        print(error, file=sys.stderr)
        return 2
    except httpx.HTTPError as error:
        print(f"the product does not take the run: {type(error).__name__} {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
