"""Where this user's keys are."""

import errno
import grp
import os
import pwd
import stat
from pathlib import Path

import pytest

from immutable.config import private
from immutable.config.keys import Keys, read_keys
from immutable.errors import SpecError
from immutable.spec.keys import SecretKey

CI, OTHER = (SecretKey.generate(name).public for name in ("ci", "other"))


def keys(folder: Path) -> Keys:
    return read_keys({}, folder)


def test_a_generated_key_is_for_its_owner_alone_and_trusted(tmp_path: Path) -> None:
    made = keys(tmp_path / "config").generate("laptop")
    path = tmp_path / "config" / "secret-key"
    assert 0o600 == path.stat().st_mode & 0o777
    assert made == keys(tmp_path / "config").secret().public
    assert (made,) == keys(tmp_path / "config").trusted()


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    keys(tmp_path).generate("one")
    before = (tmp_path / "secret-key").read_bytes()
    with pytest.raises(SpecError, match="there is a key already"):
        keys(tmp_path).generate("two")
    assert before == (tmp_path / "secret-key").read_bytes()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    keys(tmp_path).generate("ci")
    (tmp_path / "secret-key").chmod(mode)
    with pytest.raises(SpecError, match=f"found mode {mode:04o}; run `chmod 600"):
        keys(tmp_path).secret()


def test_trust_adds_once_and_says_what_is_new(tmp_path: Path) -> None:
    assert (CI,) == keys(tmp_path).trust(CI, CI)
    assert (OTHER,) == keys(tmp_path).trust(CI, OTHER)
    assert (CI, OTHER) == keys(tmp_path).trusted()


def test_a_key_does_not_end_up_on_the_line_of_another(tmp_path: Path) -> None:
    one, two = SecretKey.generate("one").public, SecretKey.generate("two").public
    keys = Keys(tmp_path / "secret-key", tmp_path / "trusted-keys")
    keys.trusted_file.write_text(f"# by hand\n{one}")
    assert (two,) == keys.trust(two)
    assert f"# by hand\n{one}\n{two}\n" == keys.trusted_file.read_text()
    assert (one, two) == keys.trusted()


def test_a_list_that_everybody_may_write_is_refused(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "secret-key", tmp_path / "trusted-keys")
    keys.trust(SecretKey.generate("one").public)
    keys.trusted_file.chmod(0o666)
    with pytest.raises(
        SpecError, match="only its owner can write, found mode 0666; run `chmod go-w"
    ):
        keys.trusted()


def test_a_group_of_the_users_own_is_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".config" / "immutable"
    keys(folder).trust(CI)
    for path in (folder.parent, folder, folder / "trusted-keys"):
        path.chmod(path.stat().st_mode | 0o020)
    monkeypatch.setattr(private, "_is_private_group", lambda number: number == os.getegid())
    assert (CI,) == keys(folder).trusted()
    monkeypatch.setattr(private, "_is_private_group", lambda _: False)
    with pytest.raises(SpecError, match="only its owner can write"):
        keys(folder).trusted()


@pytest.mark.parametrize(
    ("name", "gid", "members", "own"),
    [
        ("ada", 1000, [], True),
        ("ada", 1000, ["ada"], True),
        ("ada", 1000, ["ada", "eve"], False),
        ("users", 1000, [], False),
        ("ada", 1001, [], False),
    ],
)
def test_which_group_is_the_users_own(
    monkeypatch: pytest.MonkeyPatch, name: str, gid: int, members: list[str], own: bool
) -> None:
    user = pwd.struct_passwd(("ada", "x", 1000, 1000, "", "/home/ada", "/bin/sh"))
    group = grp.struct_group((name, "x", gid, members))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: user)
    monkeypatch.setattr(grp, "getgrgid", lambda _: group)
    assert own == private._is_private_group(gid)


@pytest.mark.parametrize("part", ["immutable/trusted-keys", "immutable", "."])
@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_keys_that_others_could_have_written_are_refused(
    tmp_path: Path, part: str, mode: int, shared_group: None
) -> None:
    folder = tmp_path / ".config" / "immutable"
    keys(folder).trust(CI)
    (folder.parent / part).chmod(mode)
    with pytest.raises(SpecError, match=rf"only its owner can write, found mode {mode:04o}; run"):
        keys(folder).trusted()
    (folder.parent / part).chmod(0o700)
    assert (CI,) == keys(folder).trusted()


