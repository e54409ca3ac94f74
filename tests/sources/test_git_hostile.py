"""Repositories that lie, and that never end: no image names bytes that are not committed."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from immutable.errors import SourceError
from immutable.net import programs
from immutable.sources import git
from immutable.sources.git import answers, objects
from immutable.store import MemoryStore
from tests.support import needs
from tests.support.git import commit, make, repository, run, store
from tests.support.specs import build, fill

pytestmark = needs.tool("git")

_BLOB = b"1"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return repository(tmp_path / "work")


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """A file that commands of a repository would make."""
    return tmp_path / "marker"


def _script(path: Path, text: str) -> Path:
    fill(path.parent, {path.name: f"#!/bin/sh\n{text}\n"})
    path.chmod(0o755)
    return path


# What git's status calls clean, and what it would run.


@pytest.mark.parametrize(
    ("attributes", "settings", "committed", "data"),
    [
        ("", {"core.autocrlf": "true"}, b"a\nb\n", b"a\r\nb\r\n"),
        ("", {"core.autocrlf": "input"}, b"a\nb\n", b"a\r\nb\r\n"),
        ("*.js text eol=crlf", {}, b"a\nb\n", b"a\r\nb\r\n"),
        ("*.js ident", {}, b"$Id$\n", b"$Id: 0123 $\n"),
        ("*.js working-tree-encoding=UTF-16LE", {}, b"a\n", "a\n".encode("utf-16-le")),
        ("*.js filter=f", {"filter.f.clean": "tr b a"}, b"a\n", b"b\n"),
        ("*.js filter=f", {"filter.f.process": "touch ../marker"}, b"a\n", b"b\n"),
    ],
)
@pytest.mark.parametrize("place", [".gitattributes", ".git/info/attributes"])
def test_what_git_converts_counts_as_changed(
    work: Path,
    marker: Path,
    attributes: str,
    settings: dict[str, str],
    committed: bytes,
    data: bytes,
    place: str,
) -> None:
    fill(work, {"app/main.js": committed})
    run(work, "commit", "--quiet", "--all", "--message=second")
    run(work, "tag", "2.0")
    fill(work, {place: f"{attributes}\n", "app/main.js": data})
    for name, value in settings.items():
        run(work, "config", name, value)

    with pytest.raises(SourceError, match=r"not committed: app/main\.js; commit"):
        build(work / "web.toml", MemoryStore())
    fill(work, {"app/main.js": committed})
    assert build(work / "web.toml", MemoryStore())
    assert not marker.exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"core.fsmonitor": "{}"},
        {"core.hooksPath": "hooks"},
        {"core.pager": "{}", "pager.for-each-ref": "{}", "pager.cat-file": "{}"},
        {"alias.rev-parse": "!{}", "alias.cat-file": "!{}", "alias.for-each-ref": "!{}"},
        {"core.alternateRefsCommand": "{}", "core.sshCommand": "{}", "core.askPass": "{}"},
        {"gpg.program": "{}", "log.showSignature": "true", "diff.external": "{}"},
        {"filter.f.clean": "{}", "filter.f.smudge": "{}", "filter.f.process": "{}"},
        {"diff.f.textconv": "{}", "diff.f.command": "{}", "merge.f.driver": "{}"},
        {"credential.helper": "!{}", "core.editor": "{}", "uploadpack.packObjectsHook": "{}"},
    ],
    ids=lambda settings: next(iter(settings)),
)
@pytest.mark.parametrize("included", [False, True])
def test_no_setting_of_a_repository_runs_a_command(
    work: Path, marker: Path, settings: dict[str, str], included: bool
) -> None:
    script = _script(work.parent / "script", f"touch {marker}")
    for hook in ("post-index-change", "post-checkout", "reference-transaction", "pre-commit"):
        for folder in (work / "hooks", work / ".git/hooks"):
            _script(folder / hook, f"touch {marker}")
    fill(work, {".git/info/attributes": "* filter=f diff=f merge=f\n"})
    file = work / (".git/more" if included else ".git/config")
    for name, value in settings.items():
        run(work, "config", "--file", str(file), name, value.format(script))
    if included:
        run(work, "config", "include.path", "more")
    fill(work, {"app/new.js": "not committed"})

    with pytest.raises(SourceError, match=r"not committed: app/new\.js"):
        build(work / "web.toml", MemoryStore())
    (work / "app/new.js").unlink()
    assert build(work / "web.toml", MemoryStore())
    assert not marker.exists()


@pytest.mark.parametrize(
    "remote",
    [
        {"url": "ext::touch {}"},
        {"url": "ssh://host.invalid/x"},
        {"url": "file://{}.git", "uploadpack": "touch {};"},
        {"url": "{}.git", "uploadpack": "touch {};"},
        {"url": "touch {}", "vcs": "ext"},
    ],
    ids=["ext", "ssh", "file", "path", "vcs"],
)
def test_no_remote_of_a_repository_is_asked_for_what_lacks(
    work: Path, marker: Path, remote: dict[str, str]
) -> None:
    script = _script(work.parent / "script", f"touch {marker}")
    run(work.parent, "init", "--quiet", "--bare", f"{marker}.git")
    settings = {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "evil",
        "remote.evil.promisor": "true",
        "protocol.allow": "always",
        "protocol.ext.allow": "always",
        "protocol.file.allow": "always",
        "core.sshCommand": str(script),
        **{f"remote.evil.{name}": value.format(marker) for name, value in remote.items()},
    }
    tree = run(work, "rev-parse", "HEAD:app")
    for name, value in settings.items():
        run(work, "config", name, value)
    (work / ".git/objects" / tree[:2] / tree[2:]).unlink()

    with pytest.raises(SourceError, match="git: "):
        build(work / "web.toml", MemoryStore())
    assert not marker.exists()

    with pytest.raises(subprocess.CalledProcessError):
        run(work, "cat-file", "-p", tree)
    assert marker.exists(), "what is tested here would run nothing anyway"


@needs.root()
def test_whose_repositories_are_read_is_for_the_user_to_say(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (work, *work.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "settings"))
    with pytest.raises(SourceError, match="git: fatal: detected dubious ownership"):
        git.facts(work, [work / "app"])

    fill(tmp_path, {"settings": f"[safe]\n\tdirectory = {work}\n"})
    assert "1.0" == git.facts(work, [work / "app"])["tag"]


# Objects that are not what they are called, and that are not what git makes.


@pytest.mark.parametrize("asked", ["HEAD", "HEAD^{tree}", "HEAD:app"])
def test_an_object_of_another_content_is_found_out(work: Path, asked: str) -> None:
    name = run(work, "rev-parse", asked)
    kind = run(work, "cat-file", "-t", name)
    fill(work, {"app/main.js": "22"})
    run(work, "commit", "--quiet", "--all", "--message=second")
    other = subprocess.check_output(["git", "-C", work, "cat-file", kind, asked])
    run(work, "update-ref", "HEAD", "1.0^{commit}")
    store(work, name, kind.encode(), other)

    with pytest.raises(SourceError, match=f"git: {kind} {name} is damaged"):
        build(work / "web.toml", MemoryStore())


def test_neither_grafts_nor_replacements_nor_a_commit_graph_count(work: Path) -> None:
    before = git.facts(work, [work / "app"])
    first = run(work, "rev-parse", "HEAD")
    fill(work, {"app/main.js": "22"})
    run(work, "commit", "--quiet", "--all", "--message=second")
    second = run(work, "rev-parse", "HEAD")
    for name in ("", "^{tree}", ":app", ":app/main.js"):
        run(work, "replace", first + name, second + name)
    fill(work, {".git/info/grafts": f"{first}\n"})
    run(work, "update-ref", "HEAD", first)
    run(work, "commit-graph", "write", "--reachable")

    with pytest.raises(SourceError, match=r"not committed: app/main\.js"):
        git.facts(work, [work / "app"])
    fill(work, {"app/main.js": "1"})
    assert before == git.facts(work, [work / "app"])


@pytest.mark.parametrize("name", [".", "..", ".git", "a/b", ""])
def test_names_that_no_path_has_are_refused(work: Path, name: str) -> None:
    blob = bytes.fromhex(make(work, b"blob", _BLOB))
    tree = make(work, b"tree", f"100644 {name}\0".encode() + blob)
    commit(work, tree)

    with pytest.raises(SourceError, match=f"git: tree {tree} is damaged"):
        git.facts(work, [work])


@pytest.mark.parametrize("mode", [b"100644", b"40000", b"160000"])
def test_a_name_given_twice_is_refused(work: Path, mode: bytes) -> None:
    row = b" x\0" + bytes.fromhex(make(work, b"blob", _BLOB))
    tree = make(work, b"tree", b"100644" + row + mode + row)
    commit(work, tree)

    with pytest.raises(SourceError, match=f"git: tree {tree} is damaged"):
        git.facts(work, [work])


@pytest.mark.parametrize("rest", [b"100644 x", b"100644 x\0", b"100644 x\0 short", b"9 x\0", b"\0"])
def test_a_tree_that_breaks_off_is_refused(work: Path, rest: bytes) -> None:
    row = b"100644 w\0" + bytes.fromhex(make(work, b"blob", _BLOB))
    tree = make(work, b"tree", row + rest)
    commit(work, tree)

    with pytest.raises(SourceError, match=f"git: tree {tree} is damaged"):
        git.facts(work, [work])


@pytest.mark.parametrize("tree", ["", "HEAD:app", "HEAD app", "../x", "0" * 40])
def test_a_commit_without_a_tree_is_refused(work: Path, tree: str) -> None:
    sha = commit(work, tree)

    with pytest.raises(SourceError, match=f"git: (commit {sha} is damaged|tree .* is missing)"):
        git.facts(work, [work])


@pytest.mark.parametrize("committer", ["t <t@example.invalid> 999999999999 +0000", "t", "t <t> x"])
def test_a_commit_without_a_time_is_refused(work: Path, committer: str) -> None:
    commit(work, make(work, b"tree", b""), committer)

    with pytest.raises(SourceError, match="has no time before the year 10000"):
        git.facts(work, [])


def test_what_git_says_is_shown_fit_for_a_terminal(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _other_git(tmp_path, monkeypatch, r"printf 'bad \033[2J config\nmore\n' >&2; exit 128")

    with pytest.raises(SourceError, match=r"git: bad \\x1b\[2J config$"):
        git.facts(work, [])


# What would have no end.


def test_a_tree_without_end_ends_at_its_budget(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "MOST_ENTRIES", 1000)
    tree = make(work, b"tree", b"100644 x\0" + bytes.fromhex(make(work, b"blob", _BLOB)))
    for _ in range(9):
        row = bytes.fromhex(tree)
        tree = make(work, b"tree", b"".join(b"40000 %d\0" % n + row for n in range(10)))
    commit(work, tree)
    place = work / "/".join(["0"] * 9) / "x"

    with pytest.raises(SourceError, match="expected at most 1000 files and folders in the commit"):
        git.facts(work, [work])
    # On the way to one file there are few.
    with pytest.raises(SourceError, match="not committed: 0/0/0/0/0/0/0/0/0/x; commit"):
        git.facts(work, [place])


def test_names_without_end_end_at_their_budget(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "MOST_NAMES", 1000)
    blob = bytes.fromhex(make(work, b"blob", _BLOB))
    commit(work, make(work, b"tree", b"".join(b"100644 %0250d\0" % n + blob for n in range(9))))

    with pytest.raises(SourceError, match="1000 bytes of paths"):
        git.facts(work, [work])


def test_a_path_without_end_ends_at_its_budget(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "MAX_PATH", 100)
    tree = make(work, b"tree", b"100644 x\0" + bytes.fromhex(make(work, b"blob", _BLOB)))
    for _ in range(60):
        tree = make(work, b"tree", b"40000 d\0" + bytes.fromhex(tree))
    commit(work, tree)

    with pytest.raises(SourceError, match="and 100 bytes of one, found more"):
        git.facts(work, [work])


def test_submodules_in_one_another_share_a_budget_and_end(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git, "_MOST_WITHIN", 3)
    blob = bytes.fromhex(make(work, b"blob", _BLOB))
    sha = commit(work, make(work, b"tree", b"100644 x\0" + blob))
    place = work
    fill(place, {"x": "1"})
    for _ in range(4):
        sha = commit(
            work, make(work, b"tree", b"160000 m\0" + bytes.fromhex(sha) + b"100644 x\0" + blob)
        )
        place /= "m"
        fill(place, {".git": f"gitdir: {work}/.git\n", "x": "1"})

    with pytest.raises(SourceError, match="expected at most 3 submodules in one another"):
        git.facts(work, [work / "m"])
    monkeypatch.setattr(git, "_MOST_WITHIN", 4)
    assert sha == git.facts(work, [work / "m"])["sha"]
    monkeypatch.setattr(objects, "MOST_ENTRIES", 5)
    with pytest.raises(SourceError, match="expected at most 5 files and folders"):
        git.facts(work, [work / "m"])


@pytest.mark.parametrize("kind", ["tree", "commit"])
def test_an_object_that_swells_ends_at_its_budget(
    work: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(objects, "MOST", 1000)
    asked: list[str] = []
    ask = answers.ask

    def spied(folder: Path, *arguments: str, given: bytes = b"", most: int | None = None) -> bytes:
        asked.append(arguments[-1])
        return ask(folder, *arguments, given=given, most=most)

    monkeypatch.setattr(objects, "ask", spied)
    if kind == "tree":
        commit(work, make(work, b"tree", b"\0" * 1001))
    else:
        commit(work, make(work, b"tree", b""), f"{'t' * 1001} <> 1 +0000")

    with pytest.raises(
        SourceError, match="expected at most 1000 bytes of a commit's trees at a ti"
    ):
        git.facts(work, [work])
    # Git would read it whole before it says a word.
    assert "--batch-check" == asked[-1]


def test_many_large_trees_at_a_time_end_at_the_budget_of_all(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "MOST", 1000)
    blob = bytes.fromhex(make(work, b"blob", _BLOB))
    rows = b""
    for n in range(4):
        tree = make(work, b"tree", b"100644 %0250d\0" % n + blob)
        rows += b"40000 %d\0" % n + bytes.fromhex(tree)
    commit(work, make(work, b"tree", rows))

    with pytest.raises(
        SourceError, match="expected at most 1000 bytes of a commit's trees at a ti"
    ):
        git.facts(work, [work])


def test_what_git_reads_for_itself_ends_at_a_budget(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MOST_AT_ONCE", 1 << 20)
    assert git.facts(work, [])
    tag = f"object {run(work, 'rev-parse', 'HEAD')}\ntype commit\ntag 2.0\n\n".encode()
    name = make(work, b"tag", tag + b"\n" * (1 << 20))
    fill(work, {".git/refs/tags/2.0": f"{name}\n"})

    with pytest.raises(SourceError, match=r"git: fatal: .*alloc"):
        git.facts(work, [])


def test_git_that_never_answers_is_ended(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "SECONDS", 0.3)
    pids = _other_git(tmp_path, monkeypatch, "sleep 60 & echo $! >>{0}; exec sleep 60")
    began = time.monotonic()

    with pytest.raises(SourceError, match=r"git did not answer within 0\.3 seconds"):
        git.facts(work, [])
    assert time.monotonic() - began < 30
    assert [] == _alive(pids)


@pytest.mark.parametrize(
    "late",
    ["exec >&- 2>&-; exec sleep 60", "exec yes >&2", "sleep 60 & echo $! >>{0}; exit 0"],
)
def test_git_that_never_ends_is_ended(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    monkeypatch.setattr(answers, "SECONDS", 0.3)
    pids = _other_git(tmp_path, monkeypatch, late)

    with pytest.raises(SourceError, match=r"git did not answer within 0\.3 seconds"):
        git.facts(work, [])
    assert [] == _alive(pids)


def test_an_answer_without_end_ends_at_its_budget(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MOST", 1 << 20)
    pids = _other_git(tmp_path, monkeypatch, "exec yes")

    with pytest.raises(SourceError, match="git: expected at most 1048576 bytes, it answers more"):
        git.facts(work, [])
    assert [] == _alive(pids)


def test_of_complaints_without_end_the_first_are_kept(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _other_git(tmp_path, monkeypatch, "echo first >&2; yes '' | head -c 9000000 >&2; exit 3")
    kept: list[bytes] = []
    both = programs.both

    def spied(*arguments: object) -> tuple[bytes, bytes]:
        output, said = both(*arguments)  # type: ignore[arg-type]
        kept.append(said)
        return output, said

    monkeypatch.setattr(programs, "both", spied)
    with pytest.raises(SourceError, match=f"{work}: git: first$"):
        git.facts(work, [])
    assert [answers.MOST_SAID] == [len(said) for said in kept]


def _other_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Path:
    """Let a script be git; return a file of the process ids that it had."""
    pids = tmp_path / "pids"
    _script(tmp_path / "bin/git", f"echo $$ >>{pids}\n{text.format(pids)}")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return pids


def _alive(pids: Path) -> list[str]:
    """Return those processes that are there and do not end, although they were told to."""
    found = pids.read_text().split()
    assert found
    until = time.monotonic() + 10
    while (alive := _running(found)) and time.monotonic() < until:
        time.sleep(0.01)
    return alive


def _running(found: list[str]) -> list[str]:
    """Return those that are there, and are not waiting for a parent to see their end."""
    statuses = [(pid, Path(f"/proc/{pid}/stat")) for pid in found]
    return [
        pid
        for pid, place in statuses
        if place.exists() and place.read_text().rpartition(")")[2].split()[0] != "Z"
    ]


# What a work tree may look like.


def test_a_link_counts_by_what_it_says(work: Path) -> None:
    (work / "app/link.js").symlink_to("main.js")
    run(work, "add", ".")
    run(work, "commit", "--quiet", "--message=link")
    run(work, "tag", "1.1")
    assert build(work / "web.toml", MemoryStore())

    # Git calls a file a link where it is told that there are none.
    (work / "app/link.js").unlink()
    fill(work, {"app/link.js": "main.js"})
    run(work, "config", "core.symlinks", "false")
    assert "" == run(work, "status", "--porcelain")
    with pytest.raises(SourceError, match=r"not committed: app/link\.js"):
        build(work / "web.toml", MemoryStore())


def test_a_folder_in_place_of_which_a_link_stands_is_refused(work: Path) -> None:
    fill(work, {"app/deep/a.js": "1", "other/deep/a.js": "1"})
    run(work, "add", ".")
    run(work, "commit", "--quiet", "--message=deep")
    (work / "app/deep/a.js").unlink()
    (work / "app/deep").rmdir()
    (work / "app/deep").symlink_to("../other/deep")

    with pytest.raises(SourceError, match=r"not committed: app/deep, app/deep/a\.js; commit"):
        build(work / "web.toml", MemoryStore())


def test_an_input_outside_of_the_work_tree_is_refused(work: Path) -> None:
    fill(work.parent, {"x": "1"})

    with pytest.raises(SourceError, match=f"{work.parent}/x is outside of {work}"):
        git.facts(work, [work.parent / "x"])


def test_a_repository_in_a_repository_is_not_committed(work: Path) -> None:
    repository(work / "app/own")

    with pytest.raises(SourceError, match=r"not committed: app/own/\.gitignore, app/own/app/main"):
        build(work / "web.toml", MemoryStore())


def test_a_further_work_tree_has_the_same_facts(work: Path) -> None:
    run(work, "worktree", "add", "--quiet", "--detach", "../second")
    run(work, "checkout", "--quiet", "--detach")
    second = work.parent / "second"

    assert git.facts(work, [work / "app"]) == git.facts(second, [second / "app"])
    fill(second, {"app/main.js": "2"})
    with pytest.raises(SourceError, match=r"not committed: app/main\.js"):
        build(second / "web.toml", MemoryStore())


def test_packed_objects_and_references_are_read(work: Path) -> None:
    before = build(work / "web.toml", MemoryStore()).digest
    run(work, "gc", "--quiet", "--aggressive")
    assert not list((work / ".git/objects").glob("??"))

    assert before == build(work / "web.toml", MemoryStore()).digest


def test_the_index_has_no_say(work: Path) -> None:
    before = build(work / "web.toml", MemoryStore()).digest
    (work / ".git/index").write_bytes(b"what ever")

    assert before == build(work / "web.toml", MemoryStore()).digest


def test_what_a_sparse_checkout_leaves_out_is_refused(work: Path) -> None:
    run(work, "sparse-checkout", "set", "--no-cone", "/web.toml", "/app/skip.txt")
    assert not (work / "app/main.js").exists()

    with pytest.raises(SourceError, match=r"told not to look at: app/main\.js; use `git update"):
        build(work / "web.toml", MemoryStore())


def test_a_tag_of_the_branchs_name_does_not_change_it(work: Path) -> None:
    run(work, "tag", "trunk")

    assert "trunk" == git.facts(work, [])["branch"]


@pytest.mark.parametrize("place", ["tags/HEAD", "heads/HEAD"])
def test_a_reference_of_heads_name_does_not_change_the_commit(work: Path, place: str) -> None:
    first = run(work, "rev-parse", "HEAD")
    fill(work, {"app/main.js": "22"})
    run(work, "commit", "--quiet", "--all", "--message=second")
    fill(work, {f".git/refs/{place}": f"{first}\n"})

    facts = git.facts(work, [work / "app"])
    assert first != facts["sha"]
    assert facts.get("branch") in ("trunk", None)


def test_a_number_in_a_tag_may_be_of_any_length(work: Path) -> None:
    sha = run(work, "rev-parse", "HEAD")
    tags = [f"1.{'9' * 5000}", f"1.{'0' * 5000}1", "1.8"]
    lines = "".join(f"{sha} refs/tags/{tag}\n" for tag in sorted(tags))
    fill(work, {".git/packed-refs": f"# pack-refs with: peeled fully-peeled sorted \n{lines}"})

    assert tags[0] == git.facts(work, [])["tag"]


@pytest.mark.parametrize("place", ["tags", "heads"])
def test_a_name_that_is_not_utf_8_is_refused(work: Path, place: str) -> None:
    name = os.fsdecode(b"9\xff")
    fill(work, {f".git/refs/{place}/{name}": run(work, "rev-parse", "HEAD")})
    if place == "heads":
        (work / ".git/HEAD").write_bytes(b"ref: refs/heads/9\xff\n")

    with pytest.raises(SourceError, match=r"git: expected names in UTF-8, found .*9\\xff"):
        git.facts(work, [])
