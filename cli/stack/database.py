"""The product's roles and databases on a PostgreSQL server one may administer, our own or somebody's."""

import secrets

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from cli.stack.processes import StackError

OWNER, APP, SERVICE = "aisle_owner", "aisle_app", "aisle_service"
ROLES = (OWNER, APP, SERVICE)
DATABASE = "aisle"


class DatabaseServer:
    """A server one may administer: makes the product's roles and databases. `admin_dsn` is a superuser's.

    `passwords` holds those of ROLES; the server's roles get them in `ensure_roles`.
    """

    def __init__(self, admin_dsn: str, passwords: dict[str, str]) -> None:
        self._admin_dsn = admin_dsn
        self._passwords = passwords

    @property
    def admin_dsn(self) -> str:
        """The superuser's connection string, to the database it names itself."""
        return self._admin_dsn

    def dsn(self, user: str, database: str = DATABASE) -> str:
        """A connection string for one of ROLES, or for the superuser with user 'postgres'."""
        if user not in self._passwords:
            return make_conninfo(self.admin_dsn, dbname=database)
        return make_conninfo(self.admin_dsn, dbname=database, user=user, password=self._passwords[user])

    def ensure_roles(self) -> None:
        """Make the login roles that are missing: none may pass row security, none is a superuser."""
        with self._admin() as connection:
            have = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles").fetchall()}
            for role in ROLES:
                name, password = sql.Identifier(role), sql.Literal(self._passwords[role])
                if role not in have:
                    connection.execute(
                        sql.SQL("CREATE ROLE {} NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS").format(name)
                    )
                connection.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(name, password))
            # An administrator who is no superuser must be a member of a role to give it a database.
            connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(OWNER)))

    def bootstrap(self) -> None:
        """Make the roles and the database `aisle` if they are missing. Migrations make all that is inside it."""
        self.ensure_roles()
        with self._admin() as connection:
            exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
        if not exists:
            self.create_database(DATABASE)

    def create_database(self, name: str, template: str | None = None) -> None:
        """Make a database owned by `aisle_owner`, open to the product's roles only; a copy of `template`.

        The server's own template is not named: TimescaleDB takes that as a reason to look into it, and is in the way.
        """
        database = sql.Identifier(name)
        copy = sql.SQL(" TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
        with self._admin() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, sql.Identifier(OWNER)) + copy)
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
            for role in (APP, SERVICE):
                connection.execute(
                    sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(database, sql.Identifier(role))
                )

    def close_database(self, name: str) -> None:
        """Let nobody in any more, so that it can be copied: TimescaleDB's own workers look into every open database."""
        end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s"
        with self._admin() as connection:
            connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
            connection.execute(end, [name])

    def add_extension(self, name: str) -> None:
        """Create TimescaleDB in the database if the server has it, as production's roles.sql does."""
        have = "SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb'"
        with psycopg.connect(make_conninfo(self.admin_dsn, dbname=name), autocommit=True) as connection:
            if connection.execute(have).fetchone():
                connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")

    def drop_database(self, name: str) -> None:
        """Remove a database, throwing out whoever is still connected."""
        with self._admin() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _admin(self) -> psycopg.Connection:
        return psycopg.connect(self.admin_dsn, autocommit=True)


def foreign_server(admin_dsn: str) -> DatabaseServer:
    """A server somebody else runs (TimescaleDB, a managed one), for tests: its roles `aisle_*` get new passwords.

    Raises StackError if it cannot be reached or holds a database named `aisle`: that one is in use by somebody.
    """
    try:
        connection = psycopg.connect(admin_dsn)
    except psycopg.OperationalError as error:
        raise StackError(f"cannot reach the given PostgreSQL: {str(error).splitlines()[0]}") from error
    with connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            raise StackError(
                f"the given PostgreSQL holds a database {DATABASE!r}: give the tests a server of their own"
            )
    server = DatabaseServer(admin_dsn, {role: secrets.token_urlsafe(24) for role in ROLES})
    server.ensure_roles()
    return server
