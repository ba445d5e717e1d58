"""What tests share: one PostgreSQL for the whole run, a migrated database for each test, a real broker."""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.stack.broker import (
    Broker,
    Client,
    IotcoreBroker,
    MosquittoBroker,
    cloud_client,
    mosquitto_program,
    node_client,
)
from cli.stack.database import APP, OWNER, SERVICE, DatabaseServer, foreign_server
from cli.stack.postgres import Postgres
from cli.stack.processes import StackError
from contract.topics import NodeAddress

NODE = NodeAddress("acme", "main-street", "node-1")
OTHER_NODE = NodeAddress("acme", "main-street", "node-2")


@dataclass(frozen=True, slots=True)
class Database:
    """A test's own migrated database: the connection string of each role that uses it."""

    name: str
    owner: str
    app: str
    service: str
    admin: str
    """The superuser's, which row security does not hold back: for looking, never for the code under test."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--dsn URL`: use this PostgreSQL (its superuser) in place of the embedded one."""
    parser.addoption("--dsn", default=None, metavar="URL", help="superuser of the PostgreSQL to test against")


@pytest.fixture(scope="session")
def stack_folder() -> Iterator[Path]:
    """A folder for servers that run as another account: pytest's own are closed to all but us."""
    folder = Path(tempfile.mkdtemp(prefix="aisle-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest, stack_folder: Path) -> Iterator[DatabaseServer]:
    """The run's PostgreSQL with the product's roles: the embedded one, or that of --dsn."""
    dsn = request.config.getoption("--dsn")
    if dsn:
        try:
            foreign = foreign_server(dsn)
        except StackError as error:
            pytest.exit(str(error), returncode=4)
        yield foreign
        return
    server = Postgres(stack_folder / "postgres").start()
    server.ensure_roles()
    yield server
    server.destroy()


@pytest.fixture(scope="session")
def template(postgres: DatabaseServer) -> Iterator[str]:
    """The name of a migrated database that nobody connects to: the others are copies of it."""
    from cloud.db import migrate

    name = f"aisle_template_{secrets.token_hex(4)}"
    postgres.create_database(name)
    postgres.add_extension(name)
    migrate(postgres.dsn(OWNER, name))
    postgres.close_database(name)
    yield name
    postgres.drop_database(name)


@pytest.fixture
def database(postgres: DatabaseServer, template: str) -> Iterator[Database]:
    """A migrated database of the test's own (a copy takes about 0.1 s)."""
    name = f"aisle_test_{secrets.token_hex(4)}"
    postgres.create_database(name, template)
    yield Database(
        name,
        owner=postgres.dsn(OWNER, name),
        app=postgres.dsn(APP, name),
        service=postgres.dsn(SERVICE, name),
        admin=postgres.dsn("postgres", name),
    )
    postgres.drop_database(name)


@pytest.fixture
def clients() -> dict[str, Client]:
    """The broker's users in tests: the cloud and two nodes of one store. A test module may have its own."""
    return {"cloud": cloud_client(), str(NODE): node_client(NODE), str(OTHER_NODE): node_client(OTHER_NODE)}


@pytest.fixture
def broker(request: pytest.FixtureRequest, clients: dict[str, Client]) -> Iterator[Broker]:
    """A running broker with `clients`: mosquitto, or what the test asks for.

    `@pytest.mark.parametrize("broker", ["mosquitto", "iotcore"], indirect=True)` runs a test on both.
    """
    kind = getattr(request, "param", "mosquitto")
    if kind == "mosquitto" and mosquitto_program() is None:
        pytest.skip("mosquitto is not installed: apt-get install mosquitto")
    folder = Path(tempfile.mkdtemp(prefix="aisle-broker-"))
    folder.chmod(0o711)
    made: Broker = MosquittoBroker(folder, clients) if kind == "mosquitto" else IotcoreBroker(folder, clients)
    with made:
        yield made
    made.destroy()
