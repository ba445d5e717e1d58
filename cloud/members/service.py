"""Importing members, signing devices in, and consent as a ledger."""

import secrets
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.types.json import Jsonb

from cloud import db
from cloud.access import hash_secret, new_secret
from cloud.errors import NotFound, NotSignedIn
from cloud.members.consents import TEXT_VERSION, TEXTS
from cloud.members.models import Activation, ConsentText, Imported, NewMember, Purpose, Session
from contract.identity import client_token, subject_hex, tag_subject

sql = db.statements("cloud.members")


def import_members(conn: Connection[Any], tenant: str, members: list[NewMember], channel: str) -> list[Imported]:
    """Make members with a device key and an activation code each; consents are taken as given on `channel`.

    A member who is known already gets a new code and nothing else: what they said themselves is not overruled.
    """
    made = []
    for new in members:
        code, key = secrets.token_hex(8), secrets.token_bytes(16)
        values = new.model_dump(include={"card", "name", "staff"}) | {"traits": Jsonb(new.traits)}
        row = conn.execute(sql.put_member, values | {"tenant": tenant, "activation": hash_secret(code)}).fetchone()
        assert row is not None
        member, fresh = row
        if fresh:
            conn.execute(sql.put_device, {"tenant": tenant, "member": member, "key": key})
            for purpose, granted in new.consents.items():
                _say(conn, tenant, member, purpose, granted, channel)
        token_key = key.hex() if fresh else None
        made.append(Imported(member_id=member, card=new.card, activation_code=code, token_key_hex=token_key))
    conn.execute(sql.tell_consent, {"tenant": tenant})
    return made


def activate(conn: Connection[Any], activation: Activation) -> tuple[Session, str]:
    """Sign a device in; returns the session and its secret. Raises NotSignedIn, for every mistake alike."""
    digest = hash_secret(activation.code)
    found = conn.execute("SELECT tenant_of_activation(%s, %s)", (activation.card, digest)).fetchone()
    tenant = found[0] if found else None
    if tenant is None:
        raise NotSignedIn("card number or code is wrong, or the code was used up")
    conn.execute("SELECT set_config('aisle.tenant', %s, true)", (tenant,))
    values = {"tenant": tenant, "card": activation.card, "activation": digest}
    row = conn.execute(sql.activate, values).fetchone()
    if row is None:
        raise NotSignedIn("card number or code is wrong, or the code was used up")
    secret = new_secret()
    conn.execute(sql.open_session, {"secret": hash_secret(secret), "tenant": tenant, "member": row[0]})
    return Session(member_id=row[0], name=row[1]), secret


def consents(conn: Connection[Any], tenant: str, member: UUID) -> list[ConsentText]:
    """Every purpose with its words and the member's newest answer; no answer is a no."""
    said = dict(conn.execute(sql.consents, {"tenant": tenant, "member": member}).fetchall())
    return [
        ConsentText(purpose=purpose, title=title, text=text, granted=said.get(purpose, False))
        for purpose, (title, text) in TEXTS.items()
    ]


def say_consent(conn: Connection[Any], tenant: str, member: UUID, purpose: Purpose, granted: bool) -> None:
    """Take down the member's answer; processes that sense are told at commit."""
    _say(conn, tenant, member, purpose, granted, "app")
    conn.execute(sql.tell_consent, {"tenant": tenant})


def new_device(conn: Connection[Any], tenant: str, member: UUID) -> bytes:
    """A key of 16 random bytes for another phone or tag of the member."""
    key = secrets.token_bytes(16)
    conn.execute(sql.put_device, {"tenant": tenant, "member": member, "key": key})
    conn.execute(sql.tell_consent, {"tenant": tenant})
    return key


def give_tag(conn: Connection[Any], tenant: str, card: str, epc: str) -> None:
    """An RFID card belongs to the member with this card number. Raises NotFound."""
    row = conn.execute(sql.member_of_card, {"tenant": tenant, "card": card}).fetchone()
    if row is None:
        raise NotFound(f"no member has card {card}")
    subject = db.signed(tag_subject(bytes.fromhex(epc)))
    conn.execute(sql.put_tag, {"tenant": tenant, "member": row[0], "subject": subject})
    conn.execute(sql.tell_consent, {"tenant": tenant})


def wifi_login(conn: Connection[Any], tenant: str, member: UUID) -> str:
    """The token with which the member's device logs in to the store's Wi-Fi, of the newest device's key."""
    row = conn.execute(sql.newest_key, {"tenant": tenant, "member": member}).fetchone()
    key = bytes(row[0]) if row else new_device(conn, tenant, member)
    return subject_hex(client_token(key))


def _say(conn: Connection[Any], tenant: str, member: UUID, purpose: Purpose, granted: bool, channel: str) -> None:
    values = {"tenant": tenant, "member": member, "purpose": purpose, "granted": granted}
    conn.execute(sql.say_consent, values | {"text_version": TEXT_VERSION, "channel": channel})
