"""Whether what has a name is there, and the same wherever the name stands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from attrs import define, field

from immutable.errors import DigestMismatch, ImageError, StoreError
from immutable.oci import canonical
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import REF_NAME, Descriptor, Index, Manifest
from immutable.reference.store import Reference
from immutable.store.check_blobs import COMPRESSIONS, Claim
from immutable.store.closure import MAX_DOCUMENT
from immutable.store.faults import Fault, FaultKind
from immutable.store.layout import Layout

_SHOWN: Final = 3  # names in one hint
_BUILD = "build it again, or forget that generation"


def compare(wanted: Mapping[str, Descriptor], index: Index) -> Iterator[Fault]:
    """Yield the names for which `index.json` says another thing than the database does.

    `wanted` is what it should say of our own names. The names of other tools are their own.
    """
    found: dict[str, Descriptor] = {}
    for entry in index.manifests:
        name = dict(entry.annotations).get(REF_NAME)
        if name is None:
            continue
        if name in wanted and name in found:
            yield _name(name, "one entry", "another one")
        found.setdefault(name, entry)
    for name, descriptor in wanted.items():
        if name not in found:
            yield _name(name, str(descriptor.digest), "nothing")
        elif found[name] != descriptor:
            yield _name(name, *_difference(descriptor, found[name]))
    for name in found.keys() - wanted.keys():
        reference = Reference.parse(name)
        if reference is not None and reference.number is not None:
            yield _name(name, "a generation that the database knows", "one that it does not")


def _name(name: str, expected: str, found: str) -> Fault:
    return Fault(
        FaultKind.NAME,
        f"index.json: {name}",
        expected,
        found,
        repairable=True,
        hint="a repair takes what holds, the database's where both do",
    )


def _difference(expected: Descriptor, found: Descriptor) -> tuple[str, str]:
    """Return in what two descriptors differ, shown."""
    for key, value in expected.plain().items():
        other = found.plain().get(key)
        if value != other:
            return f"{key} {_shown(value)}", _shown(other)
    return "nothing more", _shown(found.plain())


def _shown(value: object) -> str:
    return value if isinstance(value, str) else canonical.encode(value).decode()  # type: ignore[arg-type]


@define
class Walk:
    """From names to everything that they refer to.

    Of every digest, `needed` knows the names that need it, and `sizes` the lengths that it is
    said to have, with the places that say so; `claims` knows what is said of layers.
    """

    layout: Layout
    there: Mapping[Digest, int]
    faults: list[Fault] = field(factory=list)
    needed: dict[Digest, set[str]] = field(factory=dict)
    sizes: dict[tuple[Digest, int], str] = field(factory=dict)
    claims: dict[Digest, dict[tuple[Digest, str], Claim]] = field(factory=dict)
    _children: dict[tuple[Digest, str], tuple[Descriptor, ...]] = field(factory=dict)

    def follow(self, name: str, root: Descriptor) -> None:
        """Follow what `name` means."""
        waiting = [(root, f"index.json: {name}")]
        seen: set[tuple[Digest, str]] = set()
        while waiting:
            descriptor, place = waiting.pop()
            digest = descriptor.digest
            self.needed.setdefault(digest, set()).add(name)
            self.sizes.setdefault((digest, descriptor.size), place)
            key = digest, oci.family(descriptor.media_type)
            if key not in seen:
                seen.add(key)
                below = f"{_KINDS.get(key[1], 'blob')} {digest}"
                waiting.extend((child, below) for child in self._read(*key))

    def needed_by(self, digest: Digest) -> str:
        """Return the names that need a blob, shown; empty if none does."""
        names = self.needed.get(digest, set())
        # An image's own name and its tags stand on generations.
        telling = sorted(name for name in names if "@" in name) or sorted(names)
        more = f" and {len(telling) - _SHOWN} more" if len(telling) > _SHOWN else ""
        return ", ".join(telling[:_SHOWN]) + more

    def absent(self) -> Iterator[Fault]:
        """Yield the blobs that are needed and not there."""
        for digest in sorted(self.needed.keys() - self.there.keys()):
            yield Fault(
                FaultKind.MISSING,
                f"blob {digest}",
                f"what {self.needed_by(digest)} needs",
                "nothing",
                repairable=False,
                hint=f"damages {self.needed_by(digest)}: {_BUILD}",
                key=(digest,),
            )

    def missized(self, damaged: Iterable[Digest]) -> Iterator[Fault]:
        """Yield the places that tell another length than a blob has that is not `damaged`."""
        spared = frozenset(damaged)
        for (digest, size), place in self.sizes.items():
            actual = self.there.get(digest, size)
            if actual != size and digest not in spared:
                yield _document(place, f"{size} bytes of blob {digest}", f"{actual} bytes")

    def _read(self, digest: Digest, family: str) -> tuple[Descriptor, ...]:
        """Return what a document refers to; note what is wrong with it, once."""
        key = digest, family
        if key not in self._children:
            self._children[key] = ()
            if digest in self.there and family in _KINDS:
                try:
                    self._children[key] = self._decode(digest, family)
                except ImageError as error:
                    what = f"{_KINDS[family]} {digest}"
                    found = str(error).removeprefix(f"{what}: ")
                    self.faults.append(_document(what, f"an OCI {_KINDS[family]}", found))
        return self._children[key]

    def _decode(self, digest: Digest, family: str) -> tuple[Descriptor, ...]:
        where = f"{_KINDS[family]} {digest}"
        try:
            data = self.layout.read(digest, MAX_DOCUMENT)
        except DigestMismatch:
            return ()  # that is the blob's fault, and is found with the others'
        except StoreError as error:
            if self.there[digest] <= MAX_DOCUMENT:
                return ()  # gone, or it cannot be read
            raise ImageError(f"{where}: {error}") from None
        document = oci.decode_document(data, family, where)
        _expect_type(where, document.media_type, family)
        if isinstance(document, Manifest):
            self._claim(document, where)
        return (*document.children, *document.blobs)

    def _claim(self, manifest: Manifest, where: str) -> None:
        """Note the diffIDs that a manifest's config tells of its layers."""
        digest = manifest.config.digest
        layers = [oci.family(layer.media_type) for layer in manifest.layers]
        if oci.family(manifest.config.media_type) != oci.CONFIG or digest not in self.there:
            return
        try:
            diff_ids = _diff_ids(self.layout.read(digest, MAX_DOCUMENT), f"config {digest}")
        except (DigestMismatch, StoreError):
            return
        if not oci.LAYERS.intersection(layers):
            return  # no image: what others attest, say
        if len(diff_ids) != len(layers):
            raise ImageError(f"{where}: {len(layers)} layers, and {len(diff_ids)} diffIDs")
        for layer, family, diff_id in zip(manifest.layers, layers, diff_ids, strict=True):
            if family in COMPRESSIONS:
                place = f"{where}: layer {layer.digest}"
                self.claim(layer.digest, diff_id, family, _claimed(place, diff_id))

    def claim(
        self, blob: Digest, diff_id: Digest, family: str, fault: Callable[[str], Fault]
    ) -> None:
        """Note that a layer has a diffID."""
        compression = COMPRESSIONS[family]
        claims = self.claims.setdefault(blob, {})
        claims.setdefault((diff_id, compression), Claim(diff_id, compression, fault))


_KINDS: Final = {oci.INDEX: "index", oci.MANIFEST: "manifest"}


def _claimed(place: str, diff_id: Digest) -> Callable[[str], Fault]:
    return lambda found: _document(place, f"the diffID {diff_id}", found)


def _document(place: str, expected: str, found: str) -> Fault:
    return Fault(
        FaultKind.DOCUMENT,
        place,
        expected,
        found,
        repairable=False,
        hint=f"it was stored so: {_BUILD}",
    )


def _expect_type(where: str, found: str, family: str) -> None:
    if oci.family(found) != family:
        raise ImageError(f"{where}: mediaType: {found}")


def _diff_ids(data: bytes, where: str) -> list[Digest]:
    """Return the diffIDs in a config; raise ImageError for one that is no object.

    Of a config that is no image's, there are none.
    """
    try:
        document = canonical.decode(data)
    except ValueError as error:
        raise ImageError(f"{where}: not JSON: {error}") from None
    rootfs = document.get("rootfs") if isinstance(document, dict) else None
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    try:
        return [Digest.parse(str(text)) for text in found] if isinstance(found, list) else []
    except ValueError as error:
        raise ImageError(f"{where}: rootfs: diff_ids: {error}") from None
