"""Every way in which the line to a real registry may break: everything gets there all the same.

Each script is up to two faults in a row. What arrived is read back without the proxy.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import pytest

from immutable.config import Registries
from immutable.errors import ImmutableError
from immutable.oci import documents as oci
from immutable.reference.registry import RegistryName
from immutable.transports import copy
from immutable.transports.registry.transport import RegistryImage
from tests.support import needs
from tests.support.distribution import Distribution
from tests.support.faults import Fault, Faults
from tests.support.images import MemoryTransport, image

pytestmark = [pytest.mark.tools, needs.tool("docker-registry")]

LARGE = 420_000  # bytes of each of three files: a layer that no single request may carry
NUMBERS = itertools.count(1)

UPLOADS = "/blobs/uploads/"
TAG = "/manifests/1$"
BY_DIGEST = "/manifests/sha256:"


@functools.cache
def large() -> MemoryTransport:
    return image(kinds=(oci.LAYER_GZIP,), size=LARGE)


# Blobs go side by side, in no order.
CONFIG, LAYER = (
    f"/blobs/{blob.digest}" for blob in (large().manifest.config, *large().manifest.layers)
)
MOUNTED_LAYER = "mount=sha256.*" + LAYER.rpartition(":")[2]


class Line:
    """A registry behind a proxy; the waits between attempts are only noted."""

    def __init__(self, registry: Distribution, script: Sequence[Fault]) -> None:
        self.registry = registry
        self.proxy = Faults(registry.port, script)
        self.naps: list[float] = []

    def place(self, host: str, repository: str) -> RegistryImage:
        name = RegistryName(host, repository, "1")
        return RegistryImage(name, Registries(), sleep=self.naps.append)

    def stored(self, repository: str) -> MemoryTransport:
        """Return what is there, read without the proxy."""
        there = MemoryTransport()
        copy(self.place(self.registry.host, repository), there)
        return there

    def expect_all_struck(self) -> None:
        assert [] == self.proxy.left


def push(registry: Distribution, script: Sequence[Fault]) -> Line:
    line, number = Line(registry, script), next(NUMBERS)
    source = large()
    with line.proxy.serve() as host:
        copy(source, line.place(host, f"push/{number}"))
    assert source.blobs == line.stored(f"push/{number}").blobs
    line.expect_all_struck()
    return line


def pull(registry: Distribution, script: Sequence[Fault]) -> Line:
    line, number = Line(registry, script), next(NUMBERS)
    source, there = large(), MemoryTransport()
    copy(source, line.place(registry.host, f"pull/{number}"))
    with line.proxy.serve() as host:
        copy(line.place(host, f"pull/{number}"), there)
    assert source.blobs == there.blobs
    line.expect_all_struck()
    return line


def move(registry: Distribution, script: Sequence[Fault], *, mounted: bool = False) -> Line:
    """Copy between two registries; or in one, where blobs can be mounted."""
    line, number = Line(registry, script), next(NUMBERS)
    source = large()
    copy(source, line.place(registry.host, f"from/{number}"))
    with line.proxy.serve() as host:
        given = line.place(
            host if mounted else host.replace("127.0.0.1", "localhost"), f"from/{number}"
        )
        copy(given, line.place(host, f"to/{number}"))
    assert source.blobs == line.stored(f"to/{number}").blobs
    line.expect_all_struck()
    return line


def broken(method: str, path: str) -> list[Fault]:
    """Whatever may go wrong with any request."""
    statuses = ("408", "429", "500", "502", "503", "504", "reset", "slow")
    return [Fault(kind, method, path) for kind in statuses]


LIMITED = [Fault("429", "", "", 1, value) for value in ("3", "a-date", "soon", "-1", "1e9")]


def at(faults: Sequence[Fault], method: str, path: str) -> list[Fault]:
    return [Fault(fault.kind, method, path, fault.nth, fault.value) for fault in faults]


PUSHES: list[Sequence[Fault]] = [
    *([fault] for fault in broken("PATCH", UPLOADS)),
    *([fault] for fault in broken("PUT", UPLOADS)),
    *([fault] for fault in broken("POST", UPLOADS)),
    *([fault] for fault in broken("HEAD", "/blobs/")),
    *([fault] for fault in broken("PUT", TAG)),
    *([fault] for fault in broken("PUT", BY_DIGEST)),
    *([fault] for fault in at(LIMITED, "PATCH", UPLOADS)),
    *([Fault("lost", method, path)] for method, path in [
        ("POST", UPLOADS), ("PATCH", UPLOADS), ("PUT", UPLOADS), ("PUT", TAG)]),
    *([Fault(kind, "PATCH", UPLOADS)] for kind in (
        "reset-request", "reset-answer", "wrong-upload", "no-range", "lost-session", "expired",
        "redirect")),
    *([Fault(kind, "PUT", UPLOADS)] for kind in (
        "reset-request", "wrong-upload", "lost-session", "expired", "redirect")),
    [Fault("expired", "HEAD", "/blobs/")],
    [Fault("expired", "PUT", TAG)],
    [Fault("redirect", "PUT", TAG)],
    [Fault("redirect", "POST", UPLOADS)],
    [Fault("moved-upload", "POST", UPLOADS)],
    [Fault("moved-upload", "PATCH", UPLOADS)],
    [Fault("unknown-blob", "PUT", BY_DIGEST)],
    # Two in a row
    [Fault("reset-request", "PATCH", UPLOADS), Fault("503", "GET", UPLOADS)],
    [Fault("reset-request", "PATCH", UPLOADS), Fault("reset", "GET", UPLOADS)],
    [Fault("reset-request", "PATCH", UPLOADS), Fault("reset-request", "PATCH", UPLOADS, 2)],
    [Fault("no-range", "PATCH", UPLOADS), Fault("lost-session", "PATCH", UPLOADS, 2)],
    [Fault("expired", "PATCH", UPLOADS), Fault("reset-request", "PATCH", UPLOADS, 2)],
    [Fault("moved-upload", "POST", UPLOADS), Fault("reset", "PUT", UPLOADS)],
    [Fault("lost", "PUT", UPLOADS), Fault("500", "HEAD", "/blobs/", 2)],
    [Fault("wrong-upload", "PATCH", UPLOADS), Fault("502", "POST", UPLOADS, 2)],
    [Fault("unknown-blob", "PUT", BY_DIGEST), Fault("reset", "PUT", TAG)],
    [Fault("429", "POST", UPLOADS, 1, "2"), Fault("408", "POST", UPLOADS, 2)],
]  # fmt: skip

BODIES = ("short", "cut", "long", "wrong", "reset-answer", "redirect", "expired")
PULLS: list[Sequence[Fault]] = [
    *([fault] for path in (CONFIG, LAYER, TAG) for fault in broken("GET", path)),
    *([fault] for fault in at(LIMITED, "GET", LAYER)),
    *([Fault(kind, "GET", path)] for path in (CONFIG, LAYER, TAG) for kind in BODIES),
    *(
        [Fault("reset-answer", "GET", LAYER), Fault(kind, "GET", LAYER, 2)]
        for kind in ("wrong-range", "503", "reset", "short", "redirect", "expired", "no-range")
    ),
    [Fault("wrong", "GET", LAYER), Fault("503", "GET", LAYER, 2)],
    [Fault("cut", "GET", TAG), Fault("500", "GET", TAG, 2)],
]

MOVES: list[Sequence[Fault]] = [
    *([Fault(kind, "GET", "/blobs/")] for kind in ("503", "short", "wrong", "reset-answer")),
    *([Fault(kind, "PATCH", UPLOADS)] for kind in ("503", "reset-request", "no-range")),
    [Fault("redirect", "GET", "/blobs/")],
    [Fault("lost-session", "PATCH", UPLOADS)],
    [Fault("reset-answer", "GET", "/blobs/", 2), Fault("reset-request", "PATCH", UPLOADS)],
    [Fault("wrong", "GET", "/blobs/", 2), Fault("lost", "PUT", UPLOADS)],
]

MOUNTS: list[Sequence[Fault]] = [
    [],
    [Fault("no-mount", "POST", "mount=")],
    [Fault("no-mount", "POST", MOUNTED_LAYER), Fault("reset-request", "PATCH", UPLOADS)],
    [Fault("503", "POST", "mount=")],
    [Fault("405", "POST", "mount=")],
    [Fault("lost", "POST", "mount=")],
]


def script_name(script: Sequence[Fault]) -> str:
    name = "+".join(map(str, script)) or "none"
    return name.replace(LAYER, "layer").replace(CONFIG, "config").replace(MOUNTED_LAYER, "mount")


@pytest.mark.parametrize("script", PUSHES, ids=script_name)
def test_push(registry: Distribution, script: Sequence[Fault]) -> None:
    push(registry, script)


@pytest.mark.parametrize("script", PULLS, ids=script_name)
def test_pull(registry: Distribution, script: Sequence[Fault]) -> None:
    pull(registry, script)


@pytest.mark.parametrize("script", MOVES, ids=script_name)
def test_copy(registry: Distribution, script: Sequence[Fault]) -> None:
    move(registry, script)


@pytest.mark.parametrize("script", MOUNTS, ids=script_name)
def test_copy_by_mounting(registry: Distribution, script: Sequence[Fault]) -> None:
    line = move(registry, script, mounted=True)
    if not script:
        assert [] == [seen for seen in line.proxy.seen if seen.method == "PATCH"]


def test_a_broken_body_goes_on_where_it_broke(registry: Distribution) -> None:
    line = pull(registry, [Fault("short", "GET", LAYER)])
    ranges = [seen.headers["Range"] for seen in line.proxy.seen if "Range" in seen.headers]
    assert 1 == len(ranges)
    assert 0 < int(ranges[0].removeprefix("bytes=").removesuffix("-"))


@pytest.mark.parametrize(("value", "least"), [("3", 3), ("a-date", 20), ("soon", 0)])
def test_the_registrys_wish_to_wait_is_followed(
    registry: Distribution, value: str, least: float
) -> None:
    line = pull(registry, [Fault("429", "GET", LAYER, 1, value)])
    assert 1 == len(line.naps)
    assert least <= line.naps[0] <= 20


@pytest.mark.parametrize(
    ("kind", "method", "path"),
    [
        *((kind, "POST", UPLOADS) for kind in ("400", "403", "404")),
        *((kind, "PATCH", UPLOADS) for kind in ("400", "403")),  # by a 404 a session is gone
        *((kind, "PUT", UPLOADS) for kind in ("400", "403")),
        *((kind, "PUT", TAG) for kind in ("400", "403", "404")),
    ],
)
def test_a_plain_no_is_asked_once_and_leaves_no_tag(
    registry: Distribution, kind: str, method: str, path: str
) -> None:
    number = next(NUMBERS)
    # Uploads are several at a time, and those beside it are given up.
    line = Line(registry, [Fault(kind, method, path)])
    with line.proxy.serve() as host, pytest.raises(ImmutableError, match=f"answered {kind}"):
        copy(large(), line.place(host, f"no/{number}"))
    assert [] == line.naps
    with pytest.raises(ImmutableError):
        line.stored(f"no/{number}")


@pytest.mark.parametrize(
    ("method", "path"), [("HEAD", "/blobs/"), ("POST", UPLOADS), ("PATCH", UPLOADS), ("PUT", TAG)]
)
def test_six_attempts_are_the_most(registry: Distribution, method: str, path: str) -> None:
    number = next(NUMBERS)
    line = Line(registry, [Fault("503", method, path, nth) for nth in range(1, 99)])
    source = image(kinds=(oci.LAYER,), size=LARGE)
    with line.proxy.serve() as host, pytest.raises(ImmutableError, match="answered 503"):
        copy(source, line.place(host, f"six/{number}"))
    by_path: dict[str, int] = {}
    for seen in line.proxy.seen:
        if seen.method == method and path.rstrip("$") in seen.path:
            key = seen.path.partition("?")[0] if method == "HEAD" else method
            by_path[key] = by_path.get(key, 0) + 1
    most = 12 if method == "POST" else 6  # two blobs are begun side by side
    assert 6 <= max(by_path.values()) <= most
    with pytest.raises(ImmutableError):
        line.stored(f"six/{number}")
