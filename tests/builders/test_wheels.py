"""Layers of wheels: what is installed where, and that bad wheels are refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

from immutable.builders.wheels import WheelsOptions
from immutable.content import tar
from immutable.content.compression import CHUNK, cut
from immutable.content.entries import EntryKind
from immutable.errors import ArchiveError, DigestMismatch, EntryError, ImmutableError
from immutable.oci.digest import Digest
from immutable.spec.toml import FaultError
from immutable.store import Store
from tests.support.archives import Zipped
from tests.support.wheels import Built, Rows, build, derive, row, wheel

LIBRARY = "/usr/local/lib/python3.11/dist-packages"
INFO = f"{LIBRARY}/demo-1.0.dist-info"


def diff_id(built: Built) -> str:
    hasher = hashlib.sha256()
    for chunk in tar.chunks(built.arrangement, cut, CHUNK):
        hasher.update(chunk)
    return str(Digest(hasher.hexdigest()))


def test_a_layer_has_the_bytes_it_always_had() -> None:
    one = wheel("one", scripts={"one": "one:main"})
    two = wheel(
        "two",
        "2.1",
        {"two.abi3.so": b"\x7fELF", "two-2.1.data/scripts/tool": b"#!python\nprint()\n"},
        tag="cp38-abi3-manylinux_2_17_x86_64",
    )
    built = build(one, two, owner="web", target="/app/lib")
    assert "sha256:fa4135528d1dc068e292282c803470badfd1aa7a563abeee323617d4d9caa701" == diff_id(
        built
    )


def test_the_layout_is_that_of_an_installation() -> None:
    files = {
        "demo/__init__.py": b"",
        "demo-1.0.data/scripts/tool": b"#!/bin/sh\n",
        "demo-1.0.data/data/share/demo/x.txt": b"x",
        "demo-1.0.data/headers/demo.h": b"h",
        "demo-1.0.data/purelib/other.py": b"p",
        "demo-1.0.data/platlib/fast.so": b"s",
    }
    built = build(wheel(files=files, scripts={"demo": "demo:main"}))
    assert {
        f"{LIBRARY}/demo/__init__.py": 0o644,
        f"{LIBRARY}/other.py": 0o644,
        f"{LIBRARY}/fast.so": 0o644,
        "/usr/local/bin/tool": 0o755,
        "/usr/local/bin/demo": 0o755,
        "/usr/local/share/demo/x.txt": 0o644,
        "/usr/local/include/python3.11/demo/demo.h": 0o644,
        f"{INFO}/METADATA": 0o644,
        f"{INFO}/WHEEL": 0o644,
        f"{INFO}/RECORD": 0o644,
        f"{INFO}/INSTALLER": 0o644,
        f"{INFO}/entry_points.txt": 0o644,
    } == {path: one.mode for path, one in built.entries.items() if one.kind is EntryKind.FILE}
    assert "immutable\n" == built.text(f"{INFO}/INSTALLER")
    assert (
        '#!/usr/bin/python3\nimport sys\n\nfrom demo import main\n\nif __name__ == "__main__":\n'
        "    sys.exit(main())\n"
    ) == built.text("/usr/local/bin/demo")


@pytest.mark.parametrize(
    ("target", "scripts", "data"),
    [
        ("/app/lib", "/app/lib/bin/demo", "/app/lib/share/x"),
        ("/opt/venv/lib/python3.11/site-packages", "/opt/venv/bin/demo", "/opt/venv/share/x"),
        ("/usr/lib/python3/dist-packages", "/usr/bin/demo", "/usr/share/x"),
        ("/lib/python3.11/site-packages", "/bin/demo", "/share/x"),
    ],
)
def test_programs_and_data_go_where_the_target_s_installation_has_them(
    target: str, scripts: str, data: str
) -> None:
    made = wheel(scripts={"demo": "demo.cli:app.run"}, files={"demo-1.0.data/data/share/x": b"x"})
    built = build(made, target=target, interpreter="/opt/python")
    assert {scripts, data, f"{target}/demo-1.0.dist-info/RECORD"} <= built.entries.keys()
    assert built.text(scripts).startswith("#!/opt/python\nimport sys\n\nfrom demo.cli import app\n")
    assert "sys.exit(app.run())" in built.text(scripts)


def test_scripts_may_go_elsewhere() -> None:
    built = build(wheel(scripts={"demo": "demo:main"}), target="/app/lib", scripts="/app/bin")
    assert "/app/bin/demo" in built.entries
    assert "../bin/demo" in built.record("/app/lib/demo-1.0.dist-info/RECORD")


def test_record_names_everything_that_was_installed_and_nothing_else() -> None:
    files = {"demo/__init__.py": b"x = 1\n", "demo-1.0.data/scripts/tool": b"#!pythonw -s\nx\n"}
    built = build(wheel(files=files, scripts={"demo": "demo:main"}))
    record = built.record(f"{INFO}/RECORD")
    installed = {path for path, one in built.entries.items() if one.kind is EntryKind.FILE}
    assert {"../../../bin/demo", "../../../bin/tool"} <= record.keys()
    located = {path.replace("../../..", "/usr/local") for path in record}
    assert installed == {p if p.startswith("/") else f"{LIBRARY}/{p}" for p in located}
    assert ("", "") == record.pop("demo-1.0.dist-info/RECORD")
    for path, (hashed, size) in record.items():
        where = path.replace("../../..", "/usr/local")
        data = built.text(where if where.startswith("/") else f"{LIBRARY}/{path}").encode()
        assert row(path, data) == (path, hashed, size)


def test_the_image_s_interpreter_runs_scripts() -> None:
    files = {
        "demo-1.0.data/scripts/a": b"#!python\nrest\n",
        "demo-1.0.data/scripts/b": b"#!/bin/sh\n",
    }
    built = build(wheel(files=files), interpreter="/usr/local/bin/python")
    assert "#!/usr/local/bin/python\nrest\n" == built.text("/usr/local/bin/a")
    assert "#!/bin/sh\n" == built.text("/usr/local/bin/b")


def test_programs_that_a_package_brings_stay_executable() -> None:
    built = build(wheel(files={"demo/driver": b"\x7fELF"}, modes={"demo/driver": 0o775}))
    assert 0o755 == built.entries[f"{LIBRARY}/demo/driver"].mode


def test_no_more_of_a_mode_counts_than_who_may_execute() -> None:
    modes = {"demo/a": 0o6755, "demo/b": 0o600, "demo/c": 0o777, "demo/d": 0o4644}
    built = build(wheel(files=dict.fromkeys(modes, b"x"), modes=modes))
    assert [0o755, 0o644, 0o755, 0o644] == [
        built.entries[f"{LIBRARY}/{name}"].mode for name in modes
    ]


def test_an_owner_has_the_target_but_not_what_stands_around_it() -> None:
    built = build(wheel(scripts={"demo": "demo:main"}), owner="web", scripts="/usr/local/bin")
    owners = {path: one.uid for path, one in built.entries.items()}
    assert 1001 == owners[LIBRARY] == owners[f"{LIBRARY}/demo"] == owners["/usr/local/bin/demo"]
    assert 0 == owners["/usr/local/bin"] == owners["/usr/local/lib"]


def test_a_wheel_s_own_leftovers_are_left_out() -> None:
    made = wheel(
        files={"demo/__init__.py": b"", "demo/__pycache__/__init__.cpython-311.pyc": b"evil"},
        said={"INSTALLER": b"pip\n"},
    )
    built = build(made)
    assert "immutable\n" == built.text(f"{INFO}/INSTALLER")
    assert not [path for path in built.entries if "__pycache__" in path]


def test_the_derivation_holds_what_decides_the_layer_and_no_platform() -> None:
    first = derive(wheel())
    assert first.derivation.platform is None
    assert (wheel().digest,) == first.derivation.sources
    others = [
        derive(wheel(version="1.1")),
        derive(wheel(), target="/app"),
        derive(wheel(), scripts="/app"),
        derive(wheel(), interpreter="/usr/local/bin/python3"),
        derive(wheel(), owner="web"),
        derive(wheel(), python="3.11.2", bytecode=True),
    ]
    assert 7 == len({one.digest for one in (first, *others)})


def test_several_at_a_time_give_the_same_layer() -> None:
    wheels = [wheel(f"p{number}", files={f"p{number}.py": b"x" * number}) for number in range(9)]
    assert diff_id(build(*wheels, jobs=1)) == diff_id(build(*wheels, jobs=4))


def test_no_wheels_make_an_empty_layer() -> None:
    assert {} == build().entries


# --- two wheels, one path ---


def test_two_wheels_may_hold_the_same_file() -> None:
    shared = {"space/__init__.py": b"# namespace\n"}
    built = build(wheel("one", files=shared), wheel("two", files=shared))
    assert f"{LIBRARY}/space/__init__.py" in built.entries


def test_two_wheels_that_differ_in_a_file_are_refused() -> None:
    one, two = wheel("one", files={"a/b.py": b"1"}), wheel("two", "2.0", files={"a/b.py": b"2"})
    with pytest.raises(EntryError, match=r"a/b\.py: in one 1\.0 and, differently, in two 2\.0"):
        build(one, two)


def test_a_file_where_another_wheel_has_a_folder_is_refused() -> None:
    one, two = wheel("one", files={"a": b""}), wheel("two", files={"a/b.py": b""})
    with pytest.raises(EntryError, match=r"/a: in one 1\.0 and, differently, in two 1\.0"):
        build(one, two)


def test_two_files_of_one_wheel_at_one_path_are_refused() -> None:
    files = {"x.py": b"1", "demo-1.0.data/purelib/x.py": b"2"}
    with pytest.raises(ArchiveError, match=r"demo 1\.0: two of its files would be .*/x\.py"):
        build(wheel(files=files))


# --- bad wheels ---


def changed(old: str, new: tuple[str, str, str] | None) -> Callable[[Rows], Rows]:
    """Change, or take out, RECORD's row of the path `old`."""

    def change(rows: Rows) -> Rows:
        made = [new if fields[0] == old else fields for fields in rows]
        return [fields for fields in made if fields is not None]

    return change


