"""Signatures of realisations, which let a layer be taken from a remote cache.

That a derivation gave this layer is a matter of trust, as with Nix's binary caches: whoever fetches
a layer instead of building it takes the word of whoever built it.
"""

from __future__ import annotations

from typing import Final

from immutable.oci import canonical
from immutable.spec.derivation import Realisation
from immutable.spec.keys import PublicKey, SecretKey

_SIGNED: Final = b"immutable-realisation-v2\n"


def sign(realisation: Realisation, key: SecretKey) -> bytes:
    """Return the signature of `key` for `realisation`: 64 bytes, always the same."""
    return key.sign(message(realisation))


def vouches(key: PublicKey, realisation: Realisation, signature: bytes) -> bool:
    """Whether `signature` is that of `key` for `realisation`."""
    return key.verifies(message(realisation), signature)


def message(realisation: Realisation) -> bytes:
    """Return the bytes that are signed: everything that the record says."""
    blob = realisation.blob
    return _SIGNED + canonical.encode(
        {
            "derivation": str(realisation.derivation),
            "answers": str(realisation.answers),
            "encoder": realisation.encoder,
            "diffID": str(realisation.diff_id),
            "mediaType": blob.media_type,
            "digest": str(blob.digest),
            "size": blob.size,
        }
    )
