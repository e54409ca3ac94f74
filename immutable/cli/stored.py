"""Images of the store, as the commands that move them name and show them."""

from __future__ import annotations

from collections.abc import Sequence

from immutable.errors import ImageNotFound
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.reference.store import Reference
from immutable.store import AbstractStore, Generation


def tags_on(store: AbstractStore, name: str, digest: Digest) -> tuple[str, ...]:
    """Return the tags of `name` that are on `digest`; none for what others put into the store."""
    try:
        generations = store.generations(name)
    except ImageNotFound:
        return ()
    return next((one.tags for one in generations if one.descriptor.digest == digest), ())


def kept(store: AbstractStore, name: str, root: Descriptor) -> Generation:
    """Return the newest generation of `name` that is `root`, which was just put there."""
    generations = store.generations(name)
    return next(one for one in reversed(generations) if one.descriptor.digest == root.digest)


def kept_text(name: str, tags: Sequence[str], root: Descriptor) -> str:
    """Return what to say of an image that is in the store under `tags`, or under its name alone."""
    references = [str(Reference(name, tag=tag)) for tag in tags] or [name]
    return "\n".join(f"store:{reference}  {root.digest}" for reference in references)
