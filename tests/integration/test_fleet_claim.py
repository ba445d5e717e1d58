"""A machine becomes a node: code, key, certificate, broker; and ends being one."""

import datetime
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from cloud.fleet.service import CODE_LETTERS, code_hash
from contract.topics import NodeAddress
from edge import claim as claiming
from edge.claim import ClaimError, claim, renew
from edge.config import read_config
from edge.seal import new_key
from tests.conftest import Database
from tests.integration.cloud_support import Api, furnish, make_caller, make_tenant, running_api, superuser
from tests.integration.fleet_support import certs_sh, fleet_app, needs_openssl, served, shipped_broker

pytestmark = needs_openssl
STORE = "main-street"
NODE = NodeAddress("acme", STORE, "node-1")
PATH = f"/v1/stores/{STORE}/nodes/node-1"


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authority that `certs.sh ca` makes, with the broker's and the cloud's certificate."""
    folder = tmp_path_factory.mktemp("authority") / "certs"
    for command in (["ca"], ["broker", "localhost"], ["cloud"], ["node", "acme/main-street/old"]):
        certs_sh(folder, *command)
    certs_sh(folder, "revoke", "acme/main-street/old")
    return folder


@pytest.fixture
def api(database: Database, certs: Path) -> Iterator[Api]:
    with running_api(database, app=fleet_app(database, certs)) as running:
        yield running


@pytest.fixture
def admin(api: Api, database: Database) -> str:
    return furnish(api, database, "acme")


@pytest.fixture
def technician(admin: str, database: Database) -> str:
    return make_caller(database, "acme", "technician")


def code_for(api: Api, key: str, path: str = PATH) -> str:
    answer = api.post(f"{path}/claim", key)
    assert answer.status_code == 201, answer.text
    code: str = answer.json()["code"]
    return code


def poster(api: Api) -> claiming.Post:
    """edge.claim's requests, to the application in this process."""

    def post(url: str, body: dict[str, str]) -> bytes:
        answer = api.post(url.removeprefix("https://test"), json=body)
        if answer.status_code != 201:
            raise ClaimError(f"{answer.status_code}: {answer.json()['detail']}")
        return answer.content

    return post


def claimed(api: Api, key: str, into: Path) -> Path:
    claim("https://test", code_for(api, key), into, None, poster(api))
    return into


def request_for(*names: str, key: Any = None) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n) for n in names])
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key or new_key(), hashes.SHA256())
    return made.public_bytes(claiming._PEM).decode()


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)


def greeted(port: int, certs: Path, identity: Path) -> bool:
    """Whether the broker takes a certificate: TLS, and its first byte of MQTT."""
    context = ssl.create_default_context(cafile=str(certs / "ca.crt"))
    context.load_cert_chain(identity, identity)
    connect = bytes.fromhex("101000044d5154540502003c000003746573")
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as plain:
            with context.wrap_socket(plain, server_hostname="localhost") as line:
                line.sendall(connect)
                return line.recv(4)[:1] == b"\x20"
    except (ssl.SSLError, ConnectionError):
        return False


def test_a_code_is_easy_to_read_and_only_its_hash_is_kept(api: Api, technician: str, database: Database) -> None:
    answer = api.post(f"{PATH}/claim", technician).json()
    groups = answer["code"].split("-")
    assert [len(group) for group in groups] == [5, 5, 5, 5]
    assert set("".join(groups)) <= set(CODE_LETTERS)
    with superuser(database) as conn:
        rows = conn.execute("SELECT code_sha256, expires_at - created_at, claim::text FROM claim").fetchall()
    assert [(row[0], row[1]) for row in rows] == [(code_hash(answer["code"]), datetime.timedelta(minutes=15))]
    assert groups[0] not in rows[0][2]


def test_what_is_issued_holds_before_openssl_and_the_shipped_broker(
    api: Api, technician: str, certs: Path, tmp_path: Path
) -> None:
    node = claimed(api, technician, tmp_path / "node")
    assert read_config(node / "node.toml").address == NODE
    assert (node / "ca.crt").read_text() == (certs / "ca.crt").read_text()
    told = openssl("verify", "-CAfile", certs / "ca.crt", "-purpose", "sslclient", "-x509_strict", node / "node.pem")
    assert told.returncode == 0, told.stderr
    subject = openssl("x509", "-in", node / "node.pem", "-noout", "-subject", "-nameopt", "RFC2253").stdout
    assert subject.strip() == "subject=CN=acme/main-street/node-1"
    with shipped_broker(certs) as port:
        assert greeted(port, certs, node / "node.pem")


