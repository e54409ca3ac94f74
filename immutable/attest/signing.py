"""Signatures of what a remote cache says, which let a layer be taken from there.

That a derivation gave this layer, or asks about these paths, is a matter of trust, as with Nix's
binary caches: whoever fetches a layer instead of building it takes the word of whoever built it.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from attrs import frozen

from immutable.oci import canonical
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.spec.derivation import Realisation
from immutable.spec.keys import PublicKey, SecretKey

# What is signed begins with one of these, so that no signature counts for anything else.
_REALISATION: Final = b"immutable-realisation-v2\n"
_QUESTIONS: Final = b"immutable-questions-v1\n"


@frozen
class QuestionList:
    """That a layer asks about the paths in `blob`.

    `asked` is the digest of its derivation and of what its builder was answered.
    """

    asked: Digest
    blob: Descriptor


Statement: TypeAlias = Realisation | QuestionList


def sign(statement: Statement, key: SecretKey) -> bytes:
    """Return the signature of `key` for `statement`: 64 bytes, always the same."""
    return key.sign(message(statement))


def vouches(key: PublicKey, statement: Statement, signature: bytes) -> bool:
    """Whether `signature` is that of `key` for `statement`."""
    return key.verifies(message(statement), signature)


def message(statement: Statement) -> bytes:
    """Return the bytes that are signed: everything that the statement says."""
    blob: dict[str, canonical.JSON] = {
        "mediaType": statement.blob.media_type,
        "digest": str(statement.blob.digest),
        "size": statement.blob.size,
    }
    if isinstance(statement, QuestionList):
        return _QUESTIONS + canonical.encode({"asked": str(statement.asked), **blob})
    return _REALISATION + canonical.encode(
        {
            "derivation": str(statement.derivation),
            "answers": str(statement.answers),
            "encoder": statement.encoder,
            "diffID": str(statement.diff_id),
            **blob,
        }
    )
