"""Layers of kind ``image``: another spec's or a layout's layers, as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import evolve

from immutable import copy, lock
from immutable.build.verify import verify
from immutable.content.compat import zstd
from immutable.errors import (
    ArchiveError,
    BlobMissing,
    DigestMismatch,
    ImageError,
    ImmutableError,
    LockMissing,
    LockStale,
    SpecError,
    TransportError,
)
from immutable.oci import canonical
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.oci.platforms import Platform
from immutable.spec.lock import LockedLayer
from immutable.store import MemoryStore, Store
from immutable.store.layout import Layout
from tests.support.archives import END, gzipped, member
from tests.support.specs import (
    AMD64,
    ARM64,
    CONFIG,
    State,
    build,
    contents,
    fill,
    layer,
    layout_image,
    layout_index,
    publish,
    text,
    write,
)

APP = layer("files", "app", entries=[{"path": "/app", "text": "app"}])
BASE = layer("files", "os", entries=[{"path": "/etc/os-release", "text": "ID=test\n"}])
ON_BASE = layer("image", "base", from_="base.toml")
LOW, HIGH = member(b"etc/passwd", b"root:x:0:0::/:\n") + END, member(b"b", b"2") + END


# Another spec


def test_a_spec_beneath_lends_its_layers(tmp_path: Path, store: MemoryStore) -> None:
    base = build(write(tmp_path, BASE, "base.toml"), store)
    image = build(write(tmp_path, ON_BASE + APP), store)

    assert [True, False] == [built.cached for built in image.layers]
    assert base.layers[0].blob == image.layers[0].blob
    assert base.layers[0].derivation == image.layers[0].derivation
    annotations = dict(image.manifest.annotations)
    assert "test/base" == annotations[oci.BASE_NAME]
    assert str(base.digest) == annotations[oci.BASE_DIGEST]


def test_it_need_not_be_built_before(tmp_path: Path, store: MemoryStore) -> None:
    write(tmp_path, BASE, "base.toml")
    image = build(write(tmp_path, ON_BASE + APP), store)

    base = build(tmp_path / "base.toml", MemoryStore())
    assert str(base.digest) == dict(image.manifest.annotations)[oci.BASE_DIGEST]
    assert ["test/web"] == [one.name for one in store.images()]


def test_its_config_is_inherited_as_from_does(tmp_path: Path, store: MemoryStore) -> None:
    write(
        tmp_path,
        BASE
        + '[config]\nuser = "5"\nworkdir = "/a"\nenv = { A = "1", B = "2" }\n'
        + 'entrypoint = ["e"]\ncmd = ["c"]\nexpose = ["1/tcp"]\nvolumes = ["/v"]\n'
        + 'labels = { x = "1", y = "2" }\nstop-signal = "SIGINT"\n',
        "base.toml",
    )
    upper = '[config]\nworkdir = "/b"\nenv = { B = "3", C = "4" }\n'
    upper += 'cmd = ["d"]\nexpose = ["2/tcp"]\nlabels = { y = "3" }\n'

    inherited = build(write(tmp_path, ON_BASE + APP + upper), store).config.execution

    assert ("5", "/b", ("e",), ("d",), "SIGINT") == (
        inherited.user,
        inherited.workdir,
        inherited.entrypoint,
        inherited.cmd,
        inherited.stop_signal,
    )
    assert ("A=1", "B=3", "C=4") == inherited.env[-3:]
    assert ("1/tcp", "2/tcp") == inherited.exposed_ports
    assert ("/v",) == inherited.volumes
    assert {"x": "1", "y": "3"} == dict(inherited.labels)


def test_a_new_entrypoint_does_not_take_the_old_arguments(
    tmp_path: Path, store: MemoryStore
) -> None:
    write(tmp_path, BASE + '[config]\nentrypoint = ["e"]\ncmd = ["c"]\n', "base.toml")

    image = build(write(tmp_path, ON_BASE + '[config]\nentrypoint = ["f"]\n'), store)

    assert (("f",), ()) == (image.config.execution.entrypoint, image.config.execution.cmd)


def test_each_keeps_its_compression(tmp_path: Path, store: MemoryStore) -> None:
    write(tmp_path, BASE, "base.toml", image='compression = "zstd"')

    image = build(write(tmp_path, ON_BASE + APP, image='compression = "none"'), store)

    assert [oci.LAYER_ZSTD, oci.LAYER] == [built.blob.media_type for built in image.layers]


def test_history_tells_of_all_layers(tmp_path: Path, store: MemoryStore) -> None:
    write(tmp_path, BASE + '[[user]]\nname = "u"\nuid = 1\n', "base.toml")

    image = build(write(tmp_path, ON_BASE + APP + '[[user]]\nname = "v"\nuid = 2\n'), store)

    kinds = [step.created_by.split()[1] for step in image.config.history]
    assert ["files", "users", "files", "users"] == kinds
    passwd = text(contents(store, image.layers[-1])["etc/passwd"])
    assert ["root", "u", "v"] == [line.split(":")[0] for line in passwd.splitlines()]


@pytest.mark.parametrize("chain", [["web"], ["a", "web"], ["a", "b", "web"], ["a", "b", "a"]])
def test_circles_are_refused_with_their_chain(
    tmp_path: Path, store: MemoryStore, chain: list[str]
) -> None:
    names = ["web", *chain]
    for name, base in zip(names[:-1], chain, strict=True):
        write(tmp_path, layer("image", "base", from_=f"{base}.toml"), f"{name}.toml")
    shown = " → ".join(f"{name}.toml" for name in names)

    with pytest.raises(SpecError, match=f"in a circle: {shown}$"):
        build(tmp_path / "web.toml", store)


def test_a_tower_of_specs_is_refused(tmp_path: Path, store: MemoryStore) -> None:
    for number in range(200):
        write(tmp_path, layer("image", from_=f"{number + 1}.toml"), f"{number}.toml")

    with pytest.raises(SpecError, match="more than 32 specs on each other"):
        build(tmp_path / "0.toml", store)


def test_an_image_has_to_be_the_first_layer(tmp_path: Path, store: MemoryStore) -> None:
    write(tmp_path, BASE, "base.toml")

    with pytest.raises(SpecError, match='layer "base": an image to build upon has to be the first'):
        build(write(tmp_path, APP + ON_BASE), store)


def test_a_platform_that_it_lacks_is_named(tmp_path: Path, store: MemoryStore) -> None:
    write(tmp_path, BASE, "base.toml", image='platforms = ["linux/arm64"]')

    with pytest.raises(SpecError, match=r"base\.toml: .*linux/amd64 is not among linux/arm64"):
        build(write(tmp_path, ON_BASE), store)


def test_faults_in_it_are_named_in_it(tmp_path: Path, store: MemoryStore) -> None:
    write(tmp_path, layer("files", sorce="x"), "base.toml")

    with pytest.raises(SpecError, match=r"base\.toml: layer\[0\]\.sorce: unknown key"):
        build(write(tmp_path, ON_BASE), store)


def test_a_missing_spec_is_named(tmp_path: Path, store: MemoryStore) -> None:
    with pytest.raises(SpecError, match=r"base\.toml: No such file"):
        build(write(tmp_path, ON_BASE), store)


def test_an_edit_beneath_reaches_the_top(tmp_path: Path, store: MemoryStore) -> None:
    fill(tmp_path / "os", {"a": "1"})
    write(tmp_path, layer("files", "os", source="os"), "base.toml")
    spec = write(tmp_path, ON_BASE + APP)
    one = build(spec, store)
    fill(tmp_path / "os", {"a": "22"})
    other = build(spec, store)

    assert one.digest != other.digest
    assert [False, True] == [built.cached for built in other.layers]


# A layout

ON_LAYOUT = layer("image", "base", from_="oci:base:v1")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.create(tmp_path / "base")


def test_a_layout_is_pinned_by_the_lock(tmp_path: Path, layout: Layout, store: MemoryStore) -> None:
    root = layout_image(layout, LOW, HIGH, name="v1")
    spec = write(tmp_path, ON_LAYOUT + APP)
    with pytest.raises(LockMissing, match="takes base from outside; run `immutable lock"):
        build(spec, store)

    locked = lock(spec, store, config=CONFIG)
    image = build(spec, store)

    assert root.digest == locked.lock.layer[0].pin[0].sha256
    assert [Digest.of(LOW), Digest.of(HIGH)] == [built.diff_id for built in image.layers[:2]]
    assert ["base 0", "base 1"] == [step.created_by for step in image.config.history[:2]]
    assert ("PATH=/bin", "A=base") == image.config.execution.env
    assert str(root.digest) == dict(image.manifest.annotations)[oci.BASE_DIGEST]
    assert [True] * 3 == [built.cached for built in build(spec, store).layers]


def test_a_name_that_moves_on_changes_nothing_before_a_new_lock(
    tmp_path: Path, layout: Layout, store: MemoryStore
) -> None:
    layout_image(layout, LOW, name="v1")
    spec = write(tmp_path, ON_LAYOUT)
    lock(spec, store, config=CONFIG)
    first = build(spec, store)
    layout_image(layout, HIGH, name="v1")

    assert first.digest == build(spec, MemoryStore()).digest

    lock(spec, store, config=CONFIG)  # asks for the same: stays
    assert first.digest == build(spec, store).digest
    lock(spec, store, config=CONFIG, upgrade=True)
    assert first.digest != build(spec, store).digest


def test_another_reference_makes_the_lock_stale(
    tmp_path: Path, layout: Layout, store: MemoryStore
) -> None:
    layout_image(layout, LOW, name="v1")
    lock(write(tmp_path, ON_LAYOUT), store, config=CONFIG)

    with pytest.raises(LockStale, match=r"stale: layer .base. .*oci:base:v2.*immutable lock"):
        build(write(tmp_path, ON_LAYOUT.replace("v1", "v2")), store)


def test_what_was_pinned_and_is_gone_is_named(
    tmp_path: Path, layout: Layout, store: MemoryStore
) -> None:
    root = layout_image(layout, LOW, name="v1")
    spec = write(tmp_path, ON_LAYOUT)
    lock(spec, store, config=CONFIG)
    layout.blob_path(root.digest).unlink()

    with pytest.raises(BlobMissing, match=f"base: blob {root.digest} is missing"):
        build(spec, MemoryStore())


def test_what_is_in_the_store_is_not_asked_for_again(
    tmp_path: Path, layout: Layout, store: MemoryStore
) -> None:
    layout_image(layout, LOW, HIGH, name="v1")
    spec = write(tmp_path, ON_LAYOUT)
    lock(spec, store, config=CONFIG)
    first = build(spec, store)
    layout.path.rename(tmp_path / "elsewhere")

    assert first.digest == build(spec, store).digest


def test_a_name_that_is_gone_changes_nothing_before_a_new_lock(
    tmp_path: Path, layout: Layout, store: MemoryStore
) -> None:
    layout_image(layout, LOW, name="v1")
    spec = write(tmp_path, ON_LAYOUT)
    lock(spec, store, config=CONFIG)
    layout.update_index(lambda index: evolve(index, manifests=()))

    assert Digest.of(LOW) == build(spec, MemoryStore()).layers[0].diff_id


def test_what_is_on_this_machine_is_no_fetching(
    tmp_path: Path, layout: Layout, store: MemoryStore
) -> None:
    layout_image(layout, LOW, name="v1")
    spec = write(tmp_path, ON_LAYOUT)
    lock(spec, store, config=CONFIG)

    assert build(spec, MemoryStore(), offline=True).layers


@pytest.mark.parametrize(
    ("media_type", "pack"),
    [
        (oci.LAYER, bytes),
        (oci.LAYER_GZIP, gzipped),
        (oci.LAYER_ZSTD, zstd.compress),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", gzipped),
    ],
)
def test_layers_of_every_compression(
    tmp_path: Path, layout: Layout, store: MemoryStore, media_type: str, pack: type[bytes]
) -> None:
    layout_image(layout, LOW, name="v1", media_type=media_type, packed=pack)
    spec = write(tmp_path, ON_LAYOUT + '[[user]]\nname = "u"\nuid = 1\n')
    lock(spec, store, config=CONFIG)

    image = build(spec, store)

    assert oci.family(media_type) == image.layers[0].blob.media_type
    passwd = text(contents(store, image.layers[-1])["etc/passwd"])
    assert passwd.startswith("root:x:0:0::/:\nu:x:1:1:")


def test_whiteouts_in_the_base_hold_for_accounts(
    tmp_path: Path, layout: Layout, store: MemoryStore
) -> None:
    layout_image(layout, LOW, member(b"etc/.wh.passwd") + END, name="v1")
    spec = write(tmp_path, ON_LAYOUT + '[[user]]\nname = "u"\nuid = 1\n')
    lock(spec, store, config=CONFIG)

    passwd = text(contents(store, build(spec, store).layers[-1])["etc/passwd"])

    assert passwd.startswith("root:x:0:0:root:/root:/bin/sh\nu:")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"diff_ids": (Digest.of(b"other"),)}, DigestMismatch),
        ({"packed": lambda data: gzipped(data) + b"junk"}, ArchiveError),
        ({"packed": lambda data: gzipped(data)[:-5]}, ArchiveError),
        ({"packed": zstd.compress}, ArchiveError),
    ],
    ids=["diffID", "junk", "truncated", "other compression"],
)
def test_a_layer_that_does_not_hold_is_refused(
    tmp_path: Path, layout: Layout, change: dict[str, object], error: type[ImmutableError]
) -> None:
    layout_image(layout, LOW, name="v1", **change)  # type: ignore[arg-type]
    spec = write(tmp_path, ON_LAYOUT)
    with Store.open(tmp_path / "store") as store:
        lock(spec, store, config=CONFIG)
        before = State.of(store)

        with pytest.raises(error):
            build(spec, store)

        assert before == State.of(store)


@pytest.mark.parametrize(
    "change",
    [
        {"diff_ids": ()},
        {"media_type": "application/vnd.oci.image.layer.v1.tar+xz", "packed": bytes},
    ],
    ids=["no diffIDs", "media type"],
)
def test_an_image_that_none_can_build_upon_is_not_locked(
    tmp_path: Path, layout: Layout, store: MemoryStore, change: dict[str, object]
) -> None:
    layout_image(layout, LOW, name="v1", **change)  # type: ignore[arg-type]

    with pytest.raises(ImageError):
        lock(write(tmp_path, ON_LAYOUT), store, config=CONFIG)


@pytest.mark.parametrize("what", ["layer", "config", "manifest"])
def test_a_flipped_byte_is_found(tmp_path: Path, layout: Layout, what: str) -> None:
    root = layout_image(layout, LOW, name="v1")
    manifest = oci.decode_manifest(layout.read(root.digest, 1 << 20), "test")
    victim = {"layer": manifest.layers[0], "config": manifest.config, "manifest": root}[what]
    spec = write(tmp_path, ON_LAYOUT)
    with Store.open(tmp_path / "store") as store:
        # The manifest and the config that the lock has seen are taken from the store.
        lock(spec, store if what == "layer" else MemoryStore(), config=CONFIG)
        before = State.of(store)
        path = layout.blob_path(victim.digest)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(data)

        with pytest.raises(DigestMismatch, match=str(victim.digest)):
            build(spec, store)

        assert before == State.of(store)


@pytest.mark.parametrize("at", [0, 1])
def test_of_several_layers_none_that_does_not_hold_is_kept(
    tmp_path: Path, layout: Layout, store: MemoryStore, at: int
) -> None:
    diff_ids = [Digest.of(LOW), Digest.of(HIGH)]
    diff_ids[at] = Digest.of(b"other")
    root = layout_image(layout, LOW, HIGH, name="v1", diff_ids=tuple(diff_ids))
    bad = oci.decode_manifest(layout.read(root.digest, 1 << 20), "test").layers[at]
    spec = write(tmp_path, ON_LAYOUT)
    lock(spec, store, config=CONFIG)

    with pytest.raises(DigestMismatch, match="diffID"):
        build(spec, store)

    assert not store.has_blob(bad.digest)


def test_a_layer_that_was_in_the_store_is_checked_all_the_same(
    tmp_path: Path, layout: Layout, store: MemoryStore
) -> None:
    layout_image(layout, LOW, name="v1", diff_ids=(Digest.of(b"other"),))
    spec = write(tmp_path, ON_LAYOUT)
    lock(spec, store, config=CONFIG)
    store.put_blob(gzipped(LOW))

    with pytest.raises(DigestMismatch, match="diffID"):
        build(spec, store)


def test_one_blob_that_is_said_to_be_two_tars(
    tmp_path: Path, layout: Layout, store: MemoryStore
) -> None:
    arm = layout_image(layout, LOW, platform=ARM64, diff_ids=(Digest.of(b"other"),))
    layout_index(layout, "v1", layout_image(layout, LOW), arm)
    spec = write(tmp_path, ON_LAYOUT, image='platforms = ["linux/amd64", "linux/arm64"]')
    lock(spec, store, config=CONFIG)

    with pytest.raises(DigestMismatch, match="diffID"):
        build(spec, store)


def test_a_layout_of_several_platforms(tmp_path: Path, layout: Layout, store: MemoryStore) -> None:
    arm = layout_image(layout, HIGH, platform=ARM64)
    layout_index(layout, "v1", layout_image(layout, LOW), arm)
    spec = write(tmp_path, ON_LAYOUT + APP, image='platforms = ["linux/amd64", "linux/arm64"]')
    lock(spec, store, config=CONFIG)

    image = build(spec, store)

    assert [(AMD64, Digest.of(LOW)), (ARM64, Digest.of(HIGH))] == [
        (built.platform, built.layers[0].diff_id) for built in image.platforms
    ]
    assert image.platforms[0].layers[1].blob == image.platforms[1].layers[1].blob


def test_a_platform_that_the_layout_lacks_is_named(
    tmp_path: Path, layout: Layout, store: MemoryStore
) -> None:
    layout_index(layout, "v1", layout_image(layout, LOW, platform=ARM64))
    spec = write(tmp_path, ON_LAYOUT)

    with pytest.raises(TransportError, match="nothing for linux/amd64; there is linux/arm64"):
        lock(spec, store, config=CONFIG)


def test_a_single_image_of_another_platform_is_refused(
    tmp_path: Path, layout: Layout, store: MemoryStore
) -> None:
    layout_image(layout, LOW, name="v1", platform=ARM64)
    spec = write(tmp_path, ON_LAYOUT)

    with pytest.raises(TransportError, match="nothing for linux/amd64; there is linux/arm64"):
        lock(spec, store, config=CONFIG)


def test_an_index_in_an_index_is_refused(
    tmp_path: Path, layout: Layout, store: MemoryStore
) -> None:
    inner = layout_index(layout, "inner", layout_image(layout, LOW))
    layout_index(layout, "v1", evolve(inner, platform=AMD64))
    spec = write(tmp_path, ON_LAYOUT)

    with pytest.raises(ImageError, match=f"holds the index {inner.digest}; expected manifests"):
        lock(spec, store, config=CONFIG)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"urls": ["https://elsewhere.test/layer"]}, r"layers\[0\]\.urls: found .*elsewhere"),
        (
            {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"},
            r"layers\[0\]\.mediaType: expected a tar.*foreign",
        ),
    ],
)
def test_layers_that_are_elsewhere_are_refused(
    tmp_path: Path, layout: Layout, store: MemoryStore, change: dict[str, object], message: str
) -> None:
    root = layout_image(layout, LOW)
    document = json.loads(layout.read(root.digest, 1 << 20))
    document["layers"][0] |= change
    data = canonical.encode(document)
    publish(layout, "v1", Descriptor(oci.MANIFEST, layout.put(data), len(data)))

    with pytest.raises(ImageError, match=message):
        lock(write(tmp_path, ON_LAYOUT), store, config=CONFIG)


def test_what_is_no_image_to_run_is_refused(
    tmp_path: Path, layout: Layout, store: MemoryStore
) -> None:
    config = Descriptor("application/vnd.oci.empty.v1+json", layout.put(b"{}"), 2)
    data = oci.Manifest(config, ()).encode()
    publish(layout, "v1", Descriptor(oci.MANIFEST, layout.put(data), len(data)))

    with pytest.raises(ImageError, match=r"expected an image's config, found .*oci\.empty"):
        lock(write(tmp_path, ON_LAYOUT), store, config=CONFIG)


def test_a_platform_of_another_machine_is_dropped_with_the_image_for_it(
    tmp_path: Path, layout: Layout, store: MemoryStore
) -> None:
    arm = layout_image(layout, HIGH, platform=ARM64)
    layout_index(layout, "v1", layout_image(layout, LOW), arm)
    spec = write(tmp_path, ON_LAYOUT, image="# whatever the machine's platforms are")

    def locked(machine: str) -> tuple[Platform, ...]:
        config = evolve(CONFIG, machine=machine)
        return lock(spec, store, config=config, upgrade=True).lock.layer[0].platforms

    assert (ARM64,) == locked("aarch64")
    assert (AMD64, ARM64) == locked("x86_64")
    layout_index(layout, "v1", layout_image(layout, LOW))
    assert (AMD64,) == locked("x86_64")


def test_one_of_several_has_to_be_named(tmp_path: Path, layout: Layout, store: MemoryStore) -> None:
    layout_image(layout, LOW, name="v1")
    assert lock(write(tmp_path, layer("image", from_="oci:base")), store, config=CONFIG).lock
    layout_image(layout, HIGH, name="v2")

    for given in ("oci:base", "oci:base:v3"):
        spec = write(tmp_path, layer("image", from_=given), "other.toml")
        with pytest.raises(TransportError, match=r"expected one image.* there is v1, v2"):
            lock(spec, store, config=CONFIG)


def test_our_own_store_is_a_layout_to_build_upon(tmp_path: Path) -> None:
    with Store.open(tmp_path / "base-store") as lower, Store.open(tmp_path / "store") as store:
        base = build(write(tmp_path, BASE, "base.toml", image='tags = ["1.0"]'), lower)
        spec = write(tmp_path, layer("image", "base", from_="oci:base-store:test/base:1.0") + APP)
        lock(spec, store, config=CONFIG)

        image = build(spec, store)

    assert base.layers[0].blob == image.layers[0].blob
    assert str(base.digest) == dict(image.manifest.annotations)[oci.BASE_DIGEST]


def test_another_platform_leaves_the_pin_alone_while_it_has_it(
    tmp_path: Path, layout: Layout, store: MemoryStore
) -> None:
    arm = layout_image(layout, HIGH, platform=ARM64)
    first = layout_index(layout, "v1", layout_image(layout, LOW), arm)
    spec = write(tmp_path, ON_LAYOUT, image="# whatever the machine's platforms are")

    def locked(machine: str) -> LockedLayer:
        config = evolve(CONFIG, machine=machine)
        return lock(spec, MemoryStore(), config=config).lock.layer[0]

    assert first.digest == locked("x86_64").pin[0].sha256
    layout_index(layout, "v1", arm)
    both = locked("aarch64")
    assert (first.digest, (AMD64, ARM64)) == (both.pin[0].sha256, both.platforms)


def test_another_platform_moves_the_pin_where_it_must(
    tmp_path: Path, layout: Layout, store: MemoryStore
) -> None:
    layout_image(layout, LOW, name="v1")
    spec = write(tmp_path, ON_LAYOUT, image="# whatever the machine's platforms are")
    lock(spec, store, config=CONFIG)
    arm = layout_image(layout, HIGH, name="v1", platform=ARM64)

    moved = lock(spec, store, config=evolve(CONFIG, machine="aarch64")).lock.layer[0]

    assert (arm.digest, (ARM64,)) == (moved.pin[0].sha256, moved.platforms)


# An archive

KINDS = ["oci-archive:base.tar:v1", "docker-archive:base.tar:team/base:v1"]


@pytest.mark.parametrize("reference", KINDS)
@pytest.mark.parametrize("packed", [False, True])
def test_an_archive_is_pinned_and_read_where_it_lies(
    tmp_path: Path, layout: Layout, store: MemoryStore, reference: str, packed: bool
) -> None:
    layout_image(layout, LOW, HIGH, name="v1")
    archive, (transport, _, name) = tmp_path / "base.tar", reference.split(":", 2)
    copy(f"oci:{layout.path}:v1", f"{transport}:{archive}:{name}")
    if packed:
        archive.write_bytes(gzipped(archive.read_bytes()))
    spec = write(tmp_path, layer("image", "base", from_=reference) + APP)
    locked = lock(spec, store, config=CONFIG)

    image = build(spec, MemoryStore())

    pin = locked.lock.layer[0].pin[0]
    assert [Digest.of(LOW), Digest.of(HIGH)] == [built.diff_id for built in image.layers[:2]]
    annotations = dict(image.manifest.annotations)
    assert (reference.split(":", 2)[2], str(pin.sha256)) == (
        annotations[oci.BASE_NAME],
        annotations[oci.BASE_DIGEST],
    )
    assert image.digest == build(spec, store, offline=True).digest
    archive.unlink()
    assert image.digest == build(spec, store, offline=True).digest


@pytest.mark.parametrize("reference", KINDS)
def test_an_archive_of_another_image_is_not_taken(
    tmp_path: Path, layout: Layout, store: MemoryStore, reference: str
) -> None:
    layout_image(layout, LOW, name="v1")
    archive, (transport, _, name) = tmp_path / "base.tar", reference.split(":", 2)
    copy(f"oci:{layout.path}:v1", f"{transport}:{archive}:{name}")
    spec = write(tmp_path, layer("image", "base", from_=reference))
    lock(spec, store, config=CONFIG)
    layout_image(layout, HIGH, name="v1")
    copy(f"oci:{layout.path}:v1", f"{transport}:{archive}:{name}")

    with pytest.raises(BlobMissing, match="missing"):
        build(spec, MemoryStore())


def test_verify_needs_no_archive_twice(tmp_path: Path, layout: Layout) -> None:
    layout_image(layout, LOW, name="v1")
    spec = write(tmp_path, ON_LAYOUT + APP)
    with Store.open(tmp_path / "store") as store:
        lock(spec, store, config=CONFIG)
        build(spec, store)
        layout.path.rename(tmp_path / "elsewhere")

        assert () == verify(spec, store, config=CONFIG)[1]


def test_an_image_to_build_upon_replaces_nothing(tmp_path: Path) -> None:
    write(tmp_path, layer("files", entries=[{"path": "/a", "text": ""}]), "base.toml")
    spec = write(tmp_path, layer("image", from_="base.toml", replace=True))
    with pytest.raises(SpecError, match='layer "app": replace: its layers are taken as they are'):
        build(spec, MemoryStore())
