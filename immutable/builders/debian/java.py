"""What Java packages' scripts make: alternatives for the tools, and the store of trusted roots."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from typing import Final

from immutable.builders.debian import x509
from immutable.builders.debian.alternatives import Alternative, Choice
from immutable.builders.debian.tree import Tree
from immutable.content.entries import Entry, file

_MACHINES: Final = b"usr/lib/jvm/"
_CERTIFICATES: Final = b"etc/ssl/certs/"
_KEYSTORE: Final = b"etc/ssl/certs/java/cacerts"

# The JKS format as the JDK's own reader has it: sun.security.provider.JavaKeyStore.
_MAGIC: Final = 0xFEEDFEED
_VERSION: Final = 2
_TRUSTED: Final = 2
_PASSWORD: Final = "changeit"  # noqa: S105 - known to all: it keeps out damage, not people
_SALT: Final = b"Mighty Aphrodite"


def alternatives(tree: Tree) -> Iterator[Alternative]:
    """Yield an alternative for each tool that a Java machine's ``.jinfo`` file lists.

    Their scripts install them in loops; the list is for update-java-alternatives(8), and says the
    same.
    """
    for path in tree.within(_MACHINES):
        if path.endswith(b".jinfo"):
            yield from _listed((tree.read(path) or b"").decode("utf-8", "replace"))


def _listed(text: str) -> Iterator[Alternative]:
    priority = ""
    for line in text.splitlines():
        if line.startswith("priority="):
            priority = line.removeprefix("priority=").strip()
        words = line.split()
        number = priority.isascii() and priority.isdigit() and len(priority) < 10
        if len(words) == 3 and words[0] in ("hl", "jre", "jdkhl", "jdk") and number:
            _, name, path = words
            choice = Choice(path, int(priority), {})
            yield Alternative(name, f"/usr/bin/{name}", {}, {path: choice})


def keystore(tree: Tree) -> Iterator[Entry]:
    """Yield the trusted roots as a Java key store, named as ca-certificates-java names them."""
    roots: dict[str, bytes] = {}
    for path in tree.within(_CERTIFICATES):
        name = path.removeprefix(_CERTIFICATES)
        if name.endswith(b".pem") and b"/" not in name:
            try:
                found = x509.certificates(tree.read(path) or b"")
            except ValueError:
                continue
            if len(found) == 1:
                roots["debian:" + name.decode("utf-8", "replace").lower()] = found[0]
    if roots:
        yield file(_KEYSTORE, _jks(roots))


def _jks(roots: dict[str, bytes]) -> bytes:
    parts = [struct.pack(">III", _MAGIC, _VERSION, len(roots))]
    for alias, certificate in sorted(roots.items()):
        # An entry's date is for display; there is none that would be the same everywhere.
        parts += [struct.pack(">I", _TRUSTED), _utf(alias), bytes(8), _utf("X.509")]
        parts += [struct.pack(">I", len(certificate)), certificate]
    data = b"".join(parts)
    seal = hashlib.sha1(_PASSWORD.encode("utf-16-be") + _SALT + data, usedforsecurity=False)
    return data + seal.digest()


def _utf(text: str) -> bytes:
    """Return `text`, of no character beyond the BMP, as ``DataOutputStream.writeUTF`` does."""
    data = text.encode()
    return struct.pack(">H", len(data)) + data
