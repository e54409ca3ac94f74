"""The store: blobs by digest, what is known about them, and images by name."""

from immutable.store.base import (
    AbstractStore,
    Chunk,
    Generation,
    Signature,
    Stats,
    StoreInfo,
    Swept,
)
from immutable.store.disk import Store
from immutable.store.layout import Layout
from immutable.store.memory import MemoryStore
from immutable.store.streams import Ingest

__all__ = [
    "AbstractStore",
    "Chunk",
    "Generation",
    "Ingest",
    "Layout",
    "MemoryStore",
    "Signature",
    "Stats",
    "Store",
    "StoreInfo",
    "Swept",
]
