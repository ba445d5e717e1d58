"""What the database's own catalogue says about access and privacy: proven of every table, also of those to come."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import TupleRow

from cli.stack.database import APP, OWNER, ROLES, SERVICE
from tests.conftest import Database
from tests.integration.cloud_support import make_member, make_tenant, superuser

RELATIONS = (
    "SELECT oid, relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = ANY(%s)"
)
PRIVILEGES = "SELECT, INSERT, UPDATE, DELETE"
INSIDE = ("sighting", "position")
"""Raw windows and people's paths: for the service alone."""
OURS_ALONE = {"contact", "decision", "push", "presence", "visit"}
"""Facts that only the service may state."""
FACES = ("face", "expression", "emotion", "mood", "valence", "smile", "age_group", "gender")
PERSONS = ("member", "visit", "token", "subject", "device", "card", "receipt", "beacon", "presence", "account", "tag")


@pytest.fixture
def conn(database: Database) -> Iterator[psycopg.Connection[TupleRow]]:
    with superuser(database) as connection:
        yield connection


def relations(conn: psycopg.Connection[Any], kinds: str) -> dict[str, int]:
    return {name: oid for oid, name, _ in conn.execute(RELATIONS.encode(), (list(kinds),))}


def may(conn: psycopg.Connection[Any], role: str, oid: int, what: str = PRIVILEGES) -> bool:
    """Whether a role has any of the privileges, by itself, by a group or by everyone's; on a column counts too."""
    whole = conn.execute("SELECT has_table_privilege(%s, %s::oid, %s)", (role, oid, what)).fetchone()
    columns = ", ".join(privilege for privilege in what.split(", ") if privilege != "DELETE")
    if whole == (True,) or not columns:
        return whole == (True,)
    return conn.execute("SELECT has_any_column_privilege(%s, %s::oid, %s)", (role, oid, columns)).fetchone() == (True,)


def test_every_table_that_the_api_may_touch_is_under_forced_row_security(conn) -> None:
    tables = {n: o for n, o in relations(conn, "rpf").items() if may(conn, APP, o)}
    assert len(tables) >= 20
    for name, oid in tables.items():
        row = conn.execute("SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = %s", (oid,)).fetchone()
        assert row == (True, True), f"{name}: ALTER TABLE … FORCE ROW LEVEL SECURITY"
        policies = conn.execute(
            "SELECT pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid), polpermissive FROM pg_policy"
            " WHERE polrelid = %s AND (%s::regrole = ANY(polroles) OR polroles = '{0}')",
            (oid, APP),
        ).fetchall()
        tenant = "(tenant_id = current_tenant())"
        assert policies == [(tenant, tenant, True)], f"{name}: exactly the policy of `protect` for {APP}"


def test_views_ask_as_their_caller_and_nothing_is_materialised_past_row_security(conn) -> None:
    views = {name: oid for name, oid in relations(conn, "v").items() if may(conn, APP, oid)}
    assert views
    for name, oid in views.items():
        row = conn.execute("SELECT 'security_invoker=true' = ANY(reloptions) FROM pg_class WHERE oid = %s", (oid,))
        assert row.fetchone() == (True,), f"view {name}: WITH (security_invoker = true)"
    for name, oid in relations(conn, "m").items():
        assert not may(conn, APP, oid), f"materialised view {name} knows no row security: not for the api"


def test_raw_windows_and_paths_are_granted_to_the_service_alone(conn) -> None:
    conn.execute("SELECT ensure_day('sighting', '2026-11-24'), ensure_day('position', '2026-11-24')")
    for name, oid in relations(conn, "rp").items():
        if not name.startswith(INSIDE):
            continue
        assert not may(conn, APP, oid), f"{name} is open to the api"
        others = conn.execute(
            "SELECT DISTINCT coalesce(r.rolname, 'PUBLIC') FROM pg_class c, aclexplode(c.relacl) a"
            " LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE c.oid = %s",
            (oid,),
        ).fetchall()
        assert {role for (role,) in others} <= {OWNER, SERVICE}, name


def test_no_role_of_ours_is_above_row_security(conn) -> None:
    found = conn.execute(
        "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s) AND NOT (rolsuper OR rolbypassrls OR rolcreaterole"
        " OR rolcreatedb OR rolreplication)",
        (list(ROLES),),
    ).fetchall()
    assert {name for (name,) in found} == set(ROLES)
    members = conn.execute(
        "SELECT 1 FROM pg_auth_members JOIN pg_roles r ON r.oid = member WHERE r.rolname = ANY(%s)", (list(ROLES),)
    ).fetchall()
    assert members == [], "nor can one become it"
    owned = conn.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner"
        " WHERE c.relnamespace = 'public'::regnamespace AND r.rolname = ANY(%s)",
        ([APP, SERVICE],),
    ).fetchall()
    assert owned == [], "who owns a table may lift its row security"


