"""Whether the parts of a layer that are made one by one add up to what the one layer would be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from immutable.build.contents import LayerContents
from immutable.build.realise import Record
from immutable.build.schedule import Records
from immutable.content.contents import Attributes, Contents
from immutable.content.entries import EntryKind, show
from immutable.errors import EntryError
from immutable.oci import canonical
from immutable.oci.digest import Digest
from immutable.spec.derivation import Graph, Job
from immutable.store import AbstractStore

_FINE: Final = Digest.of(b"fine")


def check_parts(graph: Graph, records: Records, store: AbstractStore) -> None:
    """Raise EntryError where parts of one layer do not agree on what is at a path.

    As they are written they share but directories. Links beneath may lead from several paths to
    one. A verdict is remembered for the layers that it is about.
    """
    contents = LayerContents(store, store)
    for platform, jobs in graph.platforms:
        for parts in _made_apart(jobs, records[platform]):
            top = parts[-1][1].realisation.derivation
            layers = [record.realisation.blob for _, record in parts]
            names = [str(blob.digest) for blob in layers]
            key = Digest.of(canonical.encode(["parts", *names]))
            if store.find_answers(top, key) is None:
                _expect_apart([contents.of(blob) for blob in layers], parts[0][0].name)
                store.record_answers(top, key, _FINE)


def _made_apart(
    jobs: Sequence[Job], records: Sequence[Record]
) -> Iterator[Sequence[tuple[Job, Record]]]:
    """Yield the parts of each layer of the spec whose parts are not made at once."""
    parts: list[tuple[Job, Record]] = []
    for job, record in zip(jobs, records, strict=True):
        if job.parts == 0:
            if len(parts) > 1:
                yield parts
            parts = []
        if job.derivation.part is None:
            parts.append((job, record))
    if len(parts) > 1:
        yield parts


def _expect_apart(layers: Sequence[Contents], name: str) -> None:
    """Raise EntryError unless all that `layers` have in common is directories, and the same."""
    todo = [(b"", [(layer, 0) for layer in layers])]
    while todo:
        path, there = todo.pop()
        if path and not _are_same([layer.attributes_of(node) for layer, node in there]):
            raise EntryError(
                f'layer "{name}": /{show(path)} is in two of its parts and not the same there: '
                "links of lower layers lead to it from several paths of this layer; write the "
                "path that they lead to, or leave layers out"
            )
        inside: dict[bytes, list[tuple[Contents, int]]] = {}
        for layer, node in there:
            for child in layer.children(node):
                inside.setdefault(layer.names[child], []).append((layer, child))
        todo += [
            (path + b"/" + child if path else child, both)
            for child, both in inside.items()
            if len(both) > 1
        ]


def _are_same(found: Sequence[Attributes]) -> bool:
    return found[0].kind is EntryKind.DIRECTORY and all(one == found[0] for one in found)
