"""What import-linter cannot say: frames stand on the standard library and the contract alone."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FRAMES = sorted((ROOT / "edge" / "frames").rglob("*.py"))
ALLOWED = sys.stdlib_module_names - {"asyncio", "socket", "sqlite3", "ssl", "subprocess", "threading", "time"}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", FRAMES, ids=lambda path: path.name)
def test_a_frame_parser_imports_nothing_that_can_wait_or_must_be_installed(path: Path) -> None:
    ours = ("edge.frames", "contract")
    strange = {
        name
        for name in imported(path)
        if name.partition(".")[0] not in ALLOWED and not any(name == own or name.startswith(f"{own}.") for own in ours)
    }
    assert strange == set()
