"""A local cloud in a folder of its own that is gone afterwards, and nodes on it: for chaos, benchmarks and tests."""

import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from cli.stack.cloud import LocalCloud, Say
from cli.stack.processes import StackError
from contract.topics import NodeAddress

SIMULATED_SCANNER = "simulators.ble:SimulatedScanner"


@contextmanager
def scratch_cloud(
    purpose: str, tenant: str, nodes: list[NodeAddress], say: Say = lambda _: None, *, clock: str = ""
) -> Iterator[LocalCloud]:
    """A started LocalCloud below the folder for temporary files; leaving the block stops it and removes all it wrote.

    SIGTERM leaves the block too, as Ctrl-C does (in the main thread: elsewhere signals are not ours to take).
    Raises StackError.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"aisle-{purpose}-"))
    folder.chmod(0o711)  # servers that run as another account must get through to their own folders
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)) if main else None
    cloud: LocalCloud | None = None
    try:
        cloud = LocalCloud(folder, tenant, nodes, clock=clock)
        with cloud:
            cloud.start(say)
            yield cloud
    finally:
        if cloud is not None:
            cloud.broker.destroy()
            cloud.postgres.destroy()
        shutil.rmtree(folder, ignore_errors=True)
        if main:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def staff(cloud: LocalCloud, role: str = "admin") -> Iterator[httpx.Client]:
    """A client signed in as one of the cloud's accounts."""
    login = cloud.logins[role]
    with httpx.Client(base_url=cloud.url, headers={"X-Aisle": "1"}, timeout=60, trust_env=False) as client:
        ask(client, "POST", "/v1/session", {"login": login.login, "password": login.password})
        yield client


def ask(client: httpx.Client, method: str, path: str, body: object = None) -> Any:
    """One call of the API, its JSON answered (None without one). Raises StackError with the API's own words."""
    answer = client.request(method, path, json=body)
    if answer.is_error:
        raise StackError(f"{method} {path}: {answer.status_code} {answer.text}")
    return answer.json() if answer.content else None


def node_folder(cloud: LocalCloud, node: NodeAddress) -> Path:
    """Where a node's files lie, `outbox.db` among them."""
    return cloud.root / "nodes" / node.node


def write_node(
    cloud: LocalCloud,
    node: NodeAddress,
    *,
    zone: str | None = None,
    clock: str = "",
    more: Mapping[str, Mapping[str, float]] | None = None,
) -> Path:
    """node.toml and password of a node that hears the simulated air; `more` is {section: {key: number}}."""
    folder = node_folder(cloud, node)
    folder.mkdir(parents=True, exist_ok=True)
    password = folder / "password"
    password.touch(0o600)
    password.write_text(cloud.node_password(node))
    lines = ["[node]", f'tenant = "{node.tenant}"', f'store = "{node.store}"', f'node = "{node.node}"']
    lines += [f'zone = "{zone}"'] if zone else []
    lines += [f'clock = "{clock}"'] if clock else []
    lines += ["[uplink]", 'host = "127.0.0.1"', f"port = {cloud.broker.port}", f'username = "{node}"']
    lines += ['password_file = "password"', "[ble]", f'backend = "{SIMULATED_SCANNER}"', "[outbox]"]
    lines += ['path = "outbox.db"']
    for section, settings in (more or {}).items():
        lines += [f"[{section}]", *(f"{key} = {value}" for key, value in settings.items())]
    toml = folder / "node.toml"
    toml.write_text("\n".join(lines) + "\n")
    return toml


def start_node(cloud: LocalCloud, node: NodeAddress, air_port: int, ready: Callable[[], bool] | None = None) -> str:
    """Start `python -m edge node.toml` in that air; returns the process's name at the cloud's supervisor."""
    name, toml = f"node-{node.node}", node_folder(cloud, node) / "node.toml"
    environment = {"AISLE_AIR": f"127.0.0.1:{air_port}/{node.node}"}
    cloud.processes.start(name, sys.executable, "-m", "edge", str(toml), env=environment, ready=ready)
    return name
