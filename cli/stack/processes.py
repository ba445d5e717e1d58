"""Child processes of the local stack: started by name, waited for, restarted, killed, and never left behind."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cli import ROOT
from cli.stack.account import Account

POLL_S = 0.02
SERVERS_PORTS = range(20_000, 32_000)
"""Neither of well-known services nor of outgoing connections (32768 to 60999 on Linux)."""
LEAST_GRACE_S = 1.5
"""Even the last of many children gets so long to end in order."""


class StackError(Exception):
    """A part of the local stack did not start or did not stay up; the message is one line for a person."""


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port nobody listens on now. It may be taken before it is used: servers here retry with another.

    Below those that the system gives to outgoing connections, of which one may otherwise begin at that moment.
    """
    drawn = random.SystemRandom().sample(SERVERS_PORTS, 100)
    return next(port for port in drawn if port_is_free(port, host))


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on the port now (a connection in TIME_WAIT does not count against it)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def keep_port(file: Path, wanted: int | None = None) -> int:
    """The port remembered in `file`, or `wanted`; another free one if it is taken, remembered for the next start."""
    remembered = file.read_text().strip() if file.exists() else ""
    port = wanted or (int(remembered) if remembered.isdigit() else free_port())
    if not port_is_free(port):
        if wanted is not None:
            raise StackError(f"port {wanted} is in use: stop what listens there or choose another")
        port = free_port()
    file.write_text(f"{port}\n")
    return port


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=0.5).close()
    except OSError:
        return False
    return True


# PR_SET_PDEATHSIG follows the *thread* that made the child: all are made by one thread that lasts as long as we do.
_maker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="processes")


def spawn(
    argv: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    account: Account | None = None,
    on_parent_death: str = "KILL",
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, its output appended to `log`; on Linux it gets the signal if we die.

    `env` replaces the environment. The session keeps Ctrl-C from it: we get it alone and stop the others in order.
    """
    setpriv = shutil.which("setpriv", path="/usr/bin:/bin:/usr/local/bin") if sys.platform == "linux" else None
    prefix = [setpriv, "--pdeathsig", on_parent_death, "--"] if setpriv else []
    _rotate(log)

    def make() -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(
                [*prefix, *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd or "/",
                start_new_session=True,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )

    return _maker.submit(make).result()


def stop_process(process: subprocess.Popen[bytes], grace_s: float, first: signal.Signals = signal.SIGTERM) -> None:
    """Ask it to end; after `grace_s` seconds make it."""
    if process.poll() is not None:
        return
    process.send_signal(first)
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    if not log.exists():
        return "no output"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    """Ours and what is added; `python -m edge` finds the checkout from any folder."""
    path = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(filter(None, path))), **added}


def _rotate(log: Path, limit_bytes: int = 8 << 20) -> None:
    if log.exists() and log.stat().st_size > limit_bytes:
        log.replace(log.with_name(log.name + ".1"))


@dataclass(frozen=True, slots=True)
class Program:
    """How a child is started: its whole command and what is added to our environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """A child that ended by itself."""

    name: str
    code: int
    last_line: str
    log: Path

    def __str__(self) -> str:
        how = f"was ended by {signal.Signals(-self.code).name}" if self.code < 0 else f"ended with code {self.code}"
        return f"{self.name} {how}: {self.last_line} (log: {self.log})"


class Supervisor:
    """The children by name, in the order of their start.

        with Supervisor(logs) as processes:
            processes.start("api", sys.executable, "-m", "cloud", "api", env={...}, ready=lambda: listens(port))
            ...
            for ended in processes.ended():
                print(ended)

    Leaving the block stops all, the last started first.
    """

    def __init__(self, logs: Path, *, grace_s: float = 10.0) -> None:
        self.logs = logs
        self.grace_s = grace_s
        self._programs: dict[str, Program] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._expected: set[str] = set()  # ended because we said so, or already reported

    def start(
        self,
        name: str,
        *argv: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        ready: Callable[[], bool] | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        """Start a child; with `ready`, return when it says so. Raises StackError."""
        if self.running(name):
            raise StackError(f"{name} runs already")
        self._programs[name] = Program(argv, dict(env or {}), cwd)
        self._launch(name)
        if ready is not None:
            self.wait(name, ready, timeout_s)

    def wait(self, name: str, ready: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Wait until `ready()` holds. Raises StackError when the child ends before or time runs out."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            code = self._processes[name].poll()
            if code is not None:
                self._expected.add(name)
                raise StackError(str(self._ended(name, code)))
            if time.monotonic() > deadline:
                raise StackError(f"{name} was not ready within {timeout_s:g} s: {last_line(self.log(name))}")
            time.sleep(POLL_S)

    def restart(self, name: str, ready: Callable[[], bool] | None = None, timeout_s: float = 30.0) -> None:
        """Stop the child if it runs and start it as before. Raises StackError."""
        self.stop(name)
        self._launch(name)
        if ready is not None:
            self.wait(name, ready, timeout_s)

    def kill(self, name: str) -> None:
        """End the child and all it started at once, with no chance to clean up (SIGKILL)."""
        self._expected.add(name)
        process = self._processes[name]
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self, name: str) -> None:
        """Ask the child to end (SIGTERM), kill it after the grace."""
        self._expected.add(name)
        stop_process(self._processes[name], self.grace_s)

    def close(self) -> None:
        """Stop all children, the last started first. They share one grace: a person waits for the end of this."""
        until = time.monotonic() + self.grace_s
        for name in reversed(self._processes):
            self._expected.add(name)
            stop_process(self._processes[name], max(LEAST_GRACE_S, until - time.monotonic()))

    def running(self, name: str) -> bool:
        """Whether the child is there."""
        return name in self._processes and self._processes[name].poll() is None

    def pid(self, name: str) -> int:
        """The process id of the child's last start."""
        return self._processes[name].pid

    def log(self, name: str) -> Path:
        """Where the child's output goes."""
        return self.logs / f"{name}.log"

    def ended(self) -> list[Ended]:
        """The children that ended by themselves since the last call; each is reported once."""
        news = []
        for name, process in self._processes.items():
            code = process.poll()
            if code is not None and name not in self._expected:
                self._expected.add(name)
                news.append(self._ended(name, code))
        return news

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _launch(self, name: str) -> None:
        program = self._programs[name]
        self.logs.mkdir(parents=True, exist_ok=True)
        self._processes.pop(name, None)  # a restarted child moves to the end of the order
        self._processes[name] = spawn(
            program.argv, log=self.log(name), env=_environment(program.env), cwd=program.cwd or Path.cwd()
        )
        self._expected.discard(name)

    def _ended(self, name: str, code: int) -> Ended:
        return Ended(name, code, last_line(self.log(name)), self.log(name))
