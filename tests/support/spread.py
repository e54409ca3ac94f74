"""Layers that are spread over several: what they are made from, and what they add up to."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from immutable.build.contents import LayerContents
from immutable.build.results import Image
from immutable.content.contents import Inode
from immutable.store import AbstractStore
from tests.support.specs import contents

MOST = 4
TOPS = (*"abcdefghi", "aa", "u")  # some for each of four parts, and of five

BASE: list[dict[str, Any]] = [
    {"path": "/usr/lib/x", "text": "x"},
    {"path": "/lib", "link": "usr/lib"},
    {"path": "/srv", "directory": True, "mode": "0711", "owner": "7:8"},
    {"path": "/srv/app/a", "directory": True, "mode": "0700", "owner": "9:9"},
    {"path": "/srv/app/b/one", "text": "there before"},
    {"path": "/srv/app/old", "text": "old"},
    {"path": "/srv/app/to-c", "link": "c"},
]

FOLDERS = st.lists(st.sampled_from(["a", "b", "c", "lib", "usr"]), max_size=3)
ANY = st.tuples(FOLDERS, st.sampled_from("xyz")).map(lambda told: "/".join([*told[0], told[1]]))


def shown(store: AbstractStore, image: Image) -> list[tuple[bytes, Inode]]:
    """What the layers add up to."""
    stored = LayerContents(store).rootfs([one.blob for one in image.layers])
    return [(found.path, found.inode) for found in stored.rootfs]


def names(store: AbstractStore, image: Image, top: str) -> list[list[str]]:
    """What each layer has in the directory `top`; directories it would take from none are left."""
    return [
        sorted(path.removeprefix(top) for path in contents(store, one) if path.startswith(top))
        for one in image.layers
    ]