def added(*fields: str) -> Callable[[Rows], Rows]:
    return lambda rows: [*rows, fields]  # type: ignore[list-item]


MODULE = "demo/__init__.py"
GOOD = b"NAME = 'demo'\n"


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (changed(MODULE, None), r"RECORD does not name demo/__init__\.py"),
        (
            added("demo/ghost.py", "sha256=x", "1"),
            r"names demo/ghost\.py, which the wheel does not",
        ),
        (added("../../etc/passwd", "", ""), r"a path within the wheel, found \.\./\.\./etc/passwd"),
        (added("a/../../b", "", ""), r"expected a path within the wheel"),
        (added("..\\b", "", ""), r"expected a path within the wheel"),
        (added("/etc/passwd", "", ""), r"expected a path within the wheel, found /etc/passwd"),
        (changed(MODULE, row(MODULE, b"other")), r"expected 5 bytes, found 14"),
        (changed(MODULE, row(MODULE, b"NAME = 'evil'\n")), r"expected sha256=\S+, found sha256="),
        (changed(MODULE, (MODULE, "", "14")), r"expected a hash, found none"),
        (
            changed(MODULE, row(MODULE, GOOD, "md5")),
            r"hash by sha256, sha384 or sha512, found 'md5",
        ),
        (changed(MODULE, (MODULE, "sha256", "14")), r"expected a hash by sha256"),
        (changed(MODULE, (MODULE, row(MODULE, GOOD)[1], "-14")), r"a size in bytes, found '-14'"),
        (added(MODULE, "sha256=x", "1"), r"names demo/__init__\.py twice, differently"),
        (added("a", "b"), r"row \d+: expected 3 fields, found 2"),
        (added("x" * 200_000, "", ""), r"RECORD: field larger than field limit"),
        (added("a\0b", "", ""), r"expected a path within the wheel"),
        (added("", "", ""), r"expected a path within the wheel"),
        (added("./demo/__init__.py", "", ""), r"names \./demo/__init__\.py, which the wheel does"),
        (added("demo/__init__.py", "sha256=x", ""), r"twice, differently"),
        (lambda rows: rows[:0], r"RECORD does not name demo"),
    ],
)
def test_a_record_that_is_not_of_the_wheel_is_refused(
    record: Callable[[Rows], Rows], said: str
) -> None:
    with pytest.raises(ArchiveError, match=rf"demo-1\.0-py3-none-any\.whl: RECORD.*{said}|{said}"):
        build(wheel(record=record))


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_a_record_by_any_good_algorithm_is_installed_as_sha256(algorithm: str) -> None:
    built = build(wheel(record=changed(MODULE, row(MODULE, GOOD, algorithm))))
    assert row(MODULE, GOOD)[1:] == built.record(f"{INFO}/RECORD")[MODULE]


