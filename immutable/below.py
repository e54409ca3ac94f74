"""The layers beneath: what files they leave, with later layers covering earlier ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager

from attrs import define, evolve, field

from immutable import tar
from immutable.archives.decompress import open_stream
from immutable.builders.image import AS_IS
from immutable.derivation import Realisation
from immutable.entries import Entry, Inline, Kind, above, overlay_mark, parent, show
from immutable.errors import EntryError
from immutable.store import AbstractStore
from immutable.tar import Member

_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_MAX_FILE = 64 << 20  # what is read from below is account files and package databases
_MAX_LAYER = 1 << 40


class LayersBelow:
    """The files that `layers`, bottom first, leave; OCI image-spec layer.md, "Whiteouts"."""

    def __init__(self, store: AbstractStore, layers: Sequence[Realisation]) -> None:
        self._store = store
        self._layers = layers

    def find(self, *paths: bytes) -> Mapping[bytes, Entry]:
        """Return the entries at those of `paths` that are there; files with their content.

        A hard link comes as the file that it is. Every call is a pass over the layers, top
        first, until all is found: ask for everything at once. Raises EntryError for a file of
        more than 64 MiB.
        """
        return self._find(paths, self._layers)

    def read(self, path: bytes) -> bytes | None:
        """Return the content of the file at `path`; None if there is no such file."""
        entry = self.find(path).get(path)
        if entry is None or entry.kind is not Kind.FILE or entry.content is None:
            return None
        return b"".join(entry.content.read())

    def _find(self, paths: Iterable[bytes], layers: Sequence[Realisation]) -> dict[bytes, Entry]:
        found: dict[bytes, Entry] = {}
        wanted = set(paths)
        for number in reversed(range(len(layers))):
            if not wanted:
                break
            look = self._look(layers[number], wanted)
            here = look.here
            links = {entry.target for entry in here.values() if entry.kind is Kind.HARDLINK}
            if links:
                # What a link repeats is in its own layer as a rule, and never in one above.
                targets = self._find(links, layers[: number + 1])
                here = {path: _resolved(entry, targets) for path, entry in here.items()}
            found.update(here)
            wanted -= here.keys() | look.hidden
        return found

    def _look(self, layer: Realisation, paths: set[bytes]) -> _Look:
        """Return what one layer says of `paths`."""
        look = _Look(paths)
        # A layer of ours has every path once; others may say something else later.
        ours = layer.encoder != AS_IS
        with self._members(layer) as members:
            for member in members:
                look.at(member)
                if ours and len(look.here) == len(paths):
                    break
        return look

    @contextmanager
    def _members(self, layer: Realisation) -> Iterator[Iterator[Member]]:
        name = f"layer {layer.diff_id.short}"
        with self._store.verified(layer.blob.digest, layer.blob.size) as raw:
            stream = open_stream(raw, name=name, limit=_MAX_LAYER)
            with closing(tar.read(stream, name=name, reroot=True, repeats=True)) as members:  # type: ignore[type-var]
                yield members


@define
class _Look:
    """What a layer says of some paths: what is `here`, and what it hides in the layers under it.

    What a layer hides, it hides only there: its own entries stand, wherever its whiteouts do.
    """

    paths: set[bytes]
    here: dict[bytes, Entry] = field(factory=dict)
    _covered: set[bytes] = field(factory=set)
    _folders: set[bytes] = field(init=False)

    @_folders.default
    def _above(self) -> set[bytes]:
        return above(self.paths)

    @property
    def hidden(self) -> set[bytes]:
        """Those of the paths that are not to be looked for in the layers under this one."""
        return self._covered - self.here.keys()

    def at(self, member: Member) -> None:
        """Take account of one member of the layer.

        Raises EntryError where it bears an overlay file system's mark on the way to a path:
        engines differ in what they make of that.
        """
        entry = member.entry
        name = entry.path.rpartition(b"/")[2]
        if name.startswith(_WHITEOUT):
            self._covered |= _whited_out(entry.path, name, self.paths)
            return
        on_the_way = entry.path in self.paths or entry.path in self._folders
        if on_the_way and (mark := overlay_mark(entry)):
            raise EntryError(f"{show(entry.path)}: a layer below has {mark} there")
        if entry.path in self.paths:
            self.here[entry.path] = _with_content(entry, member)
        if entry.kind is not Kind.DIRECTORY and entry.path in self._folders:
            # A path that is no directory hides all that lay below it.
            below = entry.path + b"/"
            self._covered |= {path for path in self.paths if path.startswith(below)}


def _resolved(entry: Entry, targets: Mapping[bytes, Entry]) -> Entry:
    if entry.kind is not Kind.HARDLINK:
        return entry
    target = targets.get(entry.target)
    if target is None:
        raise EntryError(
            f"{show(entry.path)}: a hard link to {show(entry.target)}, which no layer has"
        )
    return evolve(target, path=entry.path)


def _whited_out(path: bytes, name: bytes, paths: set[bytes]) -> set[bytes]:
    folder = parent(path)
    if name == _OPAQUE:
        return {path for path in paths if not folder or path.startswith(folder + b"/")}
    gone = b"/".join(filter(None, (folder, name.removeprefix(_WHITEOUT))))
    return {path for path in paths if path == gone or path.startswith(gone + b"/")}


def _with_content(entry: Entry, pieces: Iterable[bytes]) -> Entry:
    if entry.kind is not Kind.FILE:
        return entry
    data = bytearray()
    for piece in pieces:
        data += piece
        if len(data) > _MAX_FILE:
            raise EntryError(
                f"{show(entry.path)}: a layer below has more than {_MAX_FILE} bytes there; "
                "too much to be extended"
            )
    return evolve(entry, content=Inline(bytes(data)))
