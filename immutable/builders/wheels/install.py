"""Installing a wheel: `installer` says what goes where, and what is written becomes entries."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import BinaryIO, Final, cast

import installer
from attrs import evolve, field, frozen, mutable
from installer.destinations import WheelDestination
from installer.exceptions import InstallerError
from installer.records import Hash, RecordEntry
from installer.sources import WheelContentElement, WheelSource

from immutable.builders.wheels import record
from immutable.builders.wheels.record import Row
from immutable.builders.wheels.wheel import ENTRY_POINTS, Wheel
from immutable.content.entries import Entry, EntryKind, Inline, file, safe_path
from immutable.errors import ArchiveError, EntryError

INSTALLER: Final = b"immutable\n"
_SHEBANG: Final = b"#!python"
_LONGEST_SCRIPT: Final = 16 << 20  # bytes of one whose first line is changed
# Our own, not installer's: a newer one of that must not change a digest.
_SCRIPT: Final = """\
#!{interpreter}
import sys

from {module} import {name}

if __name__ == "__main__":
    sys.exit({attr}())
"""

Compile = Callable[[str, bytes], tuple[str, bytes] | None]


@frozen
class Places:
    """Where an image has each of a wheel's schemes, as absolute paths, and its interpreter.

    Headers go into a folder of the distribution's own within `headers`.
    """

    library: str
    scripts: str
    headers: str
    data: str
    interpreter: str

    def folder(self, scheme: str, distribution: str) -> str:
        """Return where files of `scheme` go."""
        return {
            "purelib": self.library,
            "platlib": self.library,
            "headers": posixpath.join(self.headers, distribution),
            "scripts": self.scripts,
            "data": self.data,
        }[scheme]


@frozen
class Installed:
    """A wheel's files in the image, by path, each with its hash as RECORD writes it."""

    label: str
    files: Mapping[bytes, tuple[Entry, str]]


def install(wheel: Wheel, places: Places, owner: tuple[int, int], compiled: Compile) -> Installed:
    """Return what installing `wheel` makes; `owner` is (uid, gid).

    `compiled` gives, for a module's path and source, the path and bytes of its bytecode, or None.
    Raises ArchiveError for two files of the wheel at one path, and for paths that are too long.
    """
    destination = _Destination(wheel, places, owner, compiled)
    try:
        installer.install(_Source(wheel), destination, {"INSTALLER": INSTALLER})
    except (InstallerError, EntryError, ValueError, AssertionError) as fault:
        raise ArchiveError(f"{wheel.label}: {fault}") from None
    return Installed(wheel.label, destination.files)


class _Stream(io.BytesIO):
    """A file of the wheel on its way through `installer`, which does not look into it."""

    def __init__(self, entry: Entry, row: Row) -> None:
        super().__init__()
        self.entry, self.row = entry, row


class _Source(WheelSource):
    """The wheel as `installer` wants to see one; it was checked already."""

    def __init__(self, wheel: Wheel) -> None:
        super().__init__(wheel.name, wheel.version)
        self._wheel = wheel

    @property
    def dist_info_dir(self) -> str:
        return self._wheel.dist_info

    @property
    def data_dir(self) -> str:
        return self._wheel.data

    @property
    def dist_info_filenames(self) -> list[str]:
        present = f"{self._wheel.dist_info}/{ENTRY_POINTS}" in self._wheel.files
        return [ENTRY_POINTS] if present else []

    def read_dist_info(self, filename: str) -> str:
        return self._wheel.text(f"{self._wheel.dist_info}/{filename}")

    def get_contents(self) -> Iterator[WheelContentElement]:
        for path, entry in self._wheel.files.items():
            stream = _Stream(entry, self._wheel.rows[path])
            yield (path, "", ""), cast("BinaryIO", stream), bool(entry.mode & 0o111)


