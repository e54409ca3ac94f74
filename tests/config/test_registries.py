"""Where logins are, and which hosts may do without TLS."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from immutable.config import Config, Registries
from immutable.errors import SpecError


def load(tmp_path: Path, **environ: str) -> Registries:
    return Config.load(
        {"HOME": str(tmp_path), **environ}, apt=tmp_path / "apt", keyrings=tmp_path / "keys"
    ).registries


def user_file(tmp_path: Path, text: str) -> None:
    write(tmp_path / ".config/immutable/config.toml", text)


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_nothing_is_insecure_and_nobody_is_known_at_first(tmp_path: Path) -> None:
    assert Registries() == load(tmp_path)


def test_insecure_hosts_are_those_of_the_variable_and_of_the_file(tmp_path: Path) -> None:
    user_file(tmp_path, '[registries]\ninsecure = ["Registry.test:5000"]\nca-file = "my.pem"')
    found = load(tmp_path, IMMUTABLE_INSECURE_REGISTRIES="other.test  10.0.0.1:80")
    assert ("other.test", "10.0.0.1:80", "registry.test:5000") == found.insecure
    assert (tmp_path / ".config/immutable/my.pem",) == found.ca_files
    assert found.is_insecure("other.test", 1)
    assert found.is_insecure("registry.test", 5000)
    assert not found.is_insecure("registry.test", 443)


def test_certificates_of_the_variable_count_and_those_of_requests(tmp_path: Path) -> None:
    user_file(tmp_path, '[registries]\nca-file = "my.pem"')
    found = load(tmp_path, IMMUTABLE_REGISTRY_CA_FILE="/a.pem", REQUESTS_CA_BUNDLE="/b.pem")
    assert (Path("/a.pem"), Path("/b.pem")) == found.ca_files


def test_options_come_on_top() -> None:
    found = Registries(ca_files=(Path("a"),)).with_options(tls_verify=False, ca_file=Path("b"))
    assert Registries(tls_verify=False, ca_files=(Path("b"), Path("a"))) == found
    assert not found.with_options().tls_verify


@pytest.mark.parametrize("value", ["https://registry.test", "registry.test/web", "*", "-"])
def test_hosts_that_are_none(tmp_path: Path, value: str) -> None:
    with pytest.raises(SpecError, match="IMMUTABLE_INSECURE_REGISTRIES: expected HOST"):
        load(tmp_path, IMMUTABLE_INSECURE_REGISTRIES=value)
    user_file(tmp_path, f'[registries]\ninsecure = ["{value}"]')
    with pytest.raises(SpecError, match=r"registries\.insecure: expected HOST"):
        load(tmp_path)


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    user_file(tmp_path, "[registries]\ninsecur = []")
    with pytest.raises(SpecError, match=r"registries\.insecur: unknown key; did you mean"):
        load(tmp_path)


def paths(registries: Registries, tmp_path: Path) -> list[str]:
    return [str(file.path.relative_to(tmp_path)) for file in registries.auth_files]


def test_logins_are_where_docker_and_podman_have_them(tmp_path: Path) -> None:
    places = [
        "docker/config.json",
        "run/containers/auth.json",
        "config/containers/auth.json",
        ".config/containers/auth.json",
        ".docker/config.json",
        "named.json",
    ]
    for place in places:
        write(tmp_path / place, {"auths": {}})

    assert [".config/containers/auth.json", ".docker/config.json"] == paths(
        load(tmp_path), tmp_path
    )
    home = {"XDG_RUNTIME_DIR": "run", "XDG_CONFIG_HOME": "config", "DOCKER_CONFIG": "docker"}
    moved = {name: str(tmp_path / place) for name, place in home.items()}
    assert places[:3] == paths(load(tmp_path, **moved), tmp_path)
    alone = load(tmp_path, **moved, REGISTRY_AUTH_FILE=str(tmp_path / "named.json"))
    assert ["named.json"] == paths(alone, tmp_path)


def test_a_named_file_that_is_not_there_holds_no_login(tmp_path: Path) -> None:
    assert () == load(tmp_path, REGISTRY_AUTH_FILE=str(tmp_path / "none")).auth_files


@pytest.mark.parametrize("content", ['{"auths": hush', '["hush"]', "[" * 100_000, "\udc80hush"])
def test_a_damaged_file_is_no_error_before_it_is_needed(tmp_path: Path, content: str) -> None:
    path = tmp_path / ".docker/config.json"
    path.parent.mkdir()
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    (file,) = load(tmp_path).auth_files
    assert "expected a JSON object, found something else" == file.fault


def test_logins_are_in_no_representation(tmp_path: Path) -> None:
    write(tmp_path / ".docker/config.json", {"auths": {"registry.test": {"auth": "hush"}}})
    found = load(tmp_path)
    assert "hush" not in repr(found)
    assert "hush" not in repr(found.auth_files)
