"""Certificates of the moment, by the recipe that is shipped for the broker: for lines that pass no wrong byte."""

import os
import ssl
import subprocess
from pathlib import Path

from cli import ROOT
from cli.stack.processes import StackError

RECIPE = ROOT / "firmware_configs" / "broker" / "certs.sh"
HOST = "localhost"
"""The name in the server's certificate."""
AUTHORITY = "ca.crt"


def make(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a server of the name `localhost` and its clients speak TLS with; `ca.crt` lies in the folder.

    Raises StackError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for command in (["ca"], ["broker", HOST]):
        done = subprocess.run(
            [RECIPE, *command], env=os.environ | {"AISLE_CERTS": str(folder)}, capture_output=True, text=True
        )
        if done.returncode:
            raise StackError(f"certs.sh {command[0]}: {done.stderr.strip()}")
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / "broker.crt", folder / "broker.key")
    return serving, ssl.create_default_context(cafile=str(folder / AUTHORITY))
