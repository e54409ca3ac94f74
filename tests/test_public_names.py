"""The package's own names: there when they are asked for, and not imported before."""

import subprocess
import sys

import pytest

import immutable
from tests.support.shipped import SPECS


def in_a_new_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_every_public_name_is_there() -> None:
    assert set(immutable.__all__) <= set(dir(immutable))
    for name in immutable.__all__:
        assert name == getattr(immutable, name).__name__


def test_another_name_is_not() -> None:
    with pytest.raises(AttributeError, match="module 'immutable' has no attribute 'biuld'"):
        immutable.biuld  # noqa: B018


def test_a_verb_is_no_module_whatever_was_imported_first() -> None:
    code = """
import immutable.build.lock, immutable.build.verify, immutable.cli.build
import immutable
from immutable import build, lock, verify
print([type(one).__name__ for one in (immutable.build, immutable.lock, immutable.verify)])
print([type(one).__name__ for one in (build, lock, verify)])
print(immutable.lock.__module__, sys.modules["immutable.build.lock"].lock.__module__)
"""
    kinds = "['function', 'function', 'function']\n"
    expected = f"{kinds}{kinds}immutable.build.lock immutable.build.lock\n"
    assert expected == in_a_new_process("import sys" + code)


def test_what_a_command_does_not_need_is_not_imported() -> None:
    code = """
import sys
from immutable import cli
try:
    cli.main(["copy", "oci:nowhere", "oci:elsewhere:1"])
finally:
    heavy = ("requests", "docker", "rich", "cryptography")
    heavy += ("immutable.build.build", "immutable.content.tar")
    print([name for name in heavy if name in sys.modules])
"""
    assert "[]\n" == in_a_new_process(code)


def test_writing_a_spec_in_python_imports_no_builder_and_no_verb() -> None:
    code = """
import sys
import immutable
immutable.Files("app", source="app")
immutable.Spec("web", config=immutable.ContainerConfig(cmd=["true"]))
heavy = ("requests", "docker", "rich", "cryptography", "tomli_w")
heavy += ("immutable.builders.base", "immutable.build.build", "immutable.store")
print([name for name in heavy if name in sys.modules])
"""
    assert "[]\n" == in_a_new_process(code)


def test_reading_a_spec_imports_nothing_that_only_writes_one() -> None:
    code = f"""
import sys
import immutable
immutable.load({str(SPECS / "hello.toml")!r})
writers = ("immutable.spec.written", "immutable.builders.written", "immutable.spec.writing")
print([name for name in writers if name in sys.modules])
"""
    assert "[]\n" == in_a_new_process(code)
