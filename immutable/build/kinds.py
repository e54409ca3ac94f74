"""What the verbs ask of a derivation's kind: its builder, its encoder, where it looks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from immutable.build.plan import Draft, Plan
from immutable.builders.base import Builder, Foundation, Scope
from immutable.builders.registry import builders
from immutable.config import Config
from immutable.content.compression import Encoder, encoder
from immutable.oci.platforms import Platform
from immutable.progress import Progress
from immutable.spec.derivation import AS_IS, Job
from immutable.store import AbstractStore


def builder_of(job: Job) -> Builder:
    """Return what makes the derivation's layer."""
    return builders()[job.kind]


def encoder_of(job: Job, compression: str) -> Encoder | None:
    """Return the derivation's encoder; None for layers that are taken as they are."""
    if builder_of(job).as_is:
        return None
    return encoder(job.compression or compression)


def key_of(chosen: Encoder | None) -> str:
    """Return what stands for the encoder in a realisation's record."""
    return AS_IS if chosen is None else chosen.key


def scope_of(
    planned: Plan | Draft, config: Config, store: AbstractStore, progress: Progress
) -> Scope:
    """Return where the layers of a spec that is planned already find what they take."""
    folder = Path(planned.spec.where).parent
    return Scope(folder, planned.platforms, config, store, progress, _no_foundation)


def _no_foundation(path: Path) -> Mapping[Platform, Foundation]:
    raise AssertionError(f"{path}: planned already")