def test_a_record_may_name_folders_repeat_itself_and_leave_sizes_out() -> None:
    def lax(rows: Rows) -> Rows:
        return [("demo/", "", ""), rows[0], (rows[0][0], rows[0][1] + "=", rows[0][2])][:2] + rows

    build(wheel(record=lax))
    build(wheel(record=changed(MODULE, (MODULE, row(MODULE, GOOD)[1] + "=", ""))))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("../x", "demo:main", r"expected a script's name, found '\.\./x'"),
        ("..", "demo:main", r"expected a script's name"),
        ("a/b", "demo:main", r"expected a script's name"),
        ("a\\b", "demo:main", r"expected a script's name"),
        ("x", "demo", r"x: expected module:name, found 'demo'"),
        ("x", "os;evil:main", r"x: expected module:name"),
        ("x", "demo:main()", r"x: expected module:name"),
        ("x", "demo:", r"x: expected module:name"),
        ("x", "%(y)s:main", r"x: expected module:name"),
    ],
)
def test_scripts_that_leave_their_folder_or_are_no_names_are_refused(
    name: str, value: str, said: str
) -> None:
    with pytest.raises(ArchiveError, match=said):
        build(wheel(scripts={name: value}))


def test_entry_points_that_cannot_be_read_are_refused() -> None:
    for text in (b"[console_scripts\n", b"x = y\n", b"[console_scripts]\na=b:c\na=b:d\n", b"\xff"):
        with pytest.raises(ArchiveError, match=r"entry_points\.txt"):
            build(wheel(said={"entry_points.txt": text}))


