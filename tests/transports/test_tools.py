"""What others make of the images that we write, and we of theirs."""

import json
import subprocess
import tempfile
from pathlib import Path

import pytest

from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.transports import copy
from tests.support import needs
from tests.support.images import MemoryTransport, fetched, image, index

pytestmark = pytest.mark.tools


def run(*command: str, cwd: Path) -> bytes:
    done = subprocess.run(command, cwd=cwd, capture_output=True, check=False)
    assert 0 == done.returncode, done.stderr.decode()
    return done.stdout


def written(source: MemoryTransport, folder: Path) -> None:
    copy(source, f"oci:{folder / 'layout'}:web:1")
    copy(source, f"oci-archive:{folder / 'oci.tar'}:web:1")
    copy(source, f"docker-archive:{folder / 'docker.tar'}:shop/web:1.4.0")


@needs.tool("skopeo")
@pytest.mark.parametrize("make", [image, index])
@pytest.mark.parametrize("there", ["oci:layout:web:1", "oci-archive:oci.tar:web:1"])
def test_skopeo_sees_the_same_digest(tmp_path: Path, make: object, there: str) -> None:
    source = image() if make is image else index()
    written(source, tmp_path)
    assert source.root is not None
    raw = run("skopeo", "inspect", "--raw", there, cwd=tmp_path)
    assert source.root.digest == Digest.of(raw)


@needs.tool("skopeo")
def test_skopeo_copies_our_archive(tmp_path: Path) -> None:
    source = index()
    written(source, tmp_path)
    command = ["skopeo", "copy", "-q", "--all", "--preserve-digests"]
    run(*command, "oci-archive:oci.tar:web:1", "oci:theirs:web:1", cwd=tmp_path)
    assert source.root == fetched(f"oci:{tmp_path / 'theirs'}:web:1").root


@needs.tool("skopeo")
def test_skopeo_reads_our_docker_archive(tmp_path: Path) -> None:
    source = image()
    written(source, tmp_path)
    config = run(
        "skopeo", "inspect", "--config", "--raw", "docker-archive:docker.tar", cwd=tmp_path
    )
    assert source.config == config
    run("skopeo", "copy", "-q", "docker-archive:docker.tar", "oci:theirs:web:1", cwd=tmp_path)
    assert source.diff_ids == fetched(f"oci:{tmp_path / 'theirs'}:web:1").diff_ids


@needs.tool("skopeo")
@pytest.mark.parametrize(
    "theirs", ["oci:theirs:x", "oci-archive:theirs:x", "docker-archive:theirs:x:1"]
)
def test_we_read_what_skopeo_writes(tmp_path: Path, theirs: str) -> None:
    source = image(kinds=(oci.LAYER_GZIP,) * 2)
    written(source, tmp_path)
    run("skopeo", "copy", "-q", "oci:layout:web:1", theirs, cwd=tmp_path)
    back = fetched(theirs.replace("theirs", str(tmp_path / "theirs")))
    assert source.diff_ids == back.diff_ids


@needs.tool("umoci")
def test_umoci_unpacks_our_layout(tmp_path: Path) -> None:
    source = image(kinds=(oci.LAYER_GZIP,) * 2)
    written(source, tmp_path)
    run("umoci", "unpack", "--rootless", "--image", "layout:web:1", "bundle", cwd=tmp_path)
    found = sorted(path.name for path in (tmp_path / "bundle/rootfs").iterdir())
    assert ["data-100", "data-101"] == found


@needs.tool("podman")
@needs.root()
@pytest.mark.parametrize(
    "command",
    [("load", "-i", "docker.tar"), ("load", "-i", "oci.tar"), ("pull", "oci:layout:web:1")],
)
def test_podman_loads_what_we_write(tmp_path: Path, command: tuple[str, ...]) -> None:
    source = image()
    written(source, tmp_path)
    with tempfile.TemporaryDirectory() as state:  # podman refuses long paths for it
        podman = ["podman", "--root", f"{state}/root", "--runroot", f"{state}/run"]
        podman += ["--storage-driver", "vfs"]
        run(*podman, *command, cwd=tmp_path)
        images = json.loads(run(*podman, "images", "--format", "json", cwd=tmp_path))
    assert [Digest.of(source.config).hex] == [item["Id"] for item in images]
