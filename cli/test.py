"""`./aisle test`: the unit, integration and e2e tiers with a real PostgreSQL, real brokers and a real browser."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from cli import ROOT

app = typer.Typer(add_completion=False)

TOGETHER = ("tests/unit", "tests/integration")
"""Run by several processes, each a file at a time and with a PostgreSQL of its own."""
ALONE = ("tests/e2e",)
"""Whole stacks under load: beside others they would be slow and measure those."""
MOST_AT_ONCE = 4
INTERRUPTED, NOTHING_CHOSEN = 2, 5
"""pytest's exit codes."""

SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/usr/bin"])


@dataclass(frozen=True, slots=True)
class Need:
    """A program that no Python package brings: any of `programs` will do."""

    programs: tuple[str, ...]
    package: str
    tests: str

    @property
    def met(self) -> bool:
        """Whether it is installed."""
        return any(shutil.which(program, path=SEARCH) for program in self.programs)


NEEDS = [
    Need(("mosquitto",), "mosquitto", "tests on a broker with access lists and persistence"),
    Need(
        ("chromium", "chromium-browser", "google-chrome"), "chromium", "tests of the console and the app in a browser"
    ),
    Need(("dbus-daemon",), "dbus", "tests of the BLE scanner against a simulated BlueZ"),
    Need(("fiu-run",), "fiu-utils", "tests of the outbox on a failing disk"),
]


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def test(
    context: typer.Context,
    long: Annotated[
        bool, typer.Option("--long", help="The slow tests only: fuzzing, soak, a month in the store.")
    ] = False,
    dsn: Annotated[str | None, typer.Option(help="Superuser of the PostgreSQL to test against.")] = None,
) -> None:
    """Run the tests. What is not an option of this command goes to pytest: ./aisle test -x -k broker tests/unit"""
    _meet([need for need in NEEDS if not need.met])
    command = [sys.executable, "-P", "-m", "pytest", "-m", "long" if long else "not long and not benchmark"]
    command += [f"--dsn={dsn}"] if dsn else []
    command += ["--timeout=3600"] if long else []
    codes = []
    for chosen in _passes(context.args, one_by_one=long or dsn is not None):
        codes.append(subprocess.run([*command, *chosen, *context.args], cwd=ROOT, check=False).returncode)
        if codes[-1] == INTERRUPTED:
            break
    raise typer.Exit(next((code for code in codes if code not in (0, NOTHING_CHOSEN)), min(codes)))


def _passes(arguments: list[str], one_by_one: bool) -> list[list[str]]:
    """What pytest is told to run, one pass after the other. A server of --dsn has one set of roles for all."""
    if any((ROOT / argument.partition("::")[0]).exists() for argument in arguments):
        return [[]]
    cores = min(os.cpu_count() or 1, MOST_AT_ONCE)
    if one_by_one or cores == 1:
        return [[*TOGETHER, *ALONE]]
    return [[*TOGETHER, f"--numprocesses={cores}", "--dist=loadfile"], [*ALONE]]


def _meet(missing: list[Need]) -> None:
    """Install what is missing if we may; otherwise say what will be skipped and how to get it."""
    packages = [need.package for need in missing]
    if not packages:
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"test: installing {', '.join(packages)} (Debian packages)", file=sys.stderr, flush=True)
        _apt_get("update", "-qq")
        for package in packages:  # one by one: the lack of one package does not keep the others away
            _apt_get("install", "-y", "-qq", "--no-install-recommends", package)
    for need in missing:
        if not need.met:
            print(f"test: skipped, {need.tests}: sudo apt-get install {need.package}", file=sys.stderr, flush=True)


def _apt_get(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", *arguments], stdout=subprocess.DEVNULL, env=environment, check=False)
