"""What specs ask of git: the commit, and only where it holds what the image is built from."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from immutable.config.tools import git_environment
from immutable.errors import SourceError, SpecError
from immutable.sources import git
from immutable.sources.git.objects import Held, Repository
from immutable.spec.lock import Lock, dumps
from immutable.store import MemoryStore
from tests.support import needs
from tests.support.git import repository, run
from tests.support.specs import build, contents, fill, layer, write

pytestmark = needs.tool("git")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return repository(tmp_path / "work")


def test_the_commit_gets_in_where_the_spec_says(work: Path) -> None:
    image = build(work / "web.toml", MemoryStore())
    sha = run(work, "rev-parse", "HEAD")

    assert ("1.0", sha[:12]) == image.tags
    assert {"commit": sha, "branch": "trunk"} == dict(image.config.execution.labels)
    assert {"time": "2024-05-06T05:08:09Z"} == dict(image.manifest.annotations)
    assert "2024-05-06T05:08:09Z" == image.config.created


@pytest.mark.parametrize(
    "change",
    [
        {"app/main.js": "22"},
        {"app/new.js": "untracked"},
        {"app/deep/er/new.js": "untracked"},
        {"app/build.js": "ignored"},
        {"web.toml": None},
    ],
)
def test_what_is_not_committed_is_refused_by_name(
    work: Path, change: dict[str, str | None]
) -> None:
    (work / ".git" / "info" / "exclude").write_text("build.js\n")
    ((name, data),) = change.items()
    text = (work / name).read_text() + "\n" if data is None else data
    fill(work, {name: text})

    with pytest.raises(SourceError, match=f"these are not committed: {name}; commit them first"):
        build(work / "web.toml", MemoryStore())


def test_a_deleted_and_a_staged_input_are_refused(work: Path) -> None:
    (work / "app/main.js").unlink()
    with pytest.raises(SourceError, match=r"not committed: app/main\.js"):
        build(work / "web.toml", MemoryStore())

    fill(work, {"app/main.js": "1", "app/b.js": "1"})
    run(work, "add", ".")
    with pytest.raises(SourceError, match=r"not committed: app/b\.js"):
        build(work / "web.toml", MemoryStore())


def test_what_the_image_does_not_take_may_change(work: Path) -> None:
    before = build(work / "web.toml", MemoryStore()).digest
    fill(work, {"other/x": "2", "new": "3", "app/skip.txt": "4", "app/x.log": "5"})

    assert before == build(work / "web.toml", MemoryStore()).digest


def test_inputs_of_the_spec_beneath_count(work: Path) -> None:
    write(work, layer("files", source="other", target="/other"), "base.toml")
    write(
        work,
        layer("image", "base", from_="base.toml") + '[config]\nlabels = { c = "{git.sha}" }\n',
        "top.toml",
    )
    run(work, "add", ".")
    run(work, "commit", "--quiet", "--message=second")
    assert build(work / "top.toml", MemoryStore())

    fill(work, {"other/x": "22"})
    with pytest.raises(SourceError, match="not committed: other/x"):
        build(work / "top.toml", MemoryStore())


def test_many_changes_are_counted(work: Path) -> None:
    fill(work, {f"app/{n}.js": "x" for n in range(8)})

    with pytest.raises(SourceError, match=r"app/4\.js and 3 more; commit them first"):
        build(work / "web.toml", MemoryStore())


def test_a_fact_that_the_commit_lacks_is_named(work: Path) -> None:
    run(work, "tag", "--delete", "1.0")
    run(work, "checkout", "--quiet", "--detach")

    with pytest.raises(SpecError) as caught:
        build(work / "web.toml", MemoryStore())

    assert [
        f"{work}/web.toml: image.tags[0]: {{git.tag}}: git has no tag for this commit",
        f"{work}/web.toml: config.labels.branch: {{git.branch}}: git has no branch for this commit",
    ] == [line for line in str(caught.value).splitlines() if "git has no" in line]


def test_the_highest_version_is_the_tag(work: Path) -> None:
    for tag in ("1.9", "1.10", "0.99", "1.10-rc1"):
        run(work, "tag", tag)
    run(work, "config", "versionsort.suffix", "-rc")

    assert "1.10-rc1" == git.facts(work, [])["tag"]


def test_without_a_question_git_is_not_asked(tmp_path: Path) -> None:
    fill(tmp_path / "app", {"a": "1"})

    assert build(write(tmp_path, layer("files", source="app")), MemoryStore())


def test_outside_of_git_there_is_no_commit(tmp_path: Path) -> None:
    spec = write(tmp_path, '[config]\nlabels = { c = "{git.sha}" }\n')

    with pytest.raises(SourceError, match="git: fatal: not a git repository"):
        build(spec, MemoryStore())


def test_before_the_first_commit_there_is_none(tmp_path: Path) -> None:
    run(tmp_path, "init", "--quiet")

    with pytest.raises(SourceError, match=f"{tmp_path}: git: fatal: .*HEAD"):
        git.facts(tmp_path, [])


def test_names_of_any_bytes_are_told(work: Path) -> None:
    Path(os.fsdecode(os.fsencode(work) + b"/app/\xff .js")).write_text("x")

    with pytest.raises(SourceError, match=r"not committed: app/\\xff \.js"):
        build(work / "web.toml", MemoryStore())


def test_files_that_git_is_told_not_to_look_at_are_refused(work: Path) -> None:
    run(work, "update-index", "--assume-unchanged", "app/main.js")
    run(work, "update-index", "--skip-worktree", "app/skip.txt")
    fill(work, {"app/main.js": "22", "app/skip.txt": "not taken"})
    with pytest.raises(SourceError, match=r"told not to look at: app/main\.js; use `git update"):
        build(work / "web.toml", MemoryStore())

    run(work, "update-index", "--no-assume-unchanged", "app/main.js")
    run(work, "update-index", "--skip-worktree", "app/main.js")
    with pytest.raises(SourceError, match=r"told not to look at: app/main\.js; use `git update"):
        build(work / "web.toml", MemoryStore())


def test_a_mode_counts_whatever_the_settings_are(work: Path) -> None:
    run(work, "config", "core.fileMode", "false")
    (work / "app/main.js").chmod(0o755)

    with pytest.raises(SourceError, match=r"not committed: app/main\.js"):
        build(work / "web.toml", MemoryStore())


def test_a_replaced_commit_is_not_taken_for_the_one_that_is_named(work: Path) -> None:
    first = run(work, "rev-parse", "HEAD")
    fill(work, {"app/main.js": "22"})
    run(work, "commit", "--quiet", "--all", "--message=second")
    second = run(work, "rev-parse", "HEAD")
    run(work, "replace", first, second)
    run(work, "reset", "--quiet", "--soft", first)

    with pytest.raises(SourceError, match=r"not committed: app/main\.js"):
        build(work / "web.toml", MemoryStore())


@pytest.fixture
def submodule(work: Path, tmp_path: Path) -> Path:
    """A submodule in the folder that the image takes, which git is told to ignore."""
    run(tmp_path, "init", "--quiet", "lib")
    fill(tmp_path / "lib", {"lib.js": "1"})
    run(tmp_path / "lib", "add", ".")
    run(tmp_path / "lib", "commit", "--quiet", "--message=lib")
    run(
        work,
        *("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "--name", "lib"),
        *(str(tmp_path / "lib"), "app/lib"),
    )
    run(work, "commit", "--quiet", "--message=lib")
    run(work, "tag", "1.1")
    # Its link and its own folder get into no image.
    spec = work / "web.toml"
    spec.write_text(spec.read_text().replace('"*.log"', '"*.log", "**/.git"'))
    run(work, "commit", "--quiet", "--all", "--message=spec")
    run(work, "tag", "1.2")
    run(work, "config", "submodule.lib.ignore", "all")
    assert build(spec, MemoryStore())
    return work / "app/lib"


def test_a_changed_submodule_is_refused(work: Path, submodule: Path) -> None:
    fill(submodule, {"lib.js": "22"})

    with pytest.raises(SourceError, match=r"not committed: app/lib, app/lib/lib\.js; commit"):
        build(work / "web.toml", MemoryStore())


def test_what_is_hidden_in_a_submodule_is_refused(work: Path, submodule: Path) -> None:
    run(submodule, "config", "core.fileMode", "false")
    (submodule / "lib.js").chmod(0o755)
    with pytest.raises(SourceError, match=r"not committed: app/lib, app/lib/lib\.js; commit"):
        build(work / "web.toml", MemoryStore())

    run(submodule, "update-index", "--assume-unchanged", "lib.js")
    with pytest.raises(SourceError, match=r"told not to look at: app/lib/lib\.js;"):
        build(work / "web.toml", MemoryStore())


def test_what_a_hook_says_of_another_repository_does_not_count(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = git.facts(work, [work / "app"])
    run(tmp_path, "init", "--quiet", "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other/.git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "other"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))

    assert before == git.facts(work, [work / "app"])


def test_the_users_own_settings_of_git_stay() -> None:
    kept = {"PATH": "/bin", "GIT_CONFIG_GLOBAL": "/dev/null"}

    assert kept == git_environment({**kept, "GIT_DIR": "x", "GIT_CONFIG_COUNT": "1"})


@pytest.mark.parametrize(
    ("settings", "attributes", "data"),
    [
        ({"core.autocrlf": "true"}, "", b"a\r\nb\r\n"),
        ({}, "*.js text eol=crlf\n", b"a\r\nb\r\n"),
        ({}, "*.js ident\n", b"$Id: 0123456789012345678901234567890123456789 $\n"),
        ({}, "*.js text working-tree-encoding=UTF-16LE\n", "a\n".encode("utf-16-le")),
        ({"filter.x.clean": "tr 2 1"}, "*.js filter=x\n", b"2"),
    ],
)
def test_bytes_that_the_commit_holds_otherwise_are_refused(
    work: Path, settings: dict[str, str], attributes: str, data: bytes
) -> None:
    fill(work, {".gitattributes": attributes, "app/main.js": data})
    for name, value in settings.items():
        run(work, "config", name, value)
    run(work, "add", ".")
    run(work, "commit", "--quiet", "--message=filtered", "--allow-empty")
    assert "" == run(work, "status", "--porcelain")

    with pytest.raises(SourceError, match=r"not committed: app/main\.js; commit"):
        build(work / "web.toml", MemoryStore())


def test_nothing_that_a_repository_says_is_run(work: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {marker}\ncat\n")
    program.chmod(0o755)
    for name in (
        *("filter.x.clean", "filter.x.smudge", "filter.x.process", "core.fsmonitor", "core.pager"),
        *("diff.external", "core.sshCommand", "gpg.program", "core.alternateRefsCommand"),
        *("alias.rev-parse", "alias.cat-file", "core.askPass", "pager.rev-parse", "core.editor"),
    ):
        run(work, "config", name, str(program))
    run(work, "config", "core.hooksPath", str(tmp_path / "hooks"))
    run(work, "config", "core.worktree", str(tmp_path))
    for hook in ("post-index-change", "post-checkout", "fsmonitor-watchman"):
        fill(work, {f".git/hooks/{hook}": program.read_text()})
        (work / f".git/hooks/{hook}").chmod(0o755)
    fill(work, {".git/info/attributes": "* filter=x\n"})
    os.utime(work / "app/main.js")

    assert build(work / "web.toml", MemoryStore())

    (work / "app/main.js").write_text("2")
    with pytest.raises(SourceError, match=r"not committed: app/main\.js"):
        build(work / "web.toml", MemoryStore())
    assert not marker.exists()


@pytest.mark.parametrize("lost", ["HEAD", "HEAD^{tree}", "HEAD:app"])
def test_what_a_repository_lacks_is_not_fetched(work: Path, tmp_path: Path, lost: str) -> None:
    marker = tmp_path / "ran"
    sha = run(work, "rev-parse", lost)
    (work / ".git/objects" / sha[:2] / sha[2:]).unlink()
    for name, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "far",
        "remote.far.promisor": "true",
        "remote.far.url": f"ext::touch {marker}",
        "protocol.allow": "always",
        "protocol.ext.allow": "always",
    }.items():
        run(work, "config", name, value)

    with pytest.raises(SourceError, match="git: "):
        build(work / "web.toml", MemoryStore())
    assert not marker.exists()


def test_an_object_under_anothers_name_is_refused(work: Path) -> None:
    before = run(work, "rev-parse", "HEAD:app")
    fill(work, {"app/main.js": "22"})
    run(work, "add", ".")
    after = run(work, "write-tree", "--prefix=app")
    places = [work / ".git/objects" / sha[:2] / sha[2:] for sha in (before, after)]
    places[0].unlink()
    places[1].rename(places[0])

    with pytest.raises(SourceError, match=f"git: tree {before} is damaged"):
        build(work / "web.toml", MemoryStore())


def test_a_link_to_the_source_counts(work: Path) -> None:
    spec = work / "web.toml"
    spec.write_text(spec.read_text().replace('source = "app"', 'source = "link"'))
    (work / "link").symlink_to("app")
    run(work, "add", ".")
    run(work, "commit", "--quiet", "--message=link")
    run(work, "tag", "1.1")
    assert build(spec, MemoryStore())

    (work / "link").unlink()
    (work / "link").symlink_to("other")
    with pytest.raises(SourceError, match="not committed: link; commit"):
        build(spec, MemoryStore())


def test_links_modes_and_linked_work_trees_are_clean(work: Path, tmp_path: Path) -> None:
    (work / "app/link").symlink_to("main.js")
    (work / "app/main.js").chmod(0o755)
    run(work, "add", ".")
    run(work, "commit", "--quiet", "--message=link")
    run(work, "tag", "2.0")
    run(work, "worktree", "add", "--quiet", "-b", "next", str(tmp_path / "next"))

    image = build(tmp_path / "next/web.toml", MemoryStore())
    assert "next" == dict(image.config.execution.labels)["branch"]

    (tmp_path / "next/app/link").unlink()
    (tmp_path / "next/app/link").symlink_to("skip.txt")
    with pytest.raises(SourceError, match="not committed: app/link; commit"):
        build(tmp_path / "next/web.toml", MemoryStore())


def test_a_repository_with_sha256_names_is_known(tmp_path: Path) -> None:
    fill(tmp_path, {"a/b": "1"})
    run(tmp_path, "init", "--quiet", "--object-format=sha256")
    run(tmp_path, "add", ".")
    run(tmp_path, "commit", "--quiet", "--message=first")

    assert run(tmp_path, "rev-parse", "HEAD") == git.facts(tmp_path, [tmp_path])["sha"]

    fill(tmp_path, {"a/b": "2"})
    with pytest.raises(SourceError, match="not committed: a/b; commit"):
        git.facts(tmp_path, [tmp_path])


def test_a_submodule_that_is_not_there_or_at_another_commit_is_refused(
    work: Path, submodule: Path
) -> None:
    fill(submodule, {"lib.js": "22"})
    run(submodule, "commit", "--quiet", "--all", "--message=lib")
    with pytest.raises(SourceError, match=r"not committed: app/lib, app/lib/lib\.js; commit"):
        build(work / "web.toml", MemoryStore())

    run(work, "submodule", "--quiet", "deinit", "--force", "app/lib")
    with pytest.raises(SourceError, match="not committed: app/lib; commit"):
        build(work / "web.toml", MemoryStore())


@pytest.mark.parametrize(("place", "source"), [("", "."), ("deploy/", "..")])
@pytest.mark.parametrize("globs", [{}, {"include": ["**/.git/**", "**/*.toml", "main.js"]}])
def test_two_clones_of_one_commit_give_one_image(
    tmp_path: Path, place: str, source: str, globs: dict[str, Any]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    fill(first, {"main.js": "1", "other.toml": "", "web.toml.bak": ""})
    spec = write(
        first / place,
        layer("files", source=source, **globs) + '[config]\nlabels = { commit = "{git.sha}" }\n',
    )
    spec.with_suffix(".lock.toml").write_text(dumps(Lock()))
    run(tmp_path, "init", "--quiet", str(first))
    run(first, "add", ".")
    run(first, "commit", "--quiet", "--message=first")
    run(tmp_path, "clone", "--quiet", str(first), str(second))
    store = MemoryStore()

    image = build(spec, store)

    names = [path for path in contents(store, image.layers[0]) if not path.endswith("deploy")]
    expected = ["main.js", "other.toml"] if globs else ["main.js", "other.toml", "web.toml.bak"]
    assert expected == sorted(names)
    assert image.digest == build(second / place / "web.toml", MemoryStore()).digest


def _read_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of the files that are read from here on to tell which objects they are."""
    read: list[str] = []
    named = Repository.named

    def spied(repository: Repository, path: Path) -> Held:
        read.append(path.name)
        return named(repository, path)

    monkeypatch.setattr(Repository, "named", spied)
    return read