@pytest.mark.parametrize("act", ["generate", "trust"])
def test_no_key_is_put_where_others_can_replace_it(tmp_path: Path, act: str) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(SpecError, match="found mode 0777; run `chmod go-w"):
        keys(folder).generate("one") if act == "generate" else keys(folder).trust(CI)
    assert [] == [*folder.iterdir()]


def test_a_secret_key_in_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "config"
    keys(folder).generate("one")
    folder.chmod(0o777)
    with pytest.raises(SpecError, match="found mode 0777; run `chmod go-w"):
        keys(folder).secret()


def test_a_link_to_keys_that_others_can_replace_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    keys(elsewhere).trust(CI)
    folder = tmp_path / "config"
    folder.mkdir(0o700)
    (folder / "trusted-keys").symlink_to(elsewhere / "trusted-keys")
    assert (CI,) == keys(folder).trusted()
    elsewhere.chmod(0o777)
    with pytest.raises(SpecError, match=r"elsewhere: .*found mode 0777"):
        keys(folder).trusted()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("part", ["immutable/trusted-keys", "immutable", "."])
def test_keys_of_another_user_are_refused(tmp_path: Path, part: str) -> None:
    folder = tmp_path / ".config" / "immutable"
    keys(folder).trust(CI)
    os.chown(folder.parent / part, 12345, 12345)
    with pytest.raises(SpecError, match="of this user or root, found one of user 12345"):
        keys(folder).trusted()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("part", ["trusted-keys", "."])
def test_a_link_of_another_user_in_a_shared_folder_is_refused(tmp_path: Path, part: str) -> None:
    ours = tmp_path / "ours"
    keys(ours).trust(CI)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    link = shared / "immutable" if part == "." else shared / part
    link.symlink_to(ours if part == "." else ours / part)
    folder = link if part == "." else shared
    assert (CI,) == keys(folder).trusted()
    os.chown(link, 12345, 12345, follow_symlinks=False)
    with pytest.raises(SpecError, match="expected a link of this user or root, found one of user"):
        keys(folder).trusted()


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022])
@pytest.mark.parametrize("act", ["generate", "trust"])
def test_folders_of_keys_are_private_whatever_the_umask(
    tmp_path: Path, mask: int, act: str
) -> None:
    folder = tmp_path / ".config" / "immutable"
    before = os.umask(mask)
    try:
        keys(folder).generate("one") if act == "generate" else keys(folder).trust(CI)
        assert 1 == len(keys(folder).trusted())
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder.parent, folder)]
    assert [0o700, 0o700] == modes
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def test_a_full_disk_leaves_no_half_of_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    keys = Keys(tmp_path / "secret-key", tmp_path / "trusted-keys")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SpecError, match="cannot be written: No space left"):
        keys.generate("one")
    assert [] == [*tmp_path.iterdir()]


def test_comments_and_faults_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "trusted-keys"
    path.write_text(f"# ours\n\n{CI}  # the build machine\n")
    assert (CI,) == keys(tmp_path).trusted()
    path.write_text(f"{CI}\nnothing\nci:AAAA\n")
    with pytest.raises(SpecError, match=r"(?s)line 2: expected a public key.*line 3: expected"):
        keys(tmp_path).trusted()


def test_keys_of_the_environment(tmp_path: Path) -> None:
    assert (CI, OTHER) == read_keys({"IMMUTABLE_TRUSTED_KEYS": f"{CI} {OTHER}"}, tmp_path).trusted()
    with pytest.raises(SpecError, match="IMMUTABLE_TRUSTED_KEYS: expected a public key"):
        read_keys({"IMMUTABLE_TRUSTED_KEYS": "nothing"}, tmp_path)
    elsewhere = tmp_path / "elsewhere"
    made = Keys(elsewhere).generate("ci")
    own = read_keys({"IMMUTABLE_SECRET_KEY_FILE": str(elsewhere)}, tmp_path).secret()
    assert made == own.public


def test_a_secret_in_no_message(tmp_path: Path) -> None:
    path = tmp_path / "secret-key"
    secret = SecretKey.generate("ci").reveal()
    path.touch(0o600)
    path.write_text(secret + "AAAA")
    with pytest.raises(SpecError) as caught:
        keys(tmp_path).secret()
    assert secret.partition(":")[2] not in str(caught.value)
