"""OCI image-spec 1.1 values: descriptors, manifests, indexes, configs and their exact bytes.

`encode` methods give canonical JSON; `decode` functions read documents that others wrote,
strictly where the standard says MUST and keeping nothing they do not understand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Self, TypeVar

from attrs import evolve, field, frozen

from immutable.errors import ImageError
from immutable.oci import canonical
from immutable.oci.digest import Digest
from immutable.oci.fields import Fields, found
from immutable.oci.platforms import Platform
from immutable.redact import cut

INDEX: Final = "application/vnd.oci.image.index.v1+json"
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"

# What Docker called the same things before OCI took them over, by OCI's name.
_DOCKER: Final = {
    "application/vnd.docker.distribution.manifest.list.v2+json": INDEX,
    "application/vnd.docker.distribution.manifest.v2+json": MANIFEST,
    "application/vnd.docker.container.image.v1+json": CONFIG,
    "application/vnd.docker.image.rootfs.diff.tar": LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER_GZIP,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": LAYER_ZSTD,
}
LAYERS: Final = frozenset({LAYER, LAYER_GZIP, LAYER_ZSTD})

REF_NAME: Final = "org.opencontainers.image.ref.name"
BASE_DIGEST: Final = "org.opencontainers.image.base.digest"
BASE_NAME: Final = "org.opencontainers.image.base.name"

Pairs = tuple[tuple[str, str], ...]
T = TypeVar("T")


def _pairs(value: Mapping[str, str] | Iterable[tuple[str, str]]) -> Pairs:
    items = value.items() if isinstance(value, Mapping) else value
    return tuple(sorted(items))


def family(media_type: str) -> str:
    """Return OCI's name for `media_type`, also where it is Docker's older one."""
    return _DOCKER.get(media_type, media_type)


@frozen
class Descriptor:
    """What is referred to: media type, digest, size in bytes (descriptor.md)."""

    media_type: str
    digest: Digest
    size: int
    annotations: Pairs = field(default=(), converter=_pairs)
    platform: Platform | None = None
    artifact_type: str = ""  # of the manifest that is meant, where that says one

    def plain(self) -> dict[str, Any]:
        """Return the JSON object of this descriptor."""
        result: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.annotations:
            result["annotations"] = dict(self.annotations)
        if self.platform is not None:
            result["platform"] = _plain_platform(self.platform)
        if self.artifact_type:
            result["artifactType"] = self.artifact_type
        return result

    def bare(self) -> Descriptor:
        """Return it without what belongs to the place where it stands: annotations and the like."""
        return Descriptor(self.media_type, self.digest, self.size)

    def annotated(self, **annotations: str) -> Self:
        """Return this descriptor with further annotations."""
        return evolve(self, annotations={**dict(self.annotations), **annotations})


@frozen
class Manifest:
    """An image manifest (manifest.md): one platform's config and layers.

    What is no image, but an artifact, says its `artifact_type`. A manifest that is about another
    one, such as a signature, names it as its `subject`.
    """

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Pairs = field(default=(), converter=_pairs)
    media_type: str = MANIFEST
    subject: Descriptor | None = None
    artifact_type: str = ""

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """The manifests that it lists: none."""
        return ()

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The config and the layers."""
        return (self.config, *self.layers)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": self.config.plain(),
            "layers": [layer.plain() for layer in self.layers],
        }
        return canonical.encode(document | _plain_common(self))


