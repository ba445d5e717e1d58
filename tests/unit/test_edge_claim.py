"""From a one-time code to a certificate, on the node: what is written, what is refused, and what is left as it was."""

import base64
import datetime
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cloud.fleet.ca import Authority, names_of, pem, read_request
from contract.topics import NodeAddress
from edge import claim as claiming
from edge.claim import ClaimError, claim, days_left, main, renew, renewal_due
from edge.config import read_config
from edge.seal import Identity, new_key

NOW = datetime.datetime.now(datetime.UTC)
DOOR = NodeAddress("acme", "main", "door-1")


def make_authority() -> Authority:
    key = new_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - datetime.timedelta(days=1))
        .not_valid_after(NOW + datetime.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


AUTHORITY = make_authority()


class Cloud:
    """Answers like the api, unless told otherwise."""

    def __init__(self) -> None:
        self.authority = AUTHORITY
        self.bodies: list[dict[str, str]] = []
        self.urls: list[str] = []
        self.change: Callable[[dict[str, Any]], dict[str, Any]] = lambda answer: answer

    def __call__(self, url: str, body: dict[str, str]) -> bytes:
        self.urls.append(url)
        self.bodies.append(body)
        certificate = self.authority.issue(read_request(body["csr"]), str(DOOR), NOW)
        answer = {
            "tenant": "acme", "store": "main", "node": "door-1", "tz": "Europe/Berlin", "certificate": pem(certificate),
            "authority": pem(self.authority.certificate), "broker_host": "mqtt.example.com", "broker_port": 8883,
        }  # fmt: skip
        return json.dumps(self.change(answer)).encode()


def run(into: Path, cloud: Cloud, name: NodeAddress | None = None) -> None:
    claim("https://aisle.example.com/", "ABCDE-FGHJK", into, name, cloud)


def test_a_code_becomes_a_node_whose_key_never_left_it(tmp_path: Path) -> None:
    cloud = Cloud()
    run(tmp_path / "aisle", cloud)
    into = tmp_path / "aisle"
    assert {path.name for path in into.iterdir()} == {"node.pem", "ca.crt", "claim.json", "node.toml"}
    assert stat.S_IMODE((into / "node.pem").stat().st_mode) == 0o600
    config = read_config(into / "node.toml")
    assert (config.address, config.uplink.host, config.uplink.port) == (DOOR, "mqtt.example.com", 8883)
    identity = Identity.read(into / "node.pem", into / "node.pem", into / "ca.crt")
    assert identity.signed_by(identity.certificate, str(DOOR), b"x", identity.sign(b"x"))
    ((url, body),) = zip(cloud.urls, cloud.bodies, strict=True)
    assert url == "https://aisle.example.com/v1/claim"
    assert set(body) == {"code", "csr"} and "PRIVATE" not in str(body)
    assert names_of(read_request(body["csr"]).subject) == []


def test_what_the_node_makes_serves_python_tls_from_one_file(tmp_path: Path) -> None:
    import ssl

    run(tmp_path, Cloud())
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    context.load_cert_chain(tmp_path / "node.pem", tmp_path / "node.pem")


def test_a_node_toml_that_is_there_stays_and_says_who_this_is(tmp_path: Path) -> None:
    text = '[node]\ntenant = "acme"\nstore = "main"\nnode = "door-1"\n[uplink]\nhost = "x"\ncert_file = "node.pem"\n'
    (tmp_path / "node.toml").write_text(text)
    cloud = Cloud()
    run(tmp_path, cloud)
    assert (tmp_path / "node.toml").read_text() == text
    assert names_of(read_request(cloud.bodies[0]["csr"]).subject) == ["acme/main/door-1"]


def wrong_key(answer: dict[str, Any]) -> dict[str, Any]:
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(new_key(), hashes.SHA256())
    return answer | {"certificate": pem(AUTHORITY.issue(request, str(DOOR), NOW))}


ANSWERS: list[tuple[str, Callable[[dict[str, Any]], dict[str, Any]], str]] = [
    ("another key's certificate", wrong_key, "another key or name"),
    ("a certificate for another name", lambda a: a | {"node": "door-2"}, "another key or name"),
    ("another authority", lambda a: a | {"authority": pem(make_authority().certificate)}, "not its authority's"),
    ("no certificate", lambda a: a | {"certificate": "hello"}, "no certificate"),
    ("no answer of ours", lambda a: {"hello": "world"}, "is --api right"),
    ("a name that is none", lambda a: a | {"store": "../main"}, "is --api right"),
    ("a host with a line's end", lambda a: a | {"broker_host": 'x"\nport = 1'}, "is --api right"),
    ("a port beyond", lambda a: a | {"broker_port": 65_536}, "is --api right"),
]


@pytest.mark.parametrize(("change", "told"), [pytest.param(*a[1:], id=a[0]) for a in ANSWERS])
def test_an_answer_that_does_not_hold_together_changes_nothing(
    tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], told: str
) -> None:
    run(tmp_path, Cloud())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    cloud = Cloud()
    cloud.change = change
    with pytest.raises(ClaimError, match=told):
        run(tmp_path, cloud)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_code_for_another_node_is_refused_where_the_name_is_known(tmp_path: Path) -> None:
    with pytest.raises(ClaimError, match="the code is for acme/main/door-1, this machine is acme/main/door-9"):
        run(tmp_path, Cloud(), NodeAddress("acme", "main", "door-9"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("api", ["http://aisle.example.com", "aisle.example.com", "ftp://x", "https://", "file:///etc"])
def test_a_code_is_told_over_https_only(tmp_path: Path, api: str) -> None:
    cloud = Cloud()
    with pytest.raises(ClaimError, match="expected https://HOST"):
        claim(api, "ABCDE", tmp_path, None, cloud)
    assert cloud.bodies == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_found_before_the_code_is_used(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    cloud = Cloud()
    with pytest.raises(OSError):
        run(tmp_path, cloud)
    assert cloud.bodies == []


def test_a_folder_that_is_a_file_is_found_before_the_code_is_used(tmp_path: Path) -> None:
    (tmp_path / "aisle").write_text("")
    cloud = Cloud()
    with pytest.raises(OSError):
        run(tmp_path / "aisle", cloud)
    assert cloud.bodies == []


def test_a_renewal_brings_a_new_key_signed_for_by_the_old_one(tmp_path: Path) -> None:
    cloud = Cloud()
    run(tmp_path, cloud)
    old = x509.load_pem_x509_certificate((tmp_path / "node.pem").read_bytes())
    renew(tmp_path, cloud)
    new = x509.load_pem_x509_certificate((tmp_path / "node.pem").read_bytes())
    assert new.public_key() != old.public_key()
    body = cloud.bodies[1]
    assert cloud.urls[1] == "https://aisle.example.com/v1/claim/renew"
    assert set(body) == {"certificate", "csr", "signature"} and "PRIVATE" not in str(body)
    der = read_request(body["csr"]).public_bytes(serialization.Encoding.DER)
    public = old.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(base64.b64decode(body["signature"]), claiming.RENEWS + der, ec.ECDSA(hashes.SHA256()))
    Identity.read(tmp_path / "node.pem", tmp_path / "node.pem", tmp_path / "ca.crt")
    assert stat.S_IMODE((tmp_path / "node.pem").stat().st_mode) == 0o600


def test_a_renewal_that_fails_leaves_the_present_certificate(tmp_path: Path) -> None:
    cloud = Cloud()
    run(tmp_path, cloud)
    before = (tmp_path / "node.pem").read_bytes()
    cloud.authority = make_authority()
    with pytest.raises(ClaimError, match="another authority than before"):
        renew(tmp_path, cloud)
    assert (tmp_path / "node.pem").read_bytes() == before


@pytest.mark.parametrize("file", ["claim.json", "node.pem"])
def test_a_renewal_without_its_files_says_what_to_do(tmp_path: Path, file: str) -> None:
    run(tmp_path, Cloud())
    (tmp_path / file).write_text("{}")
    with pytest.raises(ClaimError, match="claim the node again"):
        renew(tmp_path, Cloud())


@pytest.mark.parametrize(("days", "due"), [(0, False), (59, False), (60, True), (91, True)])
def test_a_renewal_is_due_after_two_thirds_of_a_life(tmp_path: Path, days: int, due: bool) -> None:
    assert not renewal_due(tmp_path, NOW)
    run(tmp_path, Cloud())
    at = NOW + datetime.timedelta(days=days)
    assert renewal_due(tmp_path, at) is due
    assert days_left(tmp_path / "node.pem", at) == pytest.approx(90 - days, abs=0.01)
    assert days_left(tmp_path / "nothing.pem", at) is None
    (tmp_path / "claim.json").unlink()
    assert not renewal_due(tmp_path, at), "made by certs.sh: nobody to ask"


def test_the_command_says_in_one_line_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ABCDE", "--api", "http://x.example", "--into", str(tmp_path)]) == 1
    assert main(["ABCDE", "--api", "https://x.example", "--into", str(tmp_path), "--name", "door-1"]) == 1
    assert main(["ABCDE", "--api", "http://127.0.0.1:9", "--into", str(tmp_path)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["claim"] * 3
    assert "cannot be reached" in lines[2]
