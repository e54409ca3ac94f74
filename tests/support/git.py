"""Repositories for tests: git as nobody has set it up."""

from __future__ import annotations

import hashlib
import os
import subprocess
import zlib
from pathlib import Path

from tests.support.specs import fill, layer, write

_TIME = "2024-05-06T07:08:09+02:00"


def run(folder: Path, *arguments: str) -> str:
    """Run git in `folder`, and return what it prints."""
    identity = {"NAME": "t", "EMAIL": "t@example.invalid", "DATE": _TIME}
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


def repository(folder: Path, *options: str) -> Path:
    """Make a work tree with a committed spec that asks git for everything."""
    fill(folder, {"app/main.js": "1", "app/skip.txt": "1", "other/x": "1", ".gitignore": "*.log\n"})
    write(
        folder,
        layer("files", source="app", target="/app", exclude=["*.txt", "*.log"])
        + '[config]\nlabels = { commit = "{git.sha}", branch = "{git.branch}" }\n',
        image='tags = ["{git.tag}", "{git.short-sha}"]\ncreated = "git"\n'
        'annotations = { time = "{git.time}" }\n',
    )
    run(folder.parent, "init", "--quiet", "--initial-branch=trunk", *options, str(folder))
    run(folder, "add", ".")
    run(folder, "commit", "--quiet", "--message=first")
    run(folder, "tag", "1.0")
    return folder


def store(work: Path, name: str, kind: bytes, data: bytes) -> None:
    """Put `data` where the object `name` is, whatever its own name would be."""
    place = work / ".git/objects" / name[:2] / name[2:]
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    place.write_bytes(zlib.compress(b"%b %d\0" % (kind, len(data)) + data))


def make(work: Path, kind: bytes, data: bytes) -> str:
    """Make an object that git itself might not make, and return its name."""
    name = hashlib.sha1(b"%b %d\0" % (kind, len(data)) + data).hexdigest()
    store(work, name, kind, data)
    return name


def commit(work: Path, tree: str, committer: str = "t <t@example.invalid> 1 +0000") -> str:
    """Make HEAD a commit of `tree`, and return its name."""
    data = f"tree {tree}\nauthor t <t@example.invalid> 1 +0000\ncommitter {committer}\n\nx\n"
    name = make(work, b"commit", data.encode())
    (work / ".git/refs/heads/trunk").write_text(f"{name}\n")
    return name
