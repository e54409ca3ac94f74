"""Keys that vouch for realisations."""

import base64

import pytest
from attrs import evolve

from immutable.attest import signing
from immutable.attest.signing import PublicKey, SecretKey
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.spec.derivation import Realisation

# RFC 8032, 7.1, test 1: the secret key and its public key.
SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")

RECORD = Realisation(
    Digest.of(b"derivation"),
    "gzip-1",
    Digest.of(b"tar"),
    Descriptor(oci.LAYER_GZIP, Digest.of(b"blob"), 4),
)


def test_the_public_key_is_the_standards() -> None:
    assert PublicKey("ci", PUBLIC) == SecretKey("ci", SECRET).public


def test_keys_are_written_and_read() -> None:
    secret = SecretKey.generate("ci-1")
    assert secret == SecretKey.parse(secret.reveal() + "\n")
    assert secret.public == PublicKey.parse(str(secret.public))
    assert secret != SecretKey.generate("ci-1")


def test_no_secret_is_shown() -> None:
    secret = SecretKey("ci", SECRET)
    assert base64.b64encode(SECRET).decode() not in repr(secret) + str(secret)
    with pytest.raises(ValueError, match="expected a secret key") as caught:
        SecretKey.parse(f"ci {base64.b64encode(SECRET).decode()}")
    assert base64.b64encode(SECRET).decode() not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "ci", "ci:", ":QUJD", "ci:QUJD", "c i:" + "A" * 43 + "=", "ci:" + "A" * 42 + "!="],
)
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(ValueError, match="expected a public key like NAME:BASE64"):
        PublicKey.parse(text)


@pytest.mark.parametrize("name", ["", "-ci", "c:i", "a/b", "x" * 101, "é"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(ValueError, match="expected a name"):
        SecretKey.generate(name)


def test_a_signature_covers_all_of_a_record() -> None:
    key = SecretKey("ci", SECRET)
    signature = key.sign(RECORD)
    assert 64 == len(signature)
    assert signature == key.sign(RECORD)
    assert key.public.vouches(RECORD, signature)
    other = Digest.of(b"other")
    for changed in (
        evolve(RECORD, derivation=other),
        evolve(RECORD, encoder="gzip-2"),
        evolve(RECORD, diff_id=other),
        evolve(RECORD, blob=evolve(RECORD.blob, digest=other)),
        evolve(RECORD, blob=evolve(RECORD.blob, size=5)),
        evolve(RECORD, blob=evolve(RECORD.blob, media_type=oci.LAYER_ZSTD)),
    ):
        assert not key.public.vouches(changed, signature)
    assert not SecretKey.generate("ci").public.vouches(RECORD, signature)


def test_the_signed_bytes_are_the_released_ones() -> None:
    # Whoever verifies elsewhere needs them to stay.
    assert signing.message(RECORD).startswith(b'immutable-realisation-v1\n{"derivation":"sha256:')
    digest = "8b2b8cf3796d6beef1d1f4da88153ef069da1e93e1c51634e4699f74901fd544"
    assert digest == Digest.of(signing.message(RECORD)).hex


@pytest.mark.parametrize("signature", [b"", b"short", bytes(64), bytes(65)])
def test_what_is_no_signature(signature: bytes) -> None:
    assert not PublicKey("ci", PUBLIC).vouches(RECORD, signature)
