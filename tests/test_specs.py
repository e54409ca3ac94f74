"""The specs we ship: their committed locks build, run in real engines, and other tools agree."""

from __future__ import annotations

import contextlib
import datetime
import json
import secrets
import shutil
import socket
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

import immutable
from immutable.build.contents import LayerContents
from immutable.config import Config
from immutable.content import tar
from immutable.content.archives.decompress import open_stream
from immutable.oci.documents import Descriptor
from immutable.oci.platforms import Platform
from immutable.store import AbstractStore
from immutable.testing import assert_reproducible
from tests.support import needs
from tests.support.containers import RUN, run
from tests.support.overlay import Overlay, look, together
from tests.support.shipped import DIGESTS, SPECS
from tests.support.shown import shown

NAMES = ("hello", "nginx", "node-web", "python", "python-web")
PORTS = {"node-web": 3000}
AMD64, ARM64 = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")

pytestmark = [pytest.mark.network]

# Two runs may share an engine: each calls its images by names of its own.
REPOSITORY = f"immutable-test/{secrets.token_hex(8)}"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[immutable.Store]:
    with immutable.Store.open(tmp_path_factory.mktemp("specs") / "store") as opened:
        yield opened


@pytest.fixture(scope="module")
def images(store: immutable.Store) -> dict[str, immutable.Image]:
    return {name: immutable.build(SPECS / f"{name}.toml", store) for name in NAMES}


@needs.network()
@pytest.mark.parametrize("name", NAMES)
def test_a_committed_lock_gives_the_digest_it_always_gave(
    images: dict[str, immutable.Image], name: str
) -> None:
    assert DIGESTS[name] == str(images[name].digest)


@pytest.mark.parametrize("name", NAMES)
def test_committed_locks_answer_their_specs(name: str) -> None:
    assert () == immutable.check(SPECS / f"{name}.toml")


@needs.network()
def test_a_spec_is_reproducible(images: dict[str, immutable.Image], store: immutable.Store) -> None:
    again = assert_reproducible(SPECS / "hello.toml", store=store)
    assert images["hello"].digest == again.digest


@needs.network()
@pytest.mark.parametrize("name", NAMES)
def test_programs_are_of_the_image_s_architecture(
    images: dict[str, immutable.Image], name: str
) -> None:
    # ELF, e_machine: 0x3e is x86-64, 0xb7 is AArch64.
    for built, machine in zip(images[name].platforms, (0x3E, 0xB7), strict=True):
        assert {machine} == elf_machines(images[name], built)


@needs.network()
@pytest.mark.parametrize("name", ["python-web"])
def test_what_was_installed_from_a_language_s_lock_is_of_the_architecture(
    images: dict[str, immutable.Image], name: str
) -> None:
    for built, machine in zip(images[name].platforms, (0x3E, 0xB7), strict=True):
        only = evolve(
            built, layers=tuple(one for one in built.layers if one.name == "dependencies")
        )
        assert {machine} == elf_machines(images[name], only)


def elf_machines(image: immutable.Image, built: immutable.BuiltPlatform) -> set[int]:
    machines = set()
    for layer in built.layers:
        with image.store.verified(layer.blob.digest) as blob:
            for member in tar.read(open_stream(blob, name=layer.name), name=layer.name):
                head = member.read(20)
                if head.startswith(b"\x7fELF"):
                    machines.add(int.from_bytes(head[18:20], "little"))
    return machines


@pytest.fixture
def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def answer(url: str) -> str:
    """Return the body at `url`, asked for until the server is up; at most 20 seconds."""
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                body: str = response.read().decode()
                return body
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@contextlib.contextmanager
def running(engine: str, image: str, port: int, inside: int = 8080) -> Iterator[str]:
    publish = f"127.0.0.1:{port}:{inside}"
    started = run(engine, *RUN[engine], "--read-only", "--detach", "--publish", publish, image)
    try:
        yield started
    finally:
        run(engine, "rm", "--force", started)


@pytest.fixture(scope="module", params=["docker", "podman"])
def loaded(
    request: pytest.FixtureRequest,
    images: dict[str, immutable.Image],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, dict[str, str]]]:
    """An engine's command, and its name for each of our images."""
    command: str = request.param
    names = {}
    for name, image in images.items():
        reference = f"{REPOSITORY}/{name}:{image.digest.short}"
        if command == "docker":
            immutable.copy(image, f"docker-daemon:{reference}")
        else:
            archive = tmp_path_factory.mktemp("podman") / f"{name}.tar"
            immutable.copy(image, f"docker-archive:{archive}:{reference}", platform=AMD64)
            run("podman", "load", "--quiet", "--input", str(archive))
        names[name] = reference
    yield command, names
    run(command, "rmi", "--force", *names.values())


