"""What there is to say of an image that went from one place to another, as JSON documents.

Functions of values; what they return is plain JSON. Places are references in their whole form,
as ``oci:out:web:1.0``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from immutable.oci.documents import Descriptor
from immutable.store import Generation
from immutable.store.reports import kept_document


def copied_document(source: str, destination: str, root: Descriptor) -> dict[str, Any]:
    """Return the document of a copy.

    It has source, destination, and of the image that is there now, digest and media_type.
    """
    return {"source": source, "destination": destination, **_root(root)}


def pushed_document(source: str, destinations: Sequence[str], root: Descriptor) -> dict[str, Any]:
    """Return the document of a push: source, destinations (a list), digest and media_type."""
    return {"source": source, "destinations": [*destinations], **_root(root)}


def pulled_document(source: str, generation: Generation) -> dict[str, Any]:
    """Return the document of a pull: source, and what `kept_document` says of the image."""
    return {"source": source, **kept_document(generation)}


def _root(root: Descriptor) -> dict[str, Any]:
    return {"digest": str(root.digest), "media_type": root.media_type}
