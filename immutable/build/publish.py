"""Config, manifest and index of what was realised, under a name in the store."""

from __future__ import annotations

import datetime

from immutable.build import assemble as images
from immutable.build.plan import Plan
from immutable.build.realise import Record
from immutable.build.results import BuiltLayer, BuiltPlatform, Image
from immutable.build.schedule import Records
from immutable.oci.documents import Descriptor, Index
from immutable.spec.derivation import Job
from immutable.store import AbstractStore


def publish(planned: Plan, records: Records, store: AbstractStore) -> Image:
    """Store the documents of the realised plan, and commit a generation; return the image."""
    platforms = []
    for platform, layers in planned.graph.platforms:
        found = records[platform]
        made = [record.realisation for record in found]
        image = planned.assemble(platform, made)
        for document in image.documents():
            store.put_blob(document)
        built = (_built_layer(layers[n], found[n]) for n in planned.filled(platform, made))
        platforms.append(BuiltPlatform(image, tuple(built)))
    root = platforms[0].image.descriptor
    if len(platforms) > 1:
        index = images.index(planned.spec, [built.image for built in platforms])
        root = _put_index(index, store)
    name, tags = str(planned.spec.image.name), tuple(map(str, planned.spec.image.tags))
    generation = store.commit_generation(
        name, root, tags=tags, created=datetime.datetime.now(datetime.UTC)
    )
    return Image(name, root, tags, tuple(platforms), generation, store)


def _put_index(index: Index, store: AbstractStore) -> Descriptor:
    data = index.encode()
    return Descriptor(index.media_type, store.put_blob(data), len(data))


def _built_layer(layer: Job, record: Record) -> BuiltLayer:
    made = record.realisation
    return BuiltLayer(
        layer.name, layer.kind, layer.digest, made.diff_id, made.blob, record.cached, layer.part
    )
