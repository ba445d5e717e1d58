"""The first account of an installation, made by whoever runs it; there is no default password."""

import psycopg

from cloud.accounts.passwords import hash_password


def found_tenant(owner_dsn: str, tenant: str, name: str, accounts: dict[str, tuple[str, list[str]]]) -> int:
    """Make a tenant with its first accounts, {login: (password, roles)}; returns how many were new.

    What exists already is left as it is.
    """
    with psycopg.connect(owner_dsn) as conn:
        conn.execute("INSERT INTO tenant (tenant_id, name) VALUES (%s, %s) ON CONFLICT DO NOTHING", (tenant, name))
        made = 0
        for login, (password, roles) in accounts.items():
            made += conn.execute(
                "INSERT INTO account (tenant_id, login, password_hash, roles) VALUES (%s, %s, %s, %s)"
                " ON CONFLICT (login) DO NOTHING",
                (tenant, login, hash_password(password), roles),
            ).rowcount
    return made
