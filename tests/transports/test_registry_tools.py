"""With the registry of the distribution project, and what others make of what is in it."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from immutable.config import Registries
from immutable.config.registries import AuthFile
from immutable.errors import RegistryError
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.transports import copy, parse
from immutable.transports.registry import lists
from immutable.transports.registry.client import Client
from tests.support import distribution, needs
from tests.support.command import Shell
from tests.support.distribution import PASSWORD, USER, Distribution
from tests.support.images import MemoryTransport, image, index

pytestmark = [pytest.mark.tools, needs.tool("docker-registry")]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution]:
    with distribution.serve(tmp_path_factory.mktemp("plain")) as served:
        yield served


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution]:
    with distribution.serve(tmp_path_factory.mktemp("secure"), secure=True) as served:
        yield served


def auths(registry: Distribution) -> dict[str, Any]:
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    return {"auths": {registry.host: {"auth": login}}}


def known(registry: Distribution) -> Registries:
    assert registry.ca_file is not None
    file = AuthFile(Path("config.json"), auths(registry))
    return Registries(ca_files=(registry.ca_file,), auth_files=(file,))


def run(*command: str) -> bytes:
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert 0 == done.returncode, done.stderr.decode()
    return done.stdout


@pytest.mark.parametrize("make", [image, index])
def test_there_and_back(plain: Distribution, make: Any) -> None:
    source, there = make(), MemoryTransport()
    reference = f"docker://{plain.host}/there/{make.__name__}:1"
    assert source.root == copy(source, reference, registries=Registries())
    assert source.root == copy(reference, there, registries=Registries())
    assert source.blobs == there.blobs


def test_over_tls_with_a_login(secure: Distribution) -> None:
    source, there = index(), MemoryTransport()
    reference = f"docker://{secure.host}/shop/web:1"
    copy(source, reference, registries=known(secure))
    copy(reference, there, registries=known(secure))
    assert source.blobs == there.blobs


def test_from_one_registry_to_another(plain: Distribution, secure: Distribution) -> None:
    source, there = index(), MemoryTransport()
    given, taken = f"docker://{plain.host}/from:1", f"docker://{secure.host}/to:1"
    copy(source, given, registries=known(secure))
    copy(given, taken, registries=known(secure))
    copy(taken, there, registries=known(secure))
    assert source.blobs == there.blobs


def test_a_certificate_that_nobody_vouches_for(secure: Distribution) -> None:
    files = known(secure).auth_files
    reference = f"docker://{secure.host}/vouched:1"
    with pytest.raises(RegistryError, match=r"certificate verify failed.*--ca-file names"):
        copy(image(), reference, registries=Registries(auth_files=files))
    for insecure in (
        Registries(auth_files=files, tls_verify=False),
        Registries(auth_files=files, insecure=(secure.host,)),
    ):
        copy(image(), reference, registries=insecure)


def test_without_a_login(secure: Distribution) -> None:
    assert secure.ca_file is not None
    with pytest.raises(RegistryError, match=f"docker login {secure.host}"):
        copy(
            image(),
            f"docker://{secure.host}/nobody:1",
            registries=Registries(ca_files=(secure.ca_file,)),
        )


def test_lists_and_deletion(plain: Distribution) -> None:
    source = image(5)
    for tag in ("1", "2", "3"):
        copy(source, f"docker://{plain.host}/listed:{tag}", registries=Registries())
    assert source.root is not None
    with Client.connect(plain.host, "listed", Registries(), actions="*") as client:
        assert ["1", "2", "3"] == sorted(lists.tags(client))
        assert "listed" in [*lists.catalog(client)]
        layer = source.manifest.layers[0]
        client.delete_manifest(source.root.digest)
        assert None is client.head_manifest("1")
        client.delete_blob(layer.digest)
        assert not client.has_blob(layer)


def test_referrers_where_the_registry_keeps_none(plain: Distribution) -> None:
    source = image(6)
    copy(source, f"docker://{plain.host}/referred:1", registries=Registries())
    assert source.root is not None
    document = json.loads(source.manifest.encode())
    document["subject"] = source.root.plain()
    data = json.dumps(document).encode()
    referrer = Descriptor(oci.MANIFEST, Digest.of(data), len(data))
    with Client.connect(plain.host, "referred", Registries(), actions="pull,push") as client:
        assert () == lists.referrers(client, source.root.digest)
        lists.put_referrer(client, referrer, data)
        (found,) = lists.referrers(client, source.root.digest)
    assert (referrer.digest, oci.CONFIG) == (found.descriptor.digest, found.artifact_type)


class Zeros(io.RawIOBase):
    """A blob of nothing but zeros, that nobody holds."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        count = min(len(buffer), self.left)
        self.left -= count
        buffer[:count] = bytes(count)
        return count


def test_a_large_blob_is_never_held(plain: Distribution) -> None:
    size = 64 << 20
    blob = Descriptor(oci.LAYER, Digest.of(bytes(size)), size)

    class Source:
        where, root = "zeros", blob

        def open(self, descriptor: Descriptor) -> BinaryIO:
            return cast("BinaryIO", Zeros(descriptor.size))

    class Remote(Source):
        def __init__(self, client: Client) -> None:
            self.client = client

        def open(self, descriptor: Descriptor) -> BinaryIO:
            return self.client.open_blob(descriptor)

    def client(name: str) -> Any:
        return Client.connect(plain.host, name, Registries(), actions="pull,push")

    with client("one") as one, client("two") as two:
        one.has_blob(blob), two.has_blob(blob)  # connected
        tracemalloc.start()
        try:
            one.upload(Source(), blob)
            two.upload(Remote(one), blob)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert two.has_blob(blob)
    assert peak < 12 << 20


