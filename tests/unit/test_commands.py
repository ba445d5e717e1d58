"""The launcher's table: every command is found, unknown and unbuilt ones say so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cli import ROOT
from cli.__main__ import FAMILIES, NOT_BUILT_YET, Family, main, usage


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tset"]) == 2
    assert "no command 'tset'; did you mean 'test'?" in capsys.readouterr().err


def test_a_promised_command_that_is_not_there_ends_with_3(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "fly", Family("cli.no_such_module", "later"))
    assert main(["fly"]) == NOT_BUILT_YET
    assert "fly is not built yet" in capsys.readouterr().err


def test_help_lists_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert capsys.readouterr().out.strip() == usage()
    assert re.search(r"^  check ", usage(), re.MULTILINE)


def test_help_imports_no_command() -> None:
    code = "import sys; from cli.__main__ import main; main([]); print({'typer', 'cli.test'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "requirements").glob("*.txt")))
def test_a_lock_file_holds_hashes_and_no_address_or_local_path(name: str) -> None:
    lines = Path(ROOT / "requirements" / name).read_text().splitlines()
    pins = [n for n, line in enumerate(lines) if re.match(r"[a-z0-9.-]+(\[.*\])?==", line)]
    assert pins
    assert all("--hash=sha256:" in lines[n + 1] for n in pins)
    assert [
        line for line in lines if "://" in line or line.startswith(("-i", "--index", "--extra", "--find", "/"))
    ] == []


def test_the_web_lock_file_holds_hashes_and_no_address() -> None:
    text = (ROOT / "cloud" / "web" / "package-lock.json").read_text()
    assert '"integrity"' in text
    assert '"resolved"' not in text
