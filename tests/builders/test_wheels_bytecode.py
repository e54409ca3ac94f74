"""Bytecode of wheels: only when asked for, unchecked, and the same wherever it is compiled."""

from __future__ import annotations

import importlib.util
import marshal
import platform
import subprocess
import sys

import pytest

from immutable.builders.wheels.bytecode import compiled
from immutable.errors import SourceError
from tests.support.entries import content
from tests.support.wheels import build, wheel

HERE = platform.python_version()
TAG = sys.implementation.cache_tag
SOURCE = b"""
import re

BIG, TEXT, SET = 10**30, "a text that is not interned, with spaces", {"b", "a", "c"}

def f(x):
    'Doc.'
    return x in {"one", "two", "three", "four"} and (1.5, b"x", BIG, "a text")

class C:
    name = "C"
    def g(self): return lambda: (f, self.name, "one")
"""


def test_nothing_is_compiled_unless_asked_for() -> None:
    assert not [path for path in build(wheel(), python=HERE).entries if path.endswith(".pyc")]


def test_modules_get_bytecode_that_python_takes_as_it_is() -> None:
    files = {"demo/__init__.py": b"X = 41 + 1\n", "demo-1.0.data/scripts/s.py": b"1\n"}
    built = build(wheel(files=files), python=HERE, bytecode=True, target="/app")
    (path,) = [path for path in built.entries if path.endswith(".pyc")]
    assert f"/app/demo/__pycache__/__init__.{TAG}.pyc" == path
    data = content(built.entries[path])
    assert importlib.util.MAGIC_NUMBER + b"\1\0\0\0" == data[:8]
    assert importlib.util.source_hash(files["demo/__init__.py"]) == data[8:16]
    code = marshal.loads(data[16:])
    assert "/app/demo/__init__.py" == code.co_filename
    scope: dict[str, object] = {}
    exec(code, scope)
    assert 42 == scope["X"]
    record = built.record("/app/demo-1.0.dist-info/RECORD")
    assert str(len(data)) == record[path.removeprefix("/app/")][1]


def test_what_is_no_python_is_left_as_it_is() -> None:
    files = {"demo/a.py": b"print 'two'\n", "demo/b.py": b"\0", "demo/c.py": b"#coding: none\n"}
    built = build(wheel(files=files), python=HERE, bytecode=True)
    assert not [path for path in built.entries if path.endswith(".pyc")]


def test_another_python_is_refused_by_name() -> None:
    with pytest.raises(SourceError, match=rf"wants CPython 3\.8\.0, and this is \w+ {HERE}"):
        build(wheel(), python="3.8.0", bytecode=True)


@pytest.mark.parametrize("seed", ["1", "2"])
def test_another_process_compiles_the_same(seed: str) -> None:
    script = (
        "import sys\n"
        "from immutable.builders.wheels.bytecode import compiled\n"
        "kept = [sys.intern('one'), 'a text']\n"
        "sys.stdout.buffer.write(compiled('/app/x.py', sys.stdin.buffer.read())[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-O", "-c", script],
        input=SOURCE,
        capture_output=True,
        check=True,
        env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
    )
    made = compiled("/app/x.py", SOURCE)
    assert made is not None
    assert made[1] == done.stdout