def test_the_schemas_functions_that_act_as_the_owner_are_not_for_everyone(conn) -> None:
    found = conn.execute(
        "SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef AND"
        " (p.proconfig IS NULL OR p.proacl IS NULL OR"
        "  EXISTS (SELECT 1 FROM aclexplode(p.proacl) a WHERE a.grantee = 0))"
    ).fetchall()
    assert found == [], "SECURITY DEFINER needs SET search_path and REVOKE EXECUTE … FROM PUBLIC"


def joins_faces_to_people(columns: dict[str, list[str]], keys: list[tuple[str, str]]) -> list[str]:
    """Tables that tell of faces and of a person at once, by a column of their own or by a key to such a table."""

    def is_of(table: str, words: tuple[str, ...]) -> bool:
        return any(word in part for part in (table, *columns[table]) for word in words)

    bad = [table for table in columns if is_of(table, FACES) and is_of(table, PERSONS)]
    return bad + [
        f"{a} → {b}" for a, b in keys if is_of(a, FACES) and is_of(b, PERSONS) and b not in ("store", "tenant")
    ]


def test_nothing_joins_faces_to_people(conn) -> None:
    rows = conn.execute(
        "SELECT table_name, array_agg(column_name::text) FROM information_schema.columns WHERE table_schema = 'public'"
        " GROUP BY table_name"
    ).fetchall()
    keys = conn.execute("SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint"
                        " WHERE contype = 'f' AND connamespace = 'public'::regnamespace").fetchall()  # fmt: skip
    assert joins_faces_to_people(dict(rows), [(a, b) for a, b in keys]) == []


FACES_TABLES = [
    ({"faces": ["tenant_id", "zone", "time", "n", "share_happy"]}, [], []),
    ({"faces": ["tenant_id", "zone", "visit_id"]}, [], ["faces"]),
    ({"zone_stat": ["zone", "smile_share", "subject"]}, [], ["zone_stat"]),
    ({"faces": ["zone"], "visit": ["visit_id"]}, [("faces", "visit")], ["faces → visit"]),
    ({"member": ["member_id", "expression"]}, [], ["member"]),
]


@pytest.mark.parametrize(("columns", "keys", "found"), FACES_TABLES)
def test_the_check_for_faces_bites(
    columns: dict[str, list[str]], keys: list[tuple[str, str]], found: list[str]
) -> None:
    assert joins_faces_to_people(columns, keys) == found


def test_without_a_tenant_the_api_sees_nothing(conn, database: Database) -> None:
    make_tenant(database, "acme")
    make_member(database, "acme")
    names = {n for n, o in relations(conn, "rpvm").items() if may(conn, APP, o, "SELECT")}
    assert {"member", "consent_now", "tenant"} <= names
    with psycopg.connect(database.app, autocommit=True) as app:
        for name in sorted(names):
            assert app.execute(f"SELECT count(*) FROM {name}".encode()).fetchone() == (0,), name
        app.execute("SELECT set_config('aisle.tenant', 'acme', false)")
        assert app.execute("SELECT count(*) FROM member").fetchone() == (1,)
        app.execute("SELECT set_config('aisle.tenant', 'beta', false)")
        assert app.execute("SELECT count(*) FROM member").fetchone() == (0,)


def test_a_row_of_another_tenant_cannot_be_written(database: Database) -> None:
    make_tenant(database, "acme")
    make_tenant(database, "beta")
    insert = b"INSERT INTO member (tenant_id, card) VALUES ('beta', '12345678')"
    with psycopg.connect(database.app, autocommit=True) as app:
        for tenant in ("", "acme"):
            app.execute("SELECT set_config('aisle.tenant', %s, false)", (tenant,))
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                app.execute(insert)
        app.execute("SELECT set_config('aisle.tenant', 'beta', false)")
        app.execute(insert)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            app.execute("UPDATE member SET tenant_id = 'acme'")


def test_the_api_cannot_state_what_only_the_service_knows(conn) -> None:
    tables = relations(conn, "rp")
    able = {name for name, oid in tables.items() if may(conn, APP, oid, "INSERT")}
    assert not able & (OURS_ALONE | set(INSIDE)), "contacts and decisions come from the gate, presence from the locator"
    deletes = {name for name, oid in tables.items() if may(conn, APP, oid, "DELETE")}
    assert deletes <= {"floor", "zone", "beacon"}, "what was told or consented to is not deleted by the api"
    assert not may(conn, APP, tables["consent"], "UPDATE"), "consent is a ledger"
