"""Entries of a remote cache: what somebody states there, under which tag, signed by whom.

Each is a manifest of its own. Its config is the record, its one layer the blob that the record is
about, its annotation the signatures. There are two kinds: a realisation with its layer, and the
paths that a layer asks about, encoded. A tag begins with the kind and its version, so that entries
of another version are not there.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Generic, TypeVar

from attrs import frozen

from immutable.attest.signing import QuestionList, Statement
from immutable.errors import RegistryError, TransportError
from immutable.oci import canonical
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, Manifest
from immutable.spec.derivation import Realisation
from immutable.transports.registry.client import Client

RECORD: Final = "application/vnd.immutable.realisation.v2+json"
QUESTIONS: Final = "application/vnd.immutable.questions.v1+json"
FOOTPRINT: Final = "application/vnd.immutable.footprint.v1"
SIGNATURES: Final = "immutable.signatures"  # "NAME:BASE64", several apart by blanks
MOST_SIGNATURES: Final = 32
MOST_QUESTIONS: Final = 64 << 20  # bytes of an encoded footprint

S = TypeVar("S", bound=Statement)


@frozen
class Kind(Generic[S]):
    """A kind of entry: its record's media type, and what makes a statement of record and blob."""

    media_type: str
    parse: Callable[[Any, Descriptor], S]


def layer_tag(derivation: Digest, answers: Digest, encoder: str) -> str:
    """Return the tag of a realisation: 73 characters of the 128 that a tag may have."""
    key: list[canonical.JSON] = [str(derivation), str(answers), encoder]
    return f"layer-v2-{Digest.of(canonical.encode(key)).hex}"


def questions_tag(asked: Digest) -> str:
    """Return the tag of a question list."""
    return f"questions-v1-{asked.hex}"


def tag_of(statement: Statement) -> str:
    """Return the tag that a statement stands under."""
    if isinstance(statement, QuestionList):
        return questions_tag(statement.asked)
    return layer_tag(statement.derivation, statement.answers, statement.encoder)


def record(statement: Statement) -> tuple[Descriptor, bytes]:
    """Return the record of a statement."""
    if isinstance(statement, QuestionList):
        media_type, plain = QUESTIONS, _plain_questions(statement)
    else:
        media_type, plain = RECORD, _plain(statement)
    data = canonical.encode(plain)
    return Descriptor(media_type, Digest.of(data), len(data)), data


def manifest(statement: Statement, signatures: Iterable[tuple[str, bytes]]) -> bytes:
    """Return the manifest of an entry; `signatures` are those of keys by their names."""
    words = (f"{name}:{base64.b64encode(signature).decode()}" for name, signature in signatures)
    config, _ = record(statement)
    return Manifest(config, (statement.blob.bare(),), {SIGNATURES: " ".join(words)}).encode()


def read(client: Client, tag: str, kind: Kind[S]) -> tuple[S, tuple[bytes, ...]] | None:
    """Return the statement under `tag` and its signatures, of which nothing is checked yet.

    None if there is none. Raises ImmutableError for what is no such entry, and for a registry
    that cannot be asked.
    """
    try:
        _, data = client.manifest(tag)
    except RegistryError as error:
        if error.status == 404:
            return None
        raise
    where = f"{client.where}:{tag}"
    found = oci.decode_manifest(data, where)
    if found.config.media_type != kind.media_type or len(found.layers) != 1:
        raise TransportError(f"{where}: expected an entry of a cache, found another image")
    try:
        plain = canonical.decode(client.read_blob(found.config))
        statement = kind.parse(plain, found.layers[0].bare())
    except ValueError as error:
        raise TransportError(f"{where}: not a record of a cache: {error}") from None
    return statement, tuple(_signatures(dict(found.annotations).get(SIGNATURES, "")))


def _plain(realisation: Realisation) -> dict[str, canonical.JSON]:
    return {
        "derivation": str(realisation.derivation),
        "answers": str(realisation.answers),
        "encoder": realisation.encoder,
        "diffID": str(realisation.diff_id),
    }


def _realisation(plain: Any, blob: Descriptor) -> Realisation:
    texts = _texts(plain, "answers", "derivation", "diffID", "encoder")
    return Realisation(
        Digest.parse(texts["derivation"]),
        Digest.parse(texts["answers"]),
        texts["encoder"],
        Digest.parse(texts["diffID"]),
        blob,
    )


def _plain_questions(questions: QuestionList) -> dict[str, canonical.JSON]:
    return {"asked": str(questions.asked), "footprint": str(questions.blob.digest)}


def _questions(plain: Any, blob: Descriptor) -> QuestionList:
    texts = _texts(plain, "asked", "footprint")
    if Digest.parse(texts["footprint"]) != blob.digest:
        raise ValueError("of another footprint")
    return QuestionList(Digest.parse(texts["asked"]), blob)


def _texts(plain: Any, *keys: str) -> Mapping[str, str]:
    if not isinstance(plain, dict) or plain.keys() != {*keys}:
        raise ValueError(f"expected {', '.join(keys)}")
    if not all(isinstance(value, str) for value in plain.values()):
        raise ValueError("expected strings")
    return plain


def _signatures(text: str) -> Iterator[bytes]:
    for word in text.split()[:MOST_SIGNATURES]:
        try:
            yield base64.b64decode(word.partition(":")[2], validate=True)
        except binascii.Error:
            continue  # as good as none


REALISATIONS: Final = Kind(RECORD, _realisation)
QUESTION_LISTS: Final = Kind(QUESTIONS, _questions)
