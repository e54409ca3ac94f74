"""npm's archives: unpacked as npm does, and refused where an archive is damaged or unsafe."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import pytest

import immutable
from immutable.builders.base import Inputs
from immutable.builders.npm.layout import Layout, Placement
from immutable.builders.npm.package import File, PinnedArchive, unpack_all
from immutable.config import Config
from immutable.content.compat import zstd
from immutable.content.entries import EntryKind, Inline
from immutable.content.tar.format import BLOCK
from immutable.errors import ArchiveError, DigestMismatch, EntryError, ImmutableError
from immutable.sources.npm.lockfile import LockedPackage
from immutable.store import MemoryStore, Store
from tests.support.archives import END, block, directory, gzipped, hardlink, member, pax, symlink
from tests.support.beneath import Beneath
from tests.support.npm import Content, Project, shape, tarball
from tests.support.progress import Notes
from tests.support.specs import contents
from tests.support.stores import tree


class _StoppedError(Exception):
    pass


def stopping(calls: int) -> Notes:
    """Return a watcher that ends the work once it has been told of `calls` steps."""

    def stop(_amount: int) -> None:
        if len(notes.steps) >= calls:
            raise _StoppedError

    notes = Notes(advances=stop)
    return notes


def unpacked(
    *archives: bytes, jobs: int = 2, progress: Notes | None = None
) -> list[dict[str, tuple[int, bytes]]]:
    """Return each archive's files: path → (mode, content)."""
    store = MemoryStore()
    wanted = [
        PinnedArchive(f"p{number} 1.0.0", store.put_blob(data))
        for number, data in enumerate(archives)
    ]
    with ExitStack() as stack:

        def scratch() -> BinaryIO:
            return stack.enter_context(store.scratch())

        config = Config(Path("store"), Path("cache"), jobs=jobs)
        inputs = Inputs(store, scratch, Beneath({}), progress or Notes(), config)
        return [
            {
                path.decode("utf-8", "backslashreplace"): (one.mode, _bytes(one))
                for path, one in files.items()
            }
            for files in unpack_all(wanted, inputs)
        ]


def _bytes(one: File) -> bytes:
    return b"".join(one.content.read())


def packed(*members: bytes) -> bytes:
    return gzipped(b"".join(members) + END)


GOOD = member(b"package/index.js", b"good")


def test_progress_counts_packages_and_tells_of_every_piece() -> None:
    notes = Notes()
    unpacked(packed(GOOD), packed(GOOD, member(b"package/b", b"b")), progress=notes)
    assert {"unpacking": 2} == notes.tasks


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_large_package_ends_as_soon_as_it_is_told_to(jobs: int) -> None:
    large = packed(member(b"package/large", bytes(64 << 20)))
    progress = stopping(calls=5)
    with pytest.raises(_StoppedError):
        unpacked(large, packed(GOOD), jobs=jobs, progress=progress)
    assert len(progress.steps) < 20


def test_a_package_of_many_small_files_ends_too() -> None:
    many = packed(*(directory(b"package/%d/" % number) for number in range(500)))
    progress = stopping(calls=5)
    with pytest.raises(_StoppedError):
        unpacked(many, progress=progress)
    assert len(progress.steps) < 20


def test_names_and_modes() -> None:
    long = b"n" * 255
    (found,) = unpacked(
        packed(
            member(b"package/\xff.js", b"1"),
            pax((b"path", b"package/" + long)),
            member(b"x", b"2"),
            member(b"package/setuid", b"3", mode=0o6755, uid=1000, mtime=1 << 33),
            member(b"./package/dot", b"4"),
        )
    )
    assert {
        "\\xff.js": (0o644, b"1"),
        long.decode(): (0o644, b"2"),
        "setuid": (0o755, b"3"),
        "dot": (0o644, b"4"),
    } == found


