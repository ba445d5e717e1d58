"""Names of a command family that are promised and not there yet: they say so and exit with 3."""

import sys
from collections.abc import Mapping

import typer

from cli.__main__ import NOT_BUILT_YET


def promise(app: typer.Typer, family: str, names: Mapping[str, str]) -> None:
    """Give the family a command for each name that tells what it will be."""
    for name, what in names.items():
        _promise(app, family, name, what)


def _promise(app: typer.Typer, family: str, name: str, what: str) -> None:
    @app.command(
        name,
        help=f"Not built yet: {what}.",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def later() -> None:
        print(f"{family} {name}: not built yet ({what})", file=sys.stderr)
        raise typer.Exit(NOT_BUILT_YET)
