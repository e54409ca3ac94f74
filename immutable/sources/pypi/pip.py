"""Wheels through this machine's pip, so that its index, credentials and proxies count.

pip is told exactly which wheel to fetch, for an image's Python and never its own, and to build
nothing. What it brings is hashed again on its way into the store.
"""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from immutable.errors import DigestMismatch, FetchError, SourceError
from immutable.net.wanted import Wanted
from immutable.oci.digest import Digest
from immutable.progress import Progress
from immutable.redact import redact
from immutable.sources.pypi.environment import Environment

if TYPE_CHECKING:
    from immutable.store.base import AbstractStore

_AT_ONCE: Final = 4  # pips; each takes half a second of work to start
_LEAST, _MOST = 4, 12  # packages for one pip
_PIECE: Final = 1 << 20
_LAST: Final = 6  # lines of what a failing pip said


@frozen
class Asked:
    """One wheel to fetch: a package's name and version, and the hashes one of which it has.

    `size` is in bytes, where it is known.
    """

    name: str
    version: str
    hashes: tuple[str, ...]
    size: int | None = None

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"{self.name} {self.version}"


@frozen
class Fetched:
    """A wheel that is in the store: what was asked, its file name, digest and size."""

    asked: Asked
    file: str
    digest: Digest
    size: int


@frozen
class Pip:
    """Fetches pinned wheels for one environment; see `immutable.net.wanted`.

    `packages` are the name and version of each digest. `python` is the interpreter that has pip.
    """

    environment: Environment
    packages: Mapping[Digest, tuple[str, str]]
    python: str = field(factory=lambda: sys.executable)

    def bring(self, wanted: Sequence[Wanted], store: AbstractStore, progress: Progress) -> None:
        """Bring what is wanted into `store`."""
        asked = [
            Asked(*self.packages[one.digest], hashes=(str(one.digest),), size=one.size)
            for one in wanted
            if not store.has_blob(one.digest)
        ]
        download(asked, self.environment, store, progress, python=self.python)


