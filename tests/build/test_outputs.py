"""What an output never takes the place of: what is read, and what is of another kind."""

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from immutable.errors import TransportError
from immutable.transports import copy
from tests.support.command import Shell
from tests.support.images import fetched, image

ARCHIVES = ["oci-archive", "docker-archive"]


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(shell: Shell, *command: str) -> str:
    """Run a command that has to be refused in one line, with nothing touched; return the line."""
    before = contents(shell.folder)
    done = shell.run(*command)
    assert (1, "") == (done.status, done.out)
    assert 1 == done.err.count("\n"), done.err
    assert before == contents(shell.folder)
    if command[0] == "build":
        assert [] == shell.run("images", "--json").json, "refused before any work"
    return done.err


def tarred(path: Path, **members: str) -> None:
    """Write a tar with members whose names have - for _ and . for __."""
    source = path.with_name("member")
    with tarfile.open(path, "w") as archive:
        for name, text in members.items():
            source.write_text(text)
            archive.add(source, name.replace("__", ".").replace("_", "-"))
    source.unlink()


# What is read


@pytest.mark.parametrize("transport", ARCHIVES)
@pytest.mark.parametrize("path", ["hello.toml", "../{folder}/./hello.toml", "linked", "lock"])
def test_a_build_never_writes_over_its_spec(shell: Shell, transport: str, path: str) -> None:
    spec = shell.hello()
    os.link(spec, shell.folder / "linked")
    (shell.folder / "lock").symlink_to("hello.toml")
    output = path.format(folder=shell.folder.name)
    err = refused(shell, "build", "hello.toml", "-o", f"{transport}:{output}")
    assert f"error: {Path(output)}: expected a place that nothing is read from" in err
    assert "found the spec hello.toml; choose another place" in err


def test_an_empty_spec_beside_others_is_no_place_either(shell: Shell) -> None:
    shell.hello("one.toml", image="one")
    shell.write("one.lock.toml", "")
    err = refused(shell, "build", "one.toml", "-o", "oci-archive:one.lock.toml")
    assert "found the lock one.lock.toml; choose another place" in err


@pytest.mark.parametrize("how", [Path.hardlink_to, Path.symlink_to])
@pytest.mark.parametrize("output", ["base.tar", "./base.tar", "other.tar"])
def test_a_build_never_writes_over_the_archive_it_builds_upon(
    shell: Shell, output: str, how: Callable[[Path, Path], None]
) -> None:
    shell.run("build", shell.hello(), "-o", "oci-archive:base.tar")
    shell.write("over.toml", upon("oci-archive:base.tar"))
    assert 0 == shell.run("lock", "over.toml").status
    how(shell.folder / "other.tar", shell.folder / "base.tar")
    before = contents(shell.folder)
    done = shell.run("build", "over.toml", "-o", f"oci-archive:{output}")
    assert 1 == done.status
    assert f"error: {Path(output)}: expected " in done.err
    assert before == contents(shell.folder)


def test_nor_over_what_a_spec_beneath_is_built_from(shell: Shell) -> None:
    shell.run("build", shell.hello(), "-o", "oci-archive:data.tar")
    shell.write("base.toml", taking("data.tar", target="/data.tar"))
    shell.write("over.toml", upon("base.toml"))
    before = contents(shell.folder)
    for output, found in ("data.tar", 'the source of layer "taken"'), ("base.lock.toml", "lock"):
        done = shell.run("build", "over.toml", "-o", f"oci-archive:{output}")
        assert 1 == done.status
        assert f"found {found}" in done.err or f"the {found}" in done.err
    assert before == contents(shell.folder)


@pytest.mark.parametrize("output", ["app/web.tar", "app/deep/web.tar", "link/web.tar"])
def test_an_image_never_becomes_a_part_of_the_next_build(shell: Shell, output: str) -> None:
    shell.write("app/deep/main.py", "")
    (shell.folder / "link").symlink_to("app")
    shell.write("app.toml", taking("app"))
    err = refused(shell, "build", "app.toml", "-o", f"oci-archive:{output}")
    assert 'source app of layer "taken", which would hold the image in the next build' in err
    refused(shell, "build", "app.toml", "-o", f"oci:{output}")


