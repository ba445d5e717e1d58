"""A node's way into the fleet and its orders: codes, papers, desired configuration, and whom not to hear."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from psycopg import Connection
from psycopg.rows import TupleRow

from cloud.access import Call, allow
from cloud.errors import NotAllowed
from cloud.fleet import service
from cloud.fleet.models import Claim, ClaimCode, Named, NodeConfiguration, NodeSettings, OptOut, Renewal, Version
from cloud.places.models import Name
from contract.topics import NodeAddress

router = APIRouter(prefix="/v1", tags=["fleet"])
public = APIRouter(prefix="/v1", tags=["fleet"])
"""Nodes that have no credential yet: a code, or the certificate's own key, says who they are."""

Technician = Annotated[Call, allow("technician", "admin")]


@router.post("/stores/{store}/nodes/{node}/claim", status_code=201)
def open_claim(store: Name, node: Name, call: Technician) -> ClaimCode:
    """A one-time code by which the machine that hangs there becomes this node. Good for 15 minutes, shown this once."""
    code, expires_at_us = service.open_claim(call.conn, _address(call, store, node), call.principal.login or "")
    return ClaimCode(code=code, expires_at_us=expires_at_us)


@public.post("/claim", status_code=201)
def claim(body: Claim, request: Request) -> Named:
    """Become the node that a code is for: send a request for the key you made, get its certificate.

    403 for a code that is unknown, used or too old, without saying which; 429 after ten of them in a quarter of an
    hour; 503 where the cloud holds no authority.
    """
    authority, broker = service.authority_and_broker(request.app.state.settings.environ)
    tries, caller = _tries(request), request.client.host if request.client else ""
    tries.check(caller)
    conn: Connection[TupleRow]
    try:
        with request.app.state.pool.connection() as conn:
            return service.claim(conn, authority, broker, body.code, body.csr)
    except NotAllowed:
        tries.count(caller)
        raise


@public.post("/claim/renew", status_code=201)
def renew(body: Renewal, request: Request) -> Named:
    """The next certificate, for a node that signs its request with the present one's key."""
    authority, broker = service.authority_and_broker(request.app.state.settings.environ)
    conn: Connection[TupleRow]
    with request.app.state.pool.connection() as conn:
        return service.renew(conn, authority, broker, body)


@router.post("/stores/{store}/nodes/{node}/revoke", status_code=204)
def revoke(store: Name, node: Name, call: Technician) -> None:
    """A node was stolen: refuse its certificates and codes. The broker does so from its next look at the list on."""
    service.revoke(call.conn, _address(call, store, node), call.principal.login or "")


@router.get("/revocations", response_class=Response)
def revocations(call: Technician, request: Request) -> Response:
    """The revocation list for the broker (PEM): what was revoked here and what certs.sh had revoked."""
    authority, _ = service.authority_and_broker(request.app.state.settings.environ)
    return Response(service.revocation_list(call.conn, authority), media_type="application/x-pem-file")


@router.put("/stores/{store}/nodes/{node}/config")
def put_config(store: Name, node: Name, body: NodeSettings, call: Technician, request: Request) -> Version:
    """Say what a node is to run, laid over its own file. It is told with its next heartbeat, and answers."""
    now_us = request.app.state.clock.now_us()
    address, by = _address(call, store, node), call.principal.login or ""
    return Version(version=service.put_config(call.conn, address, body.settings, by, now_us))


@router.get("/stores/{store}/nodes/{node}/config")
def read_config(store: Name, node: Name, call: Technician) -> NodeConfiguration:
    """What a node is to run, what it runs, and why it refused if it did."""
    return service.read_config(call.conn, _address(call, store, node))


@router.post("/stores/{store}/opt-outs", status_code=204)
def opt_out(store: Name, body: OptOut, call: Technician) -> None:
    """Never hear a device again in this store. Only 3 bytes of a salted digest of its address are kept."""
    service.opt_out(call.conn, call.tenant, store, body.address)


def _address(call: Call, store: str, node: str) -> NodeAddress:
    return NodeAddress(call.tenant, store, node)


def _tries(request: Request) -> service.Tries:
    """The application's own, made when the first node claims itself."""
    state = request.app.state
    if not hasattr(state, "claim_tries"):
        state.claim_tries = service.Tries()
    tries: service.Tries = state.claim_tries
    return tries
