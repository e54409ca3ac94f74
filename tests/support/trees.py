"""Layers put on disk, as another program's view of them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from immutable.content import tar
from immutable.content.compression import CHUNK, cut
from immutable.content.entries import Arrangement


def unpack(arrangement: Arrangement, folder: Path) -> None:
    """Write the layer's tar and have the standard library unpack it."""
    data = b"".join(tar.chunks(arrangement, cut, CHUNK))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        if hasattr(tarfile, "fully_trusted_filter"):
            archive.extractall(folder, filter="fully_trusted")
        else:  # Python 3.11 before 3.11.4, which is Debian 12's
            archive.extractall(folder)