EVIL: Mapping[str, tuple[bytes, str]] = {
    "dotdot": (member(b"package/../../evil", b""), "leaves the root through .."),
    "absolute": (member(b"/etc/passwd", b""), "/etc/passwd: an absolute path"),
    "absolute by pax": (pax((b"path", b"/etc/x")) + member(b"x", b""), "an absolute path"),
    "NUL": (pax((b"path", b"package/a\0b")) + member(b"x", b""), "a NUL in"),
    "256 bytes": (
        pax((b"path", b"package/" + b"n" * 256)) + member(b"x", b""),
        "a name of 256 bytes",
    ),
    "ten thousand levels": (
        pax((b"path", b"package/" + b"d/" * 10_000 + b"f")) + member(b"x", b""),
        "a path of 20009 bytes; at most 4095",
    ),
    "through a symlink": (
        symlink(b"package/l", b"/etc") + member(b"package/l/passwd", b""),
        "goes through package/l, which is a symlink",
    ),
    "a directory swapped": (
        directory(b"package/d/") + symlink(b"package/d", b"/etc"),
        "a symlink in the place of a directory",
    ),
    "hard link out": (hardlink(b"package/h", b"../../etc/passwd"), "leaves the root through .."),
    "hard link to nothing": (hardlink(b"package/h", b"package/n"), "which is not there before it"),
    "character device": (block(b"package/c", flag=b"3", device=(1, 3)), "a character device"),
    "block device": (block(b"package/b", flag=b"4", device=(8, 0)), "a block device"),
    "FIFO": (block(b"package/p", flag=b"6"), "a FIFO"),
    "unknown": (block(b"package/s", flag=b"9"), "expected a file, link, directory"),
    "a negative size": (block(b"package/n", size=b"\x80" + b"\xff" * 11), "size"),
    "a wrong checksum": (block(b"package/n", checksum=b"000000\0 "), "checksum"),
}


@pytest.mark.parametrize("name", EVIL)
def test_what_no_package_should_hold_is_refused(name: str) -> None:
    evil, said = EVIL[name]
    with pytest.raises(ArchiveError) as caught:
        unpacked(packed(GOOD, evil))
    assert str(caught.value).startswith("p0 1.0.0: ")
    assert said in str(caught.value)


FLIPPED = bytearray(packed(GOOD))
FLIPPED[-6] ^= 1  # of the CRC


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "truncated"),
        (b"no archive at all", "truncated"),
        (packed(GOOD)[:-9], "truncated: ends within a stream"),
        (packed(GOOD)[:40], "truncated: ends within a stream"),
        (gzipped(GOOD[:-BLOCK]), "bytes of content missing"),
        (gzipped(GOOD), "before its end mark"),
        (bytes(FLIPPED), "damaged: "),
        (packed(GOOD) + b"junk", "junk after its end"),
        (gzipped(GOOD + END + GOOD), "data after the end mark"),
    ],
)
def test_damaged_archives_are_refused(data: bytes, said: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        unpacked(data)
    assert str(caught.value).startswith("p0 1.0.0: ")
    assert said in str(caught.value)


def test_members_of_gzip_one_after_another_are_one_archive() -> None:
    (found,) = unpacked(gzipped(GOOD) + gzipped(member(b"package/b", b"b") + END))
    assert {"index.js", "b"} == found.keys()


def test_zeros_may_fill_what_follows_the_archive() -> None:
    # As in less 1.3.0.
    (found,) = unpacked(packed(GOOD) + bytes(5 * BLOCK))
    assert {"index.js"} == found.keys()
    with pytest.raises(ArchiveError, match="junk after its end"):
        unpacked(packed(GOOD) + bytes(BLOCK) + b"junk")


def test_bombs_are_refused() -> None:
    # Ten gibibytes of zeros; a frame for each 64 MiB of them.
    zeros = zstd.compress(bytes(64 << 20)) * 160
    head = zstd.compress(block(b"package/zeros", size=10 << 30))
    with pytest.raises(ArchiveError, match="expands to more than 1073741824 bytes and 1000 times"):
        unpacked(head + zeros + zstd.compress(END))


def test_a_hole_counts_like_what_is_in_it() -> None:
    hole = [(b"GNU.sparse.size", b"%d" % (2 << 30)), (b"GNU.sparse.numblocks", b"0")]
    with pytest.raises(ArchiveError, match="expands to more than 1073741824 bytes and 1000 times"):
        unpacked(packed(pax(*hole), member(b"package/hole")))


def test_twenty_thousand_files_are_unpacked() -> None:
    (found,) = unpacked(packed(*(member(b"package/%d" % number, b"x") for number in range(20_000))))
    assert 20_000 == len(found)


def test_nothing_of_a_refused_package_gets_into_the_store(tmp_path: Path) -> None:
    project = Project(tmp_path).add("good").add("evil", packed(GOOD, EVIL["dotdot"][0]))
    with Store.open(tmp_path / "store") as store:
        project.lock(store)
        before = tree(tmp_path / "store")
        with pytest.raises(ArchiveError, match=r"evil 1\.0\.0: package/\.\./\.\./evil: leaves"):
            immutable.build(project.write(), store, config=project.config)
        assert before == tree(tmp_path / "store")


@pytest.mark.parametrize("path", [".wh.x", "sub/.wh..wh..opq", ".wh.d/x", "node_modules/.wh.b"])
def test_what_would_be_a_deletion_is_refused(tmp_path: Path, path: str) -> None:
    project = Project(tmp_path).add("evil", {path: ""})
    with pytest.raises(EntryError, match=r"node_modules/evil/.*names that start with \.wh\. mean"):
        project.layer(MemoryStore())


def test_a_command_that_would_be_a_deletion_is_refused(tmp_path: Path) -> None:
    project = Project(tmp_path).add("evil", {"x": ""}, bin={".wh.other": "x"})
    with pytest.raises(EntryError, match=r"node_modules/\.bin/\.wh\.other: names that start"):
        project.layer(MemoryStore())


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"node_modules": "a file"}, "app/node_modules/a/node_modules: claimed twice"),
        ({"node_modules/b": "a file"}, "app/node_modules/a/node_modules/b: claimed twice"),
    ],
)
def test_a_file_where_another_package_has_a_folder_is_refused(
    tmp_path: Path, files: Mapping[str, Content], said: str
) -> None:
    project = Project(tmp_path).add("a", files)
    project.add("node_modules/a/node_modules/b", {"index.js": "b"})
    with pytest.raises(EntryError) as caught:
        project.layer(MemoryStore())
    assert said in str(caught.value)


