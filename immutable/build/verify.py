"""The verb `verify`: build again with nothing cached, and compare every digest."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from immutable.build.build import build
from immutable.build.loading import spec_of
from immutable.build.results import BuiltPlatform, Image
from immutable.config import Config
from immutable.findings import Finding, Severity
from immutable.progress import SILENT, Progress
from immutable.spec.document import Spec
from immutable.store import AbstractStore, Store


@frozen
class Difference:
    """One digest that came out otherwise the second time."""

    place: str
    expected: str
    actual: str

    @property
    def finding(self) -> Finding:
        """The difference as a finding; its code is ``verify``."""
        words = f"expected {self.expected}, found {self.actual}"
        return Finding("verify", Severity.ERROR, self.place, words)

    def __str__(self) -> str:
        return str(self.finding)


def verified_document(image: Image, found: Sequence[Difference]) -> dict[str, Any]:
    """Return the JSON document of what `verify` returned: an image, and how it came out otherwise.

    It has name, digest, reproducible (whether nothing differs) and differences: of each, place,
    expected (the digest of the first build) and actual (that of the second).
    """
    return {
        "name": image.name,
        "digest": str(image.digest),
        "reproducible": not found,
        "differences": [
            {"place": one.place, "expected": one.expected, "actual": one.actual} for one in found
        ],
    }


def verify(
    spec: Spec | str | Path,
    store: AbstractStore,
    *,
    folder: str | Path | None = None,
    config: Config | None = None,
    progress: Progress = SILENT,
) -> tuple[Image, tuple[Difference, ...]]:
    """Build `spec` in `store`, then again in an empty scratch store, and compare.

    Returns the image and every difference, in the order of the image's parts; none when the
    image is reproducible. Pinned sources that `store` holds are not fetched again: they are
    checked against the lock as they are copied. `folder` is as for `build`.
    """
    config = config or Config.load()
    spec = spec_of(spec, folder)
    image = build(spec, store, config=config, progress=progress)
    with (
        tempfile.TemporaryDirectory(prefix="immutable-verify-") as empty,
        Store.open(Path(empty, "store")) as scratch,
    ):
        again = build(spec, scratch, config=config, sources=store, progress=progress)
        return image, differences(image, again)


def differences(one: Image, other: Image) -> tuple[Difference, ...]:
    """Return every digest in which two builds of one spec differ."""
    pairs = zip(one.platforms, other.platforms, strict=True)
    places = [item for pair in pairs for item in _places(*pair)]
    places.append(("image", str(one.digest), str(other.digest)))
    return tuple(
        Difference(place, expected, actual)
        for place, expected, actual in places
        if expected != actual
    )


def _places(one: BuiltPlatform, other: BuiltPlatform) -> list[tuple[str, str, str]]:
    where = str(one.platform)
    rows = [(f"{where}: number of layers", str(len(one.layers)), str(len(other.layers)))]
    # A base spec can have been edited between the two builds.
    for a, b in zip(one.layers, other.layers, strict=False):
        layer = f'{where}: layer "{a.name}"'
        rows += [
            (f"{layer}: derivation", str(a.derivation), str(b.derivation)),
            (f"{layer}: diffID", str(a.diff_id), str(b.diff_id)),
            (f"{layer}: blob", str(a.blob.digest), str(b.blob.digest)),
        ]
    rows.append(
        (f"{where}: config", str(one.manifest.config.digest), str(other.manifest.config.digest))
    )
    rows.append(
        (f"{where}: manifest", str(one.image.descriptor.digest), str(other.image.descriptor.digest))
    )
    return rows
