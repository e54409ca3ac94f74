"""What specs ask of git: the commit, and only where it holds what the image is built from."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from immutable.config.tools import git_environment
from immutable.errors import SourceError, SpecError
from immutable.sources import git
from immutable.store import MemoryStore
from tests.support import needs
from tests.support.specs import build, fill, layer, write

pytestmark = needs.tool("git")

TIME = "2024-05-06T07:08:09+02:00"


def run(folder: Path, *arguments: str) -> str:
    identity = {"NAME": "t", "EMAIL": "t@example.invalid", "DATE": TIME}
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env={
            "PATH": os.environ["PATH"],
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            **{f"GIT_{who}_{k}": v for who in ("AUTHOR", "COMMITTER") for k, v in identity.items()},
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A work tree with a committed spec that asks git for everything."""
    folder = tmp_path / "work"
    fill(folder, {"app/main.js": "1", "app/skip.txt": "1", "other/x": "1", ".gitignore": "*.log\n"})
    write(
        folder,
        layer("files", source="app", target="/app", exclude=["*.txt", "*.log"])
        + '[config]\nlabels = { commit = "{git.sha}", branch = "{git.branch}" }\n',
        image='tags = ["{git.tag}", "{git.short-sha}"]\ncreated = "git"\n'
        'annotations = { time = "{git.time}" }\n',
    )
    run(tmp_path, "init", "--quiet", "--initial-branch=trunk", str(folder))
    run(folder, "add", ".")
    run(folder, "commit", "--quiet", "--message=first")
    run(folder, "tag", "1.0")
    return folder


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
