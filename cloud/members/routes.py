"""Members over HTTP: the import for staff and machines, the app's session, profile, consents and devices."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from cloud import db
from cloud.access import MEMBER_COOKIE, Call, allow
from cloud.accounts.routes import Failures, set_cookie
from cloud.errors import NotFound, NotSignedIn
from cloud.members import service
from cloud.members.models import (
    Activation,
    Card,
    ConsentChange,
    ConsentText,
    Device,
    Import,
    ImportResult,
    Me,
    MemberTag,
    Session,
    WifiLogin,
)

router = APIRouter(tags=["members"])
sql = db.statements("cloud.members")

Importer = Annotated[Call, allow("import", "marketer", "admin")]
Member = Annotated[Call, allow("member")]


@router.post("/v1/members/import", status_code=201)
def import_members(body: Import, call: Importer) -> ImportResult:
    """Make members; answers with what each needs to sign in and to be recognised, this once."""
    return ImportResult(members=service.import_members(call.conn, call.tenant, body.members, "import"))


@router.post("/v1/members/{card}/tags", status_code=204)
def give_tag(card: Card, body: MemberTag, call: Importer) -> None:
    """Give a member an RFID or NFC card; readers then tell where it is, as far as the member consents."""
    service.give_tag(call.conn, call.tenant, card, body.epc)


@router.post("/app/v1/session")
def sign_in(body: Activation, request: Request, response: Response) -> Session:
    """Sign a device in with card number and activation code."""
    failures: Failures = request.app.state.failures
    failures.check(f"card {body.card}")
    with request.app.state.pool.connection() as conn:
        try:
            session, secret = service.activate(conn, body)
        except NotSignedIn:
            failures.count(f"card {body.card}")
            raise
    if body.bearer:
        return session.model_copy(update={"token": secret})
    set_cookie(request, response, MEMBER_COOKIE, secret, max_age_s=90 * 86_400)
    return session


@router.delete("/app/v1/session", status_code=204)
def sign_out(call: Member, response: Response) -> None:
    """Sign this device out."""
    call.conn.execute(sql.revoke, {"secret": call.principal.secret_sha256})
    response.delete_cookie(MEMBER_COOKIE)


@router.get("/app/v1/me")
def me(call: Member) -> Me:
    """The member's card."""
    row = call.conn.execute(sql.me, {"tenant": call.tenant, "member": call.member_id}).fetchone()
    if row is None:
        raise NotFound("this member is gone")
    return Me(card=row[0], name=row[1], since_us=row[2])


@router.get("/app/v1/consents")
def consents(call: Member) -> list[ConsentText]:
    """What may be done with the member's data, purpose by purpose."""
    return service.consents(call.conn, call.tenant, call.member_id)


@router.put("/app/v1/consents", status_code=204)
def say_consent(body: ConsentChange, call: Member) -> None:
    """Give or revoke a consent; it takes effect within a second."""
    service.say_consent(call.conn, call.tenant, call.member_id, body.purpose, body.granted)


@router.post("/app/v1/devices", status_code=201)
def new_device(call: Member) -> Device:
    """A key for another phone or tag."""
    return Device(token_key_hex=service.new_device(call.conn, call.tenant, call.member_id).hex())


@router.get("/app/v1/wifi")
def wifi_login(call: Member) -> WifiLogin:
    """What to log in to the store's Wi-Fi with, for members who want to be recognised there."""
    return WifiLogin(token=service.wifi_login(call.conn, call.tenant, call.member_id))
