"""The root file system beneath a layer: what its builder asks, and the answers.

The rows of the answers are part of what a layer's realisation is recorded under, so a builder gets
nothing that is not in them. A row is there for what is there; of what is not, there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import BinaryIO, Final, Self

from attrs import evolve, frozen

from immutable.build.contents import StoredRootfs
from immutable.build.copies import Copied, copied, matching, spooled
from immutable.builders.base import Everything, LowerLayer, Questions
from immutable.content.account_files import GROUP, PASSWD, find_group, find_user
from immutable.content.archives.scratch import Slice
from immutable.content.entries import Entry, EntryKind
from immutable.content.globs import compile_globs
from immutable.content.rootfs import Found
from immutable.errors import EntryError
from immutable.oci.canonical import JSON, text
from immutable.oci.digest import Digest
from immutable.redact import quoted

_MOST: Final = 64 << 20  # bytes of a file that is read: account files, package databases


@frozen
class BeneathLayer:
    """What `stored` answers to a builder's questions; `scratch` gives files for what is copied.

    `diff_ids` are those of its layers, for builders that ask for everything.
    """

    stored: StoredRootfs
    questions: Questions
    scratch: Callable[[], BinaryIO] | None = None
    diff_ids: tuple[Digest, ...] = ()

    def spooling(self, scratch: Callable[[], BinaryIO]) -> Self:
        """Return it with a place for what is copied."""
        return evolve(self, scratch=scratch)

    def rows(self) -> list[JSON]:
        """Return the answers as values of canonical JSON; none where nothing is there."""
        asked = self.questions
        rows: list[JSON] = [
            ["path", text(path), *_row(found, content=path in asked.files)]
            for path in sorted({*asked.paths, *asked.files})
            if (found := self._led(path)) is not None
        ]
        for path in sorted({*asked.trees}):
            inside: list[JSON] = [_row(found, content=True) for found in self._tree(path)]
            if inside:
                rows.append(["tree", text(path), inside])
        for glob in sorted({*asked.globs}):
            matched: list[JSON] = [[text(f.path), _kind(f)] for f in self._matching(glob)]
            if matched:
                rows.append(["glob", glob, matched])
        for owner in sorted({*asked.owners}):
            with suppress(EntryError):  # whoever is not there is in no answer
                rows.append(["owner", owner, [*self.owner(owner)]])
        for copy_of, copies in self._copies().items():
            given: list[JSON] = [
                [[*_row(one.found, content=True), text(one.same_as)] for one in copy]
                for copy in copies
            ]
            rows.append(["copy", copy_of, given])
        if asked.everything and self.stored.layers:
            rows.append(["everything", [str(layer.diff_id) for layer in self.everything().layers]])
        return rows

    def find(self, path: bytes) -> Entry | None:
        """See `Beneath`."""
        self._expect(path, (*self.questions.paths, *self.questions.files))
        found = self._led(path)
        return None if found is None else self._entry(found, content=path in self.questions.files)

    def read(self, path: bytes) -> bytes | None:
        """See `Beneath`."""
        self._expect(path, self.questions.files)
        return self._read(path)

    def within(self, path: bytes) -> Mapping[bytes, Entry]:
        """See `Beneath`."""
        self._expect(path, self.questions.trees)
        return {found.path: self._entry(found, content=True) for found in self._tree(path)}

    def matching(self, glob: str) -> Mapping[bytes, EntryKind]:
        """See `Beneath`."""
        self._expect(glob, self.questions.globs)
        return {found.path: found.inode.kind for found in self._matching(glob)}

    def owner(self, owner: str) -> tuple[int, int]:
        """See `Beneath`."""
        self._expect(owner, self.questions.owners)
        name, colon, group = owner.partition(":")
        if name.isdecimal():
            uid, gid = int(name), int(name)
        else:
            uid, gid = self._user(name)
        if colon:
            gid = int(group) if group.isdecimal() else self._group(group)
        return uid, gid

    def copies(self) -> Mapping[str, Sequence[Sequence[Entry]]]:
        """See `Beneath`."""
        copies = self._copies()
        if not copies:
            return {}
        assert self.scratch is not None  # noqa: S101 - or there are no builder's inputs yet
        found = (one.found for several in copies.values() for copy in several for one in copy)
        contents = spooled(found, self.stored, self.scratch())
        return {
            path: [[self._copied(one, contents) for one in copy] for copy in several]
            for path, several in copies.items()
        }

    def everything(self) -> Everything:
        """See `Beneath`."""
        if not self.questions.everything:
            raise ValueError("everything was not asked about")
        blobs = zip(self.diff_ids, self.stored.layers, strict=True)
        layers = (LowerLayer(one, partial(self.stored.opened, blob)) for one, blob in blobs)
        return Everything(tuple(layers), self.stored.rootfs)

    def _copied(self, one: Copied, contents: Mapping[Digest, Slice]) -> Entry:
        entry, sha256 = self._entry(one.found, content=False), one.found.inode.sha256
        content = None if sha256 is None else contents[sha256]
        if not one.same_as:
            return evolve(entry, content=content)
        return evolve(entry, kind=EntryKind.HARDLINK, target=one.same_as, content=content)

    def _copies(self) -> Mapping[str, list[list[Copied]]]:
        left_out = compile_globs(self.questions.without)
        return {
            path: copied(path, self.stored.rootfs, left_out)
            for path in sorted({*self.questions.copies})
        }

    def _expect(self, one: bytes | str, asked: Collection[bytes | str]) -> None:
        if one not in asked:
            raise ValueError(f"{one!r} was not asked about")

    def _led(self, path: bytes) -> Found | None:
        return self.stored.rootfs.resolve(path).found

    def _tree(self, path: bytes) -> Iterator[Found]:
        found = self._led(path)
        if found is not None:
            yield from self.stored.rootfs.walk(found.path)

    def _matching(self, glob: str) -> Iterator[Found]:
        """Yield what `glob` matches, and nothing that is in what it matches.

        Its first names, as far as they are plain ones, lead through links.
        """
        yield from (found for _, found in matching(glob, self.stored.rootfs))

    def _entry(self, found: Found, *, content: bool) -> Entry:
        inode = found.inode
        with_content = content and inode.kind is EntryKind.FILE
        return Entry(
            found.path,
            inode.kind,
            inode.mode,
            inode.uid,
            inode.gid,
            content=self.stored.content(found) if with_content else None,
            target=inode.target,
            device=inode.device,
            xattrs=inode.xattrs,
        )

    def _read(self, path: bytes) -> bytes | None:
        return self.stored.read(path, limit=_MOST)

    def _user(self, name: str) -> tuple[int, int]:
        found = find_user(self._read(PASSWD) or b"", name)
        if found is None:
            raise EntryError(
                f"expected a user of the spec or of a lower layer's /etc/passwd, found "
                f"{quoted(name)}; declare a [[user]], or write the number"
            )
        return found

    def _group(self, name: str) -> int:
        found = find_group(self._read(GROUP) or b"", name)
        if found is None:
            raise EntryError(
                f"expected a group of the spec or of a lower layer's /etc/group, found "
                f"{quoted(name)}; declare a [[group]], or write the number"
            )
        return found


def _kind(found: Found) -> str:
    return found.inode.kind.name.lower()


def _row(found: Found, *, content: bool) -> list[JSON]:
    inode = found.inode
    row: list[JSON] = [text(found.path), _kind(found), inode.mode, inode.uid, inode.gid]
    row += [[[text(name), text(value)] for name, value in inode.xattrs]]
    row += [text(inode.target), [*inode.device]]
    if content and inode.sha256 is not None:
        row.append(inode.sha256.hex)
    return row
