from pathlib import Path

import pytest
from attrs import evolve

from immutable.errors import (
    BlobMissing,
    DigestMismatch,
    ImageError,
    ImageNotFound,
    TransportError,
)
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, Index, Manifest
from immutable.oci.platforms import Platform
from immutable.store import MemoryStore, Store
from immutable.transports import copy, parse
from immutable.transports.base import MAX_DOCUMENT
from tests.support.images import AMD64, ARM64, MemoryTransport, fetched, image, index
from tests.support.progress import Notes

# References


@pytest.mark.parametrize(
    ("reference", "shown"),
    [
        ("oci:some/dir", "oci:some/dir"),
        ("oci:/some/dir:web:1.4.0", "oci:/some/dir:web:1.4.0"),
        ("oci-archive:web.tar", "oci-archive:web.tar"),
        ("oci-archive:web.tar:shop/web:1", "oci-archive:web.tar:shop/web:1"),
        ("docker-archive:web.tar", "docker-archive:web.tar"),
        ("docker-archive:web.tar:shop/web:1", "docker-archive:web.tar:shop/web:1"),
        (
            "docker-archive:w.tar:mirror.test:5000/web:1",
            "docker-archive:w.tar:mirror.test:5000/web:1",
        ),
        ("docker-daemon:shop/web:1.4.0", "docker-daemon:shop/web:1.4.0"),
        ("store:web:1", "store:web:1"),
        ("store:dir:1", "store:dir:1"),
        ("web", "store:web"),
        ("shop/web:1.4.0", "store:shop/web:1.4.0"),
        ("web@3", "store:web@3"),
        (f"web@sha256:{'a' * 64}", f"store:web@sha256:{'a' * 64}"),
        (f"sha256:{'a' * 64}", f"store:sha256:{'a' * 64}"),
    ],
)
def test_references(reference: str, shown: str) -> None:
    assert shown == str(parse(reference))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("oci-archiv:web.tar", "unknown transport 'oci-archiv'; did you mean oci-archive:?"),
        ("docker-demon:web:1", "did you mean docker-daemon:?"),
        ("ocy:/tmp/web", "unknown transport 'ocy'; did you mean oci:?"),
        ("dir:web", "an image of that name is store:dir:web"),
        ("ostree:/repo", "unknown transport 'ostree'"),
        ("Not A Name", "expected NAME, NAME:TAG or TRANSPORT:…, one of oci:,"),
        ("", "expected NAME"),
        ("oci:", "expected a path"),
        ("oci::web", "expected a path"),
        ("oci:dir:", "expected a name after the path's colon"),
        ("oci:dir:a b", "expected a name of"),
        ("oci-archive:web.tar:-x", "expected a name of"),
        ("docker-archive:web.tar:web", "say which tag, none is assumed"),
        ("docker-daemon:web", "say which tag, none is assumed"),
        ("docker-daemon:mirror.test:5000/web", "say which tag, none is assumed"),
        ("docker-daemon:Web:1", "NAME in lower case"),
        (f"docker-daemon:web:{'1' * 129}", "expected [HOST[:PORT]/]NAME:TAG"),
        ("store:", "expected a name"),
        ("oci:a\0b", "a NUL"),
    ],
)
def test_refused_references(reference: str, message: str) -> None:
    with pytest.raises(TransportError) as caught:
        parse(reference)
    assert message in str(caught.value)


# What is copied


def test_everything_of_an_index_is_copied_as_it_is() -> None:
    source, destination = index(), MemoryTransport()
    assert source.root == copy(source, destination)
    assert source.blobs == destination.blobs


def test_one_platform_of_an_index() -> None:
    source, destination = index(), MemoryTransport()
    root = copy(source, destination, platform=ARM64)
    assert oci.MANIFEST == root.media_type
    assert ARM64 == oci.decode_config(destination.config, "test").platform
    assert 5 == len(destination.blobs)  # the manifest, its config, three layers


def test_the_platform_of_a_destination_that_takes_one() -> None:
    destination = MemoryTransport(platform=ARM64)
    copy(index(), destination)
    assert ARM64 == oci.decode_config(destination.config, "test").platform


def test_an_image_of_another_platform_goes_where_one_is_taken() -> None:
    copy(image(platform=ARM64), MemoryTransport(platform=AMD64))


