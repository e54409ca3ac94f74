"""dpkg's database: as dpkg would have left it, for what there is."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from debian.deb822 import Deb822

from immutable.errors import EntryError
from tests.support import needs
from tests.support.debian import File
from tests.support.debian_layer import Made, build, package
from tests.support.trees import unpack

INFO = "/var/lib/dpkg/info"


def nginx(depends: str = "") -> Made:
    return package(
        "nginx",
        "1.22-1",
        arch="amd64",
        files={"/usr/sbin/nginx": File(b"nginx", 0o755), "/etc/nginx/nginx.conf": b"conf"},
        conffiles=["/etc/nginx/nginx.conf"],
        scripts={"postinst": "#!/bin/sh\n", "prerm": "#!/bin/sh\n"},
        depends=depends or "base",
    )


def stanzas(text: str) -> list[Deb822]:
    return list(Deb822.iter_paragraphs(text.encode(), use_apt_pkg=False))


def test_status_has_a_stanza_for_each_package_sorted() -> None:
    layer = build(nginx(depends="libc6"), package("base", "2"))
    base, web = stanzas(layer.text("/var/lib/dpkg/status"))
    assert ("base", "install ok installed", "2") == (
        base["Package"],
        base["Status"],
        base["Version"],
    )
    assert ("nginx", "libc6", "amd64") == (web["Package"], web["Depends"], web["Architecture"])
    md5 = hashlib.md5(b"conf").hexdigest()
    assert f"\n /etc/nginx/nginx.conf {md5}" == web["Conffiles"]


def test_info_lists_files_as_packages_name_them() -> None:
    layer = build(package("one", files={"/bin/x": b"x"}))
    assert "/.\n/bin\n/bin/x\n" == layer.text(f"{INFO}/one.list")


def test_sums_are_made_where_the_package_has_none_and_configuration_has_none() -> None:
    layer = build(nginx())
    expected = f"{hashlib.md5(b'nginx').hexdigest()}  usr/sbin/nginx\n"
    assert expected == layer.text(f"{INFO}/nginx.md5sums")


def test_scripts_are_kept_executable_and_other_members_are_not() -> None:
    made = package("one", scripts={"postinst": "x", "shlibs": "y", "config": "z", "md5sums": ""})
    layer = build(made)
    modes = {
        name: layer.entry(f"{INFO}/one.{name}").mode for name in ("postinst", "shlibs", "config")
    }
    assert {"postinst": 0o755, "shlibs": 0o644, "config": 0o755} == modes
    assert f"{INFO}/one.control" not in layer


def test_a_package_of_which_there_may_be_several_is_named_with_its_architecture() -> None:
    layer = build(package("libc6", arch="amd64", multi_arch="same"))
    assert f"{INFO}/libc6:amd64.list" in layer


def test_what_is_left_out_is_in_no_list() -> None:
    sums = f"{'0' * 32}  usr/share/doc/x\n{'1' * 32}  usr/bin/x\n"
    made = package(
        "one",
        files={"/usr/share/doc/x": b"", "/usr/bin/x": b"", "/etc/x": b""},
        conffiles=["/etc/x"],
        scripts={"md5sums": sums},
    )
    layer = build(made, exclude=("/usr/share/doc/**", "/etc/x"))
    assert "/.\n/etc\n/usr\n/usr/bin\n/usr/share\n/usr/share/doc\n/usr/bin/x\n" == layer.text(
        f"{INFO}/one.list"
    )
    assert layer.text(f"{INFO}/one.md5sums") == f"{'1' * 32}  usr/bin/x\n"
    assert "Conffiles" not in layer.text("/var/lib/dpkg/status")


def test_a_layer_above_keeps_what_is_below() -> None:
    interest = "interest-noawait /usr/share/a\ninterest ldconfig\n"
    first = build(nginx(), package("a", scripts={"triggers": interest}))
    second = build(
        package("b", scripts={"triggers": interest + "activate x\n# none\n"}), lower=first
    )
    names = [stanza["Package"] for stanza in stanzas(second.text("/var/lib/dpkg/status"))]
    assert ["a", "b", "nginx"] == names
    expected = "/usr/share/a a/noawait\n/usr/share/a b/noawait\n"
    assert expected == second.text("/var/lib/dpkg/triggers/File")
    assert "a\nb\n" == second.text("/var/lib/dpkg/triggers/ldconfig")
    own = {entry.path for entry in second.arrangement}
    assert b"var/lib/dpkg/info/nginx.list" not in own
    assert b"var/lib/dpkg/info/format" not in own


def test_a_package_above_takes_its_own_stanzas_place() -> None:
    first = build(package("a", "1"))
    second = build(package("a", "2"), lower=first)
    (stanza,) = stanzas(second.text("/var/lib/dpkg/status"))
    assert "2" == stanza["Version"]


@pytest.mark.parametrize("name", ["../../../etc/x", ".", "..", "File", "a/b"])
def test_a_trigger_that_no_file_can_hold_is_refused(name: str) -> None:
    with pytest.raises(EntryError, match="one: a trigger called"):
        build(package("one", scripts={"triggers": f"interest {name}\n"}))


@needs.tool("dpkg")
def test_dpkg_itself_is_content(tmp_path: Path) -> None:
    layer = build(
        nginx(),
        package("doc", files={"/usr/share/doc/x": b"", "/bin/x": b"x"}),
        exclude=("/usr/share/doc/x",),
    )
    unpack(layer.arrangement, tmp_path)

    def dpkg(*words: str) -> str:
        return subprocess.run(
            ["dpkg", f"--root={tmp_path}", *words],
            capture_output=True,
            text=True,
            check=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        ).stdout

    lines = [line.split()[:3] for line in dpkg("-l").splitlines() if line.startswith("ii")]
    assert [["ii", "doc", "1.0"], ["ii", "nginx", "1.22-1"]] == lines
    assert "" == dpkg("--verify")
    assert "" == dpkg("--audit")
    assert "/usr/sbin/nginx" in dpkg("-L", "nginx").splitlines()
    (tmp_path / "usr/sbin/nginx").write_bytes(b"changed")
    answer = subprocess.run(["dpkg", f"--root={tmp_path}", "-V"], capture_output=True, text=True)
    assert "/usr/sbin/nginx" in answer.stdout


def test_a_path_that_no_list_can_hold_is_refused() -> None:
    with pytest.raises(EntryError, match=r"one: .*: a line break, which no list can hold"):
        build(package("one", files={"/usr/a\nb": b""}))


def test_sums_of_dot_files_are_kept() -> None:
    sums = f"{'0' * 32}  .a\n{'1' * 32}  ./.b\n{'2' * 32}  gone\n"
    layer = build(package("one", files={"/.a": b"", "/.b": b""}, scripts={"md5sums": sums}))
    assert sums.splitlines()[:2] == layer.text(f"{INFO}/one.md5sums").splitlines()
