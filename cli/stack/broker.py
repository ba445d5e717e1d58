"""A broker of our own on loopback: mosquitto where it is installed, else the one inside the `iotcore` wheel.

Both speak MQTT 5 and ask for user and password. Mosquitto also holds each client to its topics and keeps what is queued
over a restart; iotcore (rumqttd) does neither: it is for trying the product out, never for production.
"""

import base64
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from cli.stack import account as accounts
from cli.stack.authority import LocalAuthority
from cli.stack.processes import POLL_S, StackError, keep_port, last_line, listens, spawn, stop_process
from contract import topics
from contract.topics import NodeAddress

Kind = Literal["mosquitto", "iotcore"]

MAX_PACKET_BYTES = 1 << 20
"""Far above a batch of the contract (tens of kB); iotcore's own default of 20 kB is below it."""


@dataclass(frozen=True, slots=True)
class Client:
    """What a user of the broker may do. Filters are exact topics or end in `#`."""

    password: str
    write: tuple[str, ...]
    read: tuple[str, ...]


def node_client(address: NodeAddress, password: str | None = None) -> Client:
    """A node: its own streams and status up, its own orders down, nothing else."""
    up = f"{topics.ROOT}/up/{address}/#"
    return Client(password or secrets.token_urlsafe(24), write=(up, address.status), read=(address.all_down,))


def cloud_client(password: str | None = None) -> Client:
    """The cloud's identity: reads all nodes, alone may give orders."""
    down = f"{topics.ROOT}/down/#"
    return Client(password or secrets.token_urlsafe(24), write=(down,), read=(topics.ALL_UP, topics.ALL_STATUS))


def mosquitto_program() -> str | None:
    """Where mosquitto is; Debian puts it into /usr/sbin, which is not on everybody's PATH."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


class Broker(ABC):
    """A broker below `root` with its users by name; its port is free, kept in `root/port` and stable over restarts.

    User names are free; by habit a node's is its address, "tenant/store/node", and the cloud's is "cloud".
    """

    kind: Kind
    keeps_orders = False
    """Whether each client is held to its own topics."""
    survives_kill = False
    """Whether what is queued outlives the broker (mosquitto: up to its last autosave, 2 s)."""

    takes_certificates = False
    """Whether it also listens for clients that have a certificate of an authority in place of a password."""

    def __init__(self, root: Path, clients: Mapping[str, Client], authority: LocalAuthority | None = None) -> None:
        self.root = root.absolute()
        self.clients = dict(clients)
        self.authority = authority if self.takes_certificates else None
        self.port = 0
        self.tls_port = 0
        """Where a client's name is that of its certificate; 0 without an authority."""
        self._process: subprocess.Popen[bytes] | None = None
        self._account = accounts.server_account()

    @property
    def running(self) -> bool:
        """Whether our broker process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> Path:
        """The broker's log."""
        return self.root / f"{self.kind}.log"

    def url(self, user: str) -> str:
        """mqtt://user:password@127.0.0.1:port; a slash in the user's name is written %2F. Known once started."""
        return f"mqtt://{user.replace('/', '%2F')}:{self.clients[user].password}@127.0.0.1:{self.port}"

    def start(self, timeout_s: float = 20.0) -> Self:
        """Start the broker; returns when it takes connections. Raises StackError."""
        if self.running:
            return self
        self.root.mkdir(parents=True, exist_ok=True)
        self._folder = accounts.server_folder(self.root, self._account)
        self.port = keep_port(self.root / "port")
        self.tls_port = keep_port(self.root / "tls.port") if self.authority else 0
        self._process = self._launch()
        deadline = time.monotonic() + timeout_s
        while not listens(self.port):
            if self._process.poll() is not None:
                raise StackError(f"the broker {self.kind} did not start: {last_line(self.log)} (log: {self.log})")
            if time.monotonic() > deadline:
                self.kill()
                raise StackError(f"the broker {self.kind} was not ready within {timeout_s:g} s (log: {self.log})")
            time.sleep(POLL_S)
        return self

    def stop(self, grace_s: float = 10.0) -> None:
        """Ask the broker to end; mosquitto writes down what is queued."""
        if self._process is not None:
            stop_process(self._process, grace_s)

    def kill(self) -> None:
        """End it at once (SIGKILL), as a power cut would."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def destroy(self) -> None:
        """Stop the broker and remove all it wrote."""
        self.stop()
        accounts.remove_server_folder(self.root, self._account)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @abstractmethod
    def _launch(self) -> subprocess.Popen[bytes]: ...

    def _write(self, name: str, text: str) -> Path:
        """A file only the broker's account can read."""
        path = self._folder / name
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        if self._account is not None:
            self._account.own(path)
        return path


