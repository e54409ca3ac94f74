"""Layer kinds and tables as people write them in Python: what TOML says, with types."""

from __future__ import annotations

import datetime
from typing import Any, Final

import attrs
import pytest
import tomli_w
from hypothesis import given, settings

from immutable.builders import written as kinds
from immutable.builders.inline import InlineEntry as ParsedEntry
from immutable.builders.registry import options
from immutable.builders.run.options import RunFetch as ParsedFetch
from immutable.builders.run.options import RunInput as ParsedInput
from immutable.builders.written import (
    Archive,
    Copy,
    Debian,
    Files,
    FromImage,
    InlineEntry,
    Npm,
    OtherLayer,
    Run,
    RunFetch,
    RunInput,
    Wheels,
    WrittenLayer,
)
from immutable.errors import SpecError
from immutable.spec import document, written
from immutable.spec.document import Spec, parse
from immutable.spec.written import ContainerConfig, Group, Healthcheck, Table, User
from tests.support import strategies
from tests.support.pages import blocks, page, section
from tests.support.shipped import DIGESTS, SPECS

SIGNAL: Final = "expected a signal like SIGTERM or its number from 1 to 64"
OWN: Final[dict[str, type[WrittenLayer]]] = {
    cls.kind: cls for cls in (Archive, Copy, Debian, Files, FromImage, Npm, Run, Wheels)
}


def in_toml(spec: dict[str, Any]) -> Spec | list[str]:
    """What a TOML document comes to: a spec, or its faults, sorted: writers move tables."""
    try:
        return parse(tomli_w.dumps(spec).encode(), options())
    except SpecError as error:
        return sorted(error.faults)


def in_python(name: str, *, config: ContainerConfig | None = None, **tables: Any) -> object:
    """What the same comes to when it is written in Python."""
    try:
        return Spec(name, config=config, **tables)
    except SpecError as error:
        return sorted(error.faults)


def again(spec: Spec) -> Spec:
    return parse(spec.dumps().encode(), options())


def test_each_kind_that_specs_name_has_a_class() -> None:
    found = {cls.kind for cls in vars(kinds).values() if is_kind(cls)}
    assert set(options()) == set(OWN) == found


def is_kind(cls: object) -> bool:
    return isinstance(cls, type) and issubclass(cls, WrittenLayer) and hasattr(cls, "kind")


@pytest.mark.parametrize(
    ("cls", "parsed"),
    [
        *((OWN[kind], options()[kind]) for kind in sorted(OWN)),
        (InlineEntry, ParsedEntry),
        (RunInput, ParsedInput),
        (RunFetch, ParsedFetch),
        (ContainerConfig, document.Config),
        (Healthcheck, document.Healthcheck),
        (User, document.User),
        (Group, document.Group),
        (written.Image, document.ImageTable),
    ],
)
def test_a_class_has_the_keys_that_are_parsed_and_requires_the_same(
    cls: type[Table], parsed: type[Any]
) -> None:
    own = {one.name: one.default is attrs.NOTHING for one in attrs.fields(cls)}
    if issubclass(cls, WrittenLayer):
        assert own.pop("name")
        assert issubclass(cls, FromImage | Run) == (own.pop("replace", None) is None)
    expected = {one.name: one.default is attrs.NOTHING for one in attrs.fields(parsed)}
    if cls is written.Image:  # Spec has its defaults
        own = dict.fromkeys(own, False) | {"name": True}
    assert expected == own


@pytest.mark.parametrize(
    "cls",
    [*OWN.values(), InlineEntry, RunInput, RunFetch, ContainerConfig, Healthcheck, User],
)
def test_a_class_documents_each_of_its_fields(cls: type[Table]) -> None:
    named = {one.name for one in attrs.fields(cls)} - {"name", "uid", "healthcheck", "replace"}
    assert set() == {name for name in named if f"`{name}`" not in (cls.__doc__ or "")}


