"""Who a sibling is, and how a secret is handed to one: certificates, signatures, sealing. Pure but for reading files.

A secret is sealed to a one-time key that the recipient's certificate key signed, not to the certificate key itself: who
records all messages and later takes a node's card with its certificate key still opens nothing.
"""

import datetime
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_ECDSA = ec.ECDSA(hashes.SHA256())
_INFO = b"aisle day key v1"
_KNOWN_CERTIFICATES = 1_000
UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What cryptography raises for bytes that are no certificate, or one of another kind than ours."""


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True, slots=True)
class Identity:
    """This node's certificate and key, and the authorities by which it knows its siblings."""

    certificate: bytes
    """DER."""
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    authorities: tuple[x509.Certificate, ...]
    now: Callable[[], datetime.datetime] = _now
    """Certificates hold in real time, like TLS, whatever clock a simulated run follows."""
    _checked: dict[bytes, x509.Certificate] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, cert_file: Path, key_file: Path, ca_file: Path) -> "Identity":
        """The identity that node.toml's [uplink] names. Raises OSError, or ValueError with the file's name."""
        try:
            certificate = x509.load_pem_x509_certificate(cert_file.read_bytes())
            key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
            authorities = tuple(x509.load_pem_x509_certificates(ca_file.read_bytes()))
        except (ValueError, TypeError) as error:  # TypeError: the key is encrypted
            raise ValueError(f"{cert_file.name}, {key_file.name} or {ca_file.name} cannot be read: {error}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not is_p256(key.public_key()):
            raise ValueError(f"{key_file.name}: expected a key on the curve P-256")
        if key.public_key() != certificate.public_key():
            raise ValueError(f"{key_file.name} is not the key of {cert_file.name}")
        return cls(certificate.public_bytes(serialization.Encoding.DER), key, authorities)

    def sign(self, message: bytes) -> bytes:
        """A signature by this node's certificate key."""
        return self.key.sign(message, _ECDSA)

    def signed_by(self, certificate: bytes, name: str, message: bytes, signature: bytes) -> bool:
        """Whether the node of that name signed a message: its certificate is our authority's and in force."""
        found = self._known(certificate)
        if found is None or common_name(found) != name:
            return False
        if not found.not_valid_before_utc <= self.now() <= found.not_valid_after_utc:
            return False
        public = found.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        try:
            public.verify(signature, message, _ECDSA)
        except InvalidSignature:
            return False
        return True

    def _known(self, certificate: bytes) -> x509.Certificate | None:
        """A client's certificate by one of our authorities. Siblings show the same one often: it is checked once."""
        found = self._checked.get(certificate)
        if found is None:
            found = _of_authorities(certificate, self.authorities)
            if found is not None and len(self._checked) < _KNOWN_CERTIFICATES:
                self._checked[certificate] = found
        return found


def _of_authorities(der: bytes, authorities: tuple[x509.Certificate, ...]) -> x509.Certificate | None:
    try:
        with warnings.catch_warnings():  # whatever is odd about a stranger's certificate is no news of ours
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            found = x509.load_der_x509_certificate(der)
        public = found.public_key()
        usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        constraints = found.extensions.get_extension_for_class(x509.BasicConstraints).value
    except UNREADABLE:
        return None
    if not is_p256(public) or constraints.ca or ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        return None
    return found if any(issued_by(found, authority) for authority in authorities) else None


def issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether an authority signed a certificate."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def is_p256(key: object) -> bool:
    """Whether a public key is on P-256."""
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)


def common_name(certificate: x509.Certificate) -> str | None:
    """The one common name of a certificate's subject; None if it has none, several, or any other attribute."""
    names = list(certificate.subject)
    if len(names) != 1 or names[0].oid != NameOID.COMMON_NAME or not isinstance(names[0].value, str):
        return None
    return names[0].value


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh key pair on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def point_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public half as 65 bytes, uncompressed."""
    return key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def seal(secret: bytes, own: ec.EllipticCurvePrivateKey, to: bytes, bound: bytes) -> bytes | None:
    """A secret under AES-256-GCM for the holder of the point `to`, bound to `bound`; None if that is no point.

    `own` is a key pair made for this one message.
    """
    box = _box(own, to, point_of(own), to)
    return None if box is None else box[0].encrypt(box[1], secret, bound)


def unseal(sealed: bytes, own: ec.EllipticCurvePrivateKey, sender: bytes, bound: bytes) -> bytes | None:
    """The secret that was sealed to `own` by the holder of the point `sender`; None if it was not."""
    box = _box(own, sender, sender, point_of(own))
    try:
        return None if box is None else box[0].decrypt(box[1], sealed, bound)
    except InvalidTag:
        return None


def _box(own: ec.EllipticCurvePrivateKey, other: bytes, sender: bytes, to: bytes) -> tuple[AESGCM, bytes] | None:
    """Cipher and nonce of one message: HKDF-SHA-256 (RFC 5869) of the ECDH secret, over both points."""
    try:
        public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), other)
    except ValueError:
        return None
    shared = own.exchange(ec.ECDH(), public)
    # Both points are of this message alone, so the key is, and the nonce may come from the same draw.
    made = HKDF(hashes.SHA256(), 44, salt=None, info=_INFO + sender + to).derive(shared)
    return AESGCM(made[:32]), made[32:]
