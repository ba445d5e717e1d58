"""The whole cloud on this machine: PostgreSQL, a broker and the product's processes, each its own child process."""

import json
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.request import urlopen

from cli.stack.authority import local_authority
from cli.stack.broker import Broker, Client, Kind, cloud_client, node_client, open_broker
from cli.stack.database import APP, OWNER, SERVICE
from cli.stack.postgres import Postgres
from cli.stack.processes import StackError, Supervisor, keep_port
from contract.topics import NodeAddress

Say = Callable[[str], None]

STAFF = {
    "admin": ["admin"],
    "analyst": ["analyst"],
    "marketer": ["marketer"],
    "technician": ["technician"],
}
"""The first accounts of a local run: one a role."""


@dataclass(frozen=True, slots=True)
class Login:
    """An account of staff with its generated password."""

    login: str
    password: str


class LocalCloud:
    """Starts and stops all but the nodes. What must outlive a restart (data, passwords, ports) lies below `root`."""

    def __init__(
        self,
        root: Path,
        tenant: str,
        nodes: list[NodeAddress],
        *,
        clock: str = "",
        history_until_us: int = 0,
        broker: Kind = "mosquitto",
        port: int | None = None,
        ingest: int = 1,
        claims: bool = False,
    ) -> None:
        """`claims`: nodes may claim certificates, where the broker takes some."""
        self.root = root
        self.tenant = tenant
        root.mkdir(parents=True, exist_ok=True)
        self.secrets = Secrets(root / "secrets.json")
        self.postgres = Postgres(root / "postgres")
        clients: dict[str, Client] = {"cloud": cloud_client(self.secrets.get("mqtt cloud"))}
        clients |= {str(node): node_client(node, self.secrets.get(f"mqtt {node}")) for node in nodes}
        self._clients = clients
        self.broker: Broker = open_broker(
            root / "broker", clients, broker, local_authority(root / "authority") if claims else None
        )
        self.processes = Supervisor(root / "logs")
        self._clock = clock
        self._history_until_us = history_until_us
        self._ingest = [f"ingest-{i}" for i in range(ingest)] if ingest > 1 else ["ingest"]
        self._port = keep_port(root / "http.port", port)

    @property
    def url(self) -> str:
        """The api's address."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def logins(self) -> dict[str, Login]:
        """The accounts of staff by role."""
        return {role: Login(f"{role}@{self.tenant}", self.secrets.get(f"account {role}")) for role in STAFF}

    @property
    def environment(self) -> Mapping[str, str]:
        """The settings of the cloud's processes."""
        return self._claims() | {
            "AISLE_OWNER_DSN": self.postgres.dsn(OWNER),
            "AISLE_SERVICE_DSN": self.postgres.dsn(SERVICE),
            "AISLE_APP_DSN": self.postgres.dsn(APP),
            "AISLE_BROKER": self.broker.url("cloud"),
            "AISLE_HTTP": f"127.0.0.1:{self._port}",
            "AISLE_CLOCK": self._clock,
            "AISLE_HISTORY_UNTIL": str(self._history_until_us),
            "OPENBLAS_NUM_THREADS": "1",  # small matrices: more threads only take the other processes' core
        }

    def _claims(self) -> dict[str, str]:
        """What the api needs to sign nodes' certificates."""
        authority = self.broker.authority
        if authority is None:
            return {}
        return {
            "AISLE_CA_CERT": str(authority.cert.resolve()),
            "AISLE_CA_KEY": str(authority.key.resolve()),
            "AISLE_NODE_BROKER": f"127.0.0.1:{self.broker.tls_port}",
        }

    def node_password(self, node: NodeAddress) -> str:
        """A node's password at the broker."""
        return self.secrets.get(f"mqtt {node}")

    def start(self, say: Say = lambda _: None) -> Self:
        """Everything up and answering. Raises StackError, one clear line."""
        say("starting the database and the broker")
        with ThreadPoolExecutor() as both:
            database, broker = both.submit(self._start_database), both.submit(self.broker.start)
            broker.result()
            database.result()
        say("starting ingest, locate, worker and api")
        for name in ("api", *self._ingest, "locate", "worker"):
            self.start_process(name)
        self.processes.wait("api", self.ready, 60)
        return self

    def start_process(self, name: str) -> None:
        """Start one of api, ingest, locate, worker."""
        command = name.partition("-")[0]
        self.processes.start(name, sys.executable, "-m", "cloud", command, env=self.environment)

    def ready(self) -> bool:
        """Whether the api and its database answer."""
        try:
            with urlopen(f"{self.url}/readyz", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self) -> None:
        """Everything down, processes first."""
        self.processes.close()
        self.broker.stop()
        self.postgres.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _start_database(self) -> None:
        from cloud.accounts.service import found_tenant
        from cloud.db import migrate

        self.postgres.start()
        self.postgres.bootstrap()
        owner = self.postgres.dsn(OWNER)
        try:
            migrate(owner)
        except RuntimeError as error:
            raise StackError(f"{error}; ./aisle demo --fresh begins with an empty database") from error
        if not self.secrets.has("founded"):
            accounts = {login.login: (login.password, STAFF[role]) for role, login in self.logins.items()}
            found_tenant(owner, self.tenant, self.tenant.capitalize(), accounts)
            self.secrets.get("founded")


class Secrets:
    """Generated passwords in a file that only its owner may read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}

    def get(self, name: str) -> str:
        """The secret of that name, made when it is first asked for."""
        if name not in self._known:
            self.put(name, secrets.token_urlsafe(12))
        return self._known[name]

    def has(self, name: str) -> bool:
        """Whether the secret was made before."""
        return name in self._known

    def put(self, name: str, value: str) -> None:
        """Keep a secret that somebody else made."""
        self._known[name] = value
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(self._known, file, indent=1)
