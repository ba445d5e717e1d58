"""The authority that names nodes: the one that `firmware_configs/broker/certs.sh ca` makes and the broker trusts.

Whoever holds its key can name a node, and with that ask a store's nodes for their key of the day. Who does not want
the api to be able to keeps the key on another machine: then nothing is issued here, and certs.sh makes certificates.
"""

import datetime
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cloud.config import ConfigError
from cloud.errors import AisleError, Invalid

LIFE = datetime.timedelta(days=90)
"""A node asks for the next one when two thirds have passed, so it may be without the api for a month."""
BEFORE = datetime.timedelta(hours=1)
"""How far back a certificate begins: a node's clock may be behind."""
LIST_LIFE = datetime.timedelta(days=3650)
"""As certs.sh has it: a broker with an outdated list lets nobody in, so the list must not run out by neglect."""
LONGEST_NAME = 64
"""Characters of a common name (RFC 5280, ub-common-name)."""

_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)


_T = TypeVar("_T")


class NoAuthority(AisleError):
    """This cloud issues no certificates."""

    status = 503


class BadRequest(Invalid):
    """The certificate request cannot be used."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Issues and recognises nodes' certificates."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    elsewhere: tuple[x509.RevokedCertificate, ...] = ()
    """What certs.sh revoked: it stays on the list."""

    def issue(self, request: x509.CertificateSigningRequest, name: str, at: datetime.datetime) -> x509.Certificate:
        """A client's certificate for 90 days. The name is the caller's: the request gives the key alone."""
        public = request.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self.certificate.subject)
            .public_key(_p256(public))
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(at - BEFORE, self.certificate.not_valid_before_utc))
            .not_valid_after(min(at + LIFE, self.certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_SIGNS, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(_p256(public)), critical=False)
            .add_extension(self._key_identifier(), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def is_ours(self, certificate: x509.Certificate, at: datetime.datetime) -> bool:
        """Whether this authority issued a certificate that is in force. Revocation is the ledger's to say."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (*_UNREADABLE, InvalidSignature):
            return False
        return certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc

    def revocation_list(self, revoked: Iterable[tuple[int, datetime.datetime]], at: datetime.datetime) -> bytes:
        """A list (PEM) of these serial numbers and of those that certs.sh revoked; the broker reads it at its start."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(at)
            .next_update(at + LIST_LIFE)
            .add_extension(x509.CRLNumber(int(at.timestamp())), critical=False)
            .add_extension(self._key_identifier(), critical=False)
        )
        listed = {entry.serial_number: entry for entry in self.elsewhere}
        for serial, since in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(since).build()
            listed.setdefault(serial, entry)
        for serial in sorted(listed):
            builder = builder.add_revoked_certificate(listed[serial])
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _key_identifier(self) -> x509.AuthorityKeyIdentifier:
        try:
            own = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound:
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


_SIGNS = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def _p256(key: object) -> ec.EllipticCurvePublicKey:
    """Raises BadRequest."""
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadRequest("expected a key on the curve P-256")
    return key


def read_authority(environ: Mapping[str, str]) -> Authority | None:
    """The authority in the files AISLE_CA_CERT and AISLE_CA_KEY; None if neither is set. Raises ConfigError.

    AISLE_CA_CRL may name the list that certs.sh keeps; what stands on it stays revoked.
    """
    cert_file, key_file, list_file = (environ.get(f"AISLE_CA_{part}") for part in ("CERT", "KEY", "CRL"))
    if not cert_file and not key_file:
        return None
    if not cert_file or not key_file:
        raise ConfigError("AISLE_CA_CERT and AISLE_CA_KEY: found one of them, expected both or neither")
    certificate = _read("AISLE_CA_CERT", cert_file, x509.load_pem_x509_certificate)
    key = _read("AISLE_CA_KEY", key_file, lambda data: serialization.load_pem_private_key(data, None))
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ConfigError("AISLE_CA_KEY: expected the key of AISLE_CA_CERT, on a curve")
    elsewhere = _read("AISLE_CA_CRL", list_file, x509.load_pem_x509_crl) if list_file else ()
    return Authority(certificate, key, tuple(elsewhere))


def _read(name: str, path: str, load: Callable[[bytes], _T]) -> _T:
    try:
        return load(Path(path).read_bytes())
    except OSError as error:
        raise ConfigError(f"{name}: {path!r}: {error.strerror}, expected a PEM file") from None
    except _UNREADABLE as error:
        raise ConfigError(f"{name}: {path!r}: {str(error)[:100]}, expected a PEM file without a password") from None


def read_request(pem: str) -> x509.CertificateSigningRequest:
    """A node's certificate request, signed by the key that it asks for. Raises BadRequest."""
    try:
        request = x509.load_pem_x509_csr(pem.encode())
        _p256(request.public_key())
        signed = request.is_signature_valid
    except (*_UNREADABLE, InvalidSignature):
        raise BadRequest("expected a PKCS #10 request in PEM with a key on the curve P-256") from None
    if not signed:
        raise BadRequest("the request is not signed by its own key")
    return request


def read_certificate(pem: str) -> x509.Certificate | None:
    """A certificate in PEM; None if it is none."""
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except _UNREADABLE:
        return None


def names_of(subject: x509.Name) -> list[str]:
    """The values of all attributes of a name; a node's has one, the common name TENANT/STORE/NODE."""
    return [str(attribute.value) for attribute in subject]


def pem(certificate: x509.Certificate) -> str:
    """A certificate as text."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
