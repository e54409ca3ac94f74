"""The layer kind that CONTRIBUTING.md shows how to write: its code, taken from there, is run."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from attrs import evolve

import immutable
from immutable.builders.base import Builder
from immutable.builders.registry import builders
from immutable.errors import SpecError
from immutable.store import MemoryStore
from tests.support.command import Shell
from tests.support.kinds import installed
from tests.support.pages import blocks, code, page, rows, section
from tests.support.specs import CONFIG, build, contents, text

SECTION: Final = section(page("CONTRIBUTING.md"), "Write a layer kind")
MODULE, TEST = blocks(SECTION, "python")
POINTS, SPEC = blocks(SECTION, "toml")


@pytest.fixture(autouse=True)
def _kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install the kind as the page says it."""
    points = tomllib.loads(POINTS)["project"]["entry-points"]["immutable.builders"]
    (name,) = {place.partition(":")[0] for place in points.values()}
    assert f"`{name}.py`" in SECTION
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / f"{name}.py").write_text(MODULE)
    monkeypatch.delitem(sys.modules, name, raising=False)
    with installed(folder, monkeypatch, points):
        yield
    sys.modules.pop(name, None)


def written(folder: Path, spec: str = SPEC) -> Path:
    """Write the spec under the name that the page gives it."""
    path = folder / "web.toml"
    path.write_text(spec)
    return path


def test_the_kind_is_found_by_its_name() -> None:
    found = builders()["os-release"]
    assert ("os-release", "os_release_kind") == (found.kind, type(found).__module__)


def test_a_spec_with_the_kind_gives_the_same_digest_twice(tmp_path: Path) -> None:
    spec = written(tmp_path)
    first = build(spec, MemoryStore(), config=evolve(CONFIG, jobs=1))
    second = build(spec, MemoryStore(), config=evolve(CONFIG, jobs=4))
    assert first.digest == second.digest
    assert [False, False] == [one.layers[0].cached for one in (first, second)]


def test_the_layer_holds_what_the_spec_says(tmp_path: Path) -> None:
    store = MemoryStore()
    (layer,) = build(written(tmp_path), store).layers
    found = contents(store, layer)
    assert ["etc", "usr", "usr/lib", "etc/os-release", "usr/lib/os-release"] == list(found)
    expected = 'ID="shop"\nPRETTY_NAME="The shop (web)"\nVERSION_ID="1.4"\n'
    assert expected == text(found["usr/lib/os-release"])
    assert b"../usr/lib/os-release" == found["etc/os-release"].target


def test_another_option_gives_another_digest(tmp_path: Path) -> None:
    store = MemoryStore()
    first = build(written(tmp_path), store)
    second = build(written(tmp_path, SPEC.replace('"1.4"', '"1.5"')), store)
    assert first.digest != second.digest


def test_a_wrong_option_is_refused_by_its_path(tmp_path: Path) -> None:
    wrong = SPEC.replace('id = "shop"', 'id = "Shop"').replace("version-id", "version")
    with pytest.raises(SpecError) as caught:
        build(written(tmp_path, wrong), MemoryStore())
    assert (
        "layer[0].id: expected a-z, 0-9 and . _ -, found 'Shop'",
        "layer[0].version: unknown key; did you mean 'version-id'?",
    ) == caught.value.faults


def test_a_spec_in_python_with_the_kind_is_the_one_in_toml(tmp_path: Path) -> None:
    expected = immutable.load(written(tmp_path))
    kind = sys.modules[type(builders()["os-release"]).__module__]
    told = {"id": "shop", "pretty_name": "The shop (web)", "version_id": "1.4"}
    for layer in (
        kind.OsRelease("system", **told),
        immutable.OtherLayer("system", "os-release", **told),
    ):
        spec = immutable.Spec("shop/web", platforms=["linux/amd64"], layers=[layer])
        assert expected == spec
        assert expected == immutable.load(written(tmp_path, spec.dumps()))


def test_the_page_s_own_test_passes(shell: Shell) -> None:
    written(shell.folder)
    names: dict[str, object] = {}
    exec(TEST, names)
    (test,) = [one for name, one in names.items() if name.startswith("test_")]
    assert callable(test)
    test()


def test_the_page_names_what_a_kind_may_define() -> None:
    table = rows(SECTION)
    assert len(table) >= 6
    named = [word for row in table for word in code(row[1]) if re.fullmatch(r"[a-z_]+", word)]
    assert [] == [name for name in named if not hasattr(Builder, name)]


def test_this_page_of_tests_is_named_on_the_page() -> None:
    assert f"`tests/{Path(__file__).name}`" in SECTION
