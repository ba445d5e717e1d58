"""What tests of the api share; a module whose api must be another one has a fixture of its own of that name."""

from collections.abc import Iterator

import pytest

from tests.conftest import Database
from tests.integration.cloud_support import Api, furnish, make_caller, running_api


@pytest.fixture
def api(database: Database) -> Iterator[Api]:
    """The application on the test's own database, with the tenant acme: a store, a segment, an offer, a campaign."""
    with running_api(database) as running:
        furnish(running, database, "acme")
        yield running


@pytest.fixture
def analyst(api: Api, database: Database) -> str:
    """The credential of an analyst of acme's."""
    return make_caller(database, "acme", "analyst")
