import gzip
import io
import json
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from immutable.content.compat import zstd
from immutable.errors import (
    ArchiveError,
    BlobMissing,
    DigestMismatch,
    ImageError,
    ImmutableError,
    TransportError,
)
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.transports import copy
from tests.support.images import MemoryTransport, fetched, image, index, raw_tar, untar

Files = dict[str, bytes]


def names(layout: Path) -> list[str | None]:
    document = oci.decode_index((layout / "index.json").read_bytes(), "test")
    return [dict(entry.annotations).get(oci.REF_NAME) for entry in document.manifests]


# Directories


@pytest.mark.parametrize("ref", ["", ":web:1.4.0"])
def test_a_layout_and_back(tmp_path: Path, ref: str) -> None:
    source = index()
    assert source.root == copy(source, f"oci:{tmp_path / 'deep' / 'layout'}{ref}")
    assert source.blobs == fetched(f"oci:{tmp_path / 'deep' / 'layout'}{ref}").blobs


def test_a_name_moves_and_the_others_stay(tmp_path: Path) -> None:
    for seed, name in (1, "a"), (2, "b"), (3, "a"):
        copy(image(seed), f"oci:{tmp_path}:{name}")
    assert ["b", "a"] == names(tmp_path)
    assert image(3).root == fetched(f"oci:{tmp_path}:a").root


def test_images_without_a_name(tmp_path: Path) -> None:
    copy(image(1), f"oci:{tmp_path}")
    copy(image(1), f"oci:{tmp_path}")
    copy(image(2), f"oci:{tmp_path}:b")
    assert [None, "b"] == names(tmp_path)
    copy(image(3), f"oci:{tmp_path}")
    assert [None, "b", None] == names(tmp_path)


def test_the_choice_of_a_name(tmp_path: Path) -> None:
    copy(image(1), f"oci:{tmp_path}:a")
    copy(image(2), f"oci:{tmp_path}:b")
    with pytest.raises(TransportError, match="expected one image, found 2; there is a, b; say wh"):
        fetched(f"oci:{tmp_path}")
    with pytest.raises(TransportError, match="image called c, found no image; there is a, b"):
        fetched(f"oci:{tmp_path}:c")


def test_an_empty_layout(tmp_path: Path) -> None:
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (tmp_path / "index.json").write_text('{"schemaVersion":2,"manifests":[]}')
    with pytest.raises(TransportError, match="expected one image, found 0; 0 have no name"):
        fetched(f"oci:{tmp_path}")


def test_no_layout(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="this is no OCI image layout"):
        fetched(f"oci:{tmp_path / 'nothing'}")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ImageError, match=r"expected an OCI image layout.* found notes.txt"):
        copy(image(), f"oci:{tmp_path}")
    assert ["notes.txt"] == [path.name for path in tmp_path.iterdir()]


def test_a_failed_copy_leaves_the_index_as_it_was(tmp_path: Path) -> None:
    copy(image(1), f"oci:{tmp_path}:web")
    before = (tmp_path / "index.json").read_bytes()
    source = image(2)
    digest = source.manifest.layers[-1].digest
    source.blobs[digest] = source.blobs[digest][:-1] + b"?"
    with pytest.raises(DigestMismatch):
        copy(source, f"oci:{tmp_path}:web")
    assert before == (tmp_path / "index.json").read_bytes()
    assert not (tmp_path / "blobs/sha256" / digest.hex).exists()
    assert {"blobs", "index.json", "oci-layout"} == {path.name for path in tmp_path.iterdir()}


def test_blobs_that_are_there_are_not_read_again(tmp_path: Path) -> None:
    source = image()
    copy(source, f"oci:{tmp_path}:a")
    for layer in source.manifest.layers:
        del source.blobs[layer.digest]
    assert source.root == copy(source, f"oci:{tmp_path}:b")


def test_a_blob_of_another_size_is_refused_unread(tmp_path: Path) -> None:
    copy(source := image(), f"oci:{tmp_path}")
    blob = tmp_path / "blobs/sha256" / source.manifest.layers[0].digest.hex
    with blob.open("ab") as file:
        file.write(b"more")
    with pytest.raises(ImageError, match=r"expected \d+ bytes, found"):
        fetched(f"oci:{tmp_path}")


# Archives


@pytest.mark.parametrize("ref", ["", ":shop/web:1.4.0"])
def test_an_archive_and_back(tmp_path: Path, ref: str) -> None:
    source = index()
    assert source.root == copy(source, f"oci-archive:{tmp_path / 'web.tar'}{ref}")
    assert source.blobs == fetched(f"oci-archive:{tmp_path / 'web.tar'}{ref}").blobs