# Other tools


def gzipped(number: int) -> MemoryTransport:
    return image(number, kinds=(oci.LAYER_GZIP,) * 2)


@needs.tool("skopeo")
def test_skopeo_sees_the_same_digest(plain: Distribution) -> None:
    source = index(2)
    copy(source, f"docker://{plain.host}/seen:1", registries=Registries())
    raw = run("skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{plain.host}/seen:1")
    assert source.root is not None
    assert source.root.digest == Digest.of(raw)


@needs.tool("skopeo")
def test_skopeo_copies_what_we_pushed(plain: Distribution, tmp_path: Path) -> None:
    source, there = index(3), MemoryTransport()
    copy(source, f"docker://{plain.host}/ours:1", registries=Registries())
    command = ["skopeo", "copy", "-q", "--all", "--preserve-digests", "--src-tls-verify=false"]
    run(*command, f"docker://{plain.host}/ours:1", f"oci:{tmp_path}/theirs:1")
    copy(f"oci:{tmp_path}/theirs:1", there)
    assert source.blobs == there.blobs


@needs.tool("skopeo")
def test_we_pull_what_skopeo_pushed(plain: Distribution, tmp_path: Path) -> None:
    source, there = index(4), MemoryTransport()
    copy(source, f"oci:{tmp_path}/ours:1")
    command = ["skopeo", "copy", "-q", "--all", "--preserve-digests", "--dest-tls-verify=false"]
    run(*command, f"oci:{tmp_path}/ours:1", f"docker://{plain.host}/theirs:1")
    copy(f"docker://{plain.host}/theirs:1", there, registries=Registries())
    assert source.blobs == there.blobs


@needs.tool("skopeo")
def test_we_pull_what_skopeo_makes_of_it_for_docker(plain: Distribution, tmp_path: Path) -> None:
    source, there = gzipped(7), MemoryTransport()
    copy(source, f"oci:{tmp_path}/ours:1")
    command = ["skopeo", "copy", "-q", "--format", "v2s2", "--dest-tls-verify=false"]
    run(*command, f"oci:{tmp_path}/ours:1", f"docker://{plain.host}/v2s2:1")
    copy(f"docker://{plain.host}/v2s2:1", there, registries=Registries())
    assert there.manifest.media_type.startswith("application/vnd.docker.")
    assert source.diff_ids == there.diff_ids


@needs.tool("podman")
@needs.root()
def test_podman_pulls_what_we_pushed(plain: Distribution) -> None:
    source = gzipped(8)
    copy(source, f"docker://{plain.host}/podman:1", registries=Registries())
    assert source.root is not None
    with tempfile.TemporaryDirectory() as state:  # podman refuses long paths for it
        podman = ["podman", "--root", f"{state}/root", "--runroot", f"{state}/run"]
        podman += ["--storage-driver", "vfs"]
        run(*podman, "pull", "-q", "--tls-verify=false", f"{plain.host}/podman:1")
        (found,) = json.loads(run(*podman, "images", "--format", "json"))
    assert Digest.of(source.config).hex == found["Id"]
    assert str(source.root.digest) == found["Digest"]


@needs.engine()
@pytest.mark.engine
def test_docker_pulls_what_we_pushed(plain: Distribution, engine: Any) -> None:
    source = gzipped(9)
    copy(source, f"docker://{plain.host}/docker:1", registries=Registries())
    assert source.root is not None
    reference = f"{plain.host}/docker"
    found = engine.images.pull(reference, tag="1")
    try:
        assert f"sha256:{Digest.of(source.config).hex}" == found.id
        assert [f"{reference}@{source.root.digest}"] == found.attrs["RepoDigests"]
    finally:
        engine.images.remove(f"{reference}:1")


# The command line


def test_the_command_line_copies_there_and_back(secure: Distribution, shell: Shell) -> None:
    shell.hello(tags='"1.4.0"')
    assert 0 == shell.run("build", "hello.toml").status
    login = shell.folder.parent / ".docker/config.json"
    login.parent.mkdir()
    login.write_text(json.dumps(auths(secure)))

    refused = shell.run("copy", "hello", f"docker://{secure.host}/hello")
    assert 1 == refused.status
    assert "--ca-file names the certificate" in refused.err

    options = ["--ca-file", secure.ca_file]
    done = shell.run("copy", *options, "hello", f"docker://{secure.host}/hello")
    assert (0, "") == (done.status, done.err)
    digest = done.out.split()[-1]
    assert f"docker://{secure.host}/hello:1.4.0  {digest}\n" == done.out

    source = f"docker://{secure.host}/hello:1.4.0@{digest}"
    done = shell.run("copy", "--tls-verify=false", source, "oci:back:x", "--json")
    assert (digest, str(parse(source))) == (done.json["digest"], done.json["source"])
