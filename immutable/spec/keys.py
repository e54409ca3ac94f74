"""Keys that sign and verify: Ed25519 (RFC 8032), written as ``NAME:BASE64``.

The name is for people; only the key's bytes count. What is signed, `immutable.attest` says.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final, Self

from attrs import field, frozen

from immutable.redact import quoted

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_LENGTH: Final = 32  # of a key; RFC 8032, 5.1.5


@frozen
class PublicKey:
    """What a signature is checked with."""

    name: str
    raw: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the key that ``NAME:BASE64`` writes; raise ValueError."""
        return cls(*_parse(text, "a public key"))

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's for `message`."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def __str__(self) -> str:
        return f"{self.name}:{base64.b64encode(self.raw).decode()}"


@frozen
class SecretKey:
    """What signs; no message and no ``repr`` shows it."""

    name: str
    raw: bytes = field(repr=False)

    @classmethod
    def generate(cls, name: str) -> Self:
        """Return a new key; raise ValueError for a name that cannot be."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(check_name(name), Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the key that ``NAME:BASE64`` writes; raise ValueError, which shows no key."""
        return cls(*_parse(text, "a secret key"))

    @property
    def public(self) -> PublicKey:
        """What others check this key's signatures with."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        secret = Ed25519PrivateKey.from_private_bytes(self.raw)
        return PublicKey(self.name, secret.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """Return the signature for `message`: 64 bytes, always the same."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.raw).sign(message)

    def reveal(self) -> str:
        """Return the secret, as it is written to its file."""
        return f"{self.name}:{base64.b64encode(self.raw).decode()}"


def check_name(name: str) -> str:
    """Return `name`, if it can be a key's; raise ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"expected a name of letters, digits and . _ -, found {quoted(name)}")
    return name


def _parse(text: str, what: str) -> tuple[str, bytes]:
    name, colon, encoded = text.strip().partition(":")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not colon or not _NAME.fullmatch(name) or len(raw) != _LENGTH:
        raise ValueError(f"expected {what} like NAME:BASE64, of {_LENGTH} bytes")
    return name, raw
