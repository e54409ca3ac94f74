"""References whose name may be left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immutable.errors import TransportError
from immutable.transports.base import Called
from immutable.transports.destinations import (
    completed,
    holds_one,
    in_registry,
    names_version,
    place,
    references,
)

DIGEST = f"sha256:{'a' * 64}"
PLACES = st.sampled_from(
    (
        "oci:out",
        "oci-archive:out.tar",
        "docker-archive:out.tar",
        "docker-archive:out.tar:name",
        "docker-daemon:",
        "docker-daemon:name",
        "docker-daemon:host:5000/name",
        "docker://registry.test",
        "docker://localhost:5000/",
        "docker://registry.test:5000/name",
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
        ("docker://registry.test", "1", "docker://registry.test/web:1"),
        ("docker://localhost:5000/mine", "1", "docker://localhost:5000/mine:1"),
        ("docker://registry.test/a/mine:2", None, "docker://registry.test/a/mine:2"),
        (f"docker://registry.test/a@{DIGEST}", None, f"docker://registry.test/a@{DIGEST}"),
    ],
)
def test_what_is_left_out_is_the_images_own(place: str, tag: str | None, whole: str) -> None:
    assert whole == completed(place, "web", tag)


@pytest.mark.parametrize(
    "place",
    [
        *("docker-daemon:", "docker-daemon:mine", "docker-archive:a:b"),
        *("docker://registry.test", "docker://registry.test/mine"),
    ],
)
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
        ("docker://registry.test", False),
        ("docker://registry.test/name", True),
        ("store:name", True),
    ],
)
def test_which_places_hold_one_image(place: str, one: bool) -> None:
    assert one == holds_one(place)


def test_in_a_registry_an_image_gets_all_its_tags() -> None:
    for destination, expected in (
        ("docker://registry.test", ["web:1.0", "web:1"]),
        ("docker://registry.test/mine", ["mine:1.0", "mine:1"]),
        ("docker://registry.test/mine:3", ["mine:3"]),
        (f"docker://registry.test/mine@{DIGEST}", [f"mine@{DIGEST}"]),
    ):
        found = references(place(destination, "web", ("1.0", "1")))
        assert [f"docker://registry.test/{name}" for name in expected] == [*found]
    assert ("oci:out:web:1.0",) == references(place("oci:out", "web", ("1.0", "1")))


@pytest.mark.parametrize(
    "destination",
    [
        *("oci:out:latest", "oci:out:web:latest", "oci-archive:out.tar:latest"),
        *("docker-archive:out.tar:web:latest", "docker-daemon:web:latest", "store:web:latest"),
        *("docker://registry.test/web:latest", f"docker://registry.test/web:latest@{DIGEST}"),
    ],
)
def test_latest_is_no_tag_to_copy_to(destination: str) -> None:
    with pytest.raises(TransportError, match=r"latest: latest names|latest@.*: latest names"):
        place(destination, "web", ("1",))


@pytest.mark.parametrize("destination", ["oci:latest", "oci-archive:latest", "store:latest"])
def test_a_file_or_an_image_may_be_called_latest(destination: str) -> None:
    assert str(place(destination, "web", ("1",))).startswith(destination)


def test_a_registrys_host_may_stand_alone() -> None:
    assert "docker://registry.test/web:1" == in_registry("registry.test/web:1")
    assert "docker://registry.test" == in_registry("docker://registry.test")
    for wrong, message in (
        ("web", "write the registry's host before the name"),
        ("web/api:1", "write the registry's host before the name"),
        ("registry.test", "write the registry's host before the name"),
        ("docker-daemon:web:1", "`immutable copy` is for all other places"),
        ("me:geheim@registry.test/web", "no user and no password"),
    ):
        with pytest.raises(TransportError, match=message) as caught:
            in_registry(wrong)
        assert "geheim" not in str(caught.value)


def test_a_registry_is_among_what_a_bare_name_may_mean() -> None:
    with pytest.raises(TransportError, match=r"docker://registry.test/web:1 for a registry"):
        completed("registry.test/web:1", "web", "1")


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("docker://registry.test:5000", False),
        ("docker://registry.test:5000/web", False),
        ("docker://registry.test/web:1", True),
        (f"docker://registry.test/web@{DIGEST}", True),
    ],
)
def test_whether_a_version_is_named(reference: str, expected: bool) -> None:
    assert expected == names_version(reference)


@pytest.mark.parametrize(
    ("text", "name", "tag"),
    [
        ("", "", ""),
        ("web", "web", ""),
        ("web:1.0", "web", "1.0"),
        ("shop/web:1", "shop/web", "1"),
        ("web@3", "web", ""),
        ("latest", "", "latest"),
        ("web:latest", "web", "latest"),
        ("latest:1", "latest", "1"),
        ("registry.test/shop/web:1", "shop/web", "1"),
        ("registry.test:5000/shop/web", "shop/web", ""),
        ("localhost/web:1", "web", "1"),
        ("shop.x/web", "web", ""),
        ("shop/a.b:1", "shop/a.b", "1"),
    ],
)
def test_what_an_image_is_called_without_a_host(text: str, name: str, tag: str) -> None:
    assert Called(name, tag) == Called.parse(text)