def test_a_package_cannot_write_through_a_link_of_the_project(tmp_path: Path) -> None:
    project = Project(tmp_path).entry("w", name="w", dependencies={"x": "1"})
    project.entry("node_modules/w", resolved="w", link=True)
    project.add("node_modules/w/node_modules/x", {"x": "through a link"})
    project.depend(w="file:w")
    project.packages["node_modules/w/node_modules/x"]["extraneous"] = True
    # Nothing leads there, so it is not in the tree at all.
    assert {"node_modules/w": "-> ../w"} == {
        path: word
        for path, word in shape(project.layer(MemoryStore())).items()
        if not path.endswith(".package-lock.json")
    }


def test_equal_archives_of_two_packages_are_one_source(tmp_path: Path) -> None:
    data = tarball({"index.js": "same"})
    project = Project(tmp_path).add("a", data).add("b", data)
    found = shape(project.layer(MemoryStore()))
    assert "644 same" == found["node_modules/a/index.js"] == found["node_modules/b/index.js"]


def test_wrong_bytes_in_the_store_are_found(tmp_path: Path) -> None:
    project = Project(tmp_path).add("a", {"index.js": "good"})
    with Store.open(tmp_path / "store") as store:
        digest = project.lock(store).lock.layer[0].pin[0].sha256
        path = tmp_path / "store" / "blobs" / "sha256" / digest.hex
        path.chmod(0o644)
        path.write_bytes(tarball({"index.js": "evil"}))
        with pytest.raises((DigestMismatch, ImmutableError), match=digest.hex):
            immutable.build(project.write(), store, config=project.config)


def bundled(location: str) -> LockedPackage:
    return LockedPackage(location, location.rpartition("/")[2], "2.0.0", bundled=True)


def test_what_is_bundled_has_to_be_in_the_archive() -> None:
    files = {b"node_modules/b/package.json": File(0o644, Inline(b"{}"))}
    layout = Layout(b"app", 0, 0)

    def entries(*wanted: str) -> object:
        places = [Placement("node_modules/a", 0)]
        return layout.entries(places, [files], (), (), b"", map(bundled, wanted))

    entries("node_modules/a/node_modules/b")
    with pytest.raises(
        ArchiveError,
        match=r"node_modules/a/node_modules/c: expected c 2\.0\.0 in the archive of the package",
    ):
        entries("node_modules/a/node_modules/b", "node_modules/a/node_modules/c")


def test_a_layer_holds_files_folders_and_links_alone(tmp_path: Path) -> None:
    more = symlink(b"package/l", b"index.js") + hardlink(b"package/h", b"package/index.js")
    project = Project(tmp_path).add("a", tarball({"index.js": "a"}, more=more))
    store = MemoryStore()
    found = contents(store, project.build(store).platforms[0].layers[0])
    assert {EntryKind.DIRECTORY, EntryKind.FILE} == {entry.kind for entry in found.values()}
    assert "app/node_modules/a/h" not in found
