"""What base packages' scripts make: standard files, accounts, shells."""

from __future__ import annotations

import pytest

from immutable.content.entries import EntryKind
from immutable.errors import EntryError
from tests.support.debian import tar_member
from tests.support.debian_layer import Built, Made, build, package

BASE_FILES = """#!/bin/sh
install_directory() {
  if [ ! -d "$DPKG_ROOT/$1" ]; then
    mkdir "$DPKG_ROOT/$1"
    chown "root:$3" "$DPKG_ROOT/$1"
  fi
}
if [ ! -e "$DPKG_ROOT/etc/dpkg/origins/default" ]; then
    ln -sf debian "$DPKG_ROOT/etc/dpkg/origins/default"
fi
if [ "$1" = "configure" ] && [ "$2" = "" ]; then
  install_from_default dot.profile   /root/.profile
  install_from_default missing       /root/.missing
  install_from_default info.dir      /usr/share/info/dir
  install_directory mnt       755 root
  install_directory srv       755 root
  install_directory var/mail 2775 mail
  install_directory var/odd  755 nobody-knows
  install_directory run/lock 1777 root
  migrate_directory /var/run /run
  install_local_dir /usr/local/bin
  ln -sf share/man "$DPKG_ROOT/usr/local/man"
  ensure_file_owner_mode /var/log/btmp root:utmp 660
fi
"""


def base_files(script: str = BASE_FILES) -> Made:
    def folder(path: str, mode: int = 0o755) -> bytes:
        return tar_member(path, kind=b"5", mode=mode)

    return package(
        "base-files",
        members=[
            folder("./root/", 0o700),
            folder("./srv/", 0o711),
            folder("./var/"),
            folder("./var/run/"),
            folder("./usr/"),
            folder("./usr/share/"),
            folder("./usr/share/base-files/"),
            tar_member("./usr/share/base-files/dot.profile", b"profile"),
            tar_member("./usr/share/base-files/info.dir", b"info"),
        ],
        scripts={"postinst": script},
    )


def attributes(layer: Built, path: str) -> tuple[EntryKind, int, int, int]:
    entry = layer.entry(path)
    return entry.kind, entry.mode, entry.uid, entry.gid


def test_what_base_files_makes_is_read_from_its_script() -> None:
    layer = build(base_files())
    assert "profile" == layer.text("/root/.profile")
    assert "/root/.missing" not in layer
    assert "/usr/share/info/dir" not in layer  # its directory is not there
    assert (EntryKind.DIRECTORY, 0o755, 0, 0) == attributes(layer, "/mnt")
    assert (EntryKind.DIRECTORY, 0o711, 0, 0) == attributes(layer, "/srv")
    assert (EntryKind.DIRECTORY, 0o2775, 0, 8) == attributes(layer, "/var/mail")
    assert (EntryKind.DIRECTORY, 0o1777, 0, 0) == attributes(layer, "/run/lock")
    assert (EntryKind.FILE, 0o660, 0, 43) == attributes(layer, "/var/log/btmp")
    assert "/var/odd" not in layer
    assert "/run" == layer.target("/var/run")
    assert "share/man" == layer.target("/usr/local/man")
    assert "debian" == layer.target("/etc/dpkg/origins/default")
    assert "/usr/local/bin" in layer


def test_a_script_cannot_lead_out_of_the_root() -> None:
    with pytest.raises(EntryError, match=r"\.\."):
        build(base_files("install_local_dir /../../x\n"))


def test_other_packages_scripts_are_not_read_that_way() -> None:
    layer = build(package("other", scripts={"postinst": "install_local_dir /x\n"}))
    assert "/x" not in layer


MASTERS = {
    "/usr/share/base-passwd/passwd.master": b"root:*:0:0:root:/root:/bin/bash\nman:*:6:12:::\n",
    "/usr/share/base-passwd/group.master": b"root:*:0:\nshadow:*:42:\n",
}


def test_accounts_are_base_passwds() -> None:
    layer = build(package("base-passwd", files=MASTERS))
    assert "root:*:0:0:root:/root:/bin/bash\nman:*:6:12:::\n" == layer.text("/etc/passwd")
    assert "root:*:0:\nshadow:*:42:\n" == layer.text("/etc/group")
    assert "/etc/shadow" not in layer


def test_the_package_passwd_shadows_them() -> None:
    layer = build(package("base-passwd", files=MASTERS), package("passwd"))
    assert "root:x:0:0:root:/root:/bin/bash\nman:x:6:12:::\n" == layer.text("/etc/passwd")
    assert "root:x:0:\nshadow:x:42:\n" == layer.text("/etc/group")
    assert "root:*::0:99999:7:::\nman:*::0:99999:7:::\n" == layer.text("/etc/shadow")
    assert "root:*::\nshadow:*::\n" == layer.text("/etc/gshadow")
    assert (EntryKind.FILE, 0o640, 0, 42) == attributes(layer, "/etc/shadow")


def test_without_base_passwd_there_are_no_accounts() -> None:
    assert "/etc/passwd" not in build(package("passwd"))


def test_shells_are_the_template_and_those_that_packages_bring() -> None:
    layer = build(
        package("debianutils", files={"/usr/share/debianutils/shells": b"# valid\n/bin/sh\n"}),
        package("dash", files={"/usr/share/debianutils/shells.d/dash": b"/bin/dash\n"}),
        package("bash", files={"/usr/share/debianutils/shells.d/bash": b"/bin/bash # x\n"}),
    )
    expected = "# valid\n/bin/sh\n/usr/bin/sh\n/bin/bash\n/usr/bin/bash\n/bin/dash\n/usr/bin/dash\n"
    assert expected == layer.text("/etc/shells")


def test_libc_bin_brings_nsswitch() -> None:
    script = 'install_from_default "$DPKG_ROOT/usr/share/libc-bin/nsswitch.conf" "$DPKG_ROOT/etc/nsswitch.conf"\n'  # noqa: E501
    layer = build(
        package(
            "libc-bin",
            files={"/usr/share/libc-bin/nsswitch.conf": b"passwd: files\n", "/etc/x": b""},
            scripts={"postinst": script},
        )
    )
    assert "passwd: files\n" == layer.text("/etc/nsswitch.conf")
