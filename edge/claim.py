"""How a machine becomes a node: a one-time code in, a key made here, a certificate out. And the next one, in time.

`python -m edge claim CODE --api https://aisle.example.com --into /var/lib/aisle`. Key and certificate are one file,
`node.pem`, so that a renewal replaces both or neither; the key never leaves it. Renewal speaks to the api that issued
the certificate, signs its request with the present key, and needs no code.
"""

import argparse
import asyncio
import base64
import contextlib
import datetime
import json
import logging
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec import Meta

from contract.orders import Name
from contract.topics import NAME, NodeAddress
from edge.files import make_folder, write_whole
from edge.seal import UNREADABLE, common_name, issued_by, new_key
from edge.settings import Node

log = logging.getLogger(__name__)

IDENTITY, AUTHORITY, ORIGIN = "node.pem", "ca.crt", "claim.json"
RENEWS = b"aisle renew v1\0"
TIMEOUT_S = 30.0
MOST_BYTES = 64 * 1024
_PEM = serialization.Encoding.PEM


class ClaimError(Exception):
    """The node could not be claimed, or its certificate not be renewed."""


_Host = Annotated[str, Meta(pattern=r"^[A-Za-z0-9.:-]{1,253}\Z")]
_Tz = Annotated[str, Meta(pattern=r"^[A-Za-z0-9/_+-]{1,64}\Z")]


class Papers(msgspec.Struct, frozen=True):
    """What the api gives a node."""

    tenant: Name
    store: Name
    node: Name
    tz: _Tz
    certificate: str
    authority: str
    broker_host: _Host
    broker_port: Annotated[int, Meta(ge=1, le=65535)]

    @property
    def address(self) -> NodeAddress:
        return NodeAddress(self.tenant, self.store, self.node)


@dataclass(frozen=True, slots=True)
class _Origin:
    """Who issued the certificate, for renewal."""

    api: str


Post = Callable[[str, dict[str, str]], bytes]
"""Sends JSON to an address and gives the answer. Raises ClaimError."""


def claim(api: str, code: str, into: Path, name: NodeAddress | None = None, post: Post | None = None) -> Papers:
    """Makes a key in `into`, gets its certificate for a code, and writes all that a node needs beside it.

    A node.toml that is there already stays as it is. Raises ClaimError, and OSError if the folder cannot be written;
    either leaves what was there before untouched.
    """
    if name is None and (into / "node.toml").is_file():
        name = _name_in(into / "node.toml")
    key = new_key()
    body = {"code": code, "csr": _request(key, name)}
    make_folder(into)
    write_whole(into / ".writable", b"")  # else the code would be used up for nothing
    (into / ".writable").unlink()
    answer = (post or _post)(f"{_checked(api)}/v1/claim", body)
    papers = _papers(answer, key, name)
    write_whole(into / AUTHORITY, papers.authority.encode(), mode=0o644)
    write_whole(into / ORIGIN, json.dumps({"api": api}).encode())
    write_whole(into / IDENTITY, _pem(key) + papers.certificate.encode())
    if not (into / "node.toml").exists():
        write_whole(into / "node.toml", skeleton(papers).encode(), mode=0o644)
    return papers


def renew(into: Path, post: Post | None = None) -> Papers:
    """The next key and certificate in place of the present ones. The node must connect anew to use them.

    Raises ClaimError, or OSError; then the present ones stay.
    """
    try:
        origin = _Origin(**json.loads((into / ORIGIN).read_bytes()))
        present = (into / IDENTITY).read_bytes()
        old = serialization.load_pem_private_key(present, password=None)
        certificate = x509.load_pem_x509_certificate(present)
    except (ValueError, TypeError) as error:
        raise ClaimError(f"{into}: {ORIGIN} or {IDENTITY} cannot be read ({error}); claim the node again") from None
    if not isinstance(old, ec.EllipticCurvePrivateKey):
        raise ClaimError(f"{into / IDENTITY}: expected a key on the curve P-256; claim the node again")
    name = _address(common_name(certificate))
    key = new_key()
    csr = _request(key, name)
    der = x509.load_pem_x509_csr(csr.encode()).public_bytes(serialization.Encoding.DER)
    signature = base64.b64encode(old.sign(RENEWS + der, ec.ECDSA(hashes.SHA256()))).decode()
    body = {"certificate": certificate.public_bytes(_PEM).decode(), "csr": csr, "signature": signature}
    papers = _papers((post or _post)(f"{_checked(origin.api)}/v1/claim/renew", body), key, name)
    if papers.authority.encode() != (into / AUTHORITY).read_bytes():
        raise ClaimError("the api names another authority than before; claim the node again if that is meant")
    write_whole(into / IDENTITY, _pem(key) + papers.certificate.encode())
    return papers


def renewal_due(into: Path, at: datetime.datetime) -> bool:
    """Whether two thirds of the certificate's life have passed. False where `renew` has none to replace."""
    try:
        certificate = x509.load_pem_x509_certificate((into / IDENTITY).read_bytes())
    except (OSError, ValueError):
        return False
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return (into / ORIGIN).is_file() and at >= begin + (end - begin) * 2 / 3


async def keep_renewed(into: Path, renewed: Callable[[], None], every_s: float = 6 * 3600.0) -> None:
    """Renews the certificate when it is due, and tells; runs until it is cancelled. What fails is tried again later."""
    while True:
        if renewal_due(into, datetime.datetime.now(datetime.UTC)):
            try:
                await asyncio.to_thread(renew, into)
            except (ClaimError, OSError) as error:
                log.warning("the certificate is due for renewal: %s; trying again in %.0f h", error, every_s / 3600)
            else:
                log.info("the certificate was renewed")
                renewed()
        await asyncio.sleep(every_s)


