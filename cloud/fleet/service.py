"""Claims, certificates, desired configuration and opt-outs: what the routes do, in the caller's transaction."""

import base64
import datetime
import hashlib
import secrets
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from cloud import db
from cloud.config import ConfigError
from cloud.errors import Conflict, Invalid, NotAllowed, NotFound, TooMany
from cloud.fleet import ca
from cloud.fleet.ca import Authority, NoAuthority
from cloud.fleet.models import Named, NodeConfiguration, Renewal
from contract.orders import MAX_OPT_OUTS, Section, address_bytes, names_a_device, opt_out_prefix
from contract.topics import NAME, NodeAddress

sql = db.statements("cloud.fleet")

CODE_LETTERS = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
"""Without 0 O, 1 I L: a code is read from a screen and typed on a ladder. 20 of 31 letters are 99 bits."""
CODE_LIFE = datetime.timedelta(minutes=15)
RENEWS = b"aisle renew v1\0"
NOT_GOOD = "the code is unknown, used or too old; ask for a new one"


class Tries:
    """Failed claims of late, by caller: codes cannot be guessed, and this keeps the attempt from costing us work."""

    def __init__(self, most: int = 10, within_s: float = 900.0, callers: int = 10_000) -> None:
        self._most = most
        self._within_s = within_s
        self._callers = callers
        self._times: dict[str, deque[float]] = {}

    def check(self, caller: str) -> None:
        """Raises TooMany."""
        times = self._times.get(caller)
        while times and times[0] < time.monotonic() - self._within_s:
            times.popleft()
        if times is not None and len(times) >= self._most:
            raise TooMany("too many codes that are not good; wait a quarter of an hour")

    def count(self, caller: str) -> None:
        if caller not in self._times and len(self._times) >= self._callers:
            del self._times[next(iter(self._times))]  # the one who came first
        self._times.setdefault(caller, deque(maxlen=self._most)).append(time.monotonic())


def new_code() -> str:
    """A one-time code: four times five letters."""
    letters = "".join(secrets.choice(CODE_LETTERS) for _ in range(20))
    return "-".join(letters[at : at + 5] for at in range(0, 20, 5))


def code_hash(code: str) -> bytes:
    """What is kept of a code, however it was typed. 99 random bits need no slow hash."""
    letters = "".join(c for c in code.upper() if c.isalnum())
    return hashlib.sha256(b"aisle claim v1" + letters.encode()).digest()


def open_claim(conn: Connection[TupleRow], address: NodeAddress, by: str) -> tuple[str, int]:
    """A fresh code for a node and when it ends; those before it end now. Raises NotFound, or Invalid for long names."""
    key = _there(conn, address)
    if len(str(address)) > ca.LONGEST_NAME:
        raise Invalid(f"{address} has {len(str(address))} characters, a certificate's name at most {ca.LONGEST_NAME}")
    code = new_code()
    conn.execute(sql.end_claims, key)
    values = key | {"code": code_hash(code), "by": by, "life": CODE_LIFE}
    row = conn.execute(sql.open_claim, values).fetchone()
    assert row is not None
    return code, row[0]


def claim(conn: Connection[TupleRow], authority: Authority, broker: tuple[str, int], code: str, csr: str) -> Named:
    """A node's papers for its code. Raises BadRequest, and NotAllowed for a code that is not good.

    What raises leaves the code unused: the caller's transaction ends with it.
    """
    request = ca.read_request(csr)
    row = conn.execute(sql.use_claim, {"code": code_hash(code)}).fetchone()
    if row is None:
        raise NotAllowed(NOT_GOOD)
    address = NodeAddress(*row)
    asked = ca.names_of(request.subject)
    if asked not in ([], [str(address)]):
        raise ca.BadRequest(f"the code is for {address}, the request for another node")
    conn.execute("SELECT set_config('aisle.tenant', %s, true)", (address.tenant,))
    if conn.execute(sql.node_there, _key(address)).fetchone() is None:
        raise NotAllowed(NOT_GOOD)  # taken from the plan since
    conn.execute(sql.revoke_node, _key(address) | {"by": ""})  # one name is one node: what hung there before is out
    return _issue(conn, authority, broker, request, address)


def renew(conn: Connection[TupleRow], authority: Authority, broker: tuple[str, int], renewal: Renewal) -> Named:
    """The next papers for a node that proves by its present key who it is. Raises BadRequest and NotAllowed.

    One signature over the new request is proof enough, without a challenge: who sends it again gets a certificate for
    the same new key, which only the node has. Mutual TLS would say the same, but ends at the broker and at whatever
    proxy stands before the api.
    """
    request = ca.read_request(renewal.csr)
    certificate = ca.read_certificate(renewal.certificate)
    refused = NotAllowed("the certificate is not one of ours in force; claim the node again")
    if certificate is None or not authority.is_ours(certificate, _now()):
        raise refused
    public = certificate.public_key()
    try:
        signature = base64.b64decode(renewal.signature, validate=True)
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise refused
        signed = RENEWS + request.public_bytes(serialization.Encoding.DER)
        public.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    except (ValueError, InvalidSignature):
        raise refused from None
    parts = "/".join(ca.names_of(certificate.subject)).split("/")
    if len(parts) != 3 or not all(NAME.fullmatch(part) for part in parts):
        raise refused  # the cloud's own certificate, or the broker's
    address = NodeAddress(*parts)
    conn.execute("SELECT set_config('aisle.tenant', %s, true)", (address.tenant,))
    values = _key(address) | {"serial": f"{certificate.serial_number:x}"}
    if conn.execute(sql.certificate_good, values).fetchone() is None:
        raise refused
    if ca.names_of(request.subject) not in ([], [str(address)]):
        raise ca.BadRequest(f"the request is for another node than {address}")
    return _issue(conn, authority, broker, request, address)


