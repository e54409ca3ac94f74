"""`verify` as a command."""

import pytest

from immutable.oci.digest import Digest
from immutable.spec.derivation import NO_ANSWERS
from tests.support.command import Shell


def test_verify_says_that_it_builds_into_the_store(shell: Shell) -> None:
    assert "built into the store first" in shell.run("verify", "--help").out


def test_source_date_epoch_is_mentioned_once_and_does_not_count(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.hello()
    before = shell.run("verify", "hello.toml")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    after = shell.run("verify", "hello.toml")
    assert before.out == after.out
    assert ("", 1) == (before.err, after.err.count("SOURCE_DATE_EPOCH is set"))
    assert "" == shell.run("build", "-q", "hello.toml").err


def test_verify_says_that_it_is_reproducible(shell: Shell) -> None:
    shell.hello()
    digest = shell.run("build", "-q", "hello.toml").out.strip()
    done = shell.run("verify", "hello.toml")
    assert (0, f"reproducible: hello {digest}\n") == (done.status, done.out)
    assert {
        "name": "hello", "digest": digest, "reproducible": True, "differences": []
    } == shell.run("verify", "hello.toml", "--json").json  # fmt: skip


def test_verify_shows_each_difference_and_ends_with_3(shell: Shell) -> None:
    shell.write("tree/file", "before")
    spec = shell.write(
        "tree.toml",
        'spec-version = 1\n[image]\nname = "tree"\nplatforms = ["linux/amd64"]\n'
        '[[layer]]\nname = "tree"\nkind = "files"\nsource = "tree"\n',
    )
    first = shell.run("build", spec, "--json").json["platforms"][0]["layers"][0]
    forge(shell, first["derivation"])
    done = shell.run("verify", spec)
    assert 3 == done.status
    assert [
        'linux/amd64: layer "tree": diffID',
        'linux/amd64: layer "tree": blob',
        "linux/amd64: config",
        "linux/amd64: manifest",
        "image",
    ] == [line.partition(": expected ")[0] for line in done.out.splitlines()]
    document = shell.run("verify", spec, "--json").json
    assert (False, 5) == (document["reproducible"], len(document["differences"]))
    assert {"place", "expected", "actual"} == {*document["differences"][0]}


def forge(shell: Shell, derivation: str) -> None:
    """Record another layer as what the derivation gave."""
    from attrs import evolve

    from immutable.content.compression import encoder
    from immutable.store import Store

    with Store.open(shell.store) as store:
        key = encoder("gzip").key
        made = store.find_realisation(Digest.parse(derivation), NO_ANSWERS, key)
        assert made is not None
        other = shell.hello("other.toml", image="other", text="another")
        layer = shell.run("build", other, "--json").json["platforms"][0]["layers"][0]
        blob = evolve(made.blob, digest=Digest.parse(layer["digest"]), size=layer["size"])
        store.record_realisation(
            evolve(made, diff_id=Digest.parse(layer["diff_id"]), blob=blob)
        )  # fmt: skip
