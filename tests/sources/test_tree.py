"""Local trees: what globs choose, special files, changes during a build, the stat cache."""

from __future__ import annotations

import os
import resource
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import evolve

from immutable.content.entries import EntryKind
from immutable.errors import SourceError
from immutable.oci.digest import Digest
from immutable.sources import disk_file, walk
from immutable.sources.disk_file import DiskFile
from immutable.sources.tree import Tree
from immutable.store import MemoryStore
from tests.support import needs
from tests.support.hanging import at_once
from tests.support.specs import fill


def scan(root: Path, stats: MemoryStore | None = None, **globs: tuple[str, ...]) -> Tree:
    return Tree.scan(root, stats=stats or MemoryStore(), jobs=2, **globs)


def paths(tree: Tree) -> list[str]:
    return [path.decode() for path, *_ in tree.items()]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return fill(
        tmp_path / "app",
        {"main.js": "1", "lib/a.js": "2", "lib/b.txt": "3", "public/index.html": "4"},
    )


@pytest.fixture
def aged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock stand an hour on, so that files just written are not too fresh to trust."""
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 3_600_000_000_000)


def test_everything_comes_parents_first(app: Path) -> None:
    (app / "empty").mkdir()

    assert [
        "empty",
        "lib",
        "lib/a.js",
        "lib/b.txt",
        "main.js",
        "public",
        "public/index.html",
    ] == paths(scan(app))


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (("*.js",), (), ["main.js"]),
        (("**/*.js",), (), ["lib", "lib/a.js", "main.js"]),
        (("public/**", "*.js"), (), ["main.js", "public", "public/index.html"]),
        ((), ("lib",), ["main.js", "public", "public/index.html"]),
        ((), ("lib/*",), ["lib", "main.js", "public", "public/index.html"]),
        (("lib",), ("**/*.txt",), ["lib", "lib/a.js"]),
        (("nothing",), (), []),
    ],
)
def test_globs_choose(
    app: Path, include: tuple[str, ...], exclude: tuple[str, ...], expected: list[str]
) -> None:
    assert expected == paths(scan(app, include=include, exclude=exclude))


def test_only_the_owner_s_right_to_execute_counts(tmp_path: Path) -> None:
    fill(tmp_path, {"a": "", "b": "", "c": ""})
    (tmp_path / "a").chmod(0o700)
    (tmp_path / "b").chmod(0o655)
    (tmp_path / "c").chmod(0o600)

    assert [0o755, 0o644, 0o644] == [mode for _, _, mode, _, _ in scan(tmp_path).items()]


def test_links_are_as_they_are_also_in_circles(tmp_path: Path) -> None:
    fill(tmp_path, {"a/file": "x"})
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "gone").symlink_to("/nowhere/at/all")
    (tmp_path / "self").symlink_to("self")

    links = {
        path: to for path, kind, _, _, to in scan(tmp_path).items() if kind is EntryKind.SYMLINK
    }

    assert {b"a/up": b"..", b"gone": b"/nowhere/at/all", b"self": b"self"} == links


def test_names_keep_their_bytes(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n"))).write_bytes(b"x")

    assert [b"\xff\n"] == [path for path, *_ in scan(tmp_path).items()]


def test_one_file_is_a_tree_and_a_link_to_one_too(app: Path) -> None:
    (app / "link").symlink_to("main.js")

    for name in ("main.js", "link"):
        tree = scan(app / name)
        ((path, kind, mode, content, _),) = tree.items()
        assert (False, b"", EntryKind.FILE, 0o644) == (tree.is_folder, path, kind, mode)
        assert content is not None
        assert b"1" == b"".join(content.read())


def test_the_folder_may_be_a_link(app: Path) -> None:
    (app.parent / "link").symlink_to(app)

    assert scan(app).digest == scan(app.parent / "link").digest


def test_fifos_and_sockets_are_refused_by_name(app: Path, tmp_path: Path) -> None:
    os.mkfifo(app / "pipe")
    with pytest.raises(SourceError, match="app/pipe: a device or FIFO; exclude it"):
        scan(app)
    (app / "pipe").unlink()

    there = Path.cwd()
    os.chdir(app)  # a socket's address has to be short
    try:
        with socket.socket(socket.AF_UNIX) as open_socket:
            open_socket.bind("talk")
    finally:
        os.chdir(there)
    with pytest.raises(SourceError, match="app/talk: a socket; exclude it"):
        scan(app)

    assert "talk" not in paths(scan(app, exclude=("talk",)))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="none: No such file or directory"):
        scan(tmp_path / "none")


@contextmanager
def nobody() -> Iterator[None]:
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@needs.root()
@pytest.mark.parametrize("what", ["lib/a.js", "lib"])
def test_what_cannot_be_read_is_named(what: str) -> None:
    # Not below tmp_path, which only its owner may enter.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        app = fill(Path(folder) / "app", {"lib/a.js": "2"})
        (app / what).chmod(0)
        with nobody(), pytest.raises(SourceError, match=rf"app/{what}.*: Permission denied"):
            scan(app)


def test_order_times_links_and_holes_are_no_part_of_the_digest(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    fill(one, {"a": b"same", "b": b"same", "c": bytes(100_000), "d/e": "x"})
    fill(other, {"d/e": "x"})
    with (other / "c").open("wb") as file:
        file.truncate(100_000)
    (other / "b").write_bytes(b"same")
    os.link(other / "b", other / "a")

    assert scan(one).digest == scan(other).digest


def test_every_part_of_a_tree_is_in_its_digest(tmp_path: Path) -> None:
    folder = fill(tmp_path / "t", {"a": "1", "b/c": "2"})
    seen = [scan(folder).digest]

    (folder / "a").chmod(0o755)
    seen.append(scan(folder).digest)
    (folder / "a").write_text("3")
    seen.append(scan(folder).digest)
    (folder / "a").rename(folder / "x")
    seen.append(scan(folder).digest)
    (folder / "d").mkdir()
    seen.append(scan(folder).digest)
    (folder / "l").symlink_to("x")
    seen.append(scan(folder).digest)
    (folder / "l").unlink()
    (folder / "l").symlink_to("b")
    seen.append(scan(folder).digest)

    assert len(seen) == len(set(seen))


# Changes while a build goes on


def only_file(tree: Tree) -> DiskFile:
    (content,) = [content for *_, content, _ in tree.items() if content is not None]
    return content


@pytest.mark.parametrize("change", ["longer", "shorter", "touched", "replaced", "gone"])
def test_a_file_that_changes_after_the_scan_is_refused(
    tmp_path: Path, aged: None, change: str
) -> None:
    fill(tmp_path, {"a": "12345"})
    content = only_file(scan(tmp_path))
    path = tmp_path / "a"
    match change:
        case "longer":
            path.write_text("123456")
        case "shorter":
            path.write_text("1234")
        case "touched":
            os.utime(path)
        case "replaced":
            (tmp_path / "b").write_text("12345")
            (tmp_path / "b").rename(path)
        case "gone":
            path.unlink()

    with pytest.raises(SourceError, match=r"/a: (changed while it was|No such file)"):
        b"".join(content.read())


def test_a_change_within_the_clock_s_tick_is_found_by_the_digest(tmp_path: Path) -> None:
    path = fill(tmp_path, {"a": "12345"}) / "a"
    content = only_file(scan(tmp_path))
    assert content.racy

    path.write_text("54321")
    # As where the file system's clock had not moved on.
    content = evolve(content, signature=disk_file.signature_of(path.stat()))

    with pytest.raises(SourceError, match="/a: changed while it was being read; build again"):
        b"".join(content.read())


# Folders and files swapped while they are looked at


def swap_for_link(folder: Path, target: Path) -> None:
    folder.rename(folder.with_name(folder.name + "-away"))
    folder.symlink_to(target)


def before_entering(
    monkeypatch: pytest.MonkeyPatch, name: bytes, change: Callable[[], object]
) -> None:
    """Make `change` just before the scan goes into the folder `name`, once."""
    real, due = walk.Folder.enter, [change]

    def enter(folder: walk.Folder, given: bytes, at: int | None = None) -> int:
        if given == name and due:
            due.pop()()
        return real(folder, given, at)

    monkeypatch.setattr(walk.Folder, "enter", enter)


@pytest.mark.parametrize("swapped", ["in", "in/deep"])
def test_a_folder_swapped_for_a_link_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
) -> None:
    app = fill(tmp_path / "app", {"in/deep/a": "ours", "in/deep/er/b": "ours"})
    outside = fill(tmp_path / "outside", {"a": "theirs", "deep/a": "theirs", "er/b": "theirs"})
    name = swapped.rpartition("/")[2].encode()
    before_entering(monkeypatch, name, lambda: swap_for_link(app / swapped, outside))

    with pytest.raises(SourceError, match=f"app/{swapped}: changed while it was being read"):
        scan(app)


def test_a_swapped_folder_above_changes_nothing_of_what_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = fill(tmp_path / "app", {"in/deep/a": "ours", "in/deep/link-to": "x"})
    outside = fill(tmp_path / "outside", {"deep/a": "theirs", "deep/theirs": "theirs"})
    before_entering(monkeypatch, b"deep", lambda: swap_for_link(app / "in", outside))

    tree = Tree.listed(app, stats=MemoryStore())

    assert ["in", "in/deep", "in/deep/a", "in/deep/link-to"] == paths(tree)
    with pytest.raises(SourceError, match="in/deep/a: changed while it was being read"):
        tree.read(1)


def test_a_folder_moved_away_does_not_lead_up_to_where_it_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = fill(tmp_path / "app", {f"{name}/in/deep/x": "ours" for name in "ab"})
    outside = fill(tmp_path / "outside", {"z/theirs": "theirs"})
    # It goes up from a or b to go into the other one.
    before_entering(
        monkeypatch, b"..", lambda: [(app / name).rename(outside / name) for name in "ab"]
    )

    with pytest.raises(SourceError, match=r"app: changed while it was being read"):
        scan(app)


@pytest.mark.parametrize("again", ["remembered", "fresh"])
def test_a_file_behind_a_swapped_folder_is_not_read(tmp_path: Path, aged: None, again: str) -> None:
    app = fill(tmp_path / "app", {"in/a": "ours!!"})
    outside = fill(tmp_path / "outside", {"a": "theirs"})
    times = (app / "in/a").stat()
    os.utime(outside / "a", ns=(times.st_atime_ns, times.st_mtime_ns))
    stats = MemoryStore()
    if again == "remembered":
        scan(app, stats)
    before = stats.load_stats(os.fsencode(app))
    tree = Tree.listed(app, stats=stats)
    swap_for_link(app / "in", outside)

    with pytest.raises(SourceError, match="in/a: changed while it was being read; build again"):
        next(only_file(tree).read())

    assert before == stats.load_stats(os.fsencode(app))


def test_a_folder_swapped_at_any_moment_gives_no_file_from_outside(tmp_path: Path) -> None:
    files = {f"in/{name}/a": "ours" for name in "bcdefgh"}
    app = fill(tmp_path / "app", files)
    outside = fill(tmp_path / "outside", {path[3:]: "theirs" for path in files})
    ours, away, stop = app / "in", tmp_path / "away", threading.Event()

    def swap() -> None:
        while not stop.is_set():
            ours.rename(away)
            ours.symlink_to(outside)
            ours.unlink()
            away.rename(ours)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(300):
            try:
                tree = scan(app)
                found = {b"".join(file.read()) for *_, file, _ in tree.items() if file is not None}
            except SourceError:
                continue
            assert {b"ours"} >= found
    finally:
        stop.set()
        swapping.join(10)


def test_deep_folders_need_few_descriptors(tmp_path: Path) -> None:
    deep = tmp_path / "app"
    for _ in range(300):
        deep /= "d"
    deep.mkdir(parents=True)
    (deep / "a").write_text("x")
    (tmp_path / "app/d/z/y").mkdir(parents=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208 - of whatever runs here
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(highest + 20, soft), hard))
    try:
        assert 303 == len(paths(scan(tmp_path / "app")))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_file_that_becomes_a_fifo_is_refused_at_once(app: Path) -> None:
    tree = Tree.listed(app, stats=MemoryStore())
    (app / "main.js").unlink()
    os.mkfifo(app / "main.js")

    with at_once(), pytest.raises(SourceError, match=r"main\.js: changed while it was being read"):
        drain(tree)  # in this thread, which an alarm can wake


# Files made up when they are read


def test_a_file_of_proc_is_read_to_its_end(tmp_path: Path) -> None:
    version = Path("/proc/version")
    (path, kind, _, content, _), *others = scan(version).items()

    assert content is not None
    assert (b"", EntryKind.FILE, []) == (path, kind, others)
    assert version.read_bytes() == b"".join(content.read())
    assert len(version.read_bytes()) == content.size


def test_a_file_of_proc_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_file, "_MOST_UNSIZED", 10)

    with pytest.raises(SourceError, match="/proc/version: expected no more bytes than its size"):
        scan(Path("/proc/version"))


def test_a_folder_of_proc_gives_no_empty_files() -> None:
    with pytest.raises(SourceError, match="expected no more bytes than its size says"):
        scan(Path("/proc/sys/kernel"), include=("ostype",))


# The stat cache


class Opens(list[bytes]):
    """Takes down which files were opened."""


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> Opens:
    opened, real = Opens(), disk_file.open_listed

    def counting(path: bytes) -> int:
        opened.append(path.rpartition(b"/")[2])
        return real(path)

    monkeypatch.setattr(disk_file, "open_listed", counting)
    return opened


def test_a_second_scan_reads_only_what_changed(app: Path, aged: None, opens: Opens) -> None:
    stats = MemoryStore()
    first = scan(app, stats)
    assert 4 == len(opens)
    opens.clear()

    assert first.digest == scan(app, stats).digest
    assert [] == opens

    (app / "lib/a.js").write_text("5")
    assert first.digest != scan(app, stats).digest
    assert [b"a.js"] == opens


def test_layers_of_one_folder_share_what_is_known(app: Path, aged: None, opens: Opens) -> None:
    stats = MemoryStore()
    scan(app, stats, include=("*.js",))
    scan(app, stats, exclude=("*.js",))
    opens.clear()

    scan(app, stats, include=("*.js",))
    scan(app, stats)

    assert [] == opens


def test_what_is_gone_is_forgotten(app: Path, aged: None) -> None:
    stats = MemoryStore()
    scan(app, stats)
    (app / "main.js").unlink()
    scan(app, stats)

    known = stats.load_stats(os.fsencode(app))

    assert {b"lib/a.js", b"lib/b.txt", b"public/index.html"} == known.keys()


def test_same_size_and_restored_mtime_do_not_deceive(app: Path, aged: None) -> None:
    stats = MemoryStore()
    path = app / "main.js"
    first = scan(app, stats)
    before = path.stat()

    with path.open("r+b") as file:
        file.write(b"9")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert (before.st_size, before.st_mtime_ns, before.st_ino) == (
        path.stat().st_size,
        path.stat().st_mtime_ns,
        path.stat().st_ino,
    )
    assert first.digest != scan(app, stats).digest


def test_fresh_files_are_never_remembered(app: Path, opens: Opens) -> None:
    stats = MemoryStore()  # and the clock is as it is: the files were made just now
    scan(app, stats)

    assert {} == stats.load_stats(os.fsencode(app))
    opens.clear()
    scan(app, stats)
    assert 4 == len(opens)


def test_a_cache_that_lies_about_other_times_is_not_asked(app: Path, aged: None) -> None:
    stats = MemoryStore()
    expected = scan(app, stats).digest
    rows = stats.load_stats(os.fsencode(app))
    wrong = {
        path: ((size, mtime, ctime - 1, inode), Digest.of(b"lie"))
        for path, ((size, mtime, ctime, inode), _) in rows.items()
    }
    stats.save_stats(os.fsencode(app), wrong)

    assert expected == scan(app, stats).digest


# Listed first, read later


def drain(tree: Tree) -> None:
    for *_, content, _ in tree.items():
        if content is not None:
            assert content.size == sum(map(len, content.read()))


def test_what_somebody_reads_in_between_is_not_read_again(
    app: Path, aged: None, opens: Opens
) -> None:
    stats = MemoryStore()
    tree = Tree.listed(app, stats=stats)
    assert [] == opens
    drain(tree)
    opens.clear()

    assert scan(app).digest == tree.read(2)
    assert 4 == len(opens)  # by the other scan
    assert 4 == len(stats.load_stats(os.fsencode(app)))


def test_what_is_read_in_part_is_not_known(app: Path, opens: Opens) -> None:
    tree = Tree.listed(app, stats=MemoryStore())
    for *_, content, _ in tree.items():
        if content is not None:
            next(content.read())
    opens.clear()

    assert scan(app).digest == tree.read(1)
    assert 8 == len(opens)


def test_a_change_after_the_listing_is_refused_and_nothing_remembered(
    app: Path, aged: None
) -> None:
    stats = MemoryStore()
    tree = Tree.listed(app, stats=stats)
    (app / "lib/a.js").write_text("5")

    with pytest.raises(SourceError, match=r"a\.js: changed while it was being read; build again"):
        tree.read(2)

    assert {} == stats.load_stats(os.fsencode(app))


def test_unseen_is_what_the_stat_cache_never_heard_of(app: Path, aged: None) -> None:
    stats = MemoryStore()
    assert 4 == Tree.listed(app, stats=stats).unseen
    scan(app, stats)
    (app / "new.js").write_text("123")
    (app / "main.js").write_text("changed")

    assert 3 == Tree.listed(app, stats=stats).unseen


# What git is asked about


def test_a_tree_covers_what_it_would_hold(app: Path) -> None:
    tree = scan(app, include=("**/*.js",), exclude=("lib",))
    top = os.fsencode(app)

    covered = [tree.covers(top + name) for name in (b"/new.js", b"/lib/a.js", b"/x.txt", b"2/a.js")]

    assert [True, False, False, False] == covered
    assert scan(app / "main.js").covers(top + b"/main.js")
    assert not scan(app / "main.js").covers(top + b"/lib/a.js")