def _issue(
    conn: Connection[TupleRow],
    authority: Authority,
    broker: tuple[str, int],
    request: x509.CertificateSigningRequest,
    address: NodeAddress,
) -> Named:
    made = authority.issue(request, str(address), _now())
    text = ca.pem(made)
    values = {"serial": f"{made.serial_number:x}", "pem": text, "until": made.not_valid_after_utc}
    conn.execute(sql.put_certificate, _key(address) | values)
    row = conn.execute(sql.store_tz, _key(address)).fetchone()
    assert row is not None
    return Named(
        tenant=address.tenant,
        store=address.store,
        node=address.node,
        tz=row[0],
        certificate=text,
        authority=ca.pem(authority.certificate),
        broker_host=broker[0],
        broker_port=broker[1],
    )


def revoke(conn: Connection[TupleRow], address: NodeAddress, by: str) -> None:
    """No certificate of a node, and no open code for it, is good any more. Raises NotFound."""
    key = _there(conn, address)
    conn.execute(sql.end_claims, key)
    conn.execute(sql.revoke_node, key | {"by": by})


def revocation_list(conn: Connection[TupleRow], authority: Authority) -> bytes:
    """The list for the broker, PEM: of all tenants, since the broker is."""
    revoked = [(int(serial, 16), at) for serial, at in conn.execute(sql.revoked)]
    return authority.revocation_list(revoked, _now())


def authority_and_broker(environ: Mapping[str, str]) -> tuple[Authority, tuple[str, int]]:
    """Who signs, and where nodes find the broker. Raises NoAuthority with what is to be set."""
    try:
        authority = ca.read_authority(environ)
    except ConfigError as error:
        raise NoAuthority(str(error)) from None
    if authority is None:
        raise NoAuthority(
            "set AISLE_CA_CERT, AISLE_CA_KEY and AISLE_NODE_BROKER, or make certificates by certs.sh node"
        )
    text = environ.get("AISLE_NODE_BROKER", "")
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise NoAuthority(f"AISLE_NODE_BROKER: found {text!r}, expected HOST:PORT as nodes reach the broker")
    return authority, (host, int(port))


# -- configuration


def put_config(
    conn: Connection[TupleRow], address: NodeAddress, settings: dict[str, Section], by: str, now_us: int
) -> int:
    """What a node is to run, laid over its own file; returns the version, the same for the same settings.

    Raises NotFound. The node itself checks them: only its release knows what they may be.
    """
    key = _there(conn, address)
    conn.execute(sql.put_config, key | {"settings": Jsonb(settings), "by": by, "now": now_us})
    return read_config(conn, address).version


def read_config(conn: Connection[TupleRow], address: NodeAddress) -> NodeConfiguration:
    """What a node is to run and what it says. Raises NotFound."""
    row = conn.execute(sql.config, _key(address)).fetchone()
    if row is None:
        raise NotFound(f"no node {address.node!r} in store {address.store!r}")
    return NodeConfiguration(**dict(zip(NodeConfiguration.model_fields, row, strict=True)))


# -- opt-outs


def opt_out(conn: Connection[TupleRow], tenant: str, store: str, text: str) -> None:
    """A device that a store must not hear any more. Of its address 3 bytes of a salted digest are kept.

    Raises NotFound, Invalid for what is no device's own address, and Conflict when the list is full.
    """
    address = address_bytes(text)
    if address is None:
        raise Invalid("expected an address like 00:11:22:33:44:55")
    if not names_a_device(address):
        raise Invalid(
            "a phone made this address up and changes it (its first byte says so): nobody is recognised by it here"
        )
    key = {"tenant": tenant, "store": store}
    row = conn.execute(sql.salt, key | {"salt": secrets.token_bytes(16)}).fetchone()
    if row is None:
        raise NotFound(f"no store {store!r}")
    salt, entries = row
    if entries >= MAX_OPT_OUTS:
        raise Conflict(f"the list has {entries} entries, the most there may be")
    if conn.execute(sql.opt_out, key | {"prefix": opt_out_prefix(salt, address)}).rowcount:
        conn.execute(sql.opt_outs_changed, key)


def _there(conn: Connection[TupleRow], address: NodeAddress) -> dict[str, Any]:
    """The node's key in statements. Raises NotFound."""
    key = _key(address)
    if conn.execute(sql.node_there, key).fetchone() is None:
        raise NotFound(f"no node {address.node!r} in store {address.store!r}")
    return key


def _key(address: NodeAddress) -> dict[str, Any]:
    return {"tenant": address.tenant, "store": address.store, "node": address.node}


def _now() -> datetime.datetime:
    """Certificates hold in real time, whatever clock a simulated run follows: TLS knows no other."""
    return datetime.datetime.now(datetime.UTC)