WHOLE: Final = """
spec-version = 1
[image]
name = "shop/web"
platforms = ["linux/amd64", "linux/arm64"]
tags = ["1.4.0", "{git.sha}"]
created = 2024-05-06T09:08:07+02:00
compression = "zstd"
annotations = { b = "2", a = "1" }
[[layer]]
name = "base"
kind = "image"
from = "base.toml"
[[layer]]
name = "runtime"
kind = "debian"
suite = "bookworm"
packages = ["nginx"]
pockets = []
layers = 3
[[layer]]
name = "app"
kind = "files"
source = "app"
target = "/srv//app/"
directory-mode = "0700"
entries = [{ path = "/data", directory = true, owner = "web" }]
[[user]]
name = "web"
uid = 1001
groups = ["staff"]
[[group]]
name = "staff"
gid = 50
[config]
env = { PATH = "/bin" }
cmd = []
expose = ["80"]
stop-signal = "SIGTERM"
healthcheck = { shell = "true", start-period = "1h30s5ms", retries = 3 }
"""


def whole() -> Spec:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    return Spec(
        "shop/web",
        layers=[
            FromImage("base", "base.toml"),
            Debian("runtime", suite="bookworm", packages=["nginx"], pockets=[], layers=3),
            Files(
                "app",
                source="app",
                target="/srv//app/",
                directory_mode="0700",
                entries=[InlineEntry("/data", directory=True, owner="web")],
            ),
        ],
        users=[User("web", 1001, groups=["staff"])],
        groups=[Group("staff", 50)],
        config=ContainerConfig(
            env={"PATH": "/bin"},
            cmd=(),
            expose=["80"],
            stop_signal="SIGTERM",
            healthcheck=Healthcheck(shell="true", start_period="1h30s5ms", retries=3),
        ),
        platforms=["linux/amd64", "linux/arm64"],
        tags=["1.4.0", "{git.sha}"],
        created=datetime.datetime(2024, 5, 6, 9, 8, 7, tzinfo=zone),
        compression="zstd",
        annotations={"b": "2", "a": "1"},
    )


def test_a_spec_made_in_python_equals_the_one_in_toml() -> None:
    spec = parse(WHOLE.encode(), options())
    assert (spec, hash(spec)) == (whole(), hash(whole()))


def test_toml_is_written_as_people_write_it() -> None:
    spec = Spec(
        "shop/web",
        layers=[Files("app", source="app", mode="640", entries=[InlineEntry("/a", text="b")])],
        users=[User("web", 1001)],
        config=ContainerConfig(workdir="/app", healthcheck=Healthcheck(cmd=["x"], interval="90s")),
    )
    expected = """\
spec-version = 1

[image]
name = "shop/web"

[[layer]]
name = "app"
kind = "files"
source = "app"
mode = "0640"
entries = [
    { path = "/a", text = "b" },
]

[[user]]
name = "web"
uid = 1001

[config]
workdir = "/app"

[config.healthcheck]
cmd = [
    "x",
]
interval = "1m30s"
"""
    assert expected == spec.dumps()


def test_the_spec_in_python_that_the_readme_shows_is_the_one_in_toml_that_it_shows() -> None:
    readme = page("README.md")
    (code,) = [one for one in blocks(readme, "python") if "immutable.Spec(" in one]
    shown = blocks(section(readme, "A spec"), "toml")[0]
    names: dict[str, Any] = {}
    exec(code.partition("with ")[0], names)
    assert parse(shown.encode(), options()) == names["spec"]


@settings(deadline=None)  # each reads TOML, at the machine's pace
@given(strategies.written_specs)
def test_what_dumps_writes_is_parsed_to_an_equal_spec(spec: Spec) -> None:
    assert spec == again(spec)


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_what_dumps_writes_of_a_shipped_spec_is_parsed_to_an_equal_one(name: str) -> None:
    spec = parse((SPECS / f"{name}.toml").read_bytes(), options())
    assert spec == again(spec)


@pytest.mark.parametrize(
    "place",
    [
        "base.toml",
        "reg.test/web:1.0",
        "docker://reg.test:5000/shop/web@sha256:" + "0" * 64,
        "oci:base:1.0",
        "oci-archive:base.tar",
        "docker-archive:base.tar:web:1",
    ],
)
def test_each_place_of_a_base_image_is_written_as_one_that_means_the_same(place: str) -> None:
    spec = Spec("web", layers=[FromImage("base", place)])
    assert spec == again(spec)