@mutable
class _Destination(WheelDestination):
    """Keeps what `installer` writes as entries."""

    _wheel: Wheel
    _places: Places
    _owner: tuple[int, int]
    _compiled: Compile
    files: dict[bytes, tuple[Entry, str]] = field(factory=dict)
    _modules: list[tuple[str, Entry]] = field(factory=list)

    def write_script(
        self,
        name: str,
        module: str,
        attr: str,
        section: str,  # noqa: ARG002
    ) -> RecordEntry:
        text = _SCRIPT.format(
            interpreter=self._places.interpreter,
            module=module,
            name=attr.partition(".")[0],
            attr=attr,
        )
        return self._write("scripts", name, text.encode(), 0o755)

    def write_file(
        self,
        scheme: str,
        path: str | object,
        stream: BinaryIO,
        is_executable: bool,
    ) -> RecordEntry:
        name = str(path)
        if not isinstance(stream, _Stream):
            return self._write(scheme, name, stream.read(), 0o644)
        entry, row = stream.entry, stream.row
        # As pip has it: also programs that a package brings for itself stay executable.
        mode = 0o755 if is_executable or scheme == "scripts" else 0o644
        if scheme == "scripts" and _head(entry) == _SHEBANG:
            return self._write(scheme, name, self._with_interpreter(entry), mode)
        return self._keep(scheme, name, evolve(entry, mode=mode), row.hash)

    def finalize_installation(
        self,
        scheme: str,
        record_file_path: str,
        records: Iterable[tuple[str, RecordEntry]],  # noqa: ARG002 - of whole paths, not of these
    ) -> None:
        for path, module in self._modules:
            data = b"".join(module.content.read()) if module.content else b""
            if made := self._compiled(path, data):
                self._put(made[0], made[1], 0o644)
        root = self._places.folder(scheme, self._wheel.name)
        rows = [
            Row(posixpath.relpath("/" + path.decode(), root), hashed, entry.size)
            for path, (entry, hashed) in self.files.items()
        ]
        self._write(scheme, record_file_path, record.write([*rows, Row(record_file_path)]), 0o644)

    def _write(self, scheme: str, name: str, data: bytes, mode: int) -> RecordEntry:
        entry = file(b"made", data, mode)
        return self._keep(scheme, name, entry, Row.of(name, Inline(data)).hash)

    def _put(self, path: str, data: bytes, mode: int) -> None:
        self._add(path, file(b"made", data, mode), Row.of(path, Inline(data)).hash)

    def _keep(self, scheme: str, name: str, entry: Entry, hashed: str) -> RecordEntry:
        path = posixpath.join(self._places.folder(scheme, self._wheel.name), name)
        entry = self._add(path, entry, hashed)
        if name.endswith(".py") and scheme in ("purelib", "platlib"):
            self._modules.append((path, entry))
        return RecordEntry(name, Hash.parse(hashed), entry.size)

    def _add(self, path: str, entry: Entry, hashed: str) -> Entry:
        uid, gid = self._owner
        place = safe_path(path.encode(), reroot=True)
        made = evolve(entry, path=place, kind=EntryKind.FILE, uid=uid, gid=gid)
        present = self.files.setdefault(place, (made, hashed))
        if (present[0].mode, present[1]) != (made.mode, hashed):
            raise ValueError(f"two of its files would be {path}, and they differ")
        return made

    def _with_interpreter(self, script: Entry) -> bytes:
        """Return a script whose first line asks for any Python, with the image's in it."""
        if script.size > _LONGEST_SCRIPT:
            raise ValueError(f"a script of {script.size} bytes; expected {_LONGEST_SCRIPT} at most")
        assert script.content is not None  # noqa: S101 - files have one
        _, _, rest = b"".join(script.content.read()).partition(b"\n")
        return f"#!{self._places.interpreter}\n".encode() + rest


def _head(entry: Entry) -> bytes:
    assert entry.content is not None  # noqa: S101 - files have one
    return next(entry.content.read(), b"")[: len(_SHEBANG)]
