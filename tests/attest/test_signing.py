"""Signatures of realisations."""

import pytest
from attrs import evolve

from immutable.attest import signing
from immutable.attest.signing import QuestionList, sign, vouches
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.spec.derivation import Realisation
from immutable.spec.keys import PublicKey, SecretKey

# RFC 8032, 7.1, test 1: the secret key and its public key.
SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")

RECORD = Realisation(
    Digest.of(b"derivation"),
    Digest.of(b"answers"),
    "gzip-1",
    Digest.of(b"tar"),
    Descriptor(oci.LAYER_GZIP, Digest.of(b"blob"), 4),
)

QUESTIONS = QuestionList(
    Digest.of(b"asked"),
    Descriptor("application/vnd.immutable.footprint.v1", Digest.of(b"paths"), 5),
)


def test_a_signature_covers_all_of_a_record() -> None:
    key = SecretKey("ci", SECRET)
    signature = sign(RECORD, key)
    assert 64 == len(signature)
    assert signature == sign(RECORD, key)
    assert vouches(key.public, RECORD, signature)
    other = Digest.of(b"other")
    for changed in (
        evolve(RECORD, derivation=other),
        evolve(RECORD, answers=other),
        evolve(RECORD, encoder="gzip-2"),
        evolve(RECORD, diff_id=other),
        evolve(RECORD, blob=evolve(RECORD.blob, digest=other)),
        evolve(RECORD, blob=evolve(RECORD.blob, size=5)),
        evolve(RECORD, blob=evolve(RECORD.blob, media_type=oci.LAYER_ZSTD)),
    ):
        assert not vouches(key.public, changed, signature)
    assert not vouches(SecretKey.generate("ci").public, RECORD, signature)


def test_a_signature_covers_all_of_a_question_list() -> None:
    key = SecretKey("ci", SECRET)
    signature = sign(QUESTIONS, key)
    assert vouches(key.public, QUESTIONS, signature)
    other = Digest.of(b"other")
    for changed in (
        evolve(QUESTIONS, asked=other),
        evolve(QUESTIONS, blob=evolve(QUESTIONS.blob, digest=other)),
        evolve(QUESTIONS, blob=evolve(QUESTIONS.blob, size=6)),
        evolve(QUESTIONS, blob=evolve(QUESTIONS.blob, media_type=oci.LAYER)),
    ):
        assert not vouches(key.public, changed, signature)


def test_a_signature_counts_for_one_kind_of_statement() -> None:
    key = SecretKey("ci", SECRET)
    assert not vouches(key.public, QUESTIONS, sign(RECORD, key))
    assert not vouches(key.public, RECORD, sign(QUESTIONS, key))


def test_the_signed_bytes_are_the_released_ones() -> None:
    # Whoever verifies elsewhere needs them to stay.
    assert signing.message(RECORD).startswith(b'immutable-realisation-v2\n{"answers":"sha256:')
    digest = "a54b9908974f278cbb0a711e7ea140dedf5d454113f081399aed0e6f1612064e"
    assert digest == Digest.of(signing.message(RECORD)).hex
    assert signing.message(QUESTIONS).startswith(b'immutable-questions-v1\n{"asked":"sha256:')
    digest = "e374bdb64adfe552f3d128abaaf3f5fb3b7cdf34b41de8236ca8ea2d8f3acae0"
    assert digest == Digest.of(signing.message(QUESTIONS)).hex


@pytest.mark.parametrize("signature", [b"", b"short", bytes(64), bytes(65)])
def test_what_is_no_signature(signature: bytes) -> None:
    assert not vouches(PublicKey("ci", PUBLIC), RECORD, signature)
