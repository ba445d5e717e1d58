"""The node's certificate: its name, its authority, its days, and whether the key is its own."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edge.doctor.finding import Finding, failed, passed, skipped, warned
from edge.doctor.patient import Patient

SOON_DAYS = 14
"""Time enough for a technician's next visit."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found of the certificate and its key."""

    name: str
    days: float
    """Until it ends; negative once it has."""
    trusted: bool | None
    """Whether the authority in ca_file signed it; None without a ca_file."""
    key_fits: bool


def certificate(patient: Patient) -> Iterator[Finding]:
    """The certificate that node.toml names."""
    config = patient.config
    if config is None:
        yield skipped("certificate", patient.unread)
        return
    cert, key = config.uplink.cert_file, config.uplink.key_file
    if cert is None or key is None:
        yield _without(config.uplink.host, config.uplink.ca_file is not None)
        return
    ca = None if config.uplink.ca_file is None else patient.folder / config.uplink.ca_file
    key_path = patient.folder / key
    try:
        found = probe(patient.folder / cert, key_path, ca)
    except PermissionError as error:
        yield skipped("certificate", f"{error.filename} is not ours to read: run the doctor with sudo")
        return
    except (OSError, ValueError) as error:
        yield failed(
            "certificate", f"it cannot be read: {error}", f"firmware_configs/broker/certs.sh node {config.address}"
        )
        return
    yield from judge(found, str(config.address), key_path)


def _without(host: str, encrypted: bool) -> Finding:
    if host in ("localhost", "127.0.0.1", "::1"):
        return skipped("certificate", "none: the broker is on this machine")
    line = "the line is encrypted and the node has none" if encrypted else "the line is not even encrypted"
    return warned("certificate", f"{line}: anyone may pose as this node", "docs/operations.md, section A node")


def judge(found: Probe, address: str, key: Path) -> Iterator[Finding]:
    """Judges the certificate."""
    renew = f"firmware_configs/broker/certs.sh node {address}; copy both files here, restart the node"
    if found.name != address:
        yield failed("certificate", f"it is of {found.name!r}, this node is {address!r}: the broker refuses all", renew)
    elif not found.key_fits:
        yield failed("certificate", f"{key.name} is the key of another certificate", renew)
    elif found.trusted is False:
        yield failed("certificate", "another authority than ca_file signed it", renew)
    elif found.days < 0:
        yield failed("certificate", f"it ended {-found.days:.0f} days ago", renew)
    elif found.days < SOON_DAYS:
        yield warned("certificate", f"it ends in {found.days:.0f} days", renew)
    else:
        yield passed("certificate", f"{found.name}, {found.days:.0f} days left")


def probe(cert: Path, key: Path, ca: Path | None, now: datetime | None = None) -> Probe:
    """Reads the files. Raises OSError, or ValueError if one is not what its name says."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    leaf = x509.load_pem_x509_certificate(cert.read_bytes())
    trusted: bool | None = None
    if ca is not None:
        trusted = False
        for authority in x509.load_pem_x509_certificates(ca.read_bytes()):
            try:
                leaf.verify_directly_issued_by(authority)
                trusted = True
            except (ValueError, TypeError, InvalidSignature):
                continue
    names = leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    try:
        private = load_pem_private_key(key.read_bytes(), None)
    except TypeError as error:  # a key with a passphrase
        raise ValueError(f"{key.name}: {error}") from None
    left = leaf.not_valid_after_utc - (now or datetime.now(UTC))
    return Probe(
        name=str(names[0].value) if names else "",
        days=left.total_seconds() / 86_400,
        trusted=trusted,
        key_fits=private.public_key() == leaf.public_key(),
    )
