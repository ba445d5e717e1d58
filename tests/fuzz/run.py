"""Fuzzes a target in a process of its own and says what came of it."""

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.target import Target, memory
from tests.fuzz.worker import BROKEN, WRITTEN

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".aisle" / "fuzz"
"""Inputs that took new ways through the code, from run to run, and in `found` those that broke it."""
HANG_S = 10.0
"""An input of some KiB is read in well under a millisecond; on a busy machine nothing honest takes so long."""
START_S = 60.0
"""More than a process needs to start, to read its corpus and to end."""
LINES_MOST = 40
"""Of a traceback that is told: what is too deep is cut in the middle."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went."""

    target: str
    executions: int
    seconds: float
    covered: int
    """Edges of the code that any input took."""
    gained: int
    """Those among them that neither the seeds nor the inputs kept before took."""
    corpus: int
    """Inputs kept."""
    found: Path | None
    """The input that broke it."""
    story: str
    """What happened with it; of a run that could not be made, why not. Empty if nothing was found."""

    @property
    def complaint(self) -> str:
        """What was found, with the input and how to try it again; empty if nothing was."""
        if self.found is None:
            return self.story and f"{self.target}: {self.story}"
        data = self.found.read_bytes()
        shown = repr(data[:400]) + (f" and {len(data) - 400} more bytes" if len(data) > 400 else "")
        again = f"python -m tests.fuzz {self.target} --input '{self.found}'"
        return f"{self.target}: an input of {len(data)} bytes breaks it\n\n{shown}\n\n{self.story}\n\nagain: {again}"


def missing() -> str:
    """Why nothing can be fuzzed here; empty if it can."""
    if importlib.util.find_spec("atheris") is None:
        return "atheris is not installed: there is none for this machine (it needs Linux on x86_64, Python before 3.14)"
    return ""


def fuzz(
    target: Target, seconds: float, kept: Path = KEPT, hang_s: float = HANG_S, stop: threading.Event | None = None
) -> Outcome:
    """Fuzzes for some seconds, or until an input breaks it. `stop` ends it early from another thread."""
    corpus, named = kept / target.name, str(kept / "found" / f"{target.name}-")
    corpus.mkdir(parents=True, exist_ok=True)
    (kept / "found").mkdir(exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="aisle-fuzz-", dir=memory()) as scratch:
        folder = Path(scratch)
        command = [
            *(sys.executable, "-m", "tests.fuzz.worker", target.check.__module__, target.name, named),
            *(str(corpus), str(_seeds(target, folder)), *_dictionary(target, folder)),
            f"-artifact_prefix={named}",
            f"-max_total_time={max(1, round(seconds))}",
            f"-timeout={max(1, round(hang_s))}",
            "-rss_limit_mb=0",  # the worker limits itself: see MEMORY_BYTES
            f"-max_len={target.longest}",
            "-len_control=0",
            "-print_final_stats=1",
        ]
        said, complained = folder / "out", folder / "err"
        with said.open("wb") as out, complained.open("wb") as err:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "TMPDIR": scratch},  # libFuzzer ends the process without cleaning up
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
            ended = _wait(process, seconds + hang_s + START_S, stop)
        spent = time.monotonic() - started
        return _outcome(target, process.returncode, ended, spent, said, complained, corpus)


def _wait(process: subprocess.Popen[bytes], limit_s: float, stop: threading.Event | None) -> bool:
    """Whether it ended by itself."""
    until = time.monotonic() + limit_s
    try:
        while time.monotonic() < until and not (stop and stop.is_set()):
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
            return True
        return False
    finally:
        process.kill()
        process.wait()


def _outcome(
    target: Target, code: int, ended: bool, spent_s: float, said: Path, complained: Path, corpus: Path
) -> Outcome:
    told = complained.read_text(errors="replace")
    covered = [int(number) for number in re.findall(r"^#\d+\s.* cov: (\d+)", told, re.MULTILINE)]
    begun = re.search(r"^#\d+\s+INITED cov: (\d+)", told, re.MULTILINE)
    executed = [
        int(number) for number in re.findall(r"^(?:#|stat::number_of_executed_units: *)(\d+)", told, re.MULTILINE)
    ]
    written = re.search(rf"{WRITTEN}(.+)$", told, re.MULTILINE)
    story = ""
    if code != 0 or not ended:
        raised = said.read_text(errors="replace")
        story = _shortened(raised if code == BROKEN else raised + _of_interest(told))
        story = story or f"the process ended with {code}" + ("" if ended else ": it was stopped")
    return Outcome(
        target=target.name,
        executions=max(executed, default=0),
        seconds=spent_s,
        covered=covered[-1] if covered else 0,
        gained=covered[-1] - int(begun[1]) if begun and covered else 0,
        corpus=sum(1 for _ in corpus.iterdir()),
        found=Path(written[1]) if written else None,
        story=story,
    )


def _of_interest(told: str) -> str:
    """libFuzzer's words without its progress: where a hang stands, why it ended."""
    dull = re.compile(r"(INFO|This may|WARNING|MS|Base64|artifact_prefix|stat::|\tNEW|#|0x|\s*to change|NOTE)")
    begun = told.find("INFO: Seed:")
    return "\n".join(line for line in told[max(begun, 0) :].splitlines() if line.strip() and not dull.match(line))


def _shortened(text: str) -> str:
    lines = text.strip().splitlines()
    if len(lines) > LINES_MOST:
        half = LINES_MOST // 2
        lines = [*lines[:half], f"… {len(lines) - LINES_MOST} lines …", *lines[-half:]]
    return "\n".join(lines)


def _seeds(target: Target, folder: Path) -> Path:
    """The seeds as files. Longer ones than the fuzzer makes up it would only cut: the unit tests read them."""
    seeds = folder / "seeds"
    seeds.mkdir()
    for number, data in enumerate(target.seeds()):
        if len(data) <= target.longest:
            (seeds / str(number)).write_bytes(data)
    return seeds


def _dictionary(target: Target, folder: Path) -> list[str]:
    """The words in the form of libFuzzer's dictionaries: a quoted one a line, other than printable ASCII as \\xNN."""
    if not target.words:
        return []
    path = folder / "words"
    path.write_text("".join(f'"{_quoted(word)}"\n' for word in target.words))
    return [f"-dict={path}"]


def _quoted(word: str) -> str:
    return "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\x{b:02X}" for b in word.encode())