class MosquittoBroker(Broker):
    """The real one: password file, an access list for each user, persistence."""

    kind: Kind = "mosquitto"
    keeps_orders = True
    survives_kill = True
    takes_certificates = True

    def _launch(self) -> subprocess.Popen[bytes]:
        program = mosquitto_program()
        if program is None:
            raise StackError("mosquitto is not installed: apt-get install mosquitto")
        passwords = self._write("passwords", "".join(_password_line(u, c.password) for u, c in self.clients.items()))
        access = self._write("access", "\n".join(_access_lines(u, c) for u, c in self.clients.items()))
        config = self._write(
            "mosquitto.conf",
            f"""listener {self.port} 127.0.0.1
{self._tls_listener()}
allow_anonymous false
password_file {passwords}
acl_file {access}
max_packet_size {MAX_PACKET_BYTES}

# With its defaults mosquitto drops all but 1,000 queued messages of a client, after it said it has them.
max_inflight_messages 0
max_queued_messages 0
max_queued_bytes {256 << 20}

# A kill loses what came since the last autosave; the nodes send it again, since the cloud has not acknowledged it.
persistence true
persistence_location {self._folder}/
autosave_interval 2

set_tcp_nodelay true
log_dest stderr
log_type error
log_type warning
log_type notice
connection_messages false
""",
        )
        environment = {"PATH": "/usr/bin:/bin"}
        return spawn(
            [program, "-c", str(config)], log=self.log, env=environment, account=self._account, on_parent_death="TERM"
        )

    def _tls_listener(self) -> str:
        """As the shipped configuration has it: the certificate's name is the user's in the access list."""
        if self.authority is None:
            return ""
        files = {
            "cafile": self.authority.cert,
            "certfile": self.authority.broker_cert,
            "keyfile": self.authority.broker_key,
        }
        lines = [f"{setting} {self._write(file.name, file.read_text())}" for setting, file in files.items()]
        rules = ["tls_version tlsv1.2", "require_certificate true", "use_identity_as_username true"]
        return "\n".join([f"listener {self.tls_port} 127.0.0.1", *lines, *rules])


class IotcoreBroker(Broker):
    """rumqttd inside a wheel: nothing to install, users and passwords, no access list, memory only."""

    kind: Kind = "iotcore"

    def _launch(self) -> subprocess.Popen[bytes]:
        users = "\n".join(f'"{user}" = "{client.password}"' for user, client in self.clients.items())
        config = self._write(
            "rumqttd.toml",
            f"""id = 0

[router]
id = 0
max_connections = 2000
max_outgoing_packet_count = 200
max_segment_size = {16 << 20}
max_segment_count = 8

[v5.1]
name = "v5"
listen = "127.0.0.1:{self.port}"
next_connection_delay_ms = 0

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = {MAX_PACKET_BYTES}
max_inflight_count = 500

[v5.1.connections.auth]
{users}
""",
        )
        # It needs no file but its configuration, so it runs as we do: another account could not reach a private venv.
        return spawn(
            [sys.executable, "-P", "-m", "iotcore", "--config", str(config), "--log-level", "CRITICAL"], log=self.log
        )


BROKERS: dict[Kind, type[Broker]] = {"mosquitto": MosquittoBroker, "iotcore": IotcoreBroker}


def open_broker(
    root: Path, clients: Mapping[str, Client], prefer: Kind = "mosquitto", authority: LocalAuthority | None = None
) -> Broker:
    """The preferred broker, not yet started; iotcore in place of a mosquitto that is not installed.

    With an authority mosquitto takes its certificates too, at a port of its own; iotcore takes none.
    """
    kind = prefer if prefer == "iotcore" or mosquitto_program() else "iotcore"
    return BROKERS[kind](root / kind, clients, authority)


def _password_line(user: str, password: str, iterations: int = 101) -> str:
    """Mosquitto's `$7$` form: PBKDF2-HMAC-SHA512, 12 bytes of salt. Hashed here, so no password is on a command line.

    101 iterations are mosquitto_passwd's own default; the passwords hold 192 random bits and need no stretching.
    """
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    return f"{user}:$7${iterations}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}\n"


def _access_lines(user: str, client: Client) -> str:
    write = [f"topic write {topic}" for topic in client.write]
    read = [f"topic read {topic}" for topic in client.read]
    return "\n".join([f"user {user}", *write, *read, ""])
