"""Images: layers and a config to exact bytes, on a base as a Dockerfile's FROM does it."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from immutable.build import assemble as image
from immutable.build.assemble import assemble
from immutable.builders.base import BaseImage
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, Execution, Healthcheck, History, ImageConfig
from immutable.oci.platforms import Platform
from immutable.spec import document as specs
from immutable.spec.derivation import NO_ANSWERS, Derivation, Realisation
from immutable.spec.document import Spec

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")
EPOCH = "1970-01-01T00:00:00Z"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Layers = tuple[tuple[Derivation, Realisation], ...]


def spec(text: str = "") -> Spec:
    data = f'spec-version = 1\n[image]\nname = "web"\n{text}'
    return specs.parse(data.encode(), {})


def layers(count: int) -> Layers:
    found = []
    for number in range(count):
        derivation = Derivation(f"kind-{number}", 1, 0, {})
        blob = Descriptor(oci.LAYER_GZIP, Digest.of(b"blob %d" % number), 100 + number)
        diff_id = Digest.of(b"tar %d" % number)
        found.append(
            (derivation, Realisation(derivation.digest, NO_ANSWERS, "gzip", diff_id, blob))
        )
    return tuple(found)


BELOW = Execution(
    user="node",
    workdir="/srv",
    env=("PATH=/bin", "A=1", "B=2", "ODD"),
    entrypoint=("/entry",),
    cmd=("serve",),
    exposed_ports=("80/tcp",),
    volumes=("/data",),
    labels={"a": "1", "b": "2"},
    stop_signal="SIGQUIT",
    healthcheck=Healthcheck(("CMD", "true"), 5, start_interval=7),
    shell=("/bin/ash", "-c"),
    stop_timeout=0,
    on_build=("RUN true",),
)


def base(*history: History, count: int = 2, execution: Execution = BELOW) -> BaseImage:
    ids = tuple(made.diff_id for _, made in layers(count))
    config = ImageConfig(AMD64, "2020-01-01T00:00:00Z", ids, execution, history)
    return BaseImage("base", Digest.of(b"base"), config)


def execution(text: str, lower: BaseImage | None = None) -> Execution:
    return assemble(spec(text), AMD64, EPOCH, layers(2), lower).config.execution


def test_the_exact_digests() -> None:
    text = """
        annotations = { "org.example" = "x" }
        [config]
        user = "node"
        workdir = "/app"
        env = { NODE_ENV = "production" }
        entrypoint = ["/init"]
        cmd = ["node", "server.js"]
        expose = ["53/udp", "3000"]
        volumes = ["/b", "/a"]
        labels = { b = "2", a = "1" }
        stop-signal = "SIGTERM"
        healthcheck = { cmd = ["true"], interval = "30s", start-period = "1s", retries = 3 }
    """
    made = assemble(spec(text), ARM64, EPOCH, layers(3), None)
    config, manifest = made.documents()
    assert ("e6224d71e817", "4c03aba425d1") == (Digest.of(config).short, Digest.of(manifest).short)
    assert made.descriptor == Descriptor(
        oci.MANIFEST, Digest.of(manifest), len(manifest), platform=ARM64
    )
    assert made.manifest.config == Descriptor(oci.CONFIG, Digest.of(config), len(config))
    index = image.index(spec(text), [made, evolve(made, platform=AMD64)])
    assert "9e972e37ace4" == Digest.of(index.encode()).short


def test_layers_and_their_diff_ids_stand_in_order() -> None:
    made = assemble(spec(), AMD64, EPOCH, layers(3), None)
    assert [realisation.blob for _, realisation in layers(3)] == list(made.manifest.layers)
    assert [realisation.diff_id for _, realisation in layers(3)] == list(made.config.diff_ids)


def test_an_image_without_layers() -> None:
    made = assemble(spec(), AMD64, EPOCH, (), None)
    assert ((), (), ()) == (made.manifest.layers, made.config.diff_ids, made.config.history)


# What the spec says of running


def test_without_a_base_there_is_a_path_and_nothing_else() -> None:
    assert Execution(env=(PATH,)) == execution("")
    assert (PATH, "A=1") == execution("[config]\nenv = { A = '1' }").env
    assert ("PATH=/x",) == execution("[config]\nenv = { PATH = '/x' }").env


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('cmd = ["true"]', Healthcheck(("CMD", "true"))),
        ('shell = "a && b"', Healthcheck(("CMD-SHELL", "a && b"))),
        (
            'cmd = ["a"], interval = "1m", timeout = "2s", start-period = "3ms", retries = 4',
            Healthcheck(("CMD", "a"), 60_000_000_000, 2_000_000_000, 3_000_000, 4),
        ),
        (
            'cmd = ["a"], start-interval = "5s"',
            Healthcheck(("CMD", "a"), start_interval=5_000_000_000),
        ),
        ("none = true", Healthcheck(("NONE",))),
    ],
)
def test_health_checks(text: str, expected: Healthcheck) -> None:
    assert expected == execution(f"[config]\nhealthcheck = {{ {text} }}").healthcheck


# As a Dockerfile's FROM


def test_a_base_s_config_is_taken_over() -> None:
    assert BELOW == execution("", base())


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ('user = "root"', {"user": "root"}),
        ('user = "0:0"', {"user": "0:0"}),
        ('workdir = "/"', {"workdir": "/"}),
        ('stop-signal = "9"', {"stop_signal": "9"}),
        ('cmd = ["x"]', {"cmd": ("x",)}),
        ("cmd = []", {"cmd": ()}),
        # A new entrypoint does not want the old one's arguments.
        ('entrypoint = ["/x"]', {"entrypoint": ("/x",), "cmd": ()}),
        ("entrypoint = []", {"entrypoint": (), "cmd": ()}),
        ('entrypoint = ["/x"]\ncmd = ["y"]', {"entrypoint": ("/x",), "cmd": ("y",)}),
        ('env = { B = "3", C = "" }', {"env": ("PATH=/bin", "A=1", "B=3", "ODD", "C=")}),
        ('expose = ["80", "22"]', {"exposed_ports": ("22/tcp", "80/tcp")}),
        ('volumes = ["/a", "/data/"]', {"volumes": ("/a", "/data")}),
        ('labels = { b = "3", c = "4" }', {"labels": {"a": "1", "b": "3", "c": "4"}}),
        ('healthcheck = { shell = "x" }', {"healthcheck": Healthcheck(("CMD-SHELL", "x"))}),
        ("healthcheck = { none = true }", {"healthcheck": Healthcheck(("NONE",))}),
    ],
)
def test_what_a_spec_says_stands_over_its_base(text: str, changes: dict[str, Any]) -> None:
    assert evolve(BELOW, **changes) == execution(f"[config]\n{text}", base())


def test_a_base_s_author_and_what_its_history_says_survive() -> None:
    step = History("2020-01-01T00:00:00Z", "RUN x", author="Ann", comment="buildkit")
    config = ImageConfig(
        AMD64, "2020-01-01T00:00:00Z", (layers(1)[0][1].diff_id,), BELOW, (step,), author="Ann"
    )
    made = assemble(spec(""), AMD64, EPOCH, layers(2), BaseImage("b", Digest.of(b"b"), config))

    assert ("Ann", step) == (made.config.author, made.config.history[0])


def test_a_base_without_a_path_gets_none() -> None:
    assert () == execution("", base(execution=Execution())).env


def test_the_base_is_named_in_annotations() -> None:
    made = assemble(spec('annotations = { a = "1" }'), AMD64, EPOCH, layers(3), base())
    assert (
        ("a", "1"),
        ("org.opencontainers.image.base.digest", str(Digest.of(b"base"))),
        ("org.opencontainers.image.base.name", "base"),
    ) == made.manifest.annotations
    mine = spec(f"annotations = {{ '{oci.BASE_NAME}' = 'mine' }}")
    annotations = assemble(mine, AMD64, EPOCH, layers(3), base()).manifest.annotations
    assert "mine" == dict(annotations)[oci.BASE_NAME]


# History: one step a layer, besides those that made none


def step(text: str, *, empty: bool = False) -> History:
    return History("2020-01-01T00:00:00Z", text, empty)


def steps(made: image.PlatformImage) -> list[str]:
    found = made.config.history
    assert len(made.config.diff_ids) == sum(not one.empty_layer for one in found)
    return [one.created_by for one in found]


def own(number: int) -> str:
    return f"immutable kind-{number}"


def test_every_layer_is_a_step() -> None:
    made = assemble(spec(), AMD64, EPOCH, layers(2), None)
    assert [own(0), own(1)] == steps(made)
    assert {EPOCH} == {one.created for one in made.config.history}


def test_a_base_s_steps_are_kept_with_its_own_times() -> None:
    known = (step("one"), step("env", empty=True), step("two"), step("cmd", empty=True))
    made = assemble(spec(), AMD64, EPOCH, layers(3), base(*known))
    assert ["one", "env", "two", "cmd", own(2)] == steps(made)
    assert (known, EPOCH) == (made.config.history[:4], made.config.history[4].created)


@pytest.mark.parametrize("known", [(), (step("one"),), (step("1"), step("2"), step("3"))])
def test_a_history_that_does_not_add_up_is_left_out(known: tuple[History, ...]) -> None:
    made = assemble(spec(), AMD64, EPOCH, layers(3), base(*known))
    assert [own(0), own(1), own(2)] == steps(made)


# Indexes


def test_an_index_has_the_manifests_in_the_order_given() -> None:
    given = spec('annotations = { a = "1" }')
    images = [assemble(given, platform, EPOCH, layers(1), None) for platform in (ARM64, AMD64)]
    index = image.index(given, images)
    assert [ARM64, AMD64] == [descriptor.platform for descriptor in index.manifests]
    assert [made.descriptor for made in images] == list(index.manifests)
    assert (("a", "1"),) == index.annotations
