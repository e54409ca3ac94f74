"""Whose login counts for a repository."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from immutable.config import Registries
from immutable.config.registries import AuthFile
from immutable.errors import TransportError
from immutable.transports.registry import helpers
from immutable.transports.registry.credentials import Login, find

HELPER = """#!/bin/sh
read host
echo "$host" >> "$0.asked"
case "$host" in
known.test:5000) echo '{"Username": "helped", "Secret": "hush"}';;
token.test) echo '{"Username": "<token>", "Secret": "identity"}';;
odd.test) echo 'hush';;
broken.test) echo 'hush' >&2; echo hush; exit 1;;
*) echo "credentials not found in native keychain"; exit 1;;
esac
"""


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def auths(**entries: str) -> dict[str, Any]:
    return {"auths": {host: {"auth": b64(login)} for host, login in entries.items()}}


def found(host: str, *contents: dict[str, Any], repository: str = "shop/web") -> Login | None:
    files = tuple(AuthFile(Path(f"file{n}"), content) for n, content in enumerate(contents))
    return find(Registries(auth_files=files), host, repository)


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "docker-credential-fake"
    path.write_text(HELPER)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return path


def test_nobody_is_known() -> None:
    assert None is found("registry.test")
    assert None is found("registry.test", {}, {"auths": {}}, {"auths": None}, {"auths": []})
    assert None is found("registry.test", auths(**{"other.test": "a:b"}))


def test_the_first_file_that_knows_counts() -> None:
    one, other = (
        auths(**{"registry.test": "a:1"}),
        auths(**{"registry.test": "b:2", "x.test": "c:3"}),
    )
    assert Login("a", "1") == found("registry.test", one, other)
    assert Login("c", "3") == found("x.test", one, other)


@pytest.mark.parametrize(
    "key",
    [
        "registry.test:5000",
        "https://registry.test:5000",
        "https://registry.test:5000/",
        "https://registry.test:5000/v1/",
        "http://registry.test:5000/v2/",
        "registry.test:5000/v2",
        "Registry.test:5000",
    ],
)
def test_older_spellings_of_a_host(key: str) -> None:
    assert Login("a", "b:c") == found("registry.test:5000", auths(**{key: "a:b:c"}))


def test_a_host_with_another_port_is_another() -> None:
    assert None is found("registry.test:5001", auths(**{"registry.test:5000": "a:b"}))
    assert None is found("registry.test", auths(**{"registry.test:5000": "a:b"}))


def test_the_longest_path_above_the_repository_counts() -> None:
    content = auths(
        **{
            "registry.test": "host:1",
            "registry.test/shop": "shop:2",
            "registry.test/shop/web": "web:3",
        }
    )
    assert Login("web", "3") == found("registry.test", content)
    assert Login("shop", "2") == found("registry.test", content, repository="shop/api")
    assert Login("host", "1") == found("registry.test", content, repository="shopping")
    assert None is found("registry.test", auths(**{"registry.test/other": "a:b"}))


def test_an_identity_token() -> None:
    entry = {"auth": b64("<token>:"), "identitytoken": "identity"}
    assert Login(secret="identity", identity=True) == found(
        "registry.test", {"auths": {"registry.test": entry}}
    )


def test_a_user_and_a_password_in_plain_text() -> None:
    entry = {"username": "a", "password": "b", "auth": "", "identitytoken": ""}
    assert Login("a", "b") == found("registry.test", {"auths": {"registry.test": entry}})


def test_an_empty_entry_leaves_it_to_the_next_file() -> None:
    empty: dict[str, Any] = {"auths": {"registry.test": {}}}
    assert Login("a", "b") == found("registry.test", empty, auths(**{"registry.test": "a:b"}))


@pytest.mark.parametrize(
    "auth",
    ["hush", b64("hush"), "hush!", b64("hush\udcff:x".encode("utf-8", "replace").decode())[:-3], 5],
)
def test_a_damaged_entry_is_named_but_not_shown(auth: object) -> None:
    content = {"auths": {"registry.test": {"auth": auth}, "fine.test": {"auth": b64("a:b")}}}
    with pytest.raises(TransportError, match=r"file0: auths: registry\.test: expected") as caught:
        found("registry.test", content)
    assert "hush" not in str(caught.value)
    assert Login("a", "b") == found("fine.test", content)


def test_a_damaged_file_is_named() -> None:
    file = AuthFile(Path("some.json"), fault="expected a JSON object, found something else")
    with pytest.raises(TransportError, match=r"some\.json: expected a JSON object"):
        find(Registries(auth_files=(file,)), "registry.test", "web")


def test_a_login_shows_no_secret() -> None:
    assert "hush" not in repr(Login("a", "hush"))


# Helpers


def test_a_helper_is_asked_for_its_host(helper: Path) -> None:
    content = {"credHelpers": {"known.test:5000": "fake"}, **auths(**{"known.test:5000": "a:b"})}
    assert Login("helped", "hush") == found("known.test:5000", content)
    assert None is found("other.test", content)
    assert "known.test:5000\n" == Path(f"{helper}.asked").read_text()


def test_the_store_is_asked_for_all_hosts(helper: Path) -> None:
    content = {"credsStore": "fake", **auths(**{"other.test": "a:b"})}
    assert Login("helped", "hush") == found("known.test:5000", content)
    assert Login(secret="identity", identity=True) == found("token.test", content)
    assert Login("a", "b") == found("other.test", content)
    assert None is found("unknown.test", content)


@pytest.mark.parametrize("host", ["odd.test", "broken.test"])
def test_a_helper_that_fails_is_named_but_not_quoted(
    helper: Path, host: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TransportError, match="docker-credential-fake failed") as caught:
        found(host, {"credsStore": "fake"})
    written = capfd.readouterr()
    assert "hush" not in str(caught.value) + written.out + written.err


FAILING = {
    "echo 'hush'; exit 3": "exit status 3;",
    "echo 'hush gpg: decryption failed: No secret key hush' >&2; exit 2": (
        "exit status 2 (no secret key);"
    ),
    "echo 'exit status 1: pass not initialized: hush'; exit 1": (
        "exit status 1 (pass not initialized);"
    ),
    "kill -9 $$": "exit status -9;",
    "cat /dev/zero": "expected at most 1048576 bytes, it writes more;",
    "cat /dev/zero >&2": "expected at most 1048576 bytes, it writes more;",
    "exec sleep 600": "no answer within 0.5 s;",
    "sleep 30 & exit 0": "no answer within 0.5 s;",
    "exec >&- 2>&-; exec sleep 600": "no answer within 0.5 s;",
    "trap '' TERM; while :; do echo hush; read x < /dev/zero; done": "no answer within|at most",
    """printf '{"Username": "a", "Secret": "hush\\ud800"}'""": "expected a JSON object",
    """printf '{"Username": "a", "Secret": "hush\\377"}'""": "expected a JSON object",
    """printf '{"Username": "hush", "Secret": 5}'""": "expected Secret, a string",
    """printf '["hush"]'""": "expected a JSON object",
    "head -c 900000 /dev/zero | tr '\\000' '['": "expected a JSON object",
    "exec < /dev/null; exit 4": "exit status 4;",
}


@pytest.mark.parametrize(("script", "told"), FAILING.items(), ids=FAILING)
def test_a_failing_helper_ends_and_no_secret_that_it_prints_is_shown(
    helper: Path,
    script: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(helpers, "PATIENCE", 0.5 if "no answer" in told else 30.0)
    helper.write_text(f"#!/bin/sh\n{script}\n")
    with pytest.raises(
        TransportError, match=r"docker-credential-fake failed for x\.test"
    ) as caught:
        found("x.test", {"credsStore": "fake"})
    written = capfd.readouterr()
    assert "hush" not in str(caught.value) + written.out + written.err
    assert any(one in str(caught.value) for one in told.split("|"))


def test_a_helper_that_cannot_be_run_is_an_error_of_ours(helper: Path) -> None:
    helper.write_text("#!/nowhere/sh\n")
    with pytest.raises(TransportError, match="cannot be run: No such file"):
        found("x.test", {"credsStore": "fake"})


@pytest.mark.parametrize(
    "entry",
    [
        {"username": "a", "password": "hush\ud800"},
        {"username": "\ud800", "password": "hush"},
        {"identitytoken": "hush\ud800"},
    ],
)
def test_a_login_with_half_a_surrogate_pair_is_named_but_not_shown(entry: dict[str, str]) -> None:
    with pytest.raises(TransportError, match=r"auths: registry\.test: expected a login") as caught:
        found("registry.test", {"auths": {"registry.test": entry}})
    assert "hush" not in str(caught.value)


def test_a_helper_that_is_not_there(helper: Path) -> None:
    helper.unlink()
    with pytest.raises(TransportError, match="docker-credential-fake, which has the logins"):
        found("registry.test", {"credsStore": "fake"})


def test_settings_of_other_kinds_are_passed_over() -> None:
    assert None is found(
        "registry.test", {"credsStore": 5, "credHelpers": ["x"], "auths": {"registry.test": 3}}
    )
