"""Findings as a table for people and as one object for programs."""

import json
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path

from edge.doctor.finding import Finding, Level

_COLOUR = {Level.PASS: "32", Level.WARN: "33", Level.FAIL: "31;1", Level.SKIP: "2"}


def table(findings: Sequence[Finding], colour: bool = False, width: int | None = None) -> str:
    """A row a finding; below it, after an arrow, what to do."""
    across = max(60, width or shutil.get_terminal_size((120, 24)).columns)
    first = max((len(finding.check) for finding in findings), default=0)
    rows = []
    for finding in findings:
        level = f"\x1b[{_COLOUR[finding.level]}m{finding.level:<4}\x1b[0m" if colour else f"{finding.level:<4}"
        lead = 4 + 2 + first + 2
        text = textwrap.wrap(finding.found, across - lead, break_on_hyphens=False, break_long_words=False) or [""]
        rows.append(f"{level}  {finding.check:<{first}}  {text[0]}")
        rows += [f"{'':{lead}}{line}" for line in text[1:]]
        if finding.fix:
            rows.append(f"{'':{lead}}→ {finding.fix}")  # on one line, so that it can be copied
    return "\n".join([*rows, "", summary(findings)])


def summary(findings: Sequence[Finding]) -> str:
    """How many of each."""
    counts = {level: sum(f.level is level for f in findings) for level in Level}
    told = ", ".join(f"{count} {level}" for level, count in counts.items() if count)
    ok = "the node can work" if not counts[Level.FAIL] else "the node, or a part of it, does not work"
    return f"{told}: {ok}"


def as_json(findings: Sequence[Finding], path: Path) -> str:
    """One object: the file, whether all is well, and the findings."""
    rows = [{"check": f.check, "level": f.level.value, "found": f.found, "fix": f.fix} for f in findings]
    return json.dumps({"config": str(path), "ok": healthy(findings), "findings": rows}, ensure_ascii=False)


def healthy(findings: Sequence[Finding]) -> bool:
    """Whether nothing failed."""
    return not any(finding.level is Level.FAIL for finding in findings)