def test_other_entry_points_are_none_of_ours() -> None:
    build(wheel(said={"entry_points.txt": b"[pytest11]\nx = 50%\n"}))


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (Zipped(b"../x.py", b""), r"leaves the root through \.\."),
        (Zipped(b"/etc/x", b""), r"an absolute path"),
        (Zipped(b"demo/__init__.py", b""), r"demo/__init__\.py.*twice|twice"),
        (Zipped(b"link", b"/etc/passwd", mode=0o120777), r"link: a symlink; wheels hold files"),
        (Zipped(b"demo\\x.py", b""), r"a backslash in a path"),
        (Zipped(b"\xff.py", b""), r"a name that is not UTF-8"),
        (Zipped(b"x.py", b"a", local={"name": b"y.py"}), r"x\.py|y\.py"),
        (Zipped(b"x.py", b"a", local={"crc": 1}), r"x\.py"),
        (Zipped(b"x.py", b"abc", crc=1), r"CRC"),
        (Zipped(b"other-2.0.dist-info/METADATA", b""), r"one folder NAME-VERSION\.dist-info"),
        (Zipped(b"other-1.0.data/scripts/x", b""), r"expected demo-1\.0\.data, found other-1\.0"),
        (Zipped(b"demo-1.0.data/etc/x", b""), r"expected one of purelib, platlib, .* below demo"),
        (Zipped(b"demo-1.0.data/stray", b""), r"expected one of purelib"),
        (Zipped(b"demo-1.0.data/scripts/../../x", b""), r"leaves the root through \.\."),
        (Zipped(b"zeros", b"", size=2 << 30), r"expands to more than"),
    ],
)
def test_members_that_no_wheel_should_hold_are_refused(member: Zipped, said: str) -> None:
    with pytest.raises(ArchiveError, match=said):
        build(wheel(members=[member]))


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (Zipped(b"fifo", mode=0o010644), r"mode 10644; expected a file, directory or symlink"),
        (Zipped(b"device", mode=0o020644), r"mode 20644; expected a file, directory or symlink"),
        (Zipped(b"demo", b""), r"demo: claimed twice, as a directory and as a file"),
        (Zipped(b"demo/__init__.py/x", b""), r"goes through demo/__init__\.py, which is a file"),
        (Zipped(b"a\0b", b""), r"a NUL in a path"),
        (Zipped(b"n" * 256, b""), r"a name of 256 bytes"),
        (Zipped(b"d/" * 10_000 + b"x", b""), r"a path of 20001 bytes; at most 4095"),
        (Zipped(b"x.py", b"a", flags=1), r"x\.py: encrypted"),
        (Zipped(b"x.py", b"abc", packed=b"\xff" * 9), r"x\.py: damaged"),
        (Zipped(b"x.py", b"abc", local={"size": 4}), r"x\.py: size: the central directory has 3"),
        (Zipped(b"x.py", b"abc", local={"method": 0}), r"x\.py: method: the central directory has"),
        (
            Zipped(b"demo-1.0.data/purelib/demo-1.0.dist-info/RECORD", b""),
            r"two of its files would be .*/RECORD, and they differ",
        ),
        (
            Zipped(b"demo-1.0.data/purelib/demo-1.0.dist-info/INSTALLER", b"pip"),
            r"two of its files would be .*/INSTALLER, and they differ",
        ),
    ],
)
def test_members_that_no_archive_should_hold_are_refused(member: Zipped, said: str) -> None:
    with pytest.raises(ArchiveError, match=rf"^demo.1\.0.*{said}"):
        build(wheel(members=[member]))


