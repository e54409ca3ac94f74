"""The import rule: a room imports from those above it in the house, never from those below.

What is pure does no I/O and knows no clock; only `config` reads the environment; only `cli` prints.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import immutable
from tests.support.rooms import LEVELS

ROOT: Final = Path(immutable.__file__).parent

# What a module names for its annotations alone.
_FOR_TYPES: Final = frozenset({("errors", "oci")})
# What is pure: rooms, and modules of others.
_PURE: Final = (
    "redact",
    "findings",
    "errors",
    "progress",
    "oci",
    "reference",
    "content",
    "spec",
    "store/budget",
    "store/reports",
    "transports/reports",
    "attest",
    "build/assemble",
    "build/results",
    "lifecycle/retention",
    "lifecycle/exports",
)
# Reading an archive takes files; they are given.
_NOT_PURE: Final = ("content/archives",)

# What a value must not ask: the file system, the clock, chance, this machine.
_IMPURE: Final = frozenset(
    [
        "os",
        "pathlib",
        "time",
        "random",
        "secrets",
        "tempfile",
        "shutil",
        "glob",
        "subprocess",
        "socket",
        "platform",
        "getpass",
        "locale",
        "threading",
        "multiprocessing",
        "sqlite3",
        "requests",
        "urllib",
    ]
)
_CLOCK: Final = frozenset({"now", "today", "utcnow"})
_ENVIRONMENT: Final = frozenset({"environ", "environb", "getenv", "getenvb"})
_USER_FOLDER: Final = frozenset({"Path.home", "os.path.expanduser", "os.path.expandvars"})
# It changes the time zone to show that no digest depends on it.
_MAY_SET_TZ: Final = "testing"

# Processes of their own, whose end is not this one's.
_PROCESSES: Final = ("sandbox/child", "sandbox/inside")

MODULES: Final = sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    """The room that the module at `path` is in."""
    first = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return "immutable" if first == "__init__" else first


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))


def imports(path: Path) -> Iterator[str]:
    """Every module that the one at `path` imports anywhere in it, with its full name."""
    package = ("immutable", *path.relative_to(ROOT).parts[:-1])
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            for alias in node.names:
                # `from immutable import oci` imports the module, not a name of the package.
                full = f"{module}.{alias.name}"
                yield full if _is_module(full) else module


def _is_module(name: str) -> bool:
    place = ROOT.parent.joinpath(*name.split("."))
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


def rooms(path: Path) -> set[str]:
    """The rooms that the module at `path` imports from."""
    parts = (name.split(".") for name in imports(path) if name.split(".")[0] == "immutable")
    return {found[1] if len(found) > 1 else "immutable" for found in parts}


def is_pure(path: Path) -> bool:
    """Whether the module at `path` is one of those that do no I/O and know no clock."""
    name = path.relative_to(ROOT).with_suffix("").as_posix()

    def within(places: tuple[str, ...]) -> bool:
        return any(name == place or name.startswith(f"{place}/") for place in places)

    return within(_PURE) and not within(_NOT_PURE)


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=names)
def test_every_module_is_in_a_room(path: Path) -> None:
    assert room(path) in LEVELS


@pytest.mark.parametrize("path", MODULES, ids=names)
def test_nothing_imports_from_below(path: Path) -> None:
    own = room(path)
    above = {name for name, level in LEVELS.items() if level < LEVELS[own]}
    found = sorted(rooms(path) - above - {own})
    assert [] == [name for name in found if (own, name) not in _FOR_TYPES]


@pytest.mark.parametrize("path", [p for p in MODULES if is_pure(p)], ids=names)
def test_what_is_pure_asks_nothing_of_the_machine(path: Path) -> None:
    assert [] == sorted(_IMPURE & {name.split(".")[0] for name in imports(path)})
    attributes = {node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
    assert [] == sorted(attributes & (_CLOCK | {"open"}))
    assert "open" not in _called(path)


@pytest.mark.parametrize(
    "path", [p for p in MODULES if room(p) not in ("config", _MAY_SET_TZ)], ids=names
)
def test_only_config_reads_the_environment(path: Path) -> None:
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and (
            node.attr in _ENVIRONMENT or ast.unparse(node) in _USER_FOLDER
        ):
            found.append(f"{ast.unparse(node)} at line {node.lineno}")
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            found += [alias.name for alias in node.names if alias.name in _ENVIRONMENT]
    assert [] == found


@pytest.mark.parametrize("path", [p for p in MODULES if LEVELS[room(p)] < LEVELS["cli"]], ids=names)
def test_only_the_command_line_speaks_or_exits(path: Path) -> None:
    assert [] == sorted(_called(path) & {"print", "input", "exit", "quit", "breakpoint"})
    streams = [
        ast.unparse(node)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute)
        and ast.unparse(node) in {"sys.stdout", "sys.stderr", "sys.exit", "sys.stdin", "os._exit"}
    ]
    ends = path.relative_to(ROOT).with_suffix("").as_posix() in _PROCESSES
    assert [] == [one for one in streams if not (ends and one == "os._exit")]


def _called(path: Path) -> set[str]:
    calls = (node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call))
    return {function.id for function in calls if isinstance(function, ast.Name)}


TESTS: Final = sorted(Path(__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_no_module_imports_from_a_test_module(path: Path) -> None:
    found = [
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert [] == [name for name in found if ".test_" in name]


def test_the_time_zone_is_all_that_testing_touches() -> None:
    keys = {
        ast.unparse(node.slice)
        for node in ast.walk(tree(ROOT / "testing.py"))
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ"
    }
    assert {"'TZ'"} >= keys


def test_the_rule_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "immutable"
    (package / "store").mkdir(parents=True)
    (package / "store" / "__init__.py").touch()
    (package / "store" / "disk.py").write_text(
        "from ..config import Config\nimport immutable.digest\n"
        "def f():\n    from immutable import oci, spec as s\n"
        "if 0:\n    import os.path\n    from . import other\n"
    )
    for name in ("config", "digest", "oci", "spec", "store/other"):
        (package / f"{name}.py").touch()
    monkeypatch.setattr("tests.test_imports.ROOT", package)
    module = package / "store" / "disk.py"
    assert {
        "immutable.config",
        "immutable.digest",
        "immutable.oci",
        "immutable.spec",
        "os.path",
        "immutable.store.other",
    } == set(imports(module))
    assert {"config", "digest", "oci", "spec", "store"} == rooms(module)
