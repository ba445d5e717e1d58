"""`docker compose up --scale NAME=N`: nothing in the file or the code keeps a second one of a process from running."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MANY = ("ingest", "locate", "worker")
"""What may run many times. The api may too, behind a proxy that knows each one's port."""


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


@pytest.mark.parametrize("name", MANY)
def test_a_process_may_be_scaled_with_the_file_as_it_is(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    for key in ("container_name", "hostname", "ports", "network_mode", "mac_address", "volumes"):
        assert key not in service, f"{key} is one container's own"
    assert service.get("deploy", {}).get("replicas", 1) >= 1
    assert service["healthcheck"]["test"][-1] == name, "by this container's own connection, not by the others'"


def test_a_process_is_healthy_by_its_own_address() -> None:
    assert "inet_client_addr()" in (ROOT / "cloud" / "healthy.py").read_text()


def test_each_ingest_has_a_name_of_its_own_at_the_broker() -> None:
    """Two clients of one name throw each other out; here the name is made of the host and the instant."""
    text = (ROOT / "cloud" / "ingest" / "worker.py").read_text()
    assert re.search(r'f"ingest-\{socket\.gethostname\(\)\}-\{time\.time_ns\(\)', text)


def test_the_broker_shares_out_what_nodes_publish() -> None:
    from contract.topics import SHARED_UP

    assert SHARED_UP.startswith("$share/")


def test_the_page_on_scale_names_the_services_that_scale() -> None:
    page = (ROOT / "docs" / "scale.md").read_text()
    for name in MANY:
        assert f"--scale {name}=" in page, name