def test_what_is_wrong_has_the_words_it_has_in_toml() -> None:
    with pytest.raises(SpecError) as caught:
        Spec(
            "Shop",
            layers=[
                Files("app", source=1, include="*.py"),  # type: ignore[arg-type]
                Debian("app", suite="bookworm", packages=[]),
                Archive("tool", path="t.tar"),
            ],
            users=[User("web", "1001")],  # type: ignore[arg-type]
            config=ContainerConfig(stop_signal="SIGnope", env={"1": "a"}),
            compression="lzma",  # type: ignore[arg-type]
        )
    assert (
        "image.name: expected a repository name like shop/web, found 'Shop'",
        "image.compression: expected one of gzip, zstd, none, found 'lzma'",
        "layer[0].source: expected a string, found the integer 1",
        "layer[0].include: expected an array, found the string '*.py'",
        "layer[1].packages: expected a package, or essential = true",
        "layer[2]: sha256: is required for a path",
        "user[0].uid: expected an id from 0 to 4294967294, found the string '1001'",
        "config.env.1: no name of an environment variable",
        f"config.stop-signal: {SIGNAL}, found 'SIGnope'",
        "layer[1].name: 'app' is already layer[0].name",
    ) == caught.value.faults
    assert str(caught.value).startswith("Shop: image.name: ")


@settings(deadline=None)  # each reads TOML, at the machine's pace
@given(strategies.wild_layers, strategies.wild_configs)
def test_whatever_is_written_comes_to_what_it_comes_to_in_toml(
    layer: WrittenLayer, config: ContainerConfig
) -> None:
    tables = {"layer": [layer.row()], "user": [], "group": [], "config": config.row()}
    expected = in_toml({"spec-version": 1, "image": {"name": "web"}, **tables})
    assert expected == in_python("web", layers=[layer], config=config)


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"env": {1: "a"}}, "config.env: expected a string for a key, found the integer 1"),
        ({"env": {"A": "\udc80"}}, r"config.env.A: not UTF-8: '\udc80'"),
        ({"env": {"\udc80": ""}}, r"config.env: a key that is not UTF-8: '\udc80'"),
        ({"cmd": {"a"}}, "config.cmd: expected an array, found a Python set"),
        ({"cmd": [None]}, "config.cmd[0]: expected a string, found a Python NoneType"),
        ({"cmd": [b"a"]}, "config.cmd[0]: expected a string, found a Python bytes"),
        ({"cmd": [float("nan")]}, "config.cmd[0]: nan is no number to build from"),
        ({"healthcheck": {"cmd": ["a"], "ival": ""}}, "config.healthcheck.ival: unknown key"),
    ],
)
def test_what_toml_cannot_say_is_a_fault_too(config: dict[str, Any], fault: str) -> None:
    found = in_python("web", config=ContainerConfig(**config))
    assert isinstance(found, list)
    assert [True] == [one.startswith(fault) for one in found]


@pytest.mark.parametrize("layers", [["app"], "app", 7, [User("web", 1)]])
def test_what_is_no_layer_is_a_fault(layers: Any) -> None:
    found = in_python("web", layers=layers)
    assert isinstance(found, list)
    assert found[0].startswith("layer")


def test_what_is_nested_too_deeply_is_a_fault() -> None:
    deep: list[Any] = []
    for _ in range(60):
        deep = [deep]
    with pytest.raises(SpecError, match="nested too deeply"):
        Spec("web", layers=[OtherLayer("app", "files", include=deep)])


def test_what_is_written_does_not_change_with_the_lists_it_was_made_of() -> None:
    packages, env = ["nginx"], {"B": "2", "A": "1"}
    layer = Debian("runtime", suite="bookworm", packages=packages)
    config = ContainerConfig(env=env)
    packages.append("curl")
    env["C"] = "3"
    assert ("nginx",) == layer.packages
    assert {"A": "1", "B": "2"} == config.row()["env"]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        layer.suite = "trixie"  # type: ignore[misc]


def test_another_layer_is_named_by_its_kind() -> None:
    spec = Spec("web", layers=[OtherLayer("app", "files", source="a", directory_mode="0700")])
    assert Spec("web", layers=[Files("app", source="a", directory_mode="0700")]) == spec


def test_a_kind_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(SpecError) as caught:
        Spec("web", layers=[OtherLayer("app", "flies")])
    assert (
        "layer[0].kind: no layer kind is called 'flies'; did you mean 'files'?",
    ) == caught.value.faults
