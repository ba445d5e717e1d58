"""Passwords as Argon2id hashes with the parameters that argon2-cffi recommends (RFC 9106, low memory)."""

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from argon2.profiles import RFC_9106_LOW_MEMORY

_hasher = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
_NOBODY = _hasher.hash("the password of an account that does not exist")


def hash_password(password: str) -> str:
    """The hash to store."""
    return _hasher.hash(password)


def verify(password: str, stored: str | None) -> bool:
    """Whether the password is right. An unknown account costs the same time, so that logins cannot be told apart."""
    try:
        return _hasher.verify(stored or _NOBODY, password) and stored is not None
    except (VerifyMismatchError, InvalidHashError):
        return False
