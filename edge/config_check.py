"""`python -m edge config check node.toml`: every mistake with its line, or what the node would do."""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from edge.config import ConfigError, NodeConfig, Problem, read_config
from edge.config_summary import doubts, summary

EXAMPLE = Path(__file__).with_name("node.example.toml")
_TOLD = re.compile(
    r"(?P<key>.*?): found (?P<found>.*?), expected (?P<expected>.*?)(?:; did you mean (?P<nearest>.*)\?)?", re.DOTALL
)


def problem_fields(problem: Problem) -> dict[str, str | int | None]:
    """A mistake in its parts: line, key, found, expected, nearest. What has no such parts is all in `found`."""
    parts = _TOLD.fullmatch(problem.text)
    if parts is None:
        return {"line": problem.line, "key": None, "found": problem.text, "expected": None, "nearest": None}
    return {"line": problem.line, **parts.groupdict()}


def schema() -> dict[str, Any]:
    """All settings as JSON Schema 2020-12, which editors with TOML support take to complete and check a node.toml."""
    made = msgspec.json.schema(NodeConfig)
    for shape in made.get("$defs", {}).values():
        shape["additionalProperties"] = False  # an unknown setting is a mistake
    made["$defs"]["NodeConfig"]["properties"].pop("digest", None)  # of the file, not in it
    return made


def check(path: Path, as_json: bool) -> int:
    """Prints the verdict; the exit code is 0 for a file that a node runs with, else 2, as at its start."""
    try:
        config = read_config(path)
    except ConfigError as error:
        if as_json:
            problems = [problem_fields(problem) for problem in error.problems]
            print(json.dumps({"file": str(path), "ok": False, "problems": problems}, ensure_ascii=False))
        else:
            print(error)
        return 2
    except OSError as error:
        words = f"cannot be read ({error.strerror}), expected a configuration file"
        if as_json:
            problems = [problem_fields(Problem(0, words))]
            print(json.dumps({"file": str(path), "ok": False, "problems": problems}))
        else:
            print(f"{path}: {words}")
        return 2
    does, doubted = list(summary(config)), list(doubts(config))
    if as_json:
        told = {"file": str(path), "ok": True, "digest": config.digest, "does": does, "warnings": doubted}
        print(json.dumps(told, ensure_ascii=False))
    else:
        lines = [*(f"warning: {line}" for line in doubted), *does]
        print("\n".join([f"{path.name}: good ({config.digest})", *(f"  {line}" for line in lines)]))
    return 0


def main(arguments: list[str], prog: str = "python -m edge config") -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog=prog, description="Checks a node.toml, or shows what may stand in one.")
    verbs = parser.add_subparsers(dest="verb", metavar="check", required=True)
    checking = verbs.add_parser("check", help="every mistake with its line, or what the node would do")
    checking.add_argument("config", type=Path, nargs="?", help="the node.toml")
    checking.add_argument("--json", action="store_true", help="one JSON object on stdout")
    checking.add_argument("--example", action="store_true", help="print a node.toml with every setting and its default")
    checking.add_argument("--print-schema", action="store_true", help="print all settings as JSON Schema")
    options = parser.parse_args(arguments)
    if options.example:
        sys.stdout.write(EXAMPLE.read_text())
        return 0
    if options.print_schema:
        print(json.dumps(schema(), indent=2, ensure_ascii=False))
        return 0
    if options.config is None:
        checking.error("name a node.toml")
    return check(options.config, options.json)