def test_an_archives_bytes_are_fixed(tmp_path: Path) -> None:
    # gzip and zstd may give other bytes with another library; this image has only plain layers.
    source = index(kinds=(oci.LAYER,))
    copy(source, f"oci-archive:{tmp_path / 'one.tar'}:web")
    copy(f"oci-archive:{tmp_path / 'one.tar'}", f"oci:{tmp_path / 'layout'}:other")
    copy(f"oci:{tmp_path / 'layout'}:other", f"oci-archive:{tmp_path / 'two.tar'}:web")
    one, two = ((tmp_path / name).read_bytes() for name in ("one.tar", "two.tar"))
    assert one == two
    assert "a4927a2fc90124107764261c71b27763a01ff6f15c166b1546d79f2057cf5ece" == Digest.of(one).hex


def test_an_archives_members(tmp_path: Path) -> None:
    copy(image(), f"oci-archive:{tmp_path / 'web.tar'}")
    with tarfile.open(tmp_path / "web.tar") as archive:
        found = archive.getmembers()
    assert ["oci-layout", "index.json", "blobs", "blobs/sha256"] == [m.name for m in found[:4]]
    assert {(0, 0, 0, "", "")} == {(m.uid, m.gid, m.mtime, m.uname, m.gname) for m in found}
    assert {(True, 0o644), (False, 0o755)} == {(m.isfile(), m.mode) for m in found}


def test_an_archive_replaces_a_file_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "web.tar"
    copy(image(2), f"oci-archive:{target}")
    before = target.read_bytes()
    source = image()
    source.blobs[source.manifest.layers[-1].digest] = b""
    with pytest.raises(DigestMismatch):
        copy(source, f"oci-archive:{target}")
    assert before == target.read_bytes()
    assert [target] == list(tmp_path.iterdir())
    copy(image(), f"oci-archive:{target}")
    assert image().root == fetched(f"oci-archive:{target}").root
    assert 0o644 == target.stat().st_mode & 0o777


def test_an_archive_is_never_copied_over_itself(tmp_path: Path) -> None:
    copy(image(), f"oci-archive:{tmp_path / 'web.tar'}:a")
    with pytest.raises(TransportError, match="a place that nothing is read from, found the source"):
        copy(f"oci-archive:{tmp_path / 'web.tar'}:a", f"oci-archive:{tmp_path / 'web.tar'}:b")
    assert image().root == fetched(f"oci-archive:{tmp_path / 'web.tar'}:a").root


def test_where_no_archive_can_stand(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="expected a regular file or nothing"):
        copy(image(), f"oci-archive:{tmp_path}")
    with pytest.raises(TransportError, match="expected a regular file or nothing"):
        copy(image(), "oci-archive:/dev/null")
    with pytest.raises(TransportError, match="no such directory; make it first"):
        copy(image(), f"oci-archive:{tmp_path / 'no' / 'web.tar'}")
    with pytest.raises(TransportError, match="no such archive"):
        fetched(f"oci-archive:{tmp_path / 'web.tar'}")
    with pytest.raises(TransportError, match="expected a regular file"):
        fetched(f"oci-archive:{tmp_path}")


def archived(path: Path, source: MemoryTransport | None = None) -> Files:
    copy(source or image(), f"oci-archive:{path}")
    return untar(path)


def test_members_may_stand_in_any_order(tmp_path: Path) -> None:
    files = archived(tmp_path / "web.tar")
    (tmp_path / "web.tar").write_bytes(raw_tar([*files.items()][::-1]))
    assert image().blobs == fetched(f"oci-archive:{tmp_path / 'web.tar'}").blobs


def test_an_archive_as_gnu_tar_makes_it(tmp_path: Path) -> None:
    copy(image(), f"oci:{tmp_path / 'layout'}")
    with tarfile.open(tmp_path / "web.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        archive.add(tmp_path / "layout", ".")
    assert image().blobs == fetched(f"oci-archive:{tmp_path / 'web.tar'}").blobs


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress, lzma.compress])
def test_a_compressed_archive(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    archived(tmp_path / "web.tar")
    packed = pack((tmp_path / "web.tar").read_bytes())
    (tmp_path / "web.tar").write_bytes(packed)
    assert image().blobs == fetched(f"oci-archive:{tmp_path / 'web.tar'}").blobs
    (tmp_path / "web.tar").write_bytes(packed[:-20])
    with pytest.raises(ArchiveError, match="truncated"):
        fetched(f"oci-archive:{tmp_path / 'web.tar'}")


def test_what_a_killed_copy_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".immutable-0123456789abcdef").write_text("half an archive")
    archived(tmp_path / "web.tar")
    assert [tmp_path / "web.tar"] == list(tmp_path.iterdir())


def first_layer(files: Files) -> str:
    return f"blobs/sha256/{image().manifest.layers[0].digest.hex}"


def flip(files: Files) -> None:
    name = first_layer(files)
    files[name] = files[name][:-1] + bytes([files[name][-1] ^ 1])


