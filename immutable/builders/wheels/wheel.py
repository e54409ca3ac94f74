"""Reading a wheel: a strict zip whose name, metadata and RECORD agree with each other.

https://packaging.python.org/en/latest/specifications/binary-distribution-format/
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from email.parser import HeaderParser
from typing import TYPE_CHECKING, BinaryIO, Final

from attrs import frozen
from installer.utils import SCHEME_NAMES

from immutable.builders.wheels import record
from immutable.builders.wheels.record import RecordError, Row
from immutable.content.archives.zip import read_zip
from immutable.content.entries import Entry, EntryKind, show
from immutable.errors import ArchiveError
from immutable.redact import cut, quoted

if TYPE_CHECKING:
    from packaging.tags import Tag

_LARGEST: Final = 64 << 20  # bytes of a file of metadata; the RECORD of the largest wheels has 5 MB
_DIST_INFO: Final = ".dist-info"
_DATA: Final = ".data"
_SECTIONS: Final = ("console_scripts", "gui_scripts")
_POINT: Final = re.compile(r"\w+(?:\.\w+)*\s*:\s*\w+(?:\.\w+)*\s*(?:\[.*\])?\s*")
_LINUX: Final = re.compile(r"(?:many|musl)?linux(?:_\d+_\d+|1|2010|2014)?_(.+)")
ENTRY_POINTS: Final = "entry_points.txt"


@frozen
class Wheel:
    """A wheel: what its own files say, and each file with its row of RECORD.

    `files` are by path in the wheel, RECORD itself left out; `rows` has a row for each.
    `dist_info` and `data` are the folders of its metadata and of what goes elsewhere.
    """

    name: str
    version: str
    files: Mapping[str, Entry]
    rows: Mapping[str, Row]
    dist_info: str
    data: str

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"{self.name} {self.version}"

    def text(self, path: str) -> str:
        """Return a file of metadata."""
        return _text(self.files, path)


def read(
    file: BinaryIO,
    scratch: BinaryIO,
    *,
    file_name: str,
    name: str,
    version: str,
    advance: Callable[[int], None] = lambda _: None,
) -> Wheel:
    """Return the wheel in `file`, its contents in `scratch`.

    `name` and `version` are those that it was pinned under; `advance` is told of each piece's
    bytes, and ends the work by raising. Raises ArchiveError, beginning with
    `file_name`, for what is damaged or unsafe, and for what contradicts itself or the pin.
    """
    entries = read_zip(file, name=file_name, scratch=scratch, advance=advance)
    try:
        files = dict(_files(entries))
        dist_info = _folder(files, _DIST_INFO, name, version)
        data = _data(files, name, version)
        _check_metadata(files, dist_info, name, version)
        _check_wheel_file(files, dist_info, file_name)
        _check_entry_points(files, dist_info)
        rows = record.check(_text(files, f"{dist_info}/RECORD"), files, dist_info)
    except (RecordError, ValueError) as fault:
        raise ArchiveError(f"{file_name}: {fault}") from None
    kept = {path: entry for path, entry in files.items() if _is_kept(path, dist_info)}
    return Wheel(name, version, kept, rows, dist_info, data)


def _files(entries: Iterable[Entry]) -> Iterator[tuple[str, Entry]]:
    for entry in entries:
        if entry.kind is EntryKind.DIRECTORY:
            continue
        if entry.kind is not EntryKind.FILE:
            raise ValueError(f"{show(entry.path)}: a {entry.kind.name.lower()}; wheels hold files")
        try:
            yield entry.path.decode(), entry
        except UnicodeDecodeError:
            raise ValueError(f"{show(entry.path)}: a name that is not UTF-8") from None


def _is_kept(path: str, dist_info: str) -> bool:
    """Tell whether an installer takes the file: not what only an installation has.

    Bytecode in a wheel is of a Python that nobody knows, and Python would run it unseen.
    """
    if path in (f"{dist_info}/RECORD", f"{dist_info}/INSTALLER"):
        return False
    return "__pycache__" not in path.split("/")[:-1]


def _folder(files: Iterable[str], ending: str, name: str, version: str) -> str:
    tops = {path.partition("/")[0] for path in files if "/" in path}
    found = sorted(top for top in tops if top.endswith(ending))
    if len(found) != 1:
        said = ", ".join(show(top.encode()) for top in found[:5]) or "none"
        raise ValueError(f"expected one folder NAME-VERSION{ending}, found {said}")
    _check_named(found[0], ending, name, version)
    return found[0]


def _data(files: Iterable[str], name: str, version: str) -> str:
    """Return the folder of what goes elsewhere; what it would be called where there is none."""
    found = f"{name}-{version}{_DATA}"
    for path in files:
        top, _, rest = path.partition("/")
        if not top.endswith(_DATA) or not rest:
            continue
        _check_named(top, _DATA, name, version)
        scheme, _, inner = rest.partition("/")
        if scheme not in SCHEME_NAMES or not inner:
            raise ValueError(
                f"{show(path.encode())}: expected one of {', '.join(SCHEME_NAMES)} below {top}"
            )
        found = top
    return found


def _check_named(folder: str, ending: str, name: str, version: str) -> None:
    found_name, _, found_version = folder.removesuffix(ending).rpartition("-")
    if not _same(found_name, found_version, name, version):
        raise ValueError(f"expected {name}-{version}{ending}, found {show(folder.encode())}")


def _same(found_name: str, found_version: str, name: str, version: str) -> bool:
    from packaging.utils import canonicalize_name
    from packaging.version import InvalidVersion, Version

    try:
        same = Version(found_version.replace("_", "-")) == Version(version)
    except InvalidVersion:
        return False
    return same and canonicalize_name(found_name) == canonicalize_name(name)


def _check_metadata(files: Mapping[str, Entry], dist_info: str, name: str, version: str) -> None:
    metadata = HeaderParser().parsestr(_text(files, f"{dist_info}/METADATA"))
    found = str(metadata["Name"] or ""), str(metadata["Version"] or "")
    if not _same(*found, name, version):
        raise ValueError(
            f"METADATA: expected {name} {version}, found {quoted(' '.join(found), 120)}"
        )


def _check_wheel_file(files: Mapping[str, Entry], dist_info: str, file_name: str) -> None:
    from packaging.tags import parse_tag
    from packaging.utils import parse_wheel_filename

    said = HeaderParser().parsestr(_text(files, f"{dist_info}/WHEEL"))
    if not re.fullmatch(r"1\.\d{1,3}", str(said["Wheel-Version"] or "").strip(), re.ASCII):
        raise ValueError(
            f"WHEEL: expected Wheel-Version 1.x, found {quoted(str(said['Wheel-Version']), 40)}"
        )
    named = parse_wheel_filename(file_name)[-1]
    tags = {tag for line in said.get_all("Tag", []) for tag in parse_tag(str(line).strip())}
    if tags and not any(_agree(one, other) for one in tags for other in named):
        shown = ", ".join(sorted(map(str, tags))[:3])
        raise ValueError(f"WHEEL: expected a tag that the file's name has, found {shown}")


def _agree(one: Tag, other: Tag) -> bool:
    """Tell whether two tags can be of one wheel.

    Some are renamed once they are built: from any platform to those of a program they hold, or
    from Linux to a manylinux. Then what they say inside is no more than less exact.
    """
    abis, platforms = {one.abi, other.abi}, {one.platform, other.platform}
    return (
        one.interpreter == other.interpreter
        and (len(abis) == 1 or "none" in abis)
        and (len(platforms) == 1 or "any" in platforms or len(set(map(_machine, platforms))) == 1)
    )


def _machine(platform: str) -> str:
    """Return ``linux_x86_64`` for every platform tag of that machine."""
    match = _LINUX.fullmatch(platform)
    return f"linux_{match[1]}" if match else platform


def _check_entry_points(files: Mapping[str, Entry], dist_info: str) -> None:
    """Raise ValueError for a script that would not be one file of its folder, or not Python."""
    path = f"{dist_info}/{ENTRY_POINTS}"
    if path not in files:
        return
    parser = configparser.ConfigParser(delimiters="=", interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(_text(files, path))
    except configparser.Error as error:
        raise ValueError(f"{ENTRY_POINTS}: {cut(' '.join(str(error).split()), 200)}") from None
    for section in _SECTIONS:
        if parser.has_section(section):
            for name, value in parser.items(section):
                _check_entry_point(name, value)


def _check_entry_point(name: str, value: str) -> None:
    if not name or name in (".", "..") or "/" in name or "\\" in name or not name.isprintable():
        raise ValueError(f"{ENTRY_POINTS}: expected a script's name, found {quoted(name)}")
    if not _POINT.fullmatch(value):
        raise ValueError(f"{ENTRY_POINTS}: {name}: expected module:name, found {quoted(value)}")


def _text(files: Mapping[str, Entry], path: str) -> str:
    entry = files.get(path)
    if entry is None or entry.content is None:
        raise ValueError(f"has no {path}")
    if entry.content.size > _LARGEST:
        raise ValueError(f"{path}: expected at most {_LARGEST} bytes, found {entry.content.size}")
    try:
        return b"".join(entry.content.read()).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8: byte {error.start}") from None
