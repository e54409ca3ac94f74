"""Where the settings come from, and which of them counts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from immutable.config import AptSource, Config, Keyring, Mirrors, read_apt_sources
from immutable.errors import NoMirror, SignatureError, SpecError

DEBIAN = "http://mirror.test/debian"


def load(tmp_path: Path, environ: dict[str, str] | None = None, *mirrors: str) -> Config:
    """Load with nothing of this machine in it."""
    return Config.load(
        {"HOME": str(tmp_path), "IMMUTABLE_STORE": str(tmp_path / "store"), **(environ or {})},
        mirrors=mirrors,
        apt=tmp_path / "apt",
        keyrings=tmp_path / "keyrings",
    )


def user_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / ".config/immutable/config.toml"
    write(path, text)
    return path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def apt(tmp_path: Path, text: str, name: str = "debian.sources") -> None:
    write(tmp_path / "apt/sources.list.d" / name, text)


def one_stanza(uri: str = DEBIAN, suites: str = "bookworm", more: str = "") -> str:
    return f"Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\n{more}"


# --- paths and numbers ---


def test_the_store_is_the_argument_then_the_variable_then_the_file(tmp_path: Path) -> None:
    user_file(tmp_path, 'store = "elsewhere"')
    home = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
    variable = {**home, "IMMUTABLE_STORE": str(tmp_path / "variable")}

    assert tmp_path / "argument" == Config.load(variable, store=tmp_path / "argument").store
    assert tmp_path / "variable" == Config.load(variable).store
    assert tmp_path / ".config/immutable/elsewhere" == Config.load(home).store


def test_without_settings_the_store_is_in_the_users_data_folder(tmp_path: Path) -> None:
    config = Config.load({"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")})

    assert tmp_path / "data/immutable" == config.store
    assert tmp_path / ".cache/immutable" == config.cache


def test_the_cache_is_never_in_the_store_so_that_filling_it_makes_none(tmp_path: Path) -> None:
    config = Config.load({"HOME": str(tmp_path), "IMMUTABLE_STORE": str(tmp_path / "store")})

    assert not config.cache.is_relative_to(config.store)


def test_the_cache_and_jobs_follow_their_variables(tmp_path: Path) -> None:
    user_file(tmp_path, 'jobs = 3\ncache = "/from/file"')

    assert 3 == load(tmp_path).jobs
    assert Path("/from/file") == load(tmp_path).cache
    config = load(tmp_path, {"IMMUTABLE_JOBS": "5", "IMMUTABLE_CACHE": "/from/variable"})
    assert 5 == config.jobs
    assert Path("/from/variable") == config.cache


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "1e3", "٣"])
def test_jobs_that_are_no_number_are_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(SpecError, match=r"IMMUTABLE_JOBS: expected a number from 1 to 9999"):
        load(tmp_path, {"IMMUTABLE_JOBS": value})


def test_source_date_epoch_is_recorded(tmp_path: Path) -> None:
    assert None is load(tmp_path).source_date_epoch
    assert None is load(tmp_path, {"SOURCE_DATE_EPOCH": ""}).source_date_epoch
    assert 1700000000 == load(tmp_path, {"SOURCE_DATE_EPOCH": "1700000000"}).source_date_epoch


def test_a_source_date_epoch_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="SOURCE_DATE_EPOCH: expected seconds"):
        load(tmp_path, {"SOURCE_DATE_EPOCH": "today"})


# --- where bytes come from ---


def test_mirrors_come_from_the_first_that_names_the_archive(tmp_path: Path) -> None:
    apt(tmp_path, one_stanza("http://apt.test/debian"))
    assert ("http://apt.test/debian",) == load(tmp_path).mirrors_of("debian", "bookworm").urls

    user_file(tmp_path, '[mirrors]\ndebian = "http://file.test/debian/"')
    assert ("http://file.test/debian",) == load(tmp_path).mirrors_of("debian", "bookworm").urls

    environ = {"IMMUTABLE_MIRROR_DEBIAN": "http://a.test/debian/  file:///srv/debian"}
    expected = ("http://a.test/debian", "file:///srv/debian")
    assert expected == load(tmp_path, environ).mirrors_of("debian", "bookworm").urls

    config = load(tmp_path, environ, "debian=http://x.test/d/", "debian=http://y.test/d")
    assert ("http://x.test/d", "http://y.test/d") == config.mirrors_of("debian", "bookworm").urls


def test_each_archive_has_its_own_setting(tmp_path: Path) -> None:
    environ = {
        "IMMUTABLE_MIRROR_DEBIAN_SECURITY": "http://mirror.test/debian-security",
        "IMMUTABLE_MIRROR_NPM": "http://mirror.test/npm",
    }
    config = load(tmp_path, environ, f"debian={DEBIAN}")

    assert (DEBIAN,) == config.mirrors_of("debian").urls
    assert ("http://mirror.test/debian-security",) == config.mirrors_of("debian-security").urls
    assert ("http://mirror.test/npm",) == config.mirrors_of("npm").urls


def test_without_any_setting_the_error_says_which_to_set(tmp_path: Path) -> None:
    with pytest.raises(NoMirror) as caught:
        load(tmp_path).mirrors_of("debian-security", "bookworm-security")

    message = str(caught.value)
    assert "bookworm-security: no mirror of the archive debian-security" in message
    assert "--mirror debian-security=URL" in message
    assert "IMMUTABLE_MIRROR_DEBIAN_SECURITY" in message
    assert f'[mirrors] debian-security = "URL" in {tmp_path / ".config"}' in message


@pytest.mark.parametrize("url", ["mirror.test/debian", "ftp://mirror.test/debian", "file:x", ""])
def test_a_mirror_that_is_no_url_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(SpecError, match="--mirror debian: expected a URL with http://"):
        load(tmp_path, None, f"debian={url}")


def test_a_refused_mirror_does_not_show_its_password(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="IMMUTABLE_MIRROR_DEBIAN") as caught:
        load(tmp_path, {"IMMUTABLE_MIRROR_DEBIAN": "ftp://user:secret@mirror.test/debian"})

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        '["http://user:secret@mirror.test/", 3]',
        '[["http://user:sec@ret/@mirror.test/"]]',
        "{ url = 'http://user:secret@m.test' }",
    ],
)
def test_mirrors_of_a_wrong_type_do_not_show_their_passwords(tmp_path: Path, value: str) -> None:
    file = tmp_path / ".config/immutable/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f"[mirrors]\ndebian = {value}\n")

    with pytest.raises(SpecError, match=r"mirrors\.debian: expected a URL") as caught:
        load(tmp_path)

    assert "***@m" in str(caught.value)
    assert "sec" not in str(caught.value)


def test_a_mirror_option_without_an_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="--mirror: expected ARCHIVE=URL"):
        load(tmp_path, None, DEBIAN)


def test_snapshots_are_of_a_date_in_utc(tmp_path: Path) -> None:
    user_file(tmp_path, '[snapshots]\ndebian = "http://file.test/{date}"')
    date = datetime(2026, 7, 11, 10, 16, 37, tzinfo=UTC)

    assert ("http://file.test/20260711T101637Z",) == load(tmp_path).snapshots_of("debian", date)
    environ = {"IMMUTABLE_SNAPSHOT_DEBIAN": "http://env.test/{date}/debian/"}
    expected = ("http://env.test/20260711T101637Z/debian",)
    assert expected == load(tmp_path, environ).snapshots_of("debian", date)
    assert () == load(tmp_path, environ).snapshots_of("debian-security", date)


def test_a_snapshot_without_a_date_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"IMMUTABLE_SNAPSHOT_DEBIAN: .*\{date\}"):
        load(tmp_path, {"IMMUTABLE_SNAPSHOT_DEBIAN": DEBIAN})


# --- the user's file ---


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("stoer = 'x'", "stoer: unknown key; did you mean 'store'?"),
        ("jobs = 'x'", "jobs: expected an integer, found the string 'x'"),
        ("jobs = true", "jobs: expected an integer, found the boolean true"),
        ("jobs = -1", "jobs: expected a number from 1 to 9999, found -1"),
        ("store = 1", "store: expected a string, found the integer 1"),
        ("mirrors = 'x'", "mirrors: expected a table, found the string 'x'"),
        ("[mirrors]\ndebian = 1", "mirrors.debian: expected a URL or an array of URLs"),
        ("[mirrors]\ndebian = ['/x']", "mirrors.debian: expected a URL with http://"),
        ("[snapshots]\ndebian = 'http://m.test/'", "snapshots.debian: expected a URL with {date}"),
        ("jobs = ", "not TOML"),
        ("a = " + "[" * 5000, "not TOML: nested too deeply"),
    ],
)
def test_a_broken_file_is_refused_with_its_name_and_place(
    tmp_path: Path, text: str, fault: str
) -> None:
    path = user_file(tmp_path, text)

    with pytest.raises(SpecError) as caught:
        load(tmp_path)

    assert f"{path}: {fault}" in str(caught.value)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    user_file(tmp_path, "").write_bytes(b'store = "\xff"')

    with pytest.raises(SpecError, match="not UTF-8"):
        load(tmp_path)


def test_all_faults_of_the_file_are_told_at_once(tmp_path: Path) -> None:
    user_file(tmp_path, "jobs = 'x'\nstore = 1")

    with pytest.raises(SpecError) as caught:
        load(tmp_path)

    assert 2 == len(caught.value.faults)


@pytest.mark.parametrize("part", ["immutable/config.toml", "immutable", "."])
@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_a_file_that_others_could_have_written_is_refused(
    tmp_path: Path, part: str, mode: int, shared_group: None
) -> None:
    path = user_file(tmp_path, "jobs = 3")
    place = path.parent.parent / part
    place.chmod(mode)
    with pytest.raises(SpecError, match=rf"found mode {mode:04o}; run `chmod go-w") as caught:
        Config.load({"HOME": str(tmp_path)})
    assert 1 == len(str(caught.value).splitlines())


def test_without_a_file_nobody_asks_who_can_write_its_folder(tmp_path: Path) -> None:
    (tmp_path / ".config" / "immutable").mkdir(parents=True)
    (tmp_path / ".config" / "immutable").chmod(0o777)
    Config.load({"HOME": str(tmp_path)})


# --- apt ---


def test_both_forms_of_apts_sources_are_read(tmp_path: Path) -> None:
    write(
        tmp_path / "apt/sources.list",
        "# a comment\n"
        "deb [arch=amd64 signed-by=/keys/a.gpg,/keys/b.gpg] http://one.test/debian/ "
        "bookworm main contrib # trailing\n"
        "deb-src http://one.test/debian bookworm main\n",
    )
    apt(
        tmp_path,
        "# a comment\nTypes: deb deb-src\nURIs: http://two.test/debian\n"
        " http://three.test/debian\nSuites: bookworm bookworm-updates\n"
        "Components: main\nSigned-By: /keys/c.gpg\n",
    )

    listed = tmp_path / "apt/sources.list"
    stanzas = tmp_path / "apt/sources.list.d/debian.sources"
    expected = [
        AptSource(
            listed,
            ("http://one.test/debian",),
            ("bookworm",),
            ("main", "contrib"),
            Keyring(f"Signed-By in {listed}", (Path("/keys/a.gpg"), Path("/keys/b.gpg"))),
        ),
        AptSource(
            stanzas,
            ("http://two.test/debian", "http://three.test/debian"),
            ("bookworm", "bookworm-updates"),
            ("main",),
            Keyring(f"Signed-By in {stanzas}", (Path("/keys/c.gpg"),)),
        ),
    ]
    assert expected == [*read_apt_sources(tmp_path / "apt")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "complete nonsense\n\0\n",
        ": no name\n continued\n",
        "Types: deb\nSuites: bookworm\nComponents: main\n",
        one_stanza("cdrom:[disc]"),
        one_stanza(more="Enabled: no\n"),
        one_stanza().replace("Types: deb", "Types: deb-src"),
    ],
)
def test_what_apt_would_not_use_is_passed_over(tmp_path: Path, text: str) -> None:
    apt(tmp_path, text)
    apt(
        tmp_path,
        "deb [unclosed http://x.test bookworm\ndeb only\n\udce9".encode(
            "utf-8", "surrogateescape"
        ).decode("latin-1"),
        "third.list",
    )

    assert [] == [*read_apt_sources(tmp_path / "apt")]


def test_a_folder_in_place_of_a_file_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "apt/sources.list.d/odd.sources").mkdir(parents=True)

    assert [] == [*read_apt_sources(tmp_path / "apt")]


def test_a_list_of_mirrors_in_a_file_is_followed(tmp_path: Path) -> None:
    write(tmp_path / "mirrors.list", "# first\nhttp://a.test/debian/\thigh\nhttp://b.test/debian\n")
    apt(tmp_path, one_stanza(f"mirror+file:{tmp_path}/mirrors.list"))

    expected = ("http://a.test/debian", "http://b.test/debian")
    assert expected == load(tmp_path).mirrors_of("debian", "bookworm").urls


def test_a_source_of_another_suite_serves_by_its_path(tmp_path: Path) -> None:
    apt(tmp_path, one_stanza("http://m.test/pub/debian", "trixie"), "a.sources")
    apt(tmp_path, one_stanza("http://m.test/debian-security", "trixie-security"), "b.sources")
    config = load(tmp_path)

    assert ("http://m.test/pub/debian",) == config.mirrors_of("debian", "bookworm").urls
    security = config.mirrors_of("debian-security", "bookworm-security").urls
    assert ("http://m.test/debian-security",) == security


def test_a_third_party_with_a_suite_of_that_name_is_not_debian(tmp_path: Path) -> None:
    apt(tmp_path, one_stanza("http://vendor.test/prod", more="Signed-By: /k/v.gpg\n"), "a.sources")
    apt(tmp_path, "deb http://vendor.test/linux/debian bookworm stable\n", "b.list")
    apt(tmp_path, one_stanza("http://m.test/debian", more="Signed-By: /k/d.gpg\n"), "z.sources")

    used = load(tmp_path).mirrors_of("debian", "bookworm")

    assert ("http://m.test/debian",) == used.urls
    assert used.signed_by is not None
    assert (Path("/k/d.gpg"),) == used.signed_by.files


def test_sources_that_trust_other_keys_are_not_mixed(tmp_path: Path) -> None:
    apt(tmp_path, one_stanza("http://a.test/debian", more="Signed-By: /k/a.gpg\n"), "a.sources")
    apt(tmp_path, one_stanza("http://b.test/debian", more="Signed-By: /k/b.gpg\n"), "b.sources")
    apt(tmp_path, one_stanza("http://c.test/debian", more="Signed-By: /k/a.gpg\n"), "c.sources")

    expected = ("http://a.test/debian", "http://c.test/debian")
    assert expected == load(tmp_path).mirrors_of("debian", "bookworm").urls


# --- keys ---


def keys(tmp_path: Path, *names: str) -> None:
    for name in names:
        write(tmp_path / name, "")


def test_keys_come_from_the_nearest_choice(tmp_path: Path) -> None:
    keys(tmp_path, "keyrings/debian-archive-keyring.gpg", "apt/trusted.gpg.d/a.asc")
    plain = Mirrors((DEBIAN,))
    signed = Mirrors((DEBIAN,), Keyring("Signed-By", (Path("/k/s.gpg"),)))
    spec = Path("/k/spec.gpg")

    archive = (tmp_path / "keyrings/debian-archive-keyring.gpg",)
    assert archive == load(tmp_path).keyring_for(None, plain).files
    assert (Path("/k/s.gpg"),) == load(tmp_path).keyring_for(None, signed).files

    path = user_file(tmp_path, 'debian-keyring = "my.gpg"')
    assert (path.parent / "my.gpg",) == load(tmp_path).keyring_for(None, signed).files

    config = load(tmp_path, {"IMMUTABLE_DEBIAN_KEYRING": "/k/env.gpg"})
    assert (Path("/k/env.gpg"),) == config.keyring_for(None, signed).files
    assert (spec,) == config.keyring_for(spec, signed).files


def test_a_source_without_signed_by_is_checked_as_apt_does(tmp_path: Path) -> None:
    keys(tmp_path, "keyrings/debian-archive-keyring.gpg", "apt/trusted.gpg.d/a.asc")
    apt(tmp_path, one_stanza())
    config = load(tmp_path)

    used = config.mirrors_of("debian", "bookworm")

    assert (tmp_path / "apt/trusted.gpg.d/a.asc",) == config.keyring_for(None, used).files


def test_trusted_yes_is_not_honoured(tmp_path: Path) -> None:
    apt(tmp_path, one_stanza(more="Trusted: yes\n"))
    config = load(tmp_path)

    with pytest.raises(SignatureError, match="no key to check Debian's indexes with"):
        config.keyring_for(None, config.mirrors_of("debian", "bookworm"))


def test_no_key_at_all_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match="IMMUTABLE_DEBIAN_KEYRING") as caught:
        load(tmp_path).keyring_for(None, Mirrors((DEBIAN,)))

    assert "debian-keyring in" in str(caught.value)


def test_keys_and_fingerprints_in_signed_by_are_understood(tmp_path: Path) -> None:
    block = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END PGP PUBLIC KEY BLOCK-----"
    apt(tmp_path, one_stanza(more=f"Signed-By:{block}\n"), "a.sources")
    apt(tmp_path, one_stanza(more=f"Signed-By: {'AB' * 20}! /k/x.gpg\n"), "b.sources")

    first, second = (source.signed_by for source in read_apt_sources(tmp_path / "apt"))

    assert first is not None
    assert first.armoured.startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n")
    assert second is not None
    assert ("ab" * 20,) == second.fingerprints
    assert (Path("/k/x.gpg"),) == second.files
