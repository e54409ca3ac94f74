"""File capabilities: their text, their bytes, and what libcap's own tools make of both."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immutable.content.capabilities import NAMES, XATTR, parse, show
from tests.support import needs

HEADER = Path("/usr/include/linux/capability.h")


def value(permitted: int, inheritable: int = 0, *, effective: bool = False) -> bytes:
    """As linux/capability.h has it: `struct vfs_cap_data` of VFS_CAP_REVISION_2."""
    sets = permitted, inheritable
    low, high = (n & 0xFFFFFFFF for n in sets), (n >> 32 for n in sets)
    return struct.pack("<5I", 0x02000000 | effective, *low, *high)


RAW, BIND, ADMIN = 1 << 13, 1 << 10, 1 << 12
EVERY = (1 << 41) - 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cap_net_raw+ep", value(RAW, effective=True)),
        ("CAP_NET_RAW=pe", value(RAW, effective=True)),
        ("cap_net_raw=p", value(RAW)),
        ("cap_net_bind_service,cap_net_admin=eip",
         value(BIND | ADMIN, BIND | ADMIN, effective=True)),
        ("cap_net_bind_service+ep cap_net_admin+ei", value(BIND, ADMIN, effective=True)),
        ("cap_chown=p cap_checkpoint_restore=i", value(1, 1 << 40)),
        ("  cap_net_raw=p\tcap_net_raw+i\n", value(RAW, RAW)),
        ("cap_net_raw=p cap_net_raw=i", value(0, RAW)),
        ("cap_net_raw=p+i-p", value(0, RAW)),
        ("all=ep", value(EVERY, effective=True)),
        ("=ep", value(EVERY, effective=True)),
        ("=p cap_chown-p", value(EVERY - 1)),
        ("= cap_net_raw+ep", value(RAW, effective=True)),
        ("40,63=p", value(1 << 40 | 1 << 63)),
        ("=", value(0)),
        ("cap_net_raw+ep cap_net_raw-eip", value(0)),
    ],
)  # fmt: skip
def test_text_means_these_bytes(text: str, expected: bytes) -> None:
    assert expected == parse(text)


def test_the_bytes_are_the_kernel_s() -> None:
    # What a Debian machine has for ping after `setcap cap_net_raw+ep`.
    assert bytes.fromhex("0100000200200000000000000000000000000000") == parse("cap_net_raw+ep")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected capabilities such as cap_net_raw+ep, found none"),
        (" \n", "expected capabilities such as cap_net_raw+ep, found none"),
        ("cap_net_raw",
         ("expected names and what to do with them, such as cap_net_raw+ep, "
          "found 'cap_net_raw'")),
        ("+ep", "expected names and what to do with them, such as cap_net_raw+ep, found '+ep'"),
        ("cap_net_raw+", "found 'cap_net_raw+'"),
        ("cap_net_raw+x", "found 'cap_net_raw+x'"),
        ("cap_net_raw+p=e", "found 'cap_net_raw+p=e'"),
        ("cap_net_raw + ep", "found 'cap_net_raw'"),
        ("cap_chown=p [rootid=0]", "found '[rootid=0]'"),
        ("cap_net_rw+ep", "found 'cap_net_rw'; did you mean cap_net_raw?"),
        ("cap_\u212aill+ep", "found 'cap_\u212aill+ep'"),
        ("x,cap_net_raw+ep", "expected a capability such as cap_net_raw, found 'x'"),
        ("cap_chown,,cap_kill+p", "expected a capability such as cap_net_raw, found ''"),
        ("64+p", "expected a capability such as cap_net_raw, found '64'"),
        ("cap_net_raw+ep cap_net_admin+p",
         ("expected all capabilities to be effective or none, as a file has one effective bit for "
          "all, found cap_net_raw effective and cap_net_admin not")),
        ("cap_net_raw+ep cap_net_admin+i", "found cap_net_raw effective and cap_net_admin not"),
        ("cap_net_raw+e",
         ("expected effective capabilities to be permitted or inheritable too, such as "
          "cap_net_raw+ep, found cap_net_raw effective alone")),
    ],
)  # fmt: skip
def test_other_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is looked at
        parse(text)
    assert str(caught.value).endswith(message)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (value(RAW, effective=True), "cap_net_raw=ep"),
        (value(BIND | ADMIN, ADMIN), "cap_net_admin=ip cap_net_bind_service=p"),
        (value(EVERY, effective=True), "all=ep"),
        (value(0), "="),
        (value(1 << 41, RAW, effective=True), "cap_net_raw=ei 41=ep"),
        (struct.pack("<3I", 0x01000001, RAW, 0), "cap_net_raw=ep"),
        (struct.pack("<6I", 0x03000001, RAW, 0, 1, 0, 1000),
         "cap_net_raw,cap_mac_override=ep [rootid=1000]"),
    ],
)  # fmt: skip
def test_bytes_are_shown_as_text(data: bytes, expected: str) -> None:
    assert expected == show(data)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "revision 0 in 0 bytes"),
        (b"\0\0\0", "revision 0 in 3 bytes"),
        (value(1)[:19], "revision 2 in 19 bytes"),
        (value(1) + bytes(4), "revision 2 in 24 bytes"),
        (struct.pack("<6I", 0x04000000, 0, 0, 0, 0, 0), "revision 4 in 24 bytes"),
        (struct.pack("<5I", 0x02000002, 0, 0, 0, 0), "the magic 0x02000002"),
    ],
)
def test_other_bytes_are_refused(data: bytes, found: str) -> None:
    with pytest.raises(ValueError, match=f"found .*{found}$"):
        show(data)


SETS = st.integers(0, (1 << 64) - 1) | st.integers(0, EVERY) | st.sampled_from([0, EVERY])


@given(SETS, SETS, st.booleans())
def test_what_is_shown_means_the_same_bytes_again(
    permitted: int, inheritable: int, effective: bool
) -> None:
    data = value(permitted, inheritable, effective=effective and bool(permitted | inheritable))
    assert data == parse(show(data))


@given(st.text(st.sampled_from("=+-eip,14 all_cap_kill\n[é")), st.text())
def test_whatever_text_there_is_is_taken_or_refused(made: str, other: str) -> None:
    for text in (made, other):
        try:
            data = parse(text)
        except ValueError as error:
            assert "expected" in str(error)  # noqa: PT017 - both ends are right
            assert "found" in str(error)  # noqa: PT017
        else:
            assert data == parse(show(data))


@pytest.mark.skipif(not HEADER.exists(), reason="the kernel's headers are not installed")
def test_the_names_are_the_kernel_header_s() -> None:
    words = [line.split() for line in HEADER.read_text().splitlines()]
    given = {
        one[1].lower(): int(one[2])
        for one in words
        if len(one) == 3 and one[0] == "#define" and one[1].startswith("CAP_") and one[2].isdigit()
    }
    assert given == {name: given.get(name, number) for number, name in enumerate(NAMES)}
    assert given == {name: number for number, name in enumerate(NAMES) if name in given}


# What libcap's tools make of the same


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that can have capabilities."""
    made = tmp_path / "file"
    made.touch()
    try:
        os.setxattr(made, XATTR, parse("cap_net_raw+ep"))
        os.removexattr(made, XATTR)
    except OSError as error:
        if needs.nothing_may_skip():
            raise
        pytest.skip(f"no capabilities can be set here: {error.strerror}")
    return made