def test_a_platform_that_is_not_there() -> None:
    s390x = Platform("linux", "s390x")
    with pytest.raises(TransportError, match="nothing for linux/s390x; there is linux/amd64, lin"):
        copy(index(), MemoryTransport(), platform=s390x)
    with pytest.raises(TransportError, match="nothing for linux/s390x; there is linux/amd64"):
        copy(image(), MemoryTransport(), platform=s390x)


def test_the_names_place_is_no_part_of_what_is_copied() -> None:
    source = image()
    assert source.root is not None
    bare = source.root
    source.root = evolve(bare, annotations={"a": "b"}, platform=AMD64)
    assert bare == copy(source, MemoryTransport())


def test_an_entry_that_is_no_manifest_is_copied_too() -> None:
    source = image()
    assert source.root is not None
    other = source.add(b"anything", "application/x-anything")
    source.add_manifest(Index((source.root, other)))
    destination = MemoryTransport()
    copy(source, destination)
    assert source.blobs == destination.blobs


# Bad input


def refused(
    source: MemoryTransport, error: type[Exception], message: str, platform: Platform | None = None
) -> None:
    destination = MemoryTransport()
    with pytest.raises(error) as caught:
        copy(source, destination, platform=platform)
    assert message in str(caught.value)
    assert destination.root is None


@pytest.mark.parametrize("part", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "empty", "lose"])
def test_wrong_bytes_anywhere(part: int, damage: str) -> None:
    source = image()
    assert source.root is not None
    manifest = source.manifest
    digest = (source.root, manifest.config, *manifest.layers)[part].digest
    data = source.blobs[digest]
    damaged = {
        "flip": data[:-1] + bytes([data[-1] ^ 1]),
        "cut": data[:-1],
        "grow": data + b"\n",
        "empty": b"",
    }
    if damage == "lose":
        del source.blobs[digest]
        refused(source, BlobMissing, str(digest))
    else:
        source.blobs[digest] = damaged[damage]
        refused(source, DigestMismatch, str(digest))


def test_an_index_within_an_index() -> None:
    source = index()
    assert source.root is not None
    source.add_manifest(Index((source.root,)))
    refused(source, ImageError, "expected manifests only")


def test_a_manifest_that_calls_itself_an_index() -> None:
    source = image()
    source.root = source.add(evolve(source.manifest, media_type=oci.INDEX).encode(), oci.MANIFEST)
    refused(source, ImageError, f"mediaType: expected {oci.MANIFEST}, found {oci.INDEX}")


def test_manifests_and_layers_together() -> None:
    source = image()
    document = b'{"schemaVersion":2,"manifests":[],"layers":[]}'
    source.root = source.add(document, oci.INDEX)
    refused(source, ImageError, "layers: has no place")


def test_a_root_that_is_no_image() -> None:
    source = image()
    source.root = source.add(b"x", "text/plain")
    refused(source, ImageError, "expected a manifest or an index, found text/plain")


def test_one_digest_with_two_sizes() -> None:
    source = image()
    manifest = source.manifest
    twice = evolve(manifest.layers[0], size=manifest.layers[0].size + 1)
    source.add_manifest(evolve(manifest, layers=(*manifest.layers, twice)))
    refused(source, ImageError, "said to have")


def test_a_manifest_too_large_to_read_is_not_read() -> None:
    source = MemoryTransport(root=Descriptor(oci.MANIFEST, Digest.of(b""), MAX_DOCUMENT + 1))
    refused(source, ImageError, f"expected a document of at most {MAX_DOCUMENT} bytes")


def test_manifests_too_many_to_hold_are_not_read() -> None:
    source = MemoryTransport()
    manifests = (
        Descriptor(oci.MANIFEST, Digest.of(b"%d" % number), MAX_DOCUMENT) for number in range(20)
    )
    source.add_manifest(Index(tuple(manifests)))
    refused(source, ImageError, "bytes of manifests")


def test_a_long_body_is_read_no_further_than_its_descriptor() -> None:
    source = image()
    layer = source.manifest.layers[0]
    source.blobs[layer.digest] = source.blobs[layer.digest] + bytes(10 << 20)
    refused(source, DigestMismatch, f"longer than its {layer.size} bytes")


# Our own store


def test_through_a_store(tmp_path: Path) -> None:
    source = index()
    with Store.open(tmp_path / "store") as disk, MemoryStore() as memory:
        copy(source, "shop/web:1.4.0", store=disk)
        copy(parse("shop/web:1.4.0", store=disk), parse("other", store=memory))
        back = MemoryTransport()
        assert source.root == copy("other", back, store=memory)
        assert ["shop/web"] == [generation.name for generation in disk.images()]
        assert [("1.4.0",)] == [generation.tags for generation in disk.images()]
    assert source.blobs == back.blobs