@pytest.mark.parametrize("choice", ['exclude = ["*.tar", "out"]', 'include = ["*.py"]'])
def test_beside_what_a_source_chooses_there_is_room(shell: Shell, choice: str) -> None:
    shell.write("main.py", "")
    shell.write("app.toml", taking(".", more=choice))
    outputs = ("-o", "oci-archive:web.tar", "-o", "oci:out")
    for _ in range(2):
        done = shell.run("build", "app.toml", *outputs)
        assert (0, "") == (done.status, done.err)


def test_a_layout_takes_images_built_upon_its_own(shell: Shell) -> None:
    shell.run("build", shell.hello(), "-o", "oci:images:base")
    shell.write("over.toml", upon("oci:images:base"))
    assert 0 == shell.run("lock", "over.toml").status
    assert 0 == shell.run("build", "over.toml", "-o", "oci:images:over").status
    done = shell.run("build", "over.toml", "-o", "oci:images:base")
    assert 1 == done.status
    assert "found the image to build upon, images" in done.err


@pytest.mark.parametrize("output", ["oci:{}", "oci-archive:{}/web.tar", "docker-archive:{}/tmp/w"])
def test_only_the_store_writes_into_the_store(shell: Shell, output: str) -> None:
    shell.run("build", shell.hello())
    before = contents(shell.store).keys()
    for command in (("build", "hello.toml", "-o"), ("copy", "hello")):
        done = shell.run(*command, output.format(shell.store))
        assert 1 == done.status
        assert f"expected a place outside of stores, found the store {shell.store}" in done.err
    assert before == contents(shell.store).keys()


def test_two_outputs_are_two_files(shell: Shell) -> None:
    shell.hello()
    for other in "docker-archive:./web.tar", "oci-archive:web.tar:b":
        err = refused(shell, "build", "hello.toml", "-o", "oci-archive:web.tar", "-o", other)
        assert "expected a file of its own, found that of oci-archive:web.tar" in err


@pytest.mark.parametrize("output", ["web.tar", "./web.tar", "linked.tar"])
def test_a_copy_never_replaces_its_source(shell: Shell, output: str) -> None:
    shell.run("build", shell.hello(), "-o", "oci-archive:web.tar:a")
    os.link(shell.folder / "web.tar", shell.folder / "linked.tar")
    err = refused(shell, "copy", "oci-archive:web.tar:a", f"oci-archive:{output}:b")
    assert f"{Path(output)}: expected a place that nothing is read from, found the source" in err


def test_a_copy_out_of_a_layout_stays_out_of_it(shell: Shell) -> None:
    shell.run("build", shell.hello(), "-o", "oci:out:a")
    refused(shell, "copy", "oci:out:a", "oci-archive:out/index.json")
    refused(shell, "copy", "oci:out:a", "oci-archive:out/blobs/sha256/new")
    assert 0 == shell.run("copy", "oci:out:a", "oci:out:b").status


# What is of another kind


@pytest.mark.parametrize("transport", ARCHIVES)
def test_an_archive_replaces_its_own_kind_and_empty_files(tmp_path: Path, transport: str) -> None:
    target = tmp_path / "web.tar"
    target.touch()  # as `mktemp` leaves it
    for seed in 1, 2:
        copy(image(seed), f"{transport}:{target}")
        assert image(seed).manifest.config.digest in fetched(f"{transport}:{target}").blobs


def test_an_archive_that_others_packed_is_replaced_too(tmp_path: Path) -> None:
    copy(image(1), f"oci:{tmp_path / 'layout'}")
    with tarfile.open(tmp_path / "web.tar", "w") as archive:
        archive.add(tmp_path / "layout", ".")  # the marker stands behind the blobs
    copy(image(2), f"oci-archive:{tmp_path / 'web.tar'}")
    assert image(2).root == fetched(f"oci-archive:{tmp_path / 'web.tar'}").root


