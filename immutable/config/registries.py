"""How this machine reaches registries: whom to trust, and where the logins are kept.

Logins are where Docker and podman have them: the file in REGISTRY_AUTH_FILE, and nothing else
where that is set; else `config.json` in DOCKER_CONFIG, podman's `auth.json`
(containers-auth.json(5)), and `~/.docker/config.json`.

Part of `immutable.config`, which alone reads this machine's settings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from attrs import evolve, field, frozen

from immutable.errors import SpecError
from immutable.reading import read_file
from immutable.redact import quoted

_HOST: Final = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.ASCII
)
_INSECURE: Final = "IMMUTABLE_INSECURE_REGISTRIES"
_CA_FILE: Final = "IMMUTABLE_REGISTRY_CA_FILE"
# What `requests` takes certificates from.
_BUNDLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@frozen
class AuthFile:
    """A file with logins: its JSON object, or the fault for which it has none."""

    path: Path
    content: Mapping[str, Any] = field(factory=dict, repr=False)
    fault: str = ""


@frozen
class RegistryTable:
    """The table ``[registries]`` of the user's file."""

    insecure: tuple[str, ...] = ()
    ca_file: str = ""


@frozen
class Registries:
    """Whom to trust, and who this user is.

    `insecure` are hosts, ``HOST`` or ``HOST:PORT``, that may be reached over plain http or with
    a certificate that nobody vouches for. With `tls_verify` false so may be each registry that
    a reference names. `ca_files` are trusted beside the usual certificates. `auth_files` are
    those that are there, the first that knows a registry counts.
    """

    insecure: tuple[str, ...] = ()
    tls_verify: bool = True
    ca_files: tuple[Path, ...] = ()
    auth_files: tuple[AuthFile, ...] = field(default=(), repr=False)

    def is_insecure(self, host: str, port: int) -> bool:
        """Whether `host` is one of the insecure ones, on all ports or on this one."""
        shown = f"[{host}]" if ":" in host else host
        return shown in self.insecure or f"{shown}:{port}" in self.insecure

    def with_options(self, *, tls_verify: bool = True, ca_file: Path | None = None) -> Self:
        """Return these settings with what the command line says."""
        files = self.ca_files if ca_file is None else (ca_file, *self.ca_files)
        return evolve(self, tls_verify=self.tls_verify and tls_verify, ca_files=files)


def read_registries(env: Mapping[str, str], table: RegistryTable) -> Registries:
    """Return the settings of the environment and of the user's file; the former count first.

    Raises SpecError for hosts that cannot be. A file of logins that cannot be read is no error
    before a login is needed.
    """
    named = env.get(_INSECURE, "").lower().split()
    faults = [*host_faults(named)]
    if faults:
        raise SpecError(_INSECURE, faults)
    paths = [env.get(_CA_FILE) or table.ca_file, *(env.get(name, "") for name in _BUNDLES)]
    return Registries(
        insecure=tuple(dict.fromkeys([*named, *map(str.lower, table.insecure)])),
        ca_files=tuple(Path(path).expanduser() for path in dict.fromkeys(paths) if path),
        auth_files=tuple(filter(None, map(_read, _auth_paths(env)))),
    )


def host_faults(hosts: Iterable[str]) -> Iterator[str]:
    """Yield what is wrong with those of `hosts` that are no ``HOST`` or ``HOST:PORT``."""
    for host in hosts:
        if not _HOST.fullmatch(host.lower()):
            yield f"expected HOST or HOST:PORT, found {quoted(host)}"


def _auth_paths(env: Mapping[str, str]) -> Sequence[Path]:
    if env.get("REGISTRY_AUTH_FILE"):
        return [Path(env["REGISTRY_AUTH_FILE"]).expanduser()]
    home = Path(env["HOME"]) if env.get("HOME") else Path.home()
    found = []
    if env.get("DOCKER_CONFIG"):
        found.append(Path(env["DOCKER_CONFIG"]).expanduser() / "config.json")
    if env.get("XDG_RUNTIME_DIR"):
        found.append(Path(env["XDG_RUNTIME_DIR"]) / "containers/auth.json")
    config = Path(env["XDG_CONFIG_HOME"]) if env.get("XDG_CONFIG_HOME") else home / ".config"
    found.append(config / "containers/auth.json")
    if not env.get("DOCKER_CONFIG"):
        found.append(home / ".docker/config.json")
    return found


def _read(path: Path) -> AuthFile | None:
    # No word of the content may get into a message.
    try:
        content = json.loads(read_file(path, given=True))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return AuthFile(path, fault=f"cannot be read: {error.strerror}")
    except (ValueError, RecursionError):
        return AuthFile(path, fault="expected a JSON object, found something else")
    if not isinstance(content, dict):
        return AuthFile(path, fault="expected a JSON object, found something else")
    return AuthFile(path, content)
