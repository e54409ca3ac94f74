"""A Docker engine, as far as images go; every failure is a TransportError."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, Self

import docker
import docker.errors
import requests
from attrs import frozen

from immutable.errors import TransportError
from immutable.oci.digest import Digest
from immutable.oci.platforms import Platform
from immutable.reference.docker import DockerName

# Seconds that an engine may be silent; while it unpacks a large layer it is.
_PATIENCE: Final = 600
_MAX_IMAGES: Final = 500  # to look through for layers
_CONTAINERD: Final = "io.containerd.snapshotter"
_FRACTION: Final = re.compile(r"(\.[0-9]{6})[0-9]+")

_FAILURES: Final = (docker.errors.DockerException, requests.RequestException, OSError)


@contextmanager
def connected(where: str, host: str | None = None) -> Iterator[Engine]:
    """Give the engine at `host`, or the one that Docker's own settings point to.

    `where` is what the caller wants of it, for messages. Raises TransportError if no engine
    answers.
    """
    try:
        if host is None:
            client = docker.from_env(timeout=_PATIENCE)
        else:
            client = docker.DockerClient(base_url=host, timeout=_PATIENCE)
    except _FAILURES as error:
        raise TransportError(
            f"{where}: no Docker engine answers: {_reason(error)}; start one, or set DOCKER_HOST "
            "to where it listens (unix:///var/run/docker.sock)"
        ) from error
    try:
        yield Engine(where, client.api)
    finally:
        client.close()


@frozen
class EngineImage:
    """An image of an engine: its ID, its names, its size in bytes with what others share.

    `steps` are what made it, the last first; `tagged` is when a name was last given here.
    """

    digest: Digest
    names: tuple[str, ...]
    steps: tuple[str, ...]
    size: int
    tagged: datetime | None

    @classmethod
    def of(cls, found: Mapping[str, Any], steps: Iterable[str]) -> Self:
        """Return the image that the engine describes."""
        return cls(
            Digest.parse(found["Id"]),
            tuple(name for name in found.get("RepoTags") or () if not name.startswith("<none>")),
            tuple(steps),
            found.get("Size", 0),
            _time((found.get("Metadata") or {}).get("LastTagTime", "")),
        )


@frozen
class Engine:
    """An engine that answers."""

    where: str
    api: Any

    def platform(self) -> Platform:
        """Return what the engine runs."""
        with self._told():
            version = self.api.version()
        text = f"{version.get('Os')}/{version.get('Arch')}"
        try:
            return Platform.parse(text)
        except ValueError as error:
            raise TransportError(f"{self.where}: the engine's platform: {error}") from None

    def saved(self, name: DockerName) -> Iterator[bytes]:
        """Yield the image called `name` as a docker archive."""
        with self._told():
            try:
                yield from self.api.get_image(str(name))
            except docker.errors.NotFound:
                raise TransportError(
                    f"{self.where}: the engine has no such image; `docker images` lists its own"
                ) from None

    def tag(self, image: Digest, name: DockerName) -> bool:
        """Call the image with the ID `image` `name`, if the engine has it; say whether."""
        with self._told():
            try:
                self.api.tag(str(image), name.repository, name.tag)
            except docker.errors.NotFound:
                return False
        return True

    def known_layers(self, diff_ids: Sequence[Digest]) -> int:
        """Return how many of the lowest layers some image of the engine has the same.

        0 for engines that keep images in containerd: these take none that is not whole.
        """
        wanted = [str(diff_id) for diff_id in diff_ids]
        most = 0
        with self._told():
            if self._in_containerd():
                return 0
            for item in self.api.images()[:_MAX_IMAGES]:
                try:
                    known = self.api.inspect_image(item["Id"])["RootFS"].get("Layers") or []
                except docker.errors.NotFound:
                    continue  # gone since it was listed
                most = max(most, _common(known, wanted))
        return most

    def load(self, archive: Iterable[bytes]) -> None:
        """Load a docker archive; raise TransportError with what the engine says against it."""
        with self._told():
            for message in self.api.load_image(archive):
                fault = message.get("error") or message.get("message")
                if fault:
                    raise TransportError(f"{self.where}: the engine refused the image: {fault}")

    def expect(self, name: DockerName, image: Digest, diff_ids: Sequence[Digest]) -> None:
        """Raise TransportError unless `name` now means the image with the ID `image`."""
        with self._told():
            found = self.api.inspect_image(str(name))
            if found["Id"] == str(image):
                return
            layers = found["RootFS"].get("Layers") or []
            # In containerd an ID is that of a manifest, which the engine makes by itself.
            if self._in_containerd() and layers == [str(diff_id) for diff_id in diff_ids]:
                return
        raise TransportError(f"{self.where}: expected the image ID {image}, found {found['Id']}")

    def images(self) -> Iterator[EngineImage]:
        """Yield every image that the engine has."""
        with self._told():
            for digest in dict.fromkeys(item["Id"] for item in self.api.images()):
                try:
                    found = self.api.inspect_image(digest)
                    steps = [step.get("CreatedBy", "") for step in self.api.history(digest)]
                except docker.errors.NotFound:
                    continue  # gone since it was listed
                yield EngineImage.of(found, steps)

    def used_images(self) -> frozenset[Digest]:
        """Return the images of all containers, running or not."""
        with self._told():
            return frozenset(
                Digest.parse(item["ImageID"]) for item in self.api.containers(all=True)
            )

    def own_sizes(self) -> dict[Digest, int]:
        """Return how many bytes each image shares with no other."""
        with self._told():
            return {
                Digest.parse(item["Id"]): item["Size"] - max(0, item.get("SharedSize", 0))
                for item in self.api.df().get("Images") or ()
            }

    def remove(self, image: Digest, names: Sequence[str]) -> bool:
        """Take `names` away from an image that means it, or the nameless image itself.

        Returns False for an image that something uses, which keeps at least its last name.
        """
        with self._told():
            try:
                for name in names or [str(image)]:
                    if self._means(name, image):
                        self.api.remove_image(name)
            except docker.errors.APIError as error:
                if error.status_code == 409:
                    return False
                raise
        return True

    def _means(self, name: str, image: Digest) -> bool:
        try:
            return bool(self.api.inspect_image(name)["Id"] == str(image))
        except docker.errors.NotFound:
            return False

    def _in_containerd(self) -> bool:
        status = self.api.info().get("DriverStatus") or []
        return any(str(value).startswith(_CONTAINERD) for _, value in status)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            raise TransportError(f"{self.where}: the Docker engine: {_reason(error)}") from error


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return how many items both begin with."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _time(text: str) -> datetime | None:
    """Return a time as engines write it, with nanoseconds; None for none."""
    try:
        found = datetime.fromisoformat(_FRACTION.sub(r"\1", text))
    except ValueError:
        return None
    return found if found.tzinfo else None


def _reason(error: Exception) -> str:
    explanation = getattr(error, "explanation", None)  # of docker's APIError
    return str(explanation or error or type(error).__name__)
