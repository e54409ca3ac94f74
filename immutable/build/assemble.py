"""Layers and a config to the exact bytes of a manifest, config and index. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from attrs import evolve, frozen

from immutable.builders.base import BaseImage
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor, Execution, History, ImageConfig, Index, Manifest
from immutable.oci.platforms import Platform
from immutable.spec.derivation import Derivation, Realisation
from immutable.spec.document import Config, Spec

# What engines take when an image names none; some of them only when asked by name.
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@frozen
class PlatformImage:
    """One platform's image: the values, and the descriptors of their exact bytes."""

    platform: Platform
    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig

    def documents(self) -> tuple[bytes, bytes]:
        """Return the bytes of the config and of the manifest."""
        return self.config.encode(), self.manifest.encode()


@cache
def no_entries() -> Digest:
    """Return the diffID of a layer that has none."""
    from immutable.content import tar
    from immutable.content.compression import CHUNK, cut
    from immutable.content.entries import Arrangement

    return Digest.of(b"".join(tar.chunks(Arrangement((), ()), cut, CHUNK)))


def assemble(
    spec: Spec,
    platform: Platform,
    created: str,
    layers: Sequence[tuple[Derivation, Realisation]],
    base: BaseImage | None,
) -> PlatformImage:
    """Return the image that `layers`, bottom first, and the spec's config make.

    `created` is RFC 3339. With a `base`, its config is extended as a Dockerfile's FROM does,
    and its history stands for its layers.
    """
    config = ImageConfig(
        platform,
        created,
        tuple(realisation.diff_id for _, realisation in layers),
        _execution(spec.config, base.config.execution if base else Execution(env=(_PATH,))),
        _history(created, layers, base),
        author=base.config.author if base else "",
    )
    data = config.encode()
    annotations = dict(spec.image.annotations)
    if base is not None:
        annotations = {
            oci.BASE_NAME: base.name, oci.BASE_DIGEST: str(base.digest), **annotations
        }  # fmt: skip
    manifest = Manifest(
        Descriptor(oci.CONFIG, Digest.of(data), len(data)),
        tuple(realisation.blob for _, realisation in layers),
        annotations,
    )
    data = manifest.encode()
    descriptor = Descriptor(oci.MANIFEST, Digest.of(data), len(data), platform=platform)
    return PlatformImage(platform, descriptor, manifest, config)


def index(spec: Spec, images: Sequence[PlatformImage]) -> Index:
    """Return the index over `images`, in the order given."""
    return Index(tuple(image.descriptor for image in images), spec.image.annotations)


def _execution(config: Config, lower: Execution) -> Execution:
    env = {variable.partition("=")[0]: variable for variable in lower.env}
    env.update({name: f"{name}={value}" for name, value in config.env})
    entrypoint = lower.entrypoint if config.entrypoint is None else config.entrypoint
    cmd = config.cmd
    if cmd is None:
        # As in a Dockerfile: a new entrypoint does not want the old one's arguments.
        cmd = lower.cmd if config.entrypoint is None else ()
    return evolve(
        lower,
        user=lower.user if config.user is None else config.user,
        workdir=lower.workdir if config.workdir is None else config.workdir,
        env=tuple(env.values()),
        entrypoint=entrypoint,
        cmd=cmd,
        exposed_ports=tuple(sorted({*lower.exposed_ports, *config.expose})),
        volumes=tuple(sorted({*lower.volumes, *config.volumes})),
        labels={**dict(lower.labels), **dict(config.labels)},
        stop_signal=lower.stop_signal if config.stop_signal is None else config.stop_signal,
        healthcheck=_healthcheck(config) or lower.healthcheck,
    )


def _healthcheck(config: Config) -> oci.Healthcheck | None:
    given = config.healthcheck
    if given is None:
        return None
    if given.none:
        return oci.Healthcheck(("NONE",))
    return oci.Healthcheck(
        ("CMD-SHELL", given.shell) if given.shell else ("CMD", *given.cmd),
        given.interval,
        given.timeout,
        given.start_period,
        given.retries,
        given.start_interval,
    )


def _history(
    created: str, layers: Sequence[tuple[Derivation, Realisation]], base: BaseImage | None
) -> tuple[History, ...]:
    """One step a layer, as config.md has it; the base's own steps where they add up."""
    known = base.config.history if base else ()
    covered = sum(not step.empty_layer for step in known)
    if base and covered != len(base.config.diff_ids):
        known, covered = (), 0
    # Not the derivation's digest: how a derivation is written down may change between versions
    # of immutable, and must not change the digest of an image whose bytes are the same.
    own = (History(created, f"immutable {derivation.kind}") for derivation, _ in layers[covered:])
    return (*known, *own)