@frozen
class Index:
    """An image index (image-index.md): one manifest for each platform, or a layout's names.

    `subject` and `artifact_type` are as a manifest's.
    """

    manifests: tuple[Descriptor, ...]
    annotations: Pairs = field(default=(), converter=_pairs)
    media_type: str = INDEX
    subject: Descriptor | None = None
    artifact_type: str = ""

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """The manifests that it lists, and whatever else."""
        return self.manifests

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The config and the layers: none."""
        return ()

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "manifests": [manifest.plain() for manifest in self.manifests],
        }
        return canonical.encode(document | _plain_common(self))


def _plain_common(document: Manifest | Index) -> dict[str, Any]:
    """Return the JSON members that manifest and index have in common, without what is empty."""
    result: dict[str, Any] = {
        "annotations": dict(document.annotations),
        "subject": document.subject and document.subject.plain(),
        "artifactType": document.artifact_type,
    }
    return {key: value for key, value in result.items() if value}


@frozen
class Healthcheck:
    """How an engine asks whether a container works; times in nanoseconds, 0 for the default.

    Not in OCI's config.md; engines read it as Docker's image spec v1.2 has it.
    """

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    retries: int = 0
    start_interval: int = 0

    def plain(self) -> dict[str, Any]:
        """Return the JSON object, without what is at its default."""
        result = {
            "Test": list(self.test),
            "Interval": self.interval,
            "Timeout": self.timeout,
            "StartPeriod": self.start_period,
            "Retries": self.retries,
            "StartInterval": self.start_interval,
        }
        return {key: value for key, value in result.items() if value}


@frozen
class Execution:
    """How a container is run: the ``config`` object of config.md."""

    user: str = ""
    workdir: str = ""
    env: tuple[str, ...] = ()  # NAME=value
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()  # port/protocol
    volumes: tuple[str, ...] = ()
    labels: Pairs = field(default=(), converter=_pairs)
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    # Not in config.md, but in Docker's images, and read by engines:
    shell: tuple[str, ...] = ()  # what runs a command that is written as one string
    stop_timeout: int | None = None  # seconds
    on_build: tuple[str, ...] = ()  # what a Dockerfile that builds upon it is to do first

    def plain(self) -> dict[str, Any]:
        """Return the JSON object, without what is empty."""
        result: dict[str, Any] = {
            "User": self.user,
            "ExposedPorts": {port: {} for port in self.exposed_ports},
            "Env": list(self.env),
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.cmd),
            "Volumes": {path: {} for path in self.volumes},
            "WorkingDir": self.workdir,
            "Labels": dict(self.labels),
            "StopSignal": self.stop_signal,
            "Healthcheck": self.healthcheck.plain() if self.healthcheck else None,
            "Shell": list(self.shell),
            "OnBuild": list(self.on_build),
        }
        result = {key: value for key, value in result.items() if value}
        if self.stop_timeout is not None:
            result["StopTimeout"] = self.stop_timeout
        return result


@frozen
class History:
    """One step of how an image was made (config.md, "history")."""

    created: str
    created_by: str
    empty_layer: bool = False
    author: str = ""
    comment: str = ""

    def plain(self) -> dict[str, Any]:
        """Return the JSON object."""
        result: dict[str, Any] = {"created": self.created, "created_by": self.created_by}
        if self.empty_layer:
            result["empty_layer"] = True
        result |= {"author": self.author} if self.author else {}
        return result | ({"comment": self.comment} if self.comment else {})


@frozen
class ImageConfig:
    """An image config (config.md): platform, how to run it, the diffIDs of its layers."""

    platform: Platform
    created: str  # RFC 3339
    diff_ids: tuple[Digest, ...]
    execution: Execution = Execution()
    history: tuple[History, ...] = ()
    author: str = ""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return canonical.encode(
            {
                "created": self.created,
                **_plain_platform(self.platform),
                "config": self.execution.plain(),
                "rootfs": {"type": "layers", "diff_ids": [str(d) for d in self.diff_ids]},
                "history": [step.plain() for step in self.history],
                **({"author": self.author} if self.author else {}),
            }
        )


def _plain_platform(platform: Platform) -> dict[str, str]:
    result = {"os": platform.os, "architecture": platform.architecture}
    if platform.variant:
        result["variant"] = platform.variant
    return result


def is_index(data: bytes, where: str) -> bool:
    """Tell whether the JSON document in `data` is an index and no manifest."""
    return "manifests" in _Document.read(data, where).value


def decode_index(data: bytes, where: str) -> Index:
    """Return the index in `data`; `where` names it in the ImageError for what does not hold."""
    document = _Document.read(data, where)
    document.expect_version()
    document.refuse("layers", "config")
    manifests = tuple(item.descriptor() for item in document.objects("manifests"))
    return Index(
        manifests,
        document.strings("annotations"),
        document.own_type(INDEX),
        document.subject(),
        document.artifact_type(),
    )


def decode_manifest(data: bytes, where: str) -> Manifest:
    """Return the manifest in `data`; `where` names it in the ImageError for what does not hold."""
    document = _Document.read(data, where)
    document.expect_version()
    document.refuse("manifests")
    return Manifest(
        document.object("config").descriptor(),
        tuple(item.descriptor() for item in document.objects("layers")),
        document.strings("annotations"),
        document.own_type(MANIFEST),
        document.subject(),
        document.artifact_type(),
    )


def decode_document(data: bytes, media_type: str, where: str) -> Manifest | Index:
    """Return the manifest or index in `data`, whichever `media_type` says; raise ImageError."""
    decode = decode_index if family(media_type) == INDEX else decode_manifest
    return decode(data, where)


def decode_config(data: bytes, where: str) -> ImageConfig:
    """Return the config in `data`; `where` names it in the ImageError for what does not hold."""
    document = _Document.read(data, where)
    rootfs = document.object("rootfs")
    if rootfs.text("type", "layers") != "layers":
        raise rootfs.error("type", f"expected layers, found {found(rootfs.value['type'])}")
    return ImageConfig(
        platform=document.platform(),
        created=document.text("created", "1970-01-01T00:00:00Z"),
        diff_ids=tuple(rootfs.digests("diff_ids")),
        execution=_execution(document.object("config", optional=True)),
        history=tuple(
            History(
                step.text("created", "1970-01-01T00:00:00Z"),
                step.text("created_by", ""),
                step.flag("empty_layer"),
                step.text("author", ""),
                step.text("comment", ""),
            )
            for step in document.objects("history", optional=True)
        ),
        author=document.text("author", ""),
    )


def _execution(document: _Document) -> Execution:
    return Execution(
        user=document.text("User", ""),
        workdir=document.text("WorkingDir", ""),
        env=document.texts("Env"),
        entrypoint=document.texts("Entrypoint"),
        cmd=document.texts("Cmd"),
        exposed_ports=document.keys("ExposedPorts"),
        volumes=document.keys("Volumes"),
        labels=document.strings("Labels"),
        stop_signal=document.text("StopSignal", ""),
        healthcheck=_healthcheck(document.object("Healthcheck", optional=True)),
        shell=document.texts("Shell"),
        stop_timeout=document.integer("StopTimeout") if document.has("StopTimeout") else None,
        on_build=document.texts("OnBuild"),
    )


def _healthcheck(document: _Document) -> Healthcheck | None:
    test = document.texts("Test")
    if not test:
        return None
    return Healthcheck(
        test,
        document.integer("Interval", 0),
        document.integer("Timeout", 0),
        document.integer("StartPeriod", 0),
        document.integer("Retries", 0),
        document.integer("StartInterval", 0),
    )


class _Document(Fields):
    """A manifest, an index, a config or a part of one."""

    def expect_version(self) -> None:
        version = self.value.get("schemaVersion")
        if type(version) is not int or version != 2:
            raise self.error("schemaVersion", f"expected 2, found {found(version)}")

    def own_type(self, expected: str) -> str:
        media_type = self.text("mediaType", expected)
        if family(media_type) != expected:
            raise self.error("mediaType", f"expected {expected}, found {cut(media_type, 80)}")
        return media_type

    def refuse(self, *keys: str) -> None:
        # CVE-2021-41190: a document that is both an index and a manifest means what its
        # reader likes.
        for key in keys:
            if key in self.value:
                raise self.error(key, "has no place beside its other fields")

    def platform(self) -> Platform:
        parts = [self.text("os"), self.text("architecture"), self.text("variant", "")]
        return self.checked("platform", Platform.parse, "/".join(filter(None, parts)))

    def descriptor(self) -> Descriptor:
        platform = self.object("platform", optional=True)
        return Descriptor(
            self.text("mediaType"),
            self.checked("digest", Digest.parse, self.text("digest")),
            self.integer("size"),
            self.strings("annotations"),
            platform.known_platform() if platform.value else None,
            self.artifact_type(),
        )

    def subject(self) -> Descriptor | None:
        """Return what the document is about; None where it says nothing that can be understood."""
        try:
            return self.object("subject").descriptor()
        except ImageError:
            return None

    def artifact_type(self) -> str:
        found = self.value.get("artifactType")
        return found if isinstance(found, str) else ""

    def known_platform(self) -> Platform | None:
        """Return the platform, or None for one we never build (attestations say unknown)."""
        parts = [self.text("os"), self.text("architecture"), self.text("variant", "")]
        try:
            return Platform.parse("/".join(filter(None, parts)))
        except ValueError:
            return None