def test_one_manifest_of_a_stored_index_by_digest() -> None:
    source = index()
    with MemoryStore() as store:
        copy(source, "web", store=store)
        chosen = copy(source, MemoryTransport(), platform=ARM64)
        assert chosen == copy(f"web@{chosen.digest}", MemoryTransport(), store=store)


@pytest.mark.parametrize("reference", ["web@1", f"web@sha256:{'a' * 64}", "store:Web"])
def test_a_name_that_no_image_can_be_stored_under(reference: str) -> None:
    with (
        MemoryStore() as store,
        pytest.raises(TransportError, match="expected NAME or NAME:TAG"),
    ):
        copy(image(), reference, store=store)


def test_a_name_that_is_not_there() -> None:
    with MemoryStore() as store, pytest.raises(ImageNotFound):
        copy("web:1", MemoryTransport(), store=store)


def test_a_failed_copy_names_nothing_in_the_store(tmp_path: Path) -> None:
    source = image()
    source.blobs[source.manifest.layers[-1].digest] = b""
    with Store.open(tmp_path / "store") as store:
        with pytest.raises(DigestMismatch):
            copy(source, "web:1", store=store)
        assert () == store.images()
    with pytest.raises(TransportError):
        fetched(f"oci:{tmp_path / 'store'}:web:1")


def test_a_blob_damaged_in_the_store_goes_nowhere(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        copy(source := image(), "web", store=store)
        layer = source.manifest.layers[0]
        blob = tmp_path / "store/blobs/sha256" / layer.digest.hex
        blob.chmod(0o644)
        data = blob.read_bytes()
        blob.write_bytes(data[:-1] + b"?")
        with pytest.raises(DigestMismatch):
            copy("web", f"oci-archive:{tmp_path / 'web.tar'}", store=store)
        blob.write_bytes(data[:-1])
        with pytest.raises(ImageError, match="remove the blob's file and build"):
            copy("web", f"oci-archive:{tmp_path / 'web.tar'}", store=store)
    assert not (tmp_path / "web.tar").exists()


class Interrupting(dict[Digest, bytes]):
    """Blobs of which one is interrupted."""

    def __init__(self, blobs: dict[Digest, bytes], at: Digest) -> None:
        super().__init__(blobs)
        self.at = at

    def __getitem__(self, digest: Digest) -> bytes:
        if digest == self.at:
            raise KeyboardInterrupt
        return super().__getitem__(digest)


@pytest.mark.parametrize("transport", ["oci", "oci-archive", "docker-archive"])
def test_an_interrupted_copy_leaves_nothing_by_the_name(tmp_path: Path, transport: str) -> None:
    source = image()
    source.blobs = Interrupting(source.blobs, source.manifest.layers[-1].digest)
    reference = f"{transport}:{tmp_path / 'target'}"
    with pytest.raises(KeyboardInterrupt):
        copy(source, reference)
    with pytest.raises(TransportError, match=r"found 0|no such archive"):
        fetched(reference)
    assert not list(tmp_path.rglob(".immutable-*"))


def test_an_image_without_layers() -> None:
    source = image(kinds=())
    destination = MemoryTransport()
    copy(source, destination)
    assert Manifest(source.manifest.config, ()) == destination.manifest


# Progress


@pytest.mark.parametrize("place", ["memory:", "oci:out", "oci-archive:out.tar", "docker-archive:o"])
def test_progress_is_every_byte_once_and_piece_by_piece(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    watching, source = Notes(), image(size=1_500_000)
    destination = MemoryTransport() if place == "memory:" else parse(place)
    copy(source, destination, progress=watching)
    blobs = (*source.manifest.layers, source.manifest.config)
    taken = blobs[:3] if place.startswith("docker") else blobs
    assert sum(blob.size for blob in taken) == watching.total == sum(watching.steps)
    if place != "memory:":  # which reads a blob as one
        assert max(watching.steps) <= 1 << 20


def test_what_is_there_counts_as_done(tmp_path: Path) -> None:
    watching, source = Notes(), image()
    copy(source, f"oci:{tmp_path}/out")
    copy(source, f"oci:{tmp_path}/out", progress=watching)
    assert watching.total == sum(watching.steps)