@pytest.mark.parametrize(
    "path", [b"demo/.wh.x", b".wh.d/x", b".wh..wh..opq", b"demo-1.0.data/data/share/.wh.x"]
)
def test_what_would_be_a_deletion_is_refused(path: bytes) -> None:
    with pytest.raises(EntryError, match=r"names that start with \.wh\. mean deletion"):
        build(wheel(members=[Zipped(path, b"")]))


def test_what_stands_before_or_behind_a_wheel_is_refused() -> None:
    made = wheel()
    for data in (b"#!/bin/sh\n" + made.data, made.data + b"junk", made.data[:-1], b""):
        with pytest.raises(ArchiveError, match=r"^demo-1\.0-py3-none-any\.whl: "):
            build(evolve(made, data=data))


@pytest.mark.parametrize(
    ("scripts", "said"),
    [
        ("[console_scripts]\nx = a:b\n[gui_scripts]\nx = a:c\n", r"would be .*/bin/x, and they"),
        ("[DEFAULT]\n../x = a:b\n[console_scripts]\n", r"a script's name, found '\.\./x'"),
        (f"[console_scripts]\n{'x' * 256} = a:b\n", r"demo 1\.0: .*a name of 256 bytes"),
    ],
)
def test_scripts_that_cannot_be_written_are_refused(scripts: str, said: str) -> None:
    with pytest.raises(ArchiveError, match=said):
        build(wheel(said={"entry_points.txt": scripts.encode()}))


def test_a_script_cannot_take_the_place_of_a_file_of_the_package() -> None:
    made = wheel(scripts={"__init__.py": "demo:main"})
    with pytest.raises(ArchiveError, match=r"two of its files would be /app/demo/__init__\.py"):
        build(made, target="/app", scripts="/app/demo")