def _settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all files have been written a while ago: their times tell then what has changed."""
    settled = time.time_ns() + 10 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: settled)


def test_what_was_as_committed_is_not_read_again(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    _settle(monkeypatch)
    read = _read_of(monkeypatch)
    before = build(work / "web.toml", store).digest
    assert "main.js" in read
    read.clear()
    assert before == build(work / "web.toml", store).digest
    assert [] == read

    fill(work, {"app/main.js": "22"})
    with pytest.raises(SourceError, match=r"not committed: app/main\.js"):
        build(work / "web.toml", store)
    run(work, "commit", "--quiet", "--all", "--message=second")
    run(work, "tag", "2.0")
    assert build(work / "web.toml", store)
    # The same file, and another commit: what was known of one says nothing of the other.
    run(work, "update-ref", "HEAD", "1.0^{commit}")
    with pytest.raises(SourceError, match=r"not committed: app/main\.js"):
        build(work / "web.toml", store)


def test_a_mode_that_changes_is_found_out_beside_the_stat_cache(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    _settle(monkeypatch)
    assert build(work / "web.toml", store)
    (work / "app/main.js").chmod(0o755)

    with pytest.raises(SourceError, match=r"not committed: app/main\.js"):
        build(work / "web.toml", store)


def test_what_was_written_just_now_is_read_again(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    assert build(work / "web.toml", store)
    read = _read_of(monkeypatch)

    assert build(work / "web.toml", store)
    assert "main.js" in read


def test_specs_in_one_folder_leave_each_other_what_is_known(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    _settle(monkeypatch)
    (work / "app/skip.txt").unlink()
    git.facts(work, [work / "app"], stats=store, taken=lambda _: False)
    git.facts(work, [work / "other"], stats=store)
    read = _read_of(monkeypatch)

    git.facts(work, [work / "app"], stats=store, taken=lambda _: False)
    assert [] == read


def test_what_changes_while_it_is_read_is_not_known(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    _settle(monkeypatch)
    named = Repository.named

    def changing(repository: Repository, path: Path) -> Held:
        found = named(repository, path)
        fill(work, {"other/x": "2"})
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Repository, "named", changing)
        git.facts(work, [work / "other"], stats=store)
    with pytest.raises(SourceError, match="not committed: other/x"):
        git.facts(work, [work / "other"], stats=store)
