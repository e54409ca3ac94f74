import pytest

from immutable.oci.tags import checked_version, is_tag


@pytest.mark.parametrize("text", ["1", "1.4.0", "v1_2-rc.3", "_", "a" * 128, "Latest", "latest-1"])
def test_what_a_version_can_be(text: str) -> None:
    assert text == checked_version(text)
    assert is_tag(text)


@pytest.mark.parametrize("text", ["", "-1", ".1", "a b", "a/b", "a:b", "é", "1\n", "a" * 129])
def test_what_it_cannot_be(text: str) -> None:
    with pytest.raises(ValueError, match="expected a tag of at most 128"):
        checked_version(text)
    assert not is_tag(text)


def test_latest_can_be_read_and_not_written() -> None:
    assert is_tag("latest")
    with pytest.raises(ValueError, match="latest names no version"):
        checked_version("latest")
