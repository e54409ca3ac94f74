"""Layers of kind ``archive``: pinned, unpacked strictly, refused whole."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from immutable import lock
from immutable.content.compat import zstd
from immutable.content.entries import EntryKind
from immutable.errors import (
    ArchiveError,
    DigestMismatch,
    FetchError,
    ImmutableError,
    LockMissing,
    SourceError,
    SpecError,
)
from immutable.oci.digest import Digest
from immutable.store import MemoryStore, Store
from tests.support.archives import (
    END,
    Zipped,
    directory,
    hardlink,
    member,
    pax,
    symlink,
    zipped,
)
from tests.support.progress import Notes
from tests.support.specs import (
    CONFIG,
    State,
    attributes,
    build,
    contents,
    layer,
    text,
    write,
)
from tests.support.web import WebServer

TAR = b"".join(
    [
        directory(b"tool-1.0/", mode=0o775),
        directory(b"tool-1.0/bin/", mode=0o750, uid=500, gid=500),
        member(b"tool-1.0/bin/tool", b"#!/bin/sh\n", mode=0o755, uid=500, mtime=1_700_000_000),
        hardlink(b"tool-1.0/bin/alias", b"tool-1.0/bin/tool", mode=0o755),
        symlink(b"tool-1.0/current", b"bin/tool"),
        member(b"tool-1.0/doc/README", b"read me\n"),
        END,
    ]
)
ZIP = zipped(
    Zipped(b"tool-1.0/bin/tool", b"#!/bin/sh\n", mode=0o100755),
    Zipped(b"tool-1.0/doc/README", b"read me\n"),
)


def pinned(folder: Path, data: bytes, **options: Any) -> Path:
    """Write an archive, and a spec with a layer of it."""
    (folder / "tool.bin").write_bytes(data)
    options = {"sha256": hashlib.sha256(data).hexdigest(), "target": "/opt", **options}
    return write(folder, layer("archive", "tool", path="tool.bin", **options))


@pytest.mark.parametrize(
    "pack",
    [bytes, gzip.compress, lzma.compress, zstd.compress],
    ids=["tar", "tar.gz", "tar.xz", "tar.zst"],
)
def test_a_tar_by_path(tmp_path: Path, store: MemoryStore, pack: Callable[[bytes], bytes]) -> None:
    spec = pinned(tmp_path, pack(TAR), strip=1)

    found = contents(store, build(spec, store).layers[0])

    assert {
        "opt": (0o755, 0, 0),
        "opt/bin": (0o750, 0, 0),
        "opt/bin/alias": (0o755, 0, 0),
        "opt/bin/tool": (0o755, 0, 0),
        "opt/current": (0o777, 0, 0),
        "opt/doc": (0o755, 0, 0),
        "opt/doc/README": (0o644, 0, 0),
    } == attributes(found)
    assert (EntryKind.FILE, "#!/bin/sh\n") == (
        found["opt/bin/alias"].kind,
        text(found["opt/bin/alias"]),
    )
    assert (EntryKind.HARDLINK, b"opt/bin/alias") == (
        found["opt/bin/tool"].kind,
        found["opt/bin/tool"].target,
    )
    assert {0} == {entry.mtime for entry in found.values()}


def test_a_zip_by_path(tmp_path: Path, store: MemoryStore) -> None:
    found = contents(store, build(pinned(tmp_path, ZIP, strip=1), store).layers[0])

    assert (0o755, 0, 0) == attributes(found)["opt/bin/tool"]
    assert "read me\n" == text(found["opt/doc/README"])


def test_how_it_was_compressed_changes_only_the_source(tmp_path: Path, store: MemoryStore) -> None:
    one = build(pinned(tmp_path, gzip.compress(TAR, mtime=1)), store)
    other = build(pinned(tmp_path, gzip.compress(TAR, 1, mtime=2)), store)

    assert one.layers[0].derivation != other.layers[0].derivation
    assert one.layers[0].diff_id == other.layers[0].diff_id


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"strip": 2}, "README alias tool"),
        ({"strip": 1, "include": ["bin/*"]}, "bin bin/alias bin/tool"),
        ({"strip": 1, "include": ["bin"], "exclude": ["**/tool"]}, "bin bin/alias"),
        ({"strip": 1, "exclude": ["bin", "doc"]}, "current"),
        ({"include": ["**/README"]}, "tool-1.0 tool-1.0/doc tool-1.0/doc/README"),
    ],
)
def test_strip_include_and_exclude(
    tmp_path: Path, store: MemoryStore, options: dict[str, Any], expected: str
) -> None:
    found = contents(store, build(pinned(tmp_path, TAR, **options, target="/"), store).layers[0])

    assert expected.split() == sorted(found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strip": 9}, "tool.bin: strip = 9 leave nothing of its 6 entries"),
        ({"include": ["nope", "b*"]}, 'tool.bin: include = ["nope", "b*"] leave nothing of its 6'),
    ],
)
def test_a_choice_of_nothing_is_refused(
    tmp_path: Path, store: MemoryStore, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArchiveError) as caught:
        build(pinned(tmp_path, TAR, **options), store)
    assert message in str(caught.value)


def test_a_zip_that_unpacks_itself_is_named_as_such(tmp_path: Path, store: MemoryStore) -> None:
    spec = pinned(tmp_path, zipped(Zipped(b"a", b"1"), before=b"#!/bin/sh\n"))
    with pytest.raises(ArchiveError, match="neither a tar nor a zip that begins at its first"):
        build(spec, store)


def test_chosen_folders_keep_their_modes_and_all_have_the_owner(
    tmp_path: Path, store: MemoryStore
) -> None:
    spec = pinned(tmp_path, TAR, strip=1, include=["**/tool", "doc/*"], owner="7:8", target="/a/b")

    found = attributes(contents(store, build(spec, store).layers[0]))

    assert {
        "a": (0o755, 0, 0),
        "a/b": (0o755, 7, 8),
        "a/b/bin": (0o750, 7, 8),
        "a/b/bin/tool": (0o755, 7, 8),
        "a/b/doc": (0o755, 7, 8),
        "a/b/doc/README": (0o644, 7, 8),
    } == found


def test_a_link_to_what_is_left_out_becomes_the_file(tmp_path: Path, store: MemoryStore) -> None:
    data = b"".join(
        [
            member(b"a", b"stripped away"),
            member(b"x/a", b"another file of the same stripped name"),
            hardlink(b"x/b", b"a"),
            hardlink(b"x/c", b"a"),
            END,
        ]
    )

    found = contents(store, build(pinned(tmp_path, data, strip=1), store).layers[0])

    assert "another file of the same stripped name" == text(found["opt/a"])
    assert "stripped away" == text(found["opt/b"])
    assert (EntryKind.HARDLINK, b"opt/b") == (found["opt/c"].kind, found["opt/c"].target)


def test_parents_stay_as_layers_beneath_describe_them(tmp_path: Path, store: MemoryStore) -> None:
    data = member(b"a/b", b"") + END
    entries = [
        {"path": "/srv", "directory": True, "owner": "5", "mode": "0711"},
        {"path": "/srv/x", "directory": True, "owner": "5", "mode": "0722"},
        {"path": "/srv/x/a", "directory": True, "owner": "5", "mode": "0733"},
    ]
    (tmp_path / "tool.bin").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    spec = write(
        tmp_path,
        layer("files", "data", entries=entries)
        + layer("archive", "tool", path="tool.bin", sha256=digest, target="/srv/x"),
    )

    found = attributes(contents(store, build(spec, store).layers[1]))

    assert {
        "srv": (0o711, 5, 5),
        "srv/x": (0o722, 5, 5),
        "srv/x/a": (0o733, 5, 5),
        "srv/x/a/b": (0o644, 0, 0),
    } == found


# Pins


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({}, "expected either path or url"),
        ({"path": "a", "url": "https://h.test/a"}, "expected either path or url"),
        ({"path": "a"}, "sha256: is required for a path"),
        ({"path": "a", "sha256": "0" * 63}, "sha256: expected 64 hex digits, found 63"),
        ({"path": "a", "sha256": "A" * 64}, "sha256: expected lower-case"),
        ({"url": "ftp://h.test/a"}, "url: expected an https URL"),
        ({"url": "https://u:p@h.test/a"}, "url: credentials in a URL"),
        ({"url": "https://h.test/a", "strip": -1}, "strip: expected 0 or more"),
    ],
)
def test_wrong_options_are_named(
    tmp_path: Path, store: MemoryStore, options: dict[str, Any], fault: str
) -> None:
    with pytest.raises(SpecError, match=rf"web\.toml: layer\[0\].*{fault}"):
        build(write(tmp_path, layer("archive", **options)), store)


def test_other_bytes_than_pinned_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    spec = pinned(tmp_path, TAR)
    (tmp_path / "tool.bin").write_bytes(TAR + bytes(512))
    with Store.open(tmp_path / "store") as store:
        before = State.of(store)

        with pytest.raises(DigestMismatch, match=r"tool\.bin: expected sha256:.*, found sha256:"):
            build(spec, store)

        assert before == State.of(store)


def test_a_missing_archive_is_named_unless_the_store_has_it(
    tmp_path: Path, store: MemoryStore
) -> None:
    spec = pinned(tmp_path, TAR)
    (tmp_path / "tool.bin").unlink()

    with pytest.raises(SourceError, match=r"tool\.bin: no such file"):
        build(spec, store)

    store.put_blob(TAR)
    assert build(spec, store).layers


def test_an_archive_on_this_disk_is_not_copied_into_the_store(tmp_path: Path) -> None:
    spec = pinned(tmp_path, TAR)
    with Store.open(tmp_path / "store") as store:
        image = build(spec, store, offline=True)

        assert not store.has_blob(Digest.of(TAR))
        (tmp_path / "tool.bin").unlink()
        assert build(spec, store).layers[0].cached
        assert image.digest == build(spec, store).digest


def test_what_lies_there_is_no_file(tmp_path: Path, store: MemoryStore) -> None:
    spec = pinned(tmp_path, TAR)
    (tmp_path / "tool.bin").unlink()
    os.mkfifo(tmp_path / "tool.bin")

    with pytest.raises(SourceError, match=r"tool\.bin: expected a regular file"):
        build(spec, store)


@pytest.mark.parametrize("task", ["reading tool.bin", "unpacking tool.bin"])
def test_an_archive_that_changes_under_the_build_is_refused(
    tmp_path: Path, store: MemoryStore, task: str
) -> None:
    spec = pinned(tmp_path, TAR)

    def meddle(label: str) -> None:
        if label == task:
            (tmp_path / "tool.bin").write_bytes(TAR)
            os.utime(tmp_path / "tool.bin", (1, 1))

    with pytest.raises(SourceError, match=r"tool\.bin: changed while it was read"):
        build(spec, store, progress=Notes(begins=meddle))


def test_a_url_is_locked_then_built_then_never_asked_again(
    tmp_path: Path, store: MemoryStore
) -> None:
    web = WebServer(tmp_path / "web")
    web.folder.mkdir()
    (web.folder / "tool.tar").write_bytes(TAR)
    with web.serve() as url:
        spec = write(tmp_path, layer("archive", url=f"{url}/tool.tar", strip=1))
        with pytest.raises(LockMissing, match=rf"run `immutable lock {spec}`"):
            build(spec, store)

        locked = lock(spec, store, config=CONFIG)

        (pin,) = locked.lock.layer[0].pin
        assert ("tool.tar", len(TAR), hashlib.sha256(TAR).hexdigest()) == (
            pin.name,
            pin.size,
            pin.sha256.hex,
        )
        assert store.has_blob(pin.sha256)
        (web.folder / "tool.tar").write_bytes(bytes(len(TAR)))
        image = build(spec, store)
        assert ["/tool.tar"] == web.requests
        with pytest.raises(FetchError, match=r"tool\.tar: cannot be fetched\n .*: expected"):
            build(spec, MemoryStore())
        with pytest.raises(SourceError, match=r"offline, and these are not in the store: tool"):
            build(spec, MemoryStore(), offline=True)
    assert image.digest == build(spec, store, offline=True).digest


def test_a_url_with_its_sha256_needs_no_lock(tmp_path: Path, store: MemoryStore) -> None:
    web = WebServer(tmp_path / "web")
    web.folder.mkdir()
    (web.folder / "t").write_bytes(TAR)
    digest = hashlib.sha256(TAR).hexdigest()
    with web.serve() as url:
        by_url = build(write(tmp_path, layer("archive", url=f"{url}/t", sha256=digest)), store)
    by_path = build(pinned(tmp_path, TAR, target="/"), store)

    assert by_url.layers[0].derivation == by_path.layers[0].derivation
    assert by_path.layers[0].cached


# What a spec has to allow


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6755])
def test_setuid_has_to_be_allowed(tmp_path: Path, store: MemoryStore, mode: int) -> None:
    data = member(b"su", b"", mode=mode) + END

    with pytest.raises(ArchiveError, match=rf"tool\.bin: su: mode {mode:04o} is setuid"):
        build(pinned(tmp_path, data), store)

    found = contents(store, build(pinned(tmp_path, data, setuid=True), store).layers[0])
    assert mode == found["opt/su"].mode


def test_file_capabilities_have_to_be_allowed(tmp_path: Path, store: MemoryStore) -> None:
    value = b"\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    data = pax((b"SCHILY.xattr.security.capability", value)) + member(b"ping", b"") + END

    with pytest.raises(ArchiveError, match=r"tool\.bin: ping: has file capabilities"):
        build(pinned(tmp_path, data), store)

    found = contents(store, build(pinned(tmp_path, data, setuid=True), store).layers[0])
    assert ((b"security.capability", value),) == found["opt/ping"].xattrs


@pytest.mark.parametrize(
    ("flag", "what"), [(b"3", "a character device"), (b"4", "a block device"), (b"6", "a FIFO")]
)
def test_devices_have_to_be_allowed(
    tmp_path: Path, store: MemoryStore, flag: bytes, what: str
) -> None:
    data = member(b"null", flag=flag, device=(1, 3)) + END

    with pytest.raises(ArchiveError, match=rf"tool\.bin: null: {what}"):
        build(pinned(tmp_path, data), store)

    found = contents(store, build(pinned(tmp_path, data, special=True), store).layers[0])
    assert EntryKind(flag) == found["opt/null"].kind


def test_what_is_excluded_need_not_be_allowed(tmp_path: Path, store: MemoryStore) -> None:
    data = member(b"null", flag=b"3") + member(b"su", mode=0o4755) + member(b"good") + END

    found = contents(store, build(pinned(tmp_path, data, include=["good"]), store).layers[0])

    assert ["opt", "opt/good"] == sorted(found)


HOSTILE = {
    "leaves the root": member(b"../../x", b"") + END,
    "absolute": member(b"/etc/passwd", b"") + END,
    "through a symlink": symlink(b"a", b"/etc") + member(b"a/b", b"") + END,
    "link outside": hardlink(b"a", b"../x") + END,
    "link to nothing": hardlink(b"a", b"b") + END,
    "twice": member(b"a", b"1") + member(b"a", b"2") + END,
    "whiteout": member(b".wh.a", b"") + END,
    "opaque": member(b"d/.wh..wh..opq", b"") + END,
    "truncated": member(b"a", b"1" * 600)[:700],
    "no end": member(b"a", b"1"),
    "bad checksum": member(b"a", b"1", checksum=b"000000\0 ") + END,
    "after the end": END + member(b"a", b""),
    "long name": member(b"p/" + b"n" * 98, b"") + pax((b"path", b"n" * 256)) + member(b"x") + END,
    "damaged gzip": gzip.compress(TAR)[:-9],
    "junk after gzip": gzip.compress(TAR) + b"junk",
    "nothing": b"",
    "text": b"<html>404 Not Found</html>",
    "zip leaving": zipped(Zipped(b"../x", b"")),
    "zip damaged": ZIP[:-30],
    "zip lying": zipped(Zipped(b"a", b"1", crc=0)),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_archives_leave_the_store_as_it_was(tmp_path: Path, data: bytes) -> None:
    spec = pinned(tmp_path, data)
    with Store.open(tmp_path / "store") as store:
        before = State.of(store)

        with pytest.raises(ImmutableError):
            build(spec, store)

        assert before == State.of(store)