@needs.network()
@needs.engine()
@needs.tool("podman")
@needs.root()
@pytest.mark.engine
@pytest.mark.tools
@pytest.mark.parametrize(
    ("name", "said"), [("hello", "Hello from an immutable image."), ("nginx", "Served by nginx")]
)
def test_servers_answer_with_a_read_only_root(
    loaded: tuple[str, dict[str, str]], name: str, said: str, free_port: int
) -> None:
    engine, names = loaded
    with running(engine, names[name], free_port) as container:
        assert said in answer(f"http://127.0.0.1:{free_port}/")
        began = time.monotonic()
        run(engine, "stop", "--time", "10", container)
        # Well before the engine would have lost its patience.
        assert time.monotonic() - began < 8


@needs.network()
@needs.engine()
@needs.tool("podman")
@needs.root()
@pytest.mark.engine
@pytest.mark.tools
@pytest.mark.parametrize(
    ("name", "said", "health"),
    [
        (
            "python-web",
            "Hello from starlette in an immutable image.",
            {"status": "ok", "uid": 1001},
        ),
        ("node-web", "Served by Express from an immutable image.", {"status": "ok"}),
    ],
)
def test_applications_answer_as_their_own_user_and_stop_at_once(
    loaded: tuple[str, dict[str, str]],
    name: str,
    said: str,
    health: dict[str, object],
    free_port: int,
) -> None:
    engine, names = loaded
    with running(engine, names[name], free_port, PORTS.get(name, 8080)) as container:
        assert said in answer(f"http://127.0.0.1:{free_port}/")
        assert health == json.loads(answer(f"http://127.0.0.1:{free_port}/health"))
        began = datetime.datetime.now(datetime.UTC)
        run(engine, "stop", "--time", "10", container)
        (state,) = json.loads(run(engine, "inspect", container))
    ended = datetime.datetime.fromisoformat(state["State"]["FinishedAt"])
    assert ended - began < datetime.timedelta(seconds=1)


@needs.network()
@needs.engine()
@needs.root()
@pytest.mark.engine
def test_python_sees_its_packages_with_all_their_files(
    images: dict[str, immutable.Image],
) -> None:
    reference = f"{REPOSITORY}/wheels:{images['python-web'].digest.short}"
    immutable.copy(images["python-web"], f"docker-daemon:{reference}")
    script = (
        "import importlib.metadata as m, json\n"
        "found = [(d.name.replace('_', '-'), d.version, d.read_text('INSTALLER'),"
        " all(f.locate().is_file() for f in d.files)) for d in m.distributions()]\n"
        "print(json.dumps(found))"
    )
    shown = run("docker", "run", "--rm", "--read-only", reference, "python3", "-c", script)
    run("docker", "rmi", "--force", reference)
    pinned = locked("python-web", "dependencies")
    assert pinned == {f"{name} {version}" for name, version, *_ in json.loads(shown)}
    assert {("immutable\n", True)} == {tuple(rest) for _, _, *rest in json.loads(shown)}


@needs.network()
@needs.engine()
@needs.tool("podman")
@needs.root()
@pytest.mark.engine
@pytest.mark.tools
def test_python_has_working_tls_and_time_zones(loaded: tuple[str, dict[str, str]]) -> None:
    engine, names = loaded
    script = (
        "import json, os, ssl, zoneinfo\n"
        "context = ssl.create_default_context()\n"
        "print(json.dumps([len(context.get_ca_certs()), os.getuid(),"
        " str(zoneinfo.ZoneInfo('Europe/Berlin'))]))"
    )
    said = run(
        engine, *RUN[engine], "--read-only", "--rm", names["python"], "python3", "-c", script
    )
    certificates, uid, zone = json.loads(said)
    assert certificates > 100
    assert (1000, "Europe/Berlin") == (uid, zone)


@needs.network()
@needs.engine()
@needs.root()
@pytest.mark.engine
def test_dpkg_sees_the_packages(images: dict[str, immutable.Image]) -> None:
    reference = f"{REPOSITORY}/dpkg:{images['python'].digest.short}"
    immutable.copy(images["python"], f"docker-daemon:{reference}")
    command = ("docker", "run", "--rm", "--read-only", "--entrypoint", "dpkg-query", reference)
    shown = run(*command, "--show", "--showformat", "${Package} ${Version} ${db:Status-Abbrev}\n")
    run("docker", "rmi", "--force", reference)
    assert locked("python") == {line.rsplit(maxsplit=1)[0] for line in shown.splitlines()}
    assert {"ii"} == {line.split()[-1] for line in shown.splitlines()}