def test_the_command_claims_over_a_real_line_and_tells_why_not(
    database: Database, certs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_api(database, app=fleet_app(database, certs)) as api:
        key = furnish(api, database, "acme")
        code = code_for(api, key)
    with served(fleet_app(database, certs)) as address:
        assert claiming.main([code.lower().replace("-", " "), "--api", address, "--into", str(tmp_path)]) == 0
        assert "acme/main-street/node-1" in capsys.readouterr().out
        assert claiming.main([code, "--api", address, "--into", str(tmp_path)]) == 1
        assert "the code is unknown, used or too old; ask for a new one (HTTP 403)" in capsys.readouterr().err
        assert renew(tmp_path).address == NODE


def test_a_code_works_once_and_every_other_gets_the_same_answer(
    api: Api, technician: str, database: Database, tmp_path: Path
) -> None:
    used, older, newer = (code_for(api, technician) for _ in range(3))
    other = code_for(api, technician, f"/v1/stores/{STORE}/nodes/node-2")
    claim("https://test", newer, tmp_path, None, poster(api))
    with superuser(database) as conn:
        conn.execute("UPDATE claim SET expires_at = now() WHERE node = 'node-2'")
    csr = request_for()
    answers = [
        api.post("/v1/claim", json={"code": code, "csr": csr})
        for code in (newer, used, older, other, "AAAAA-AAAAA-AAAAA-AAAAA", "", "\x00", "ß" * 20)
    ]
    assert {(answer.status_code, answer.text) for answer in answers} == {(403, answers[0].text)}


def test_ten_wrong_codes_shut_the_door_for_a_while_even_for_a_right_one(api: Api, technician: str) -> None:
    code, csr = code_for(api, technician), request_for()
    for _ in range(10):
        assert api.post("/v1/claim", json={"code": "WRONG", "csr": csr}).status_code == 403
    assert api.post("/v1/claim", json={"code": code, "csr": csr}).status_code == 429


REQUESTS = [
    ("no request", lambda: "hello"),
    ("another node's name", lambda: request_for("acme/main-street/node-2")),
    ("a name more", lambda: request_for("acme/main-street/node-1", "cloud")),
    ("the cloud's name", lambda: request_for("cloud")),
    ("an RSA key", lambda: request_for(key=rsa.generate_private_key(65537, 2048))),
    ("a bent signature", lambda: _bent(request_for())),
]


def _bent(pem: str) -> str:
    lines = pem.splitlines()
    lines[-2] = lines[-2][:4] + ("AAAA" if lines[-2][4:8] != "AAAA" else "BBBB") + lines[-2][8:]
    return "\n".join(lines)


@pytest.mark.parametrize("make", [pytest.param(r[1], id=r[0]) for r in REQUESTS])
def test_a_request_that_cannot_be_used_leaves_the_code_good(api: Api, technician: str, make: Any) -> None:
    code = code_for(api, technician)
    assert api.post("/v1/claim", json={"code": code, "csr": make()}).status_code == 422
    assert api.post("/v1/claim", json={"code": code, "csr": request_for(str(NODE))}).status_code == 201


def test_two_who_use_a_code_at_once_are_one_node(api: Api, technician: str, database: Database) -> None:
    code = code_for(api, technician)
    with ThreadPoolExecutor(4) as pool:
        body = {"code": code, "csr": request_for()}
        answers = list(pool.map(lambda _: _post_on(api, body), range(4)))
    assert sorted(answers) == [201, 403, 403, 403]
    with superuser(database) as conn:
        assert conn.execute("SELECT count(*) FROM certificate").fetchone() == (1,)


def _post_on(api: Api, body: dict[str, str]) -> int:
    status: int = api.portal.call(lambda: api.client.post("/v1/claim", json=body)).status_code
    return status


def test_a_node_of_another_tenant_or_none_has_no_code(api: Api, technician: str, database: Database) -> None:
    make_tenant(database, "beta")
    stranger = make_caller(database, "beta", "technician")
    assert api.post(f"{PATH}/claim", stranger).status_code == 404
    assert api.post(f"/v1/stores/{STORE}/nodes/node-9/claim", technician).status_code == 404


def test_a_node_that_was_taken_from_the_plan_cannot_be_claimed(api: Api, technician: str, database: Database) -> None:
    code = code_for(api, technician)
    with superuser(database) as conn:
        conn.execute("UPDATE node SET retired_at = now() WHERE node = 'node-1'")
    assert api.post("/v1/claim", json={"code": code, "csr": request_for()}).status_code == 403


def test_a_renewal_needs_the_present_key_and_a_certificate_in_force(
    api: Api, technician: str, certs: Path, tmp_path: Path
) -> None:
    node = claimed(api, technician, tmp_path / "node")
    first = (node / "node.pem").read_bytes()
    sent: list[dict[str, str]] = []

    def spy(url: str, body: dict[str, str]) -> bytes:
        sent.append(body)
        return poster(api)(url, body)

    renew(node, spy)
    assert openssl("verify", "-CAfile", certs / "ca.crt", node / "node.pem").returncode == 0
    (node / "node.pem").write_bytes(first)
    renew(node, spy)  # the answer to the last one was lost: the old one may ask again
    good = sent[-1]
    cloud = (certs / "cloud.crt").read_text()
    for part, value in (
        ("signature", sent[0]["signature"]),
        ("signature", "!"),
        ("csr", request_for(str(NODE))),
        ("certificate", "hello"),
        ("certificate", cloud),
    ):
        assert api.post("/v1/claim/renew", json=good | {part: value}).status_code == 403, part
    assert api.post("/v1/claim/renew", json=good).status_code == 201


def test_a_certificate_made_by_certs_sh_is_not_in_the_ledger_and_is_not_renewed(
    api: Api, technician: str, certs: Path, tmp_path: Path
) -> None:
    node = claimed(api, technician, tmp_path / "node")
    certs_sh(certs, "node", str(NODE))
    made = [(certs / f"acme.main-street.node-1.{end}").read_bytes() for end in ("key", "crt")]
    (node / "node.pem").write_bytes(b"".join(made))
    with pytest.raises(ClaimError, match="403"):
        renew(node, poster(api))


def test_a_stolen_node_is_refused_by_api_and_broker(
    api: Api, technician: str, certs: Path, tmp_path: Path, database: Database
) -> None:
    node = claimed(api, technician, tmp_path / "node")
    open_code = code_for(api, technician)
    assert api.post(f"{PATH}/revoke", technician).status_code == 204
    with pytest.raises(ClaimError, match="403"):
        renew(node, poster(api))
    assert api.post("/v1/claim", json={"code": open_code, "csr": request_for()}).status_code == 403
    make_tenant(database, "beta")
    answer = api.get("/v1/revocations", make_caller(database, "beta", "technician"))
    assert answer.status_code == 200
    copy = tmp_path / "certs"
    copy.mkdir()
    for name in ("ca.crt", "broker.crt", "broker.key"):
        (copy / name).write_bytes((certs / name).read_bytes())
    (copy / "ca.crl").write_bytes(answer.content)
    listed = openssl("crl", "-in", copy / "ca.crl", "-CAfile", certs / "ca.crt", "-noout", "-text")
    assert "verify OK" in listed.stderr and listed.stdout.count("Serial Number:") == 2, "certs.sh's own one stays"
    again = claimed(api, technician, tmp_path / "again")
    with shipped_broker(copy) as port:
        assert not greeted(port, certs, node / "node.pem")
        assert greeted(port, certs, again / "node.pem")


def test_a_new_claim_ends_the_certificate_of_what_hung_there_before(api: Api, technician: str, tmp_path: Path) -> None:
    before = claimed(api, technician, tmp_path / "before")
    claimed(api, technician, tmp_path / "after")
    with pytest.raises(ClaimError, match="403"):
        renew(before, poster(api))


def test_without_an_authority_the_api_says_what_to_set(database: Database) -> None:
    with running_api(database, app=fleet_app(database)) as api:
        admin = furnish(api, database, "acme")
        code = code_for(api, admin)
        answer = api.post("/v1/claim", json={"code": code, "csr": request_for()})
        assert answer.status_code == 503
        assert "AISLE_CA_CERT, AISLE_CA_KEY and AISLE_NODE_BROKER" in answer.json()["detail"]
        assert api.get("/v1/revocations", admin).status_code == 503


def test_the_console_sees_when_a_certificate_ends(api: Api, technician: str, tmp_path: Path) -> None:
    rows = api.get(f"/v1/stores/{STORE}/nodes", technician).json()
    assert rows[0]["certificate_until_us"] is None
    claimed(api, technician, tmp_path / "node")
    until_us = api.get(f"/v1/stores/{STORE}/nodes", technician).json()[0]["certificate_until_us"]
    left = until_us / 1e6 - datetime.datetime.now(datetime.UTC).timestamp()
    assert left == pytest.approx(90 * 86_400, abs=60)