def _all_are_known() -> bool:
    """Whether "all" means the same to this kernel, and so to libcap, as it means here."""
    last = Path("/proc/sys/kernel/cap_last_cap")
    return last.exists() and len(NAMES) == int(last.read_text()) + 1


_all = pytest.mark.skipif(not _all_are_known(), reason="the kernel has other capabilities")
TEXTS = (
    "cap_net_raw+ep",
    "cap_net_bind_service,cap_net_admin=eip",
    "cap_chown=p cap_block_suspend=i",
    "cap_net_bind_service+ep cap_net_admin+ei",
    "cap_net_raw=p+i-p",
    "13,cap_audit_read=ip",
    "CAP_KILL=pe",
    *(pytest.param(text, marks=_all) for text in ("=ep", "all=eip", "=p cap_chown-p")),
)


@pytest.mark.tools
@needs.tool("setcap")
@pytest.mark.parametrize("text", TEXTS)
def test_setcap_writes_the_same_bytes(text: str, file: Path) -> None:
    subprocess.run(["setcap", text, file], check=True, capture_output=True)
    assert os.getxattr(file, XATTR) == parse(text)


@pytest.mark.tools
@needs.tool("getcap")
@pytest.mark.parametrize("text", TEXTS)
def test_getcap_shows_what_means_the_same_bytes(text: str, file: Path) -> None:
    os.setxattr(file, XATTR, parse(text))
    done = subprocess.run(["getcap", file], check=True, capture_output=True, text=True)
    assert parse(text) == parse(done.stdout.removeprefix(str(file)))


@pytest.mark.tools
@needs.tool("setcap")
@pytest.mark.parametrize(
    "text", ["cap_net_raw+ep cap_net_admin+p", "+ep", "cap_net_raw+", "x=p", "cap_kill=P"]
)
def test_setcap_refuses_what_is_refused_here(text: str, file: Path) -> None:
    assert 0 != subprocess.run(["setcap", text, file], check=False, capture_output=True).returncode
    with pytest.raises(ValueError, match="expected"):
        parse(text)