def locked(name: str, layer_name: str = "") -> set[str]:
    from immutable.build.loading import load_lock

    lock = load_lock(immutable.load(SPECS / f"{name}.toml"))
    assert lock is not None
    layers = [layer for layer in lock.layer if layer_name in ("", layer.name)]
    return {f"{pin.name} {pin.version}" for layer in layers for pin in layer.pins_for(AMD64)}


@needs.network()
@needs.tool("skopeo")
@pytest.mark.tools
@pytest.mark.parametrize("name", NAMES)
def test_skopeo_copies_out_of_the_store_while_we_use_it(
    images: dict[str, immutable.Image], store: immutable.Store, name: str, tmp_path: Path
) -> None:
    image = images[name]
    root = store.info().root
    source = f"oci:{root}:{image.name}:{image.tags[0]}"
    run("skopeo", "copy", "--quiet", "--all", source, f"oci:{tmp_path}/copy:{name}")
    copied = json.loads((tmp_path / "copy" / "index.json").read_text())
    assert str(image.digest) == copied["manifests"][0]["digest"]


@needs.network()
@needs.tool("umoci")
@needs.root()
@pytest.mark.tools
@pytest.mark.parametrize("name", NAMES)
def test_umoci_unpacks_what_we_write(
    images: dict[str, immutable.Image], name: str, tmp_path: Path
) -> None:
    immutable.copy(images[name], f"oci:{tmp_path}/layout:{name}", platform=AMD64)
    run("umoci", "unpack", "--image", f"{tmp_path}/layout:{name}", f"{tmp_path}/bundle")
    built = next(p for p in images[name].platforms if p.platform == AMD64)
    root = LayerContents(images[name].store).rootfs([layer.blob for layer in built.layers])
    expected, found = look(f"{tmp_path}/bundle/rootfs".encode()), shown(root)
    assert sorted(expected) == list(found)
    assert [] == [path for path in found if expected[path] != found[path]]
    config = json.loads((tmp_path / "bundle" / "config.json").read_text())
    assert set(images[name].config.execution.env) <= set(config["process"]["env"])


@needs.network()
@needs.overlay()
@pytest.mark.parametrize("name", NAMES)
def test_the_root_file_system_is_what_a_kernel_overlay_mount_shows(
    images: dict[str, immutable.Image], overlay: Overlay, name: str, tmp_path: Path
) -> None:
    store = images[name].store
    for number, built in enumerate(images[name].platforms):
        layers = [layer.blob for layer in built.layers]
        tars = [tmp_path / f"{number}-{at}.tar" for at in range(len(layers))]
        for blob, path in zip(layers, tars, strict=True):
            inflate(store, blob, path)
        expected = overlay.shows(tars)
        found = shown(LayerContents(store).rootfs(layers))
        assert sorted(expected) == list(found)
        assert [] == [path for path in found if expected[path] != found[path]]
        assert together(expected) == together(found)


def inflate(store: AbstractStore, blob: Descriptor, path: Path) -> None:
    with store.verified(blob.digest, blob.size) as raw, path.open("wb") as file:
        shutil.copyfileobj(open_stream(raw, name=path.name), file)


@pytest.fixture(scope="module")
def overlay() -> Iterator[Overlay]:
    process = Overlay()
    yield process
    process.close()


@needs.network()
@needs.tool("podman")
@needs.root()
@pytest.mark.tools
@pytest.mark.parametrize("name", NAMES)
def test_podman_pulls_with_the_diff_ids_that_we_report(
    images: dict[str, immutable.Image], name: str, tmp_path: Path
) -> None:
    image = images[name]
    immutable.copy(image, f"oci:{tmp_path}/layout:{name}")
    # Podman wants the path of its run root short.
    with tempfile.TemporaryDirectory() as state:
        storage = ("--root", f"{tmp_path}/storage", "--runroot", state)
        podman = ("podman", *storage, "--storage-driver", "vfs")
        pulled = run(*podman, "pull", "--quiet", f"oci:{tmp_path}/layout:{name}")
        (seen,) = json.loads(run(*podman, "image", "inspect", pulled))
    built = next(
        p for p in image.platforms if p.platform == Platform.of_machine(Config.load().machine)
    )
    assert [str(layer.diff_id) for layer in built.layers] == seen["RootFS"]["Layers"]


def test_every_spec_has_its_lock_committed() -> None:
    named = {path.name.removesuffix(".toml") for path in SPECS.glob("*.toml")}
    specs = {name for name in named if not name.endswith(".lock")}
    assert specs >= set(NAMES)
    assert {f"{name}.lock" for name in specs} == named - specs
