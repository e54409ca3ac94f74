"""Processes that change a store and may be killed at it, one fork each.

The program reads ``ACT STORE`` lines. For each it forks a process, which stops itself before it
acts, and writes its number; when that has ended it writes how. So whoever watches it can attach
to it first, and count its system calls from the act's own first one.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from immutable.errors import ImmutableError
from immutable.oci.digest import Digest
from immutable.oci.documents import CONFIG, LAYER_GZIP, MANIFEST, Descriptor, ImageConfig, Manifest
from immutable.oci.platforms import Platform
from immutable.spec.derivation import NO_ANSWERS, Realisation
from immutable.store import (
    Chunk,
    Store,
    budget,  # noqa: F401 - a module that is not there yet is opened too
)
from tests.support import specs
from tests.support.archives import gzipped

REFUSED = 3  # the status of a process that ended with one of our errors
CREATED = datetime(2024, 5, 6, tzinfo=UTC)
_SET_PTRACER, _ANY = 0x59616D61, -1


def build(root: Path, text: bytes = b"three") -> str:
    """Build an image of one layer, as a build does; return its digest."""
    with Store.open(root) as store, store.lease():
        tar = text * 40_000
        frame = gzipped(tar)
        with store.ingest() as blob:
            blob.write(frame[:100])
            blob.write(frame[100:])
            digest, size = blob.commit()
        diff_id = Digest.of(tar)
        store.record_chunks("gzip-0", {diff_id: Chunk(digest, 0, size, Digest.of(frame))})
        layer = Descriptor(LAYER_GZIP, digest, size)
        store.record_realisation(Realisation(Digest.of(text), NO_ANSWERS, "gzip-0", diff_id, layer))
        data = ImageConfig(Platform("linux", "amd64"), "1970-01-01T00:00:00Z", (diff_id,)).encode()
        config = Descriptor(CONFIG, store.put_blob(data), len(data))
        data = Manifest(config, (layer,)).encode()
        root_ = Descriptor(MANIFEST, store.put_blob(data), len(data))
        store.commit_generation("web", root_, tags=[text.decode(), "newest"], created=CREATED)
        return str(root_.digest)


def spec(root: Path) -> str:
    """Build a spec of two layers, whose files stand beside the store; return its digest.

    Its threads have system calls of their own, so it is only killed at moments.
    """
    folder = root.parent / "spec"
    if not folder.exists():
        layers = specs.layer("files", "app", source="app", target="/app")
        layers += specs.layer("files", "more", entries=[{"path": "/etc/motd", "text": "hello"}])
        specs.fill(folder / "app", {f"{n}.txt": str(n) * 9000 for n in range(9)})
        specs.write(folder, layers)
    with Store.open(root) as store:
        return str(specs.build(folder / "web.toml", store).digest)


def prune(root: Path) -> None:
    """Forget a generation and sweep."""
    with Store.open(root, reclaim=True) as store:
        if len(store.generations("web")) > 1:
            store.forget("web", [1])
        store.sweep(caches=False)


def rollback(root: Path) -> None:
    """Make the older generation current."""
    with Store.open(root) as store:
        store.set_current("web", 1)


ACTS: dict[str, Callable[[Path], object]] = {
    "build": build,
    "spec": spec,
    "prune": prune,
    "rollback": rollback,
}


def _victim(act: str, root: str) -> int:
    """Stop until somebody watches; then act, and return the status to end with."""
    ctypes.CDLL(None).prctl(_SET_PTRACER, _ANY, 0, 0, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        ACTS[act](Path(root))
    except ImmutableError:
        return REFUSED
    except BaseException:  # noqa: BLE001 - told by the status
        traceback.print_exc()
        return 70
    return 0


def _main() -> None:
    for line in sys.stdin:
        act, root = line.split(maxsplit=1)
        pid = os.fork()
        if not pid:
            os._exit(_victim(act, root.rstrip("\n")))
        os.waitpid(pid, os.WUNTRACED)  # until it has stopped
        print(pid, flush=True)  # noqa: T201
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


if __name__ == "__main__":
    _main()
