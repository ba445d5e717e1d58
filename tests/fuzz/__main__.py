"""`python -m tests.fuzz`: fuzzes parsers by hand, or tries one input again."""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.run import KEPT, ROOT, Outcome, fuzz, missing
from tests.fuzz.table import TARGETS

HELP = """\
Throws made-up bytes at the product's parsers and looks whether each still gives a value, None or its own
error, and keeps its laws (what was decoded encodes to the same bytes, pieces read like the whole, …).

  python -m tests.fuzz --list                          what there is
  python -m tests.fuzz llrp-report batch               two targets, a minute each
  python -m tests.fuzz --seconds 600                   all of them, ten minutes each
  python -m tests.fuzz meraki --input .aisle/fuzz/found/meraki-crash-…
                                                       what an input does, with its whole traceback
"""
EPILOG = """\
What took a new way through the code is kept in .aisle/fuzz/TARGET and begins the next run: the longer you
let it work, the deeper it gets. What broke a parser is in .aisle/fuzz/found. Mend the parser, put the
input, as short as it can be made, into a unit test of that parser, and run the target again.
A target is a row in tests/fuzz/*.py: a function of bytes with its laws, and seeds.
The exit code is 1 if something was found, 2 if nothing could be fuzzed.
"""


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        "python -m tests.fuzz", description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="which; without one: all")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="N", help="for each target (default: 60)")
    parser.add_argument("--at-once", type=int, default=1, metavar="N", help="targets at a time (default: 1)")
    parser.add_argument("--input", type=Path, metavar="FILE", help="read this input with TARGET, and nothing else")
    parser.add_argument("--list", action="store_true", help="the targets, and what each reads")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.targets if name not in TARGETS]
    if unknown:
        parser.error(f"found no target {unknown[0]}, expected one of {', '.join(TARGETS)}")
    names: list[str] = options.targets or list(TARGETS)
    if options.list:
        for name in names:
            print(f"{name:<16} {TARGETS[name].reads}")
        return 0
    if options.input is not None:
        if len(options.targets) != 1:
            parser.error("--input: expected one TARGET with it")
        return _again(names[0], options.input)
    if reason := missing():
        print(f"fuzz: {reason}", file=sys.stderr)
        return 2
    return _fuzz(names, options.seconds, max(1, options.at_once))


def _again(name: str, path: Path) -> int:
    """Whatever the input raises comes out as it is: its traceback is what is wanted."""
    TARGETS[name].check(path.read_bytes())
    print(f"{name}: nothing is wrong with it")
    return 0


def _fuzz(names: list[str], seconds: float, at_once: int) -> int:
    print(f"{'target':<16} {'executions':>12} {'per s':>9} {'edges':>7} {'gained':>7} {'kept':>6}")
    found: list[Outcome] = []
    with ThreadPoolExecutor(at_once) as pool:
        for outcome in pool.map(lambda name: fuzz(TARGETS[name], seconds), names):
            print(_row(outcome), flush=True)
            found += [outcome] if outcome.story else []
    for outcome in found:
        print(f"\n{outcome.complaint}", file=sys.stderr)
    if not found:
        print(f"nothing found; inputs are kept in {KEPT.relative_to(ROOT)}")
    return 1 if found else 0


def _row(outcome: Outcome) -> str:
    per_s = outcome.executions / outcome.seconds
    numbers = (
        f"{outcome.executions:>12,} {per_s:>9,.0f} {outcome.covered:>7,} {outcome.gained:>7,} {outcome.corpus:>6,}"
    )
    return f"{outcome.target:<16} {numbers}" + ("  FOUND" if outcome.story else "")


if __name__ == "__main__":
    sys.exit(main())
