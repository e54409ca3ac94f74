"""What is deployed, found in files: nothing misread, nothing passed over in silence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from immutable.errors import SpecError
from immutable.lifecycle import deployed
from immutable.lifecycle.deployed import find_deployed
from immutable.oci.digest import Digest

ONE = Digest.of(b"1")
TWO = Digest.of(b"2")


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def faults(root: Path, *patterns: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        find_deployed(patterns, root, "prune.toml")
    return [fault.replace(str(root), "ROOT") for fault in caught.value.faults]


def test_files_of_every_kind_are_found(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "deploy/a/web.yaml": f"image: shop/web@{ONE}",
            "deploy/compose.yaml": "services: {web: {image: 'shop/web:1.4.0'}}",
            "infra/main.tf": f'digest = "{TWO.hex}"',
            "other/x.yaml": f"{Digest.of(b'3')}",
            "deploy/notes.md": b"\x00",
        },
    )
    found = find_deployed(["deploy/**/*.yaml", "infra/*.tf", "/deploy/compose.yaml"], tmp_path)
    assert ["deploy/a/web.yaml", "deploy/compose.yaml", "infra/main.tf"] == [
        mention.where for mention in found.mentions
    ]
    assert {ONE, TWO} == found.digests
    assert {"shop/web"} <= found.mentions[1].names
    assert {"1.4.0"} <= found.mentions[1].tags


def test_no_patterns_are_nothing_deployed(tmp_path: Path) -> None:
    assert () == find_deployed([], tmp_path).mentions


def test_a_folder_covers_what_it_holds(tmp_path: Path) -> None:
    write(tmp_path, {"deploy/a/b": str(ONE), "deploy/.hidden": str(TWO)})
    assert {ONE, TWO} == find_deployed(["deploy"], tmp_path).digests


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, {"d/a.yaml": b"\xff", "d/b.yaml": b"a\0b", "d/c.yaml": "fine"})
    (tmp_path / "d/dangling.yaml").symlink_to("nowhere")
    os.mkfifo(tmp_path / "d/pipe.yaml")
    assert [
        "keep-deployed: 'dd/*.yaml' matches no file below ROOT",
        "keep-deployed: 'd/c.yml' matches no file below ROOT",
        "keep-deployed: d/a.yaml: not UTF-8 text: byte 0",
        "keep-deployed: d/b.yaml: expected text, found a NUL",
        "keep-deployed: d/dangling.yaml: No such file or directory",
        "keep-deployed: d/pipe.yaml: expected a regular file, found a FIFO",
    ] == faults(tmp_path, "d/*.yaml", "dd/*.yaml", "d/c.yml")


def test_a_file_that_is_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"a": "x" * 1000, "b": "x" * 1001})
    monkeypatch.setattr(deployed, "MAX_FILE", 1000)
    assert () != find_deployed(["a"], tmp_path).mentions
    assert ["keep-deployed: b: larger than 1000 bytes"] == faults(tmp_path, "b")


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {f"d/{n}": "" for n in range(5)})
    monkeypatch.setattr(deployed, "_MAX_ENTRIES", 3)
    assert ["keep-deployed: more than 3 files below d"] == faults(tmp_path, "d/*")[:1]


def test_what_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    write(tmp_path, {"d/b.yaml": ""})
    # A regular file that even root cannot read: no page of a process is at 0.
    (tmp_path / "d/a.yaml").symlink_to("/proc/self/mem")
    assert ["keep-deployed: d/a.yaml: Input/output error"] == faults(tmp_path, "d/**/*.yaml")


def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    write(tmp_path, {"real/web.yaml": str(ONE), "deploy/x.yaml": str(TWO)})
    (tmp_path / "deploy/linked").symlink_to("../real")
    (tmp_path / "deploy/round").symlink_to(".")
    (tmp_path / "deploy/up").symlink_to("..")
    found = find_deployed(["deploy/**/*.yaml"], tmp_path)
    assert {ONE, TWO} == found.digests
    assert "deploy/linked/web.yaml" in {mention.where for mention in found.mentions}


def test_a_deep_tree_is_walked(tmp_path: Path) -> None:
    path = tmp_path / "d"
    path.mkdir()
    for _ in range(120):
        path = path / "deeper"
        path.mkdir()
    (path / "x.yaml").write_text(str(ONE))
    assert {ONE} == find_deployed(["d/**/*.yaml"], tmp_path).digests


def test_a_name_that_is_no_utf8_can_be_shown(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"d\xff.yaml")).write_text(str(ONE))
    except OSError:
        pytest.skip("the file system takes no such name")
    (mention,) = find_deployed(["*.yaml"], tmp_path).mentions
    assert "d\ufffd.yaml" == mention.where
