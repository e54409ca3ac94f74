"""The lower layers: what files they leave, with later layers covering earlier ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager

from attrs import define, evolve, field

from immutable.content import tar
from immutable.content.archives.decompress import open_stream
from immutable.content.entries import (
    Entry,
    EntryKind,
    Inline,
    ancestors,
    overlay_mark,
    parent,
    show,
)
from immutable.content.tar import Member
from immutable.errors import EntryError
from immutable.spec.derivation import AS_IS, Realisation
from immutable.store import AbstractStore

_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_MAX_FILE = 64 << 20  # what is read of lower layers is account files and package databases
_MAX_LAYER = 1 << 40


class LowerLayers:
    """The files that `layers`, bottom first, leave; OCI image-spec layer.md, "Whiteouts"."""

    def __init__(self, store: AbstractStore, layers: Sequence[Realisation]) -> None:
        self._store = store
        self._layers = layers

    def find(self, *paths: bytes) -> Mapping[bytes, Entry]:
        """Return the entries at those of `paths` that are there; files with their content.

        A hard link comes as the file that it is: the one that its target was when the layer got
        to the link, as unpackers make it, whatever takes the target's place later. Every call is
        a pass over the layers, top first, until all is found, and a second one over a layer with
        links to what was not asked for: ask for everything at once. Raises EntryError for a file
        of more than 64 MiB.
        """
        return self._find(paths, self._layers)

    def read(self, path: bytes) -> bytes | None:
        """Return the content of the file at `path`; None if there is no such file."""
        entry = self.find(path).get(path)
        if entry is None or entry.kind is not EntryKind.FILE or entry.content is None:
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
            if look.links:
                # Of what stands before a link it is known only now that it was wanted.
                targets = self._numbered(layers[number], set(look.links.values()))
                here |= {path: _linked(path, targets[n]) for path, n in look.links.items()}
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

    def _numbered(self, layer: Realisation, numbers: set[int]) -> dict[int, Entry]:
        """Return the members of one layer that have `numbers`, from 0 in its order."""
        found: dict[int, Entry] = {}
        with self._members(layer) as members:
            for number, member in enumerate(members):
                if number in numbers:
                    found[number] = _with_content(member.entry, member)
                    if len(found) == len(numbers):
                        break
        return found

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
    `links` has those of the paths that are hard links to what was not looked at, each with the
    number of the member that it is.
    """

    paths: set[bytes]
    here: dict[bytes, Entry] = field(factory=dict)
    links: dict[bytes, int] = field(factory=dict)
    _numbers: dict[bytes, int] = field(factory=dict)  # of what each path is so far
    _count: int = 0
    _covered: set[bytes] = field(factory=set)
    _folders: set[bytes] = field(init=False)

    @_folders.default
    def _dependents(self) -> set[bytes]:
        return ancestors(self.paths)

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
        number = self._count
        self._count += 1
        if entry.kind is EntryKind.HARDLINK:
            # The reader has seen to it that the target is in this layer, before the link.
            number = self._numbers[entry.target]
        self._numbers[entry.path] = number
        name = entry.path.rpartition(b"/")[2]
        if name.startswith(_WHITEOUT):
            self._covered |= _whited_out(entry.path, name, self.paths)
            return
        on_the_way = entry.path in self.paths or entry.path in self._folders
        if on_the_way and (mark := overlay_mark(entry)):
            raise EntryError(f"{show(entry.path)}: a layer below has {mark} there")
        if entry.path in self.paths:
            self._take(entry, member, number)
        if entry.kind is not EntryKind.DIRECTORY and entry.path in self._folders:
            # A path that is no directory hides all that was in it.
            inside = entry.path + b"/"
            self._covered |= {path for path in self.paths if path.startswith(inside)}

    def _take(self, entry: Entry, member: Member, number: int) -> None:
        """Let one of the paths be `entry`, in the place of what it was in this layer before."""
        path = entry.path
        self.links.pop(path, None)
        if entry.kind is not EntryKind.HARDLINK:
            self.here[path] = _with_content(entry, member)
        elif entry.target in self.here and entry.target not in self.links:
            self.here[path] = _linked(path, self.here[entry.target])
        else:
            self.here[path] = entry
            self.links[path] = number


def _linked(path: bytes, target: Entry) -> Entry:
    """Return the hard link `path` to `target` as what it is; raise EntryError for an overlay mark.

    Its kind says whether that is a file.
    """
    if mark := overlay_mark(target):
        raise EntryError(f"{show(path)}: a layer below has {mark} there")
    return evolve(target, path=path)


def _whited_out(path: bytes, name: bytes, paths: set[bytes]) -> set[bytes]:
    folder = parent(path)
    if name == _OPAQUE:
        return {path for path in paths if not folder or path.startswith(folder + b"/")}
    gone = b"/".join(filter(None, (folder, name.removeprefix(_WHITEOUT))))
    return {path for path in paths if path == gone or path.startswith(gone + b"/")}


def _with_content(entry: Entry, pieces: Iterable[bytes]) -> Entry:
    if entry.kind is not EntryKind.FILE:
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