def days_left(cert_file: Path, at: datetime.datetime) -> float | None:
    """Days until a node's certificate ends, less than 0 once it has; None if it cannot be read. For the heartbeat."""
    try:
        certificate = x509.load_pem_x509_certificate(cert_file.read_bytes())
    except (OSError, ValueError):
        return None
    return round((certificate.not_valid_after_utc - at).total_seconds() / 86_400, 2)


def skeleton(papers: Papers) -> str:
    """A node.toml with which the node runs: who it is and whom it speaks to."""
    tz = f"tz = {_toml(papers.tz)}\n" if "tz" in Node.__struct_fields__ else ""
    return f"""# Made when this node was claimed. All other settings: edge/node.example.toml.

[node]
tenant = {_toml(papers.tenant)}
store = {_toml(papers.store)}
node = {_toml(papers.node)}
{tz}
[uplink]
host = {_toml(papers.broker_host)}
port = {papers.broker_port}
ca_file = "{AUTHORITY}"
cert_file = "{IDENTITY}"      # certificate and key, replaced together when they are renewed
key_file = "{IDENTITY}"

[outbox]
path = "outbox.db"         # beside this file
"""


def main(arguments: list[str] | None = None, prog: str = "python -m edge claim") -> int:
    """The command: 0 when the node is claimed, 1 with the reason when not."""
    parser = argparse.ArgumentParser(prog=prog, description="Makes this machine a node.")
    parser.add_argument("code", help="from the console's Nodes page, good for 15 minutes")
    parser.add_argument("--api", required=True, help="where the cloud answers, https://aisle.example.com")
    parser.add_argument(
        "--into", type=Path, default=Path("/var/lib/aisle"), help="folder for key, certificate, node.toml"
    )
    parser.add_argument("--name", help="TENANT/STORE/NODE: refuse a code for another node")
    options = parser.parse_args(arguments)
    try:
        name = _address(options.name) if options.name else None
        papers = claim(options.api, options.code, options.into, name)
    except ClaimError as error:
        print(f"claim: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"claim: {error.filename or options.into}: {error.strerror}", file=sys.stderr)
        return 1
    config, command = options.into / "node.toml", prog.removesuffix(" claim")
    print(f"this machine is {papers.address} now; its configuration: {config}")
    print(f"next: {command} doctor {config}, then {command} run {config} or: sudo systemctl start aisle-edge")
    return 0


# -- inside


def _request(key: ec.EllipticCurvePrivateKey, name: NodeAddress | None) -> str:
    """PKCS #10: with the node's name if it knows it; else the code alone says it."""
    names = [x509.NameAttribute(NameOID.COMMON_NAME, str(name))] if name else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    return builder.sign(key, hashes.SHA256()).public_bytes(_PEM).decode()


def _papers(answer: bytes, key: ec.EllipticCurvePrivateKey, name: NodeAddress | None) -> Papers:
    """Raises ClaimError if what came does not hold together: then nothing of it is written."""
    try:
        papers = msgspec.json.decode(answer, type=Papers)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise ClaimError("the answer is not that of an Aisle api; is --api right?") from None
    try:
        certificate = x509.load_pem_x509_certificate(papers.certificate.encode())
        authority = x509.load_pem_x509_certificate(papers.authority.encode())
    except UNREADABLE as error:
        raise ClaimError(f"the api sent no certificate: {error}") from None
    if not issued_by(certificate, authority):
        raise ClaimError("the api sent a certificate that is not its authority's")
    if certificate.public_key() != key.public_key() or common_name(certificate) != str(papers.address):
        raise ClaimError("the api sent a certificate for another key or name")
    if name not in (None, papers.address):
        raise ClaimError(f"the code is for {papers.address}, this machine is {name}")
    return papers


def _post(url: str, body: dict[str, str]) -> bytes:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json", "Accept": "application/json"}
    )
    try:
        with _OPENER.open(request, timeout=TIMEOUT_S) as answer:
            return bytes(answer.read(MOST_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            raise ClaimError(_detail(error.code, error.read(MOST_BYTES))) from None
    except (OSError, ValueError) as error:  # URLError among them
        reason = getattr(error, "reason", error)
        raise ClaimError(f"{url} cannot be reached: {reason}") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A code is for the address that the technician typed and for no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def _detail(status: int, answer: bytes) -> str:
    with contextlib.suppress(ValueError, RecursionError):
        problem = json.loads(answer)
        if isinstance(problem, dict) and isinstance(problem.get("detail"), str):
            return f"{problem['detail'][:300]} (HTTP {status})"
    return f"the api answers with HTTP {status}; is --api right?"


def _checked(api: str) -> str:
    """Raises ClaimError for an address over which a code could be read on its way."""
    url = urlsplit(api)
    loopback = url.hostname in ("localhost", "127.0.0.1", "::1")
    if not url.hostname or url.scheme not in ("https", "http") or (url.scheme == "http" and not loopback):
        raise ClaimError(f"found {api!r}, expected https://HOST")
    return api.rstrip("/")


def _name_in(path: Path) -> NodeAddress | None:
    """Who a node.toml says this is; None if it does not. All else in it may be wrong or not there yet."""
    try:
        node = tomllib.loads(path.read_text()).get("node", {})
        return _address("/".join(node[part] for part in ("tenant", "store", "node")))
    except (OSError, ValueError, RecursionError, KeyError, TypeError, ClaimError):
        return None


def _address(text: str | None) -> NodeAddress:
    parts = (text or "").split("/")
    if len(parts) != 3 or not all(NAME.fullmatch(part) for part in parts):
        raise ClaimError(f"found {text!r}, expected TENANT/STORE/NODE")
    return NodeAddress(*parts)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _toml(text: str) -> str:
    return json.dumps(text)  # a basic string of TOML is written like one of JSON
