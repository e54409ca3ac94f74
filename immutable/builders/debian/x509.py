"""The hash by which OpenSSL finds a certificate in a folder: of its subject's canonical form."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from typing import Final

# RFC 7468, 2, with the older label that OpenSSL also takes.
_PEM: Final = re.compile(
    rb"-----BEGIN ((?:X509 )?)CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END \1CERTIFICATE-----"
)

_SEQUENCE, _SET, _OID = 0x30, 0x31, 0x06
_EXPLICIT_0 = 0xA0
_UTF8 = 0x0C
# X.680's string types whose text counts, with how it is encoded: OpenSSL's ASN1_MASK_CANON.
_STRINGS: Final = {
    _UTF8: "utf-8",
    0x13: "latin-1",  # PrintableString
    0x14: "latin-1",  # T61String
    0x16: "latin-1",  # IA5String
    0x1A: "latin-1",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}
_SPACES: Final = b" \t\n\v\f\r"


def certificates(pem: bytes) -> list[bytes]:
    """Return the DER of each certificate in `pem`; raise ValueError for a damaged one."""
    try:
        return [
            base64.b64decode(b"".join(match[2].split()), validate=True)
            for match in _PEM.finditer(pem)
        ]
    except binascii.Error as error:
        raise ValueError(f"damaged base64: {error}") from None


def subject_hash(certificate: bytes) -> str:
    """Return what ``openssl x509 -subject_hash`` says of a DER certificate (RFC 5280, 4.1).

    Raises ValueError for what is no certificate.
    """
    name = _subject(certificate)
    canonical = b"".join(_canonical_rdn(value) for tag, value in _items(name) if tag == _SET)
    first = hashlib.sha1(canonical, usedforsecurity=False).digest()[:4]
    return f"{int.from_bytes(first, 'little'):08x}"


def _subject(certificate: bytes) -> bytes:
    """Return the content of a certificate's subject."""
    body = _first(_first(certificate))
    fields = [item for item in _items(body) if item[0] != _EXPLICIT_0]
    # serialNumber, signature, issuer, validity, subject
    if len(fields) < 5 or fields[4][0] != _SEQUENCE:
        raise ValueError("expected a certificate's subject")
    return fields[4][1]


def _first(data: bytes) -> bytes:
    for tag, value in _items(data):
        if tag == _SEQUENCE:
            return value
        break
    raise ValueError("expected a DER sequence")


def _canonical_rdn(rdn: bytes) -> bytes:
    """Return a relative distinguished name with its texts in one form."""
    attributes = []
    for tag, attribute in _items(rdn):
        parts = list(_items(attribute))
        if tag != _SEQUENCE or len(parts) != 2 or parts[0][0] != _OID:
            raise ValueError("expected an attribute and its value")
        (_, oid), (kind, value) = parts
        attributes.append(_der(_SEQUENCE, _der(_OID, oid) + _canonical_text(kind, value)))
    # X.690, 11.6: a set's elements stand sorted.
    return _der(_SET, b"".join(sorted(attributes)))


def _canonical_text(kind: int, value: bytes) -> bytes:
    """Return a text as lower-case UTF-8 with single spaces, and anything else as it is."""
    encoding = _STRINGS.get(kind)
    if encoding is None:
        return _der(kind, value)
    text = value.decode(encoding).encode()
    words = re.split(rb"[ \t\n\v\f\r]+", text.strip(_SPACES))
    return _der(_UTF8, b" ".join(words).lower())  # of ASCII letters only, as OpenSSL does


def _der(tag: int, value: bytes) -> bytes:
    length = len(value)
    if length < 0x80:
        return bytes([tag, length]) + value
    encoded = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(encoded)]) + encoded + value


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each DER value in `data` (X.690, 8.1)."""
    at = 0
    while at < len(data):
        if at + 2 > len(data) or data[at] & 0x1F == 0x1F:
            raise ValueError("expected a DER value")
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            count = length & 0x7F
            if not 1 <= count <= 4 or at + count > len(data):
                raise ValueError("expected a definite DER length")
            length = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + length > len(data):
            raise ValueError("a DER value ends early")
        yield tag, data[at : at + length]
        at += length
