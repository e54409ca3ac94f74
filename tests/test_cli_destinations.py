"""References whose name may be left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immutable.cli.destinations import completed, holds_one
from immutable.errors import TransportError

PLACES = st.sampled_from(
    (
        "oci:out",
        "oci-archive:out.tar",
        "docker-archive:out.tar",
        "docker-archive:out.tar:name",
        "docker-daemon:",
        "docker-daemon:name",
        "docker-daemon:host:5000/name",
        "store:name",
    )
)


@given(PLACES, st.sampled_from(["web", "shop/web"]), st.sampled_from(["1", "1.0-rc_2"]))
def test_a_whole_reference_stays_as_it_is(place: str, name: str, tag: str) -> None:
    whole = completed(place, name, tag)
    assert whole.startswith(place)
    assert whole == completed(whole, "other", "9")


@pytest.mark.parametrize(
    ("place", "tag", "whole"),
    [
        ("oci:/a/b", None, "oci:/a/b:web"),
        ("oci:/a/b", "1", "oci:/a/b:web:1"),
        ("docker-daemon:", "1", "docker-daemon:web:1"),
        ("docker-daemon:mine", "1", "docker-daemon:mine:1"),
        ("docker-daemon:host:5000/mine", "1", "docker-daemon:host:5000/mine:1"),
        ("docker-daemon:host:5000/mine:2", "1", "docker-daemon:host:5000/mine:2"),
        ("docker-archive:a.tar", None, "docker-archive:a.tar"),
    ],
)
def test_what_is_left_out_is_the_images_own(place: str, tag: str | None, whole: str) -> None:
    assert whole == completed(place, "web", tag)


@pytest.mark.parametrize("place", ["docker-daemon:", "docker-daemon:mine", "docker-archive:a:b"])
def test_no_tag_is_made_up(place: str) -> None:
    with pytest.raises(TransportError, match="web has no tag"):
        completed(place, "web", None)


@pytest.mark.parametrize("place", ["web", "web.tar", "./web", "web:1", "odci:web", ""])
def test_a_place_without_a_transport_is_refused(place: str) -> None:
    with pytest.raises(TransportError):
        completed(place, "web", "1")


@pytest.mark.parametrize(
    ("place", "one"),
    [
        ("oci:out", False),
        ("oci:out:name", True),
        ("oci-archive:a", True),
        ("docker-archive:a", True),
        ("docker-daemon:", False),
        ("docker-daemon:name", True),
        ("store:name", True),
    ],
)
def test_which_places_hold_one_image(place: str, one: bool) -> None:
    assert one == holds_one(place)
