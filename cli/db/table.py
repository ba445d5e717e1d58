"""Findings for people: a row each, and below it, after an arrow, what to do."""

import shutil
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloud.database.check import Finding

_COLOUR = {"PASS": "32", "WARN": "33", "FAIL": "31;1"}


def table(findings: "Sequence[Finding]", colour: bool = False, width: int | None = None) -> str:
    """All rows, and how many of each level."""
    across = max(60, width or shutil.get_terminal_size((120, 24)).columns)
    first = max((len(finding.check) for finding in findings), default=0)
    rows = []
    for check, level, found, fix in findings:
        mark = f"\x1b[{_COLOUR[level]}m{level}\x1b[0m" if colour else level
        lead = 6 + first + 2
        text = textwrap.wrap(found, across - lead, break_on_hyphens=False, break_long_words=False) or [""]
        rows.append(f"{mark}  {check:<{first}}  {text[0]}")
        rows += [f"{'':{lead}}{line}" for line in text[1:]]
        if fix:
            rows.append(f"{'':{lead}}→ {fix}")  # on one line, so that it can be copied
    counts = {level: sum(finding.level == level for finding in findings) for level in _COLOUR}
    return "\n".join([*rows, "", ", ".join(f"{count} {level}" for level, count in counts.items() if count)])