def test_of_two_kinds_of_archives_neither_replaces_the_other(tmp_path: Path) -> None:
    for one, other, found in (
        ("oci-archive", "docker-archive", "an OCI archive"),
        ("docker-archive", "oci-archive", "a Docker archive"),
    ):
        target = tmp_path / one
        copy(image(), f"{one}:{target}")
        before = target.read_bytes()
        with pytest.raises(TransportError, match=f"found {found}; choose another name, or remove"):
            copy(image(), f"{other}:{target}")
        assert before == target.read_bytes()


@pytest.mark.parametrize("transport", ARCHIVES)
@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_text("a note"),
        lambda path: path.write_bytes(bytes(2000)),
        lambda path: path.write_bytes(b"\xff" * 2000),
        lambda path: tarred(path, notes="mine"),
        lambda path: tarred(path, manifest__json='{"name": "extension"}', oci_layout="no JSON"),
        lambda path: tarred(path, manifest__json="[1]", oci_layout="[]"),
    ],
    ids=["text", "zeros", "bytes", "tar", "another manifest", "lists"],
)
def test_what_is_no_such_archive_stays(
    tmp_path: Path, transport: str, write: Callable[[Path], object]
) -> None:
    target = tmp_path / "web.tar"
    write(target)
    before = target.read_bytes()
    found = f"an empty file or nothing there, found a file of {len(before)} bytes that is none"
    with pytest.raises(TransportError, match=found):
        copy(image(), f"{transport}:{target}")
    assert before == target.read_bytes()
    assert [target] == list(tmp_path.iterdir())


def test_a_file_that_came_while_an_archive_was_written_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from immutable.transports import oci_archive

    target = tmp_path / "web.tar"
    made = oci_archive._archive

    def slowly(*args: object) -> object:
        target.write_text("mine")
        return made(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(oci_archive, "_archive", slowly)
    with pytest.raises(TransportError, match="found a file of 4 bytes"):
        copy(image(), f"oci-archive:{target}")
    assert "mine" == target.read_text()


def test_a_layout_is_refused_before_the_build(shell: Shell) -> None:
    shell.hello()
    shell.write("full/notes", "mine")
    assert "found notes" in refused(shell, "build", "hello.toml", "-o", "oci:full")
    err = refused(shell, "build", "hello.toml", "-o", "oci:full/notes")
    assert "full/notes: expected a directory or nothing there, found a file" in err
    assert "found the spec" in refused(shell, "build", "hello.toml", "-o", "oci:hello.toml")


@pytest.mark.parametrize("text", ["old", "sha256:12\n", f"sha256:{64 * '0'}\nmore", "\n"])
def test_a_digest_file_that_holds_anything_else_stays(shell: Shell, text: str) -> None:
    shell.run("build", shell.hello())
    shell.write("digest", text)
    err = refused(shell, "copy", "hello", "oci:out", "--digest-file", "digest")
    assert "digest: expected a file with one digest, an empty file or nothing there" in err


def test_a_digest_never_takes_the_place_of_the_image(shell: Shell) -> None:
    shell.run("build", shell.hello())
    err = refused(shell, "copy", "hello", "oci-archive:web", "--digest-file", "./web")
    assert "found the image that is copied, web; choose another place" in err


# Specs


def upon(base: str) -> str:
    return HEAD.format(name="over") + f'[[layer]]\nname = "base"\nkind = "image"\nfrom = "{base}"\n'


def taking(source: str, *, target: str = "/app", more: str = "") -> str:
    layer = f'[[layer]]\nname = "taken"\nkind = "files"\nsource = "{source}"\n'
    return HEAD.format(name="app") + layer + f'target = "{target}"\n{more}\n'


HEAD = 'spec-version = 1\n[image]\nname = "{name}"\nplatforms = ["linux/amd64"]\n'
