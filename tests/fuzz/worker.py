"""The process in which one target is fuzzed: `… MODULE TARGET FOUND`, then libFuzzer's options.

What breaks the target is written to a file whose name begins with FOUND. The product's code is instrumented as it is
imported, so this module imports none of it before.
"""

import hashlib
import importlib
import logging
import os
import random
import resource
import sys
import traceback
from pathlib import Path
from typing import NoReturn

INSTRUMENTED = ("cloud", "contract", "edge", "h11", "simulators", "tomllib")
"""Where to know which branches an input took: ours, and what is pure Python and reads for us."""

WRITTEN = "Test unit written to "
"""libFuzzer's words before the name of a file, for inputs that hang or take too much memory."""
BROKEN = 77
"""libFuzzer's exit code for an input that breaks its target."""
MEMORY_BYTES = 1 << 30
"""What a target may hold; more is a MemoryError with a traceback. libFuzzer's own limit looks at the most that the
process ever held, in which Linux counts its parent before `exec`: under a large pytest all would be at fault."""
STRUCTURED = 0.5
"""Share of changes that are made to the document, not to its bytes."""


def main() -> None:
    """Fuzzes until libFuzzer ends the process, 0 when its time is over; an input that broke the target is in a file."""
    program, module, name, found, *told = sys.argv
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    atheris = importlib.import_module("atheris")  # it has no types, and is not there on every machine
    with atheris.instrument_imports(include=INSTRUMENTED):
        targets = importlib.import_module(module).TARGETS
        changed = importlib.import_module("tests.fuzz.mutate").changed
    target = next(target for target in targets if target.name == name)

    def check(data: bytes) -> None:
        try:
            target.check(data)
        except Exception:
            _tell(Path(f"{found}crash-{hashlib.sha1(data, usedforsecurity=False).hexdigest()}"), data)

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        draw = random.Random(seed)
        made = changed(data, target.forms, target.words, draw) if draw.random() < STRUCTURED else None
        return made if made is not None and len(made) <= longest else bytes(atheris.Mutate(data, longest))

    atheris.Setup([program, *told], check, **({"custom_mutator": mutate} if target.forms else {}))
    atheris.Fuzz()


def _tell(path: Path, data: bytes) -> NoReturn:
    """Keeps the input and ends at once. libFuzzer would do the same, and now and then never came to an end of it."""
    path.write_bytes(data)
    traceback.print_exc(file=sys.stdout)
    print(f"{WRITTEN}{path}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(BROKEN)


if __name__ == "__main__":
    main()
