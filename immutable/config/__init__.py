"""The machine's settings as one value: where the store is, and where outside bytes come from.

This is the only room that reads the environment and the user's files. Specs and locks never
name a host; an *archive* name (``debian``, ``debian-security``) stands for what holds the bytes,
and this module says which mirrors of it this machine uses. The first of these that knows the
archive is taken, whole:

1. ``--mirror ARCHIVE=URL``,
2. ``IMMUTABLE_MIRROR_<ARCHIVE>``: the name in capitals, ``-`` as ``_``; URLs apart by blanks,
3. ``[mirrors]`` in ``~/.config/immutable/config.toml``,
4. apt's own sources, for Debian's archives; npm's own settings, for ``npm``.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from attrs import evolve, field, frozen

from immutable.config.apt import (
    APT,
    KEYRINGS,
    SCHEMES,
    AptSource,
    Keyring,
    choose_sources,
    read_apt_sources,
    system_keys,
)
from immutable.config.keys import Keys, read_keys
from immutable.config.npm import Npm, read_npm
from immutable.config.private import expect_private
from immutable.config.registries import (
    Registries,
    RegistryTable,
    host_faults,
    read_registries,
)
from immutable.errors import NoMirror, SignatureError, SpecError
from immutable.reading import read_with_status
from immutable.redact import redact

__all__ = [
    "APT",
    "KEYRINGS",
    "AptSource",
    "Config",
    "Keyring",
    "Keys",
    "Mirrors",
    "Registries",
    "read_apt_sources",
]


@frozen
class Mirrors:
    """The places that hold one archive, in the order to try them, without a trailing ``/``.

    `signed_by` is set where the source of the setting also says which keys count.
    """

    urls: tuple[str, ...]
    signed_by: Keyring | None = None


def _pairs(value: Mapping[str, Sequence[str]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple(sorted((name, tuple(urls)) for name, urls in dict(value).items()))


@frozen
class Config:
    """What this machine says: paths, parallelism and where bytes come from.

    `mirrors` and `snapshots` are (archive, URLs) pairs sorted by archive; a snapshot's URL
    holds ``{date}``. `keyring` is the user's own choice of Debian keys, `trusted` the files
    that the system would use. `machine` is what ``uname -m`` says. `source_date_epoch` is only
    recorded: whether it counts is for a spec to say. `npm` is what npm's own files say;
    `registries` is how images get to and from registries, and `keys` whose word counts for layers
    that others built.
    """

    store: Path
    cache: Path
    jobs: int = 1
    machine: str = ""
    source_date_epoch: int | None = None
    mirrors: tuple[tuple[str, tuple[str, ...]], ...] = field(default=(), converter=_pairs)
    snapshots: tuple[tuple[str, tuple[str, ...]], ...] = field(default=(), converter=_pairs)
    keyring: Keyring | None = None
    archive_keys: tuple[Path, ...] = ()
    apt_keys: tuple[Path, ...] = ()
    apt: tuple[AptSource, ...] = ()
    user_file: Path = Path("config.toml")
    npm: Npm = field(factory=Npm)
    registries: Registries = field(factory=Registries)
    keys: Keys = field(factory=Keys)

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        store: Path | None = None,
        mirrors: Sequence[str] = (),
        user_file: Path | None = None,
        apt: Path = APT,
        keyrings: Path = KEYRINGS,
    ) -> Self:
        """Return the settings that hold for this process.

        `environ` stands for the process's environment; `store` and `mirrors`
        (``ARCHIVE=URL``) are the command line's. Raises SpecError, naming the variable or the
        file and the key, for settings that cannot be understood, and for a file that others
        could have written.
        """
        env = os.environ if environ is None else environ
        user_file = user_file or _home(env, "XDG_CONFIG_HOME", ".config") / "config.toml"
        user = _read_user_file(user_file)
        root = store or _env_path(env, "IMMUTABLE_STORE") or _path(user.store)
        root = (root or _home(env, "XDG_DATA_HOME", None)).absolute()
        cache = _env_path(env, "IMMUTABLE_CACHE") or _path(user.cache)
        cache = cache or _home(env, "XDG_CACHE_HOME", ".cache")
        archive_keys, apt_keys = system_keys(apt, keyrings)
        return cls(
            store=root,
            cache=cache.absolute(),
            jobs=_env_count(env, "IMMUTABLE_JOBS") or user.jobs or os.cpu_count() or 1,
            machine=platform.machine(),
            source_date_epoch=_env_epoch(env),
            mirrors={
                **user.mirrors,
                **_env_urls(env, "IMMUTABLE_MIRROR_"),
                **_option_urls(mirrors),
            },
            snapshots={**user.snapshots, **_env_urls(env, "IMMUTABLE_SNAPSHOT_", dated=True)},
            keyring=_user_keyring(env, user, user_file),
            archive_keys=archive_keys,
            apt_keys=apt_keys,
            apt=tuple(read_apt_sources(apt)),
            user_file=user_file,
            npm=read_npm(env),
            registries=read_registries(env, user.registries),
            keys=read_keys(env, user_file.parent),
        )

    def mirrors_of(self, archive: str, suite: str | None = None) -> Mirrors:
        """Return where `archive` is to be had; apt's sources are asked for `suite`.

        Raises NoMirror, saying what to set, when nothing on this machine knows.
        """
        chosen = dict(self.mirrors).get(archive)
        if chosen:
            return Mirrors(chosen)
        sources = choose_sources(self.apt, archive, suite) if suite else ()
        if sources:
            uris = dict.fromkeys(uri for source in sources for uri in source.uris)
            return Mirrors(tuple(uris), sources[0].signed_by or self._apt_trusted())
        raise NoMirror(
            f"{suite or archive}: no mirror of the archive {archive} is known here; pass "
            f"--mirror {archive}=URL, set IMMUTABLE_MIRROR_{_variable(archive)}, or give "
            f'[mirrors] {archive} = "URL" in {self.user_file}'
        )

    def snapshots_of(self, archive: str, date: datetime) -> tuple[str, ...]:
        """Return the mirrors that hold `archive` as it was at `date`, if any are configured."""
        stamp = date.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        templates = dict(self.snapshots).get(archive, ())
        return tuple(template.replace("{date}", stamp) for template in templates)

    def keyring_for(self, named: Path | None, used: Mirrors) -> Keyring:
        """Return the keys that count for indexes from `used`; `named` is the spec's choice.

        Then come IMMUTABLE_DEBIAN_KEYRING, the user's file, the Signed-By of the apt source,
        and the system's Debian keys. Raises SignatureError when there are none at all.
        """
        if named is not None:
            return Keyring("the spec's keyring", (named,))
        chosen = self.keyring or used.signed_by
        if chosen is not None:
            return chosen
        system = self._apt_trusted()
        if self.archive_keys:
            system = Keyring("the system's Debian keyring", self.archive_keys)
        if system is not None:
            return system
        raise SignatureError(
            "no key to check Debian's indexes with: install Debian's archive keyring, set "
            f"IMMUTABLE_DEBIAN_KEYRING, or give debian-keyring in {self.user_file}"
        )

    def _apt_trusted(self) -> Keyring | None:
        # As apt itself does for a source that names no key.
        return Keyring("apt's trusted keys", self.apt_keys) if self.apt_keys else None


def _variable(archive: str) -> str:
    return archive.upper().replace("-", "_")


def _home(env: Mapping[str, str], variable: str, folder: str | None) -> Path:
    """Return our folder under the XDG base directory that `variable` overrides."""
    if env.get(variable):
        return Path(env[variable]) / "immutable"
    if folder is None:
        import platformdirs

        return platformdirs.user_data_path("immutable")
    home = env.get("HOME")
    return (Path(home) if home else Path.home()) / folder / "immutable"


# --- the environment and the command line ---


def _env_path(env: Mapping[str, str], name: str) -> Path | None:
    return _path(env.get(name, ""))


def _path(text: str) -> Path | None:
    return Path(text).expanduser() if text else None


def _env_count(env: Mapping[str, str], name: str) -> int | None:
    text = env.get(name)
    if not text:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,3}", text):
        raise SpecError(name, [f"expected a number from 1 to 9999, found {text!r}"])
    return int(text)


def _env_epoch(env: Mapping[str, str]) -> int | None:
    text = env.get("SOURCE_DATE_EPOCH")
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise SpecError("SOURCE_DATE_EPOCH", [f"expected seconds since the epoch, found {text!r}"])
    return int(text)


def _user_keyring(env: Mapping[str, str], user: _UserFile, where: Path) -> Keyring | None:
    path = _env_path(env, "IMMUTABLE_DEBIAN_KEYRING")
    if path:
        return Keyring("IMMUTABLE_DEBIAN_KEYRING", (path,))
    path = _path(user.debian_keyring)
    return Keyring(f"debian-keyring in {where}", (path,)) if path else None


def _env_urls(
    env: Mapping[str, str], prefix: str, *, dated: bool = False
) -> dict[str, tuple[str, ...]]:
    found = {}
    for name, value in env.items():
        if name.startswith(prefix) and value.split():
            faults = [*_url_faults(value.split(), dated=dated)]
            if faults and "@" in value:  # a password with a blank, whose parts nobody may see
                faults = [f"expected URLs, a blank in one as %20, found {redact(value)!r}"]
            if faults:
                raise SpecError(name, faults)
            archive = name.removeprefix(prefix).lower().replace("_", "-")
            found[archive] = tuple(url.rstrip("/") for url in value.split())
    return found


def _option_urls(options: Iterable[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for option in options:
        archive, equals, url = option.partition("=")
        if not equals or not archive:
            raise SpecError("--mirror", [f"expected ARCHIVE=URL, found {redact(option)!r}"])
        faults = [*_url_faults([url])]
        if faults:
            raise SpecError(f"--mirror {archive}", faults)
        found[archive] = (*found.get(archive, ()), url.rstrip("/"))
    return found


def _url_faults(urls: Iterable[str], *, dated: bool = False) -> Iterator[str]:
    for url in urls:
        if not url.startswith(SCHEMES):
            yield f"expected a URL with {', '.join(SCHEMES)}, found {redact(url)!r}"
        elif dated and "{date}" not in url:
            yield f"expected a URL with {{date}} in it, found {redact(url)!r}"


# --- the user's file ---


@frozen
class _UserFile:
    store: str = ""
    cache: str = ""
    jobs: int = 0
    debian_keyring: str = ""
    mirrors: Mapping[str, Any] = field(factory=dict)
    snapshots: Mapping[str, Any] = field(factory=dict)
    registries: RegistryTable = field(factory=RegistryTable)


def _read_user_file(path: Path) -> _UserFile:
    """Return what the user's file says, its paths made absolute; nothing when there is none."""
    try:
        data, status = read_with_status(path)
    except (FileNotFoundError, NotADirectoryError):
        return _UserFile()
    except OSError as error:
        raise SpecError(str(path), [f"cannot be read: {error.strerror}"]) from None
    expect_private(path, status)
    from immutable.spec import toml

    where = str(path)
    user = toml.build(toml.read_toml(data, where), _UserFile, where)
    faults: list[str] = []
    if not 0 <= user.jobs <= 9999:
        faults.append(f"jobs: expected a number from 1 to 9999, found {user.jobs}")
    mirrors = _table_urls("mirrors", user.mirrors, faults)
    snapshots = _table_urls("snapshots", user.snapshots, faults, dated=True)
    faults += [f"registries.insecure: {f}" for f in host_faults(user.registries.insecure)]
    if faults:
        raise SpecError(where, faults)
    return evolve(
        user,
        store=_beside(path, user.store),
        cache=_beside(path, user.cache),
        debian_keyring=_beside(path, user.debian_keyring),
        mirrors=mirrors,
        snapshots=snapshots,
        registries=evolve(user.registries, ca_file=_beside(path, user.registries.ca_file)),
    )


def _beside(file: Path, text: str) -> str:
    return str(file.parent / Path(text).expanduser()) if text else ""


def _table_urls(
    key: str, table: Mapping[str, Any], faults: list[str], *, dated: bool = False
) -> dict[str, tuple[str, ...]]:
    found = {}
    for archive, value in table.items():
        urls = (value,) if isinstance(value, str) else value
        if not isinstance(urls, tuple) or not all(isinstance(url, str) for url in urls):
            faults.append(f"{key}.{archive}: expected a URL or an array of URLs, found {value!r}")
            continue
        faults += [f"{key}.{archive}: {fault}" for fault in _url_faults(urls, dated=dated)]
        found[archive] = tuple(url.rstrip("/") for url in urls)
    return found
