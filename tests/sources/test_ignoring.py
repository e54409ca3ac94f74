"""Ignore files: what ``docker build`` leaves out of a build context stays out of a layer."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from immutable.errors import SpecError
from immutable.sources.ignoring import IgnoreFile
from immutable.sources.tree import Tree
from immutable.store import MemoryStore
from tests.support import needs
from tests.support.command import Shell
from tests.support.progress import Notes
from tests.support.specs import build, contents, fill, layer, write

FILES = (
    "a.md",
    "b/a.md",
    "b/README.md",
    "b/c/a.md",
    "b/c/keep.txt",
    "node_modules/x/index.js",
    "node_modules/x/keep/y.js",
    "src/main.go",
    "src/main_test.go",
    "temp",
    "tempa/x",
    ".env",
)

# What stays, as engines read it: the reference's own examples, and what its code does where the
# page is silent.
STAYS = [
    ("", FILES),
    ("# nothing\n\n   \n", FILES),
    ("*", ()),
    ("**", ()),
    (".", FILES),
    ("/", FILES),
    ("..\n../b\nb/../../src", FILES),
    ("temp?", (*FILES[:10], ".env")),
    ("*/temp*\n*/*/temp*", FILES),
    ("**/*.md", FILES[4:]),
    ("*.md", FILES[1:]),
    ("*.md\n!a.md", FILES),
    ("**/*.md\n!b/README.md", ("b/README.md", *FILES[4:])),
    ("**/*.md\n!README*.md", FILES[4:]),
    ("**/*.md\n!**/README.md\nb/R*", FILES[4:]),
    ("!b/README.md\n**/*.md", FILES[4:]),
    ("*\n!src", ("src/main.go", "src/main_test.go")),
    ("*\n!src\nsrc/*_test.go", ("src/main.go",)),
    ("node_modules\n!node_modules/x/keep", (*FILES[:5], *FILES[6:])),
    ("node_modules/\n!**/keep", (*FILES[:5], *FILES[6:])),
    ("node_modules/*\n!**/y.js", (*FILES[:5], *FILES[6:])),
    ("b\n!b/c\nb/c/*.md", ("a.md", "b/c/keep.txt", *FILES[5:])),
    ("/b\n/temp", (*FILES[:1], *FILES[5:9], "tempa/x", ".env")),
    ("b/**\n! /b/c/a.md ", ("a.md", "b/c/a.md", *FILES[5:])),
    ("b\n!./b//c/../c/a.md", ("a.md", "b/c/a.md", *FILES[5:])),
    ("src/**_test.go", FILES),
    ("**_test.go", (*FILES[:8], *FILES[9:])),
    ("s**main.go", (*FILES[:7], *FILES[8:])),
    ("temp**", (*FILES[:9], ".env")),
    ("b/**/a.md", ("a.md", "b/README.md", *FILES[4:])),
    ("**/c/**", (*FILES[:3], *FILES[5:])),
    ("[a-b]*", FILES[5:]),
    ("[^a-n]*", (*FILES[:7],)),
    ("\\*\n\\.env", FILES[:-1]),
    ("\ufeff*.md\r\n\r\n.env\r\n", FILES[1:-1]),
    (" #b\n#src\n\t.env", FILES[:-1]),
    ("\ufeff#src", FILES),
]


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    with MemoryStore() as made:
        yield made


def stays(text: str, paths: Iterable[str]) -> tuple[str, ...]:
    ignored = IgnoreFile.parse(text.encode(), "file")
    return tuple(path for path in paths if not ignored.ignores(path.encode()))


def folders_of(paths: Iterable[str]) -> set[str]:
    return {str(one) for path in paths for one in Path(path).parents} - {"."}


@pytest.mark.parametrize(("text", "expected"), STAYS)
def test_what_engines_leave_out_stays_out(text: str, expected: tuple[str, ...]) -> None:
    assert expected == stays(text, FILES)


@pytest.mark.parametrize(("text", "expected"), STAYS)
def test_a_tree_has_what_stays_and_the_folders_it_stands_in(
    tmp_path: Path, text: str, expected: tuple[str, ...]
) -> None:
    fill(tmp_path, dict.fromkeys(FILES, ""))
    ignore = IgnoreFile.parse(text.encode(), "file")
    tree = Tree.listed(tmp_path, ignore=ignore, stats=MemoryStore())
    found = [path.decode() for path, _, _, content, _ in tree.items() if content is not None]
    folders = {path.decode() for path, _, _, content, _ in tree.items() if content is None}
    assert sorted(expected) == found
    assert folders_of(expected) | set(stays(text, sorted(folders_of(FILES)))) == folders
    for path in FILES:
        assert (path in expected) == tree.covers(bytes(tmp_path / path))


# Podman's reader is another than Docker's: it takes nothing back by wildcards, or with blanks, from
# a folder that is left out, and ** at the start is a name of its own only.
PODMANS_OWN = (
    "node_modules/\n!**/keep",
    "node_modules/*\n!**/y.js",
    "b/**\n! /b/c/a.md ",
    "**_test.go",
)


@pytest.mark.parametrize(("text", "expected"), [one for one in STAYS if one[0] not in PODMANS_OWN])
@needs.tool("podman")
def test_podman_leaves_out_the_same(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    fill(tmp_path / "context", {**dict.fromkeys(FILES, "x"), ".dockerignore": text})
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    out = tmp_path / "out"
    with tempfile.TemporaryDirectory() as state:  # podman refuses long paths for it
        podman = ["podman", "--root", f"{state}/root", "--runroot", f"{state}/run"]
        podman += ["--storage-driver", "vfs", "build", "-q", "-f", "../Dockerfile", "-o", str(out)]
        subprocess.run([*podman, "."], cwd=tmp_path / "context", check=True, capture_output=True)
    found = {str(one.relative_to(out)) for one in out.rglob("*") if one.is_file()}
    assert set(expected) == found - {".dockerignore"}


@pytest.mark.engine
@needs.engine()
def test_docker_leaves_out_the_same(tmp_path: Path, engine: Any, repository: str) -> None:
    text = "**/*.md\n!b/README.md\n*/x\n!tempa/x\nsrc/**_test.go\ntemp?\n.dockerignore\n"
    context = fill(tmp_path, {**dict.fromkeys(FILES, "x"), ".dockerignore": text})
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    command = ["docker", "build", "-q", "-t", f"{repository}:1", "."]
    subprocess.run(command, cwd=context, check=True, capture_output=True, env=environment)
    container = engine.containers.create(f"{repository}:1", "none")
    try:
        data = b"".join(container.export())
    finally:
        container.remove()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {member.name for member in archive if member.isreg()}
    assert set(stays(text, FILES)) == found & set(FILES)


# Layers


def test_a_layer_leaves_out_what_its_ignore_file_names(tmp_path: Path) -> None:
    fill(tmp_path / "app", {"main.js": "1", "lib/a.js": "2", "lib/a.md": "3", "notes.md": "4"})
    (tmp_path / "app/.dockerignore").write_text("**/*.md\n.dockerignore\n")
    spec = write(tmp_path, layer("files", source="app", ignore_file="app/.dockerignore"))
    with MemoryStore() as store:
        image = build(spec, store)
        assert {"main.js", "lib", "lib/a.js"} == contents(store, image.layers[0]).keys()


def test_globs_choose_among_what_stays(tmp_path: Path) -> None:
    fill(tmp_path / "app", {"a.js": "1", "b.js": "2", "c.js": "3", "d.py": "4"})
    (tmp_path / "ignore").write_text("a.js\n")
    text = layer("files", source="app", include=["*.js"], exclude=["b.*"], ignore_file="ignore")
    with MemoryStore() as store:
        image = build(write(tmp_path, text), store)
        assert {"c.js"} == contents(store, image.layers[0]).keys()


def test_a_layer_is_the_same_however_its_files_were_chosen(tmp_path: Path) -> None:
    fill(tmp_path / "app", {"main.js": "1", "notes.md": "4"})
    (tmp_path / "ignore").write_text("*.md\n")
    by_list = write(tmp_path, layer("files", source="app", ignore_file="ignore"))
    by_glob = write(tmp_path, layer("files", source="app", exclude=["*.md"]), "glob.toml")
    with MemoryStore() as store:
        layers = [build(spec, store).layers[0].diff_id for spec in (by_list, by_glob)]
    assert layers[0] == layers[1]


@pytest.mark.parametrize("source", ["app", "."])
def test_an_ignore_file_that_is_not_named_is_mentioned(tmp_path: Path, source: str) -> None:
    fill(tmp_path / source, {"main.js": "1", ".dockerignore": "*.js"})
    spec = write(tmp_path, layer("files", source=source))
    watcher = Notes()
    with MemoryStore() as store:
        image = build(spec, store, progress=watcher)
        assert "main.js" in contents(store, image.layers[0])
    there = "app/.dockerignore" if source == "app" else ".dockerignore"
    expected = (
        f'layer "app": {there} is not applied; say ignore-file = "{there}" '
        "to leave out what it names"
    )
    assert [expected] == watcher.notes


def test_one_that_is_named_is_not_mentioned(tmp_path: Path) -> None:
    fill(tmp_path / "app", {"main.js": "1", ".dockerignore": "*.md"})
    spec = write(tmp_path, layer("files", source="app", ignore_file="app/.dockerignore"))
    watcher = Notes()
    with MemoryStore() as store:
        build(spec, store, progress=watcher)
    assert [] == watcher.notes


def test_an_output_may_stand_where_the_ignore_file_looks_away(shell: Shell) -> None:
    shell.write("main.py", "")
    shell.write(".dockerignore", "*.tar\n")
    text = layer("files", source=".", target="/app", ignore_file=".dockerignore")
    write(shell.folder, text)
    for _ in range(2):
        done = shell.run("build", "web.toml", "-o", "oci-archive:web.tar")
        assert (0, "") == (done.status, done.err)


def test_an_image_never_takes_the_ignore_file_s_place(shell: Shell) -> None:
    fill(shell.folder / "app", {"main.py": ""})
    shell.write("ignore", "")
    write(shell.folder, layer("files", source="app", ignore_file="ignore"))
    done = shell.run("build", "web.toml", "-o", "oci-archive:ignore")
    assert 1 == done.status
    assert 'found the source of layer "app"' in done.err


# Faults


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"ok\n!\n", "line 2: expected a pattern after !"),
        (b"ok\n\n!  \n", "line 3: expected a pattern after !"),
        (b"[a", "line 1: '[a': [ without ]"),
        (b"a\\", "line 1: 'a\\\\': nothing after \\"),
        (b"[b-a]", "line 1: '[b-a]': the range b-a is backwards"),
        (b"[!a]", "line 1: '[!a]': write ^ for other characters than those of a set, not !"),
        (b"***", "line 1: '***': ** must stand alone between slashes"),
        (b"a\0b", "line 1: expected a pattern, found a NUL"),
        (b"\xff", "line 1: expected UTF-8"),
        (b"a**b**c**d**e**f", "line 1: 'a**b**c**d**e**f': expected at most 4 times ** within"),
    ],
)
def test_what_has_no_sense_is_named_with_its_line(text: bytes, fault: str) -> None:
    with pytest.raises(SpecError) as raised:
        IgnoreFile.parse(text, "app/.dockerignore")
    assert str(raised.value).startswith(f"app/.dockerignore: {fault}")


def test_every_line_at_fault_is_named() -> None:
    with pytest.raises(SpecError) as raised:
        IgnoreFile.parse(b"!\nok\n[a\n", "file")
    assert 2 == len(raised.value.faults)


def test_one_that_is_not_there_or_no_file_is_named(tmp_path: Path) -> None:
    fill(tmp_path / "app", {"main.js": "1"})
    for name, fault in ("none", "No such file or directory"), ("app", "Is a directory"):
        spec = write(tmp_path, layer("files", source="app", ignore_file=name))
        with MemoryStore() as store, pytest.raises(SpecError, match=f"{name}: {fault}"):
            build(spec, store)


def test_without_a_source_there_is_nothing_to_leave_out(tmp_path: Path) -> None:
    spec = write(tmp_path, layer("files", ignore_file="ignore"))
    fault = r"layer\[0\]\.ignore-file: expected a source to apply it to"
    with MemoryStore() as store, pytest.raises(SpecError, match=fault):
        build(spec, store)


# Cost


def test_folders_are_not_walked_that_nothing_is_taken_back_from(tmp_path: Path) -> None:
    fill(tmp_path / "app", {"src/a.js": "", "node_modules/a/b.js": "", "node.js": ""})
    (tmp_path / "app/node_modules/fifo").mkdir()
    ignored = IgnoreFile.parse(b"*\n!src\n!node.js\n", "file")
    paths = (b"node_modules", b"src", b"node.js", b"other")
    assert [True, False, False, True] == [ignored.ignores_all(path) for path in paths]


@pytest.mark.parametrize("text", ["*a" * 40 + "b", "**/a/" * 40 + "b", "**/*a*a*a*a*a*a*b"])
def test_hostile_patterns_take_no_time(text: str) -> None:
    ignored = IgnoreFile.parse(text.encode(), "file")
    began = time.perf_counter()
    ignored.ignores(b"a/" * 500 + b"a" * 250)
    assert time.perf_counter() - began < 5


def test_uncommitted_ignore_files_are_refused_where_the_commit_is_named(
    tmp_path: Path, store: MemoryStore
) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)

    fill(tmp_path / "app", {"main.js": "1"})
    (tmp_path / "ignore").write_text("*.md\n")
    spec = write(
        tmp_path,
        layer("files", source="app", ignore_file="ignore"),
        image='tags = ["{git.short-sha}"]',
    )
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    build(spec, store)
    (tmp_path / "ignore").write_text("*.txt\n")
    with pytest.raises(Exception, match="ignore"):
        build(spec, store)
