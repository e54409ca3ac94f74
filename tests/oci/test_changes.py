"""In what one image differs from another."""

from attrs import evolve

from immutable.oci.changes import changes
from immutable.oci.digest import Digest
from immutable.oci.documents import Execution, History, ImageConfig
from immutable.oci.platforms import Platform

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
TIME = "1970-01-01T00:00:00Z"


def config(*layers: str, platform: Platform = AMD64, **execution: object) -> ImageConfig:
    """Layers are ``kind`` or ``kind content``."""
    return ImageConfig(
        platform,
        TIME,
        tuple(Digest.of(layer.encode()) for layer in layers),
        Execution(**execution),  # type: ignore[arg-type]
        tuple(History(TIME, f"immutable {layer.split()[0]}") for layer in layers),
    )


def said(before: ImageConfig, after: ImageConfig) -> list[str]:
    return [str(one) for one in changes({AMD64: before}, {AMD64: after})]


def test_the_same() -> None:
    assert [] == said(config("files 1", "users"), config("files 1", "users"))


def test_layers_are_named_by_their_kind() -> None:
    before = config("debian 1", "files 1", "files 2", "users")
    assert ["layers: 1 of 4 new (files)"] == said(
        before, config("debian 1", "files 1", "files 3", "users")
    )
    assert ["layers: 2 of 4 new (debian, files)"] == said(
        before, config("debian 2", "files 1", "files 3", "users")
    )


def test_layers_that_come_and_go() -> None:
    one, two = config("files 1"), config("files 1", "users")
    assert ["layers: 1 of 2 new (users)"] == said(one, two)
    assert ["layers: 1 fewer"] == said(two, one)
    assert ["layers: 1 of 1 new (wheels), 1 fewer"] == said(two, config("wheels"))
    assert ["layers: another order"] == said(two, config("users", "files 1"))
    assert ["layers: 1 of 2 new (files)"] == said(one, config("files 1", "files 1"))


def test_layers_without_a_history_have_no_names() -> None:
    assert ["layers: 1 of 1 new"] == said(config("a"), evolve(config("b"), history=()))


def test_what_of_the_config_changed_but_no_value() -> None:
    before = config(env=("PATH=/bin", "TOKEN=secret"), cmd=("a",))
    after = config(env=("PATH=/bin", "TOKEN=other", "NEW=1"), cmd=("b",), exposed_ports=("80/tcp",))
    assert ["config: env (NEW, TOKEN), cmd, expose"] == said(before, after)
    swapped = evolve(before.execution, env=before.execution.env[::-1])
    assert ["config: env (order)"] == said(before, evolve(before, execution=swapped))


def test_the_time() -> None:
    later = evolve(config(), created="2026-01-01T00:00:00Z")
    assert ["created: 2026-01-01T00:00:00Z"] == said(config(), later)


def test_platforms_and_what_all_have_in_common() -> None:
    one, other = config("files 1"), config("files 1", platform=ARM64)
    assert ["platforms: +linux/arm64"] == [
        str(c) for c in changes({AMD64: one}, {AMD64: one, ARM64: other})
    ]
    assert ["platforms: -linux/amd64"] == [
        str(c) for c in changes({AMD64: one, ARM64: other}, {ARM64: other})
    ]
    new = {AMD64: config("files 2"), ARM64: config("files 2", platform=ARM64)}
    assert ["layers: 1 of 1 new (files)"] == [
        str(c) for c in changes({AMD64: one, ARM64: other}, new)
    ]