def lengthen(files: Files) -> None:
    files[first_layer(files)] += b"x"


def lose(files: Files) -> None:
    del files[first_layer(files)]


def lose_index(files: Files) -> None:
    del files["index.json"]


def lose_marker(files: Files) -> None:
    del files["oci-layout"]


def other_version(files: Files) -> None:
    files["oci-layout"] = b'{"imageLayoutVersion":"2.0.0"}'


def marker_no_json(files: Files) -> None:
    files["oci-layout"] = b"\xff"


def repeated_key(files: Files) -> None:
    files["index.json"] = b'{"schemaVersion":2,"manifests":[],"manifests":[]}'


def deep(files: Files) -> None:
    files["index.json"] = b"[" * 100_000


def huge_index(files: Files) -> None:
    files["index.json"] = b" " * (5 << 20)


def negative_size(files: Files) -> None:
    document = json.loads(files["index.json"])
    document["manifests"][0]["size"] = -1
    files["index.json"] = json.dumps(document).encode()


def digest_that_leaves(files: Files) -> None:
    document = json.loads(files["index.json"])
    document["manifests"][0]["digest"] = "sha256:../../etc/passwd"
    files["index.json"] = json.dumps(document).encode()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (flip, DigestMismatch, "blob sha256:"),
        (lengthen, ImageError, "bytes, found"),
        (lose, BlobMissing, "is missing"),
        (lose_index, BlobMissing, "index.json is missing"),
        (lose_marker, ImageError, "oci-layout: missing; this is no OCI archive"),
        (other_version, ImageError, "imageLayoutVersion: expected '1.0.0', found '2.0.0'"),
        (marker_no_json, ImageError, "oci-layout: not JSON"),
        (repeated_key, ImageError, "duplicate key 'manifests'"),
        (deep, ImageError, "nested too deeply"),
        (huge_index, ImageError, "index.json: expected at most"),
        (negative_size, ImageError, "size: out of range"),
        (digest_that_leaves, ImageError, "digest: expected 64"),
    ],
)
def test_damaged_archives(
    tmp_path: Path, change: Callable[[Files], None], error: type[ImmutableError], message: str
) -> None:
    files = archived(tmp_path / "web.tar")
    change(files)
    (tmp_path / "web.tar").write_bytes(raw_tar([*files.items()]))
    with pytest.raises(error) as caught:
        copy(f"oci-archive:{tmp_path / 'web.tar'}", f"oci-archive:{tmp_path / 'copy.tar'}")
    assert message in str(caught.value)
    assert [tmp_path / "web.tar"] == list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["/oci-layout", "../index.json", "a/../../b"])
def test_members_that_leave_the_archive(tmp_path: Path, name: str) -> None:
    files = archived(tmp_path / "web.tar")
    (tmp_path / "web.tar").write_bytes(raw_tar([*files.items(), (name, b"{}")]))
    with pytest.raises(ArchiveError):
        fetched(f"oci-archive:{tmp_path / 'web.tar'}")


def test_a_member_twice(tmp_path: Path) -> None:
    files = archived(tmp_path / "web.tar")
    (tmp_path / "web.tar").write_bytes(raw_tar([*files.items(), ("index.json", b"{}")]))
    with pytest.raises(ArchiveError, match=r"index.json: claimed twice"):
        fetched(f"oci-archive:{tmp_path / 'web.tar'}")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_blob_that_is_no_file(tmp_path: Path, kind: bytes) -> None:
    files = archived(tmp_path / "web.tar")
    blob = first_layer(files)
    data = files.pop(blob)
    with tarfile.open(tmp_path / "web.tar", "w") as archive:
        for name, content in [*files.items(), ("elsewhere", data)]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo(blob)
        link.type = kind
        link.linkname = "elsewhere" if kind == tarfile.LNKTYPE else "../../elsewhere"
        archive.addfile(link)
    with pytest.raises(ArchiveError, match="expected a file"):
        fetched(f"oci-archive:{tmp_path / 'web.tar'}")


def test_a_truncated_archive(tmp_path: Path) -> None:
    archived(tmp_path / "web.tar")
    data = (tmp_path / "web.tar").read_bytes()
    for length in (0, 100, 512, len(data) // 2, len(data) - 1024):
        (tmp_path / "web.tar").write_bytes(data[:length])
        with pytest.raises(ArchiveError, match="truncated"):
            fetched(f"oci-archive:{tmp_path / 'web.tar'}")


def test_another_kind_of_archive(tmp_path: Path) -> None:
    copy(image(), f"docker-archive:{tmp_path / 'web.tar'}")
    with pytest.raises(ImageError, match="it is a docker-archive"):
        fetched(f"oci-archive:{tmp_path / 'web.tar'}")


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TransportError, match="file: expected a directory or nothing there"):
        copy(image(), f"oci:{tmp_path / 'file'}")