def test_thousands_of_files_are_installed() -> None:
    files = {f"demo/{number % 50}/{number}.py": b"x" for number in range(3000)}
    built = build(wheel(files=files))
    assert 3000 + 4 == len(built.record(f"{INFO}/RECORD"))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            wheel(metadata="Name: other\nVersion: 1.0\n"),
            r"METADATA: expected demo 1\.0, found 'oth",
        ),
        (
            wheel(metadata="Name: demo\nVersion: 2.0\n"),
            r"METADATA: expected demo 1\.0, found 'demo",
        ),
        (wheel(metadata="Nothing: here\n"), r"METADATA: expected demo 1\.0"),
        (wheel(about="Wheel-Version: 2.0\nTag: py3-none-any\n"), r"expected Wheel-Version 1\.x"),
        (wheel(about="Tag: py3-none-any\n"), r"expected Wheel-Version 1\.x"),
        (
            wheel(about="Wheel-Version: 1.0\nTag: cp39-cp39-win32\n"),
            r"expected a tag that the file's name has, found cp39-cp39-win32",
        ),
        (wheel(leave_out=["demo-1.0.dist-info/RECORD"]), r"has no demo-1\.0\.dist-info/RECORD"),
        (wheel(leave_out=["demo-1.0.dist-info/WHEEL"]), r"has no demo-1\.0\.dist-info/WHEEL"),
        (evolve(wheel(), version="1.1"), r"expected demo-1\.1\.dist-info, found demo-1\.0"),
        (evolve(wheel(), name="other"), r"expected other-1\.0\.dist-info, found demo-1\.0"),
        (evolve(wheel(), data=wheel().data[:-30]), r"demo-1\.0-py3-none-any\.whl"),
        (evolve(wheel(), data=b"no zip"), r"demo-1\.0-py3-none-any\.whl"),
    ],
)
def test_wheels_that_contradict_themselves_or_their_pin_are_refused(
    made: object, said: str
) -> None:
    with pytest.raises(ArchiveError, match=said):
        build(made)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("py3-none-manylinux_2_27_x86_64", "py3-none-any"),
        ("cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64", "cp311-cp311-linux_x86_64"),
        ("py2.py3-none-any", "py3-none-any"),
        ("py3-none-musllinux_1_1_x86_64", "py3-none-linux_x86_64"),
    ],
)
def test_wheels_that_were_renamed_are_taken(tag: str, said: str) -> None:
    build(wheel(tag=tag, about=f"Wheel-Version: 1.0\nTag: {said}\n"))


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("cp311-cp311-manylinux_2_17_x86_64", "cp311-cp311-manylinux_2_17_aarch64"),
        ("cp311-cp311-linux_x86_64", "cp312-cp312-linux_x86_64"),
        ("cp311-cp311-linux_x86_64", "cp311-abi3-linux_x86_64"),
        ("py3-none-manylinux_2_17_x86_64", "py3-none-win_amd64"),
    ],
)
def test_wheels_that_say_they_are_of_something_else_are_refused(tag: str, said: str) -> None:
    with pytest.raises(ArchiveError, match=f"a tag that the file's name has, found {said}"):
        build(wheel(tag=tag, about=f"Wheel-Version: 1.0\nTag: {said}\n"))


def test_names_are_compared_as_pypa_s_rules_have_it() -> None:
    made = wheel("Demo_Thing", "1.0.0", metadata="Name: demo.thing\nVersion: 1.0\n")
    build(evolve(made, name="demo-thing", version="1.0"), target="/app")


def test_wrong_bytes_in_the_store_are_found(tmp_path: Path) -> None:
    made, evil = wheel(), wheel(files={MODULE: b"NAME = 'evil'\n"})
    with Store.open(tmp_path / "store") as store:
        store.put_blob(made.data)
        path = tmp_path / "store" / "blobs" / "sha256" / made.digest.hex
        path.chmod(0o644)
        path.write_bytes(evil.data)
        with pytest.raises(DigestMismatch):
            build(made, store=store)


# --- options ---


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bytecode": True}, r'all three numbers of it, like python = "3\.11\.2"'),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, bool], said: str) -> None:
    with pytest.raises(FaultError, match=said):
        WheelsOptions("pylock.toml", "3.11", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('python = "3"', "expected a version of Python like \"3.11\", found '3'"),
        ('python = "2.7"', "expected a version of Python"),
        ('python = "3.7"', "expected a version of Python"),
        ('python = "3.11"\nlibc = "uclibc"', 'expected a C library like "glibc-2.36"'),
        ('python = "3.11"\ninterpreter = "python3"', "expected an absolute path"),
        ('python = "3.11"\ninterpreter = "/my python"', "without spaces"),
        (f'python = "3.11"\ninterpreter = "/{"x" * 130}"', "at most 120 bytes"),
        ('python = "3.11"\ntarget = "/"', "expected a folder below the root"),
        ('python = "3.11"\ntarget = "/a/../.."', "leaves the root"),
        ('python = "3.11"\nbytcode = true', "bytecode"),
        ("", "python"),
    ],
)
def test_faults_of_a_spec_name_their_place(line: str, said: str) -> None:
    from immutable.errors import SpecError
    from immutable.spec import document as spec

    text = (
        'spec-version = 1\n[image]\nname = "a"\n[[layer]]\nname = "d"\nkind = "wheels"\n'
        f'lockfile = "pylock.toml"\n{line}\n'
    )
    with pytest.raises(SpecError) as caught:
        spec.parse(text.encode(), {"wheels": WheelsOptions})
    assert said in str(caught.value)
    assert isinstance(caught.value, ImmutableError)
