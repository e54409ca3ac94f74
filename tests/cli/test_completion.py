"""`completion`, and what the scripts then ask for."""

import shutil
import subprocess

import pytest

from tests.support.command import Shell


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_the_script_asks_this_program(shell: Shell, name: str) -> None:
    done = shell.run("completion", name)
    assert (0, "") == (done.status, done.err)
    assert f"_IMMUTABLE_COMPLETE={name}_complete" in done.out


def test_its_help_can_be_copied(shell: Shell) -> None:
    lines = [line.split() for line in shell.run("completion", "--help").out.splitlines()]
    assert ["fish", "immutable", "completion", "fish", "|", "source", "in"] in [
        words[:7] for words in lines
    ]


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_bash_takes_the_script(shell: Shell) -> None:
    script = shell.run("completion", "bash").out
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("immutable im", ["plain,images"]),
        ("immutable inspect sh", ["plain,shop/web", "plain,shop/web:1.0", "plain,shop/web@1"]),
        ("immutable --store nowhere inspect sh", []),
        ("immutable push shop/web:", ["plain,shop/web:1.0"]),
        ("immutable tag shop/web@", ["plain,shop/web@1"]),
        ("immutable pull registry.test/x:1 shop/web:", ["plain,shop/web:1.0"]),
        ("immutable push --repl", ["plain,--replace-tag"]),
        ("immutable load we", ["file,we"]),
        ("immutable verify he", ["file,he"]),
        ("immutable build --offl", ["plain,--offline"]),
        ("immutable completion z", ["plain,zsh"]),
    ],
)
def test_words_are_completed(shell: Shell, words: str, expected: list[str]) -> None:
    shell.run("build", shell.hello(image="shop/web", tags='"1.0"'))
    asked = {
        "_IMMUTABLE_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = shell.spawn(environ=asked)
    assert (0, "", expected) == (done.status, done.err, done.out.split())
    assert not (shell.folder / "nowhere").exists()