def download(
    asked: Sequence[Asked],
    environment: Environment,
    store: AbstractStore,
    progress: Progress,
    *,
    python: str | None = None,
) -> list[Fetched]:
    """Bring the wheels that are asked for into `store`; say, in any order, what came.

    Several pips run at a time, each with several packages. Raises FetchError with the last that
    pip said, its URLs without credentials, and SourceError where there is no pip. What was
    complete stays in the store.
    """
    if not asked:
        return []
    # A share for each of those at once, as long as that is worth a pip, but no endless one.
    count = min(max(-(-len(asked) // _AT_ONCE), _LEAST), _MOST)
    batches = [asked[at : at + count] for at in range(0, len(asked), count)]
    label = f"fetching {asked[0].label if len(asked) == 1 else f'{len(asked)} wheels'}"
    pips = _Pips(python or sys.executable)
    fetched: list[Fetched] = []
    with progress.task(label, len(asked), unit="wheels") as advance:

        def work(batch: Sequence[Asked]) -> list[Fetched]:
            with tempfile.TemporaryDirectory(prefix="immutable-") as folder:
                pips.run(batch, environment, Path(folder))
                return [_taken(one, file, store, advance) for one, file in _matched(batch, folder)]

        with ThreadPoolExecutor(min(len(batches), _AT_ONCE), "pip") as pool:
            try:
                for done in as_completed([pool.submit(work, batch) for batch in batches]):
                    fetched += done.result()
            except BaseException:
                pips.halt()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    return fetched


class _Pips:
    """The pips that run, which end together."""

    def __init__(self, python: str) -> None:
        self._python = python
        self._lock = threading.Lock()
        self._live: set[subprocess.Popen[bytes]] = set()
        self._halted = False

    def run(self, batch: Sequence[Asked], environment: Environment, folder: Path) -> None:
        """Have a pip download `batch` into ``folder/wheels``."""
        requirements = folder / "requirements.txt"
        requirements.write_text("".join(map(_requirement, batch)))
        command = [self._python, *_arguments(environment, requirements, folder / "wheels")]
        try:
            with self._lock:
                if self._halted:
                    raise SourceError("given up")
                process = subprocess.Popen(  # noqa: S603 - our words and a file of ours
                    command,
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                )
                self._live.add(process)
        except OSError as error:
            raise SourceError(f"{self._python}: cannot be run: {error.strerror}") from None
        with process:
            _, said = process.communicate()
        with self._lock:
            self._live.discard(process)
        if process.returncode:
            raise _failure(batch, said.decode("utf-8", "replace"), folder, self._python)

    def halt(self) -> None:
        """End those that run, and start no more."""
        with self._lock:
            self._halted = True
            for process in self._live:
                with contextlib.suppress(OSError):
                    process.terminate()


def _arguments(environment: Environment, requirements: Path, out: Path) -> list[str]:
    """Return pip's; the tags in the order of their worth, as pip prefers those that come first."""
    return [
        *("-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"),
        *("--no-deps", "--require-hashes", "--only-binary=:all:", "--progress-bar=off"),
        *("--python-version", environment.full, "--implementation", "cp"),
        *("--abi", environment.interpreter),
        *(word for tag in environment.platform_tags() for word in ("--platform", tag)),
        *("--dest", str(out), "--requirement", str(requirements)),
    ]


def _requirement(asked: Asked) -> str:
    hashes = "".join(f" --hash={one}" for one in asked.hashes)
    return f"{asked.name}=={asked.version}{hashes}\n"


def _failure(batch: Sequence[Asked], said: str, folder: Path, python: str) -> SourceError:
    if "No module named pip" in said:
        return SourceError(
            f"{python} has no pip, and wheels are fetched through it; `{python} -m ensurepip` "
            "brings it"
        )
    lines = [redact(line.strip()) for line in said.replace(f"{folder}/", "").splitlines()]
    lines = [line for line in lines if line] or ["it said nothing"]
    names = ", ".join(one.label for one in batch[:_LAST]) + (", …" if len(batch) > _LAST else "")
    return FetchError(
        "\n  ".join([f"pip cannot fetch what is to come of {names}:", *lines[-_LAST:]])
    )


def _matched(batch: Sequence[Asked], folder: str) -> Iterable[tuple[Asked, Path]]:
    """Return what was asked with the file that came for it."""
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename
    from packaging.version import Version

    out = Path(folder, "wheels")
    files: dict[tuple[str, Version], Path] = {}
    for path in out.iterdir() if out.is_dir() else ():
        with contextlib.suppress(InvalidWheelFilename):
            name, version, _, _ = parse_wheel_filename(path.name)
            files[name, version] = path
    for one in batch:
        found = files.get((one.name, Version(one.version)))
        if found is None:
            raise FetchError(f"{one.label}: pip brought no wheel of it")
        yield one, found


def _taken(
    asked: Asked, path: Path, store: AbstractStore, advance: Callable[[int], None]
) -> Fetched:
    """Move the wheel at `path` into `store`, checked against every hash that is asked for."""
    algorithms = {one.partition(":")[0] for one in asked.hashes}
    hashers = [hashlib.new(algorithm) for algorithm in sorted(algorithms)]
    own = hashlib.sha256()
    with path.open("rb") as file, store.ingest() as blob:
        while piece := file.read(_PIECE):
            for hasher in (own, *hashers):
                hasher.update(piece)
            blob.write(piece)
        if not {f"{one.name}:{one.hexdigest()}" for one in hashers} & {*asked.hashes}:
            raise _mismatch(asked, Digest(own.hexdigest()))
        if asked.size not in (None, path.stat().st_size):
            raise FetchError(
                f"{asked.label}: expected {asked.size} bytes, found {path.stat().st_size} with the "
                "right hash; the file that it was locked from gives a wrong size"
            )
        digest, size = blob.commit(name=path.name)
    store.record_sources((digest,))
    advance(1)
    return Fetched(asked, path.name, digest, size)


def _mismatch(asked: Asked, actual: Digest) -> Exception:
    (only, *others) = asked.hashes
    if not others and only.startswith("sha256:"):
        return DigestMismatch(asked.label, expected=Digest.parse(only), actual=actual)
    return FetchError(f"{asked.label}: none of the hashes that it may have; found {actual}")
