"""What the fleet's tests share: the authority of certs.sh, the shipped broker on its certificates, the whole api."""

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from cli.stack.account import server_account
from cli.stack.broker import mosquitto_program
from cli.stack.processes import free_port, listens
from cloud.api import make_app
from cloud.config import Settings
from tests.conftest import Database
from tests.integration.cloud_support import FROZEN

BROKER = Path(__file__).resolve().parents[2] / "firmware_configs" / "broker"
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


def certs_sh(certs: Path, *arguments: str) -> None:
    """The shipped recipe."""
    environ = os.environ | {"AISLE_CERTS": str(certs)}
    made = subprocess.run([BROKER / "certs.sh", *arguments], env=environ, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr


def fleet_app(database: Database, certs: Path | None = None) -> FastAPI:
    """The application with the authority in `certs`, or with none."""
    files = {"AISLE_CA_CERT": "ca.crt", "AISLE_CA_KEY": "ca.key", "AISLE_CA_CRL": "ca.crl"} if certs else {}
    environ = {name: str(certs / file) for name, file in files.items() if certs}
    settings = {"AISLE_APP_DSN": database.app, "AISLE_CLOCK": FROZEN, "AISLE_NODE_BROKER": "mqtt.example.com:8883"}
    return make_app(Settings(settings | environ), pages=False)


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The application behind a real socket: its address."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=free_port(), log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        _wait(lambda: server.started, "the api answers")
        yield f"http://127.0.0.1:{server.config.port}"
    finally:
        server.should_exit = True
        thread.join(10)


@contextmanager
def shipped_broker(certs: Path) -> Iterator[int]:
    """A mosquitto on the shipped files with the certificates in `certs`; only folder and port are changed: its port."""
    program = mosquitto_program()
    if program is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    folder = Path(tempfile.mkdtemp(prefix="aisle-fleet-"))
    try:
        (folder / "config").mkdir()
        (folder / "data").mkdir()
        shutil.copytree(certs, folder / "certs")
        port = free_port()
        text = (BROKER / "mosquitto.conf").read_text().replace("/mosquitto/", f"{folder}/")
        (folder / "config" / "mosquitto.conf").write_text(text.replace("listener 8883", f"listener {port} 127.0.0.1"))
        shutil.copy(BROKER / "acl", folder / "config" / "acl")
        account = server_account()
        if account is not None:  # as root mosquitto changes its account, and then could not read what root owns
            for path in [folder, *folder.rglob("*")]:
                account.own(path)
        with (folder / "log").open("wb") as output:
            process = subprocess.Popen(
                [program, "-c", folder / "config" / "mosquitto.conf"],
                stderr=output,
                user=account.uid if account is not None else None,
                group=account.gid if account is not None else None,
            )
            try:
                _wait(lambda: listens(port) or process.poll() is not None, "mosquitto listens")
                assert process.poll() is None, (folder / "log").read_text()
                yield port
            finally:
                process.terminate()
                process.wait()
    finally:
        shutil.rmtree(folder)


def _wait(condition: Any, what: str, within_s: float = 10.0) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"not within {within_s:g} s: {what}"
        time.sleep(0.02)
