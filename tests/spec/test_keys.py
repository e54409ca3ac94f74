"""Keys, as they are written and read."""

import base64

import pytest

from immutable.spec.keys import PublicKey, SecretKey

# RFC 8032, 7.1, test 1: the secret key and its public key.
SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


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
