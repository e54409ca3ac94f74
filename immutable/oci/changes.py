"""In what one image differs from another, in a few words. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from attrs import fields, frozen

from immutable.oci.digest import Digest
from immutable.oci.documents import Execution, ImageConfig
from immutable.oci.platforms import Platform
from immutable.redact import cut

# As config.md writes them, where that is not the attribute's own name.
_NAMES = {"workdir": "workdir", "exposed_ports": "expose", "stop_signal": "stop-signal"}

Platforms = Mapping[Platform, ImageConfig]


@frozen
class Change:
    """One difference: `what` is ``platforms``, ``layers``, ``config`` or ``created``."""

    what: str
    detail: str

    def __str__(self) -> str:
        return f"{self.what}: {self.detail}" if self.detail else self.what


def changes(before: Platforms, after: Platforms) -> tuple[Change, ...]:
    """Return in what `after` differs from `before`; the same on several platforms is said once.

    Layers are named by the kind that their step of the history gives. Nothing is returned for
    images that differ in how they are written down alone.
    """
    found = [*_platforms(before, after)]
    for platform, config in after.items():
        if platform in before:
            found += _differences(before[platform], config)
    return tuple(dict.fromkeys(found))


def _platforms(before: Platforms, after: Platforms) -> Iterator[Change]:
    added = [f"+{platform}" for platform in after if platform not in before]
    gone = [f"-{platform}" for platform in before if platform not in after]
    if added or gone:
        yield Change("platforms", ", ".join((*added, *gone)))


def _differences(before: ImageConfig, after: ImageConfig) -> Iterator[Change]:
    layers = _layers(before, after)
    if layers:
        yield Change("layers", layers)
    keys = [*_keys(before.execution, after.execution)]
    if keys:
        yield Change("config", ", ".join(keys))
    if before.created != after.created:
        yield Change("created", after.created)


def _layers(before: ImageConfig, after: ImageConfig) -> str:
    """Return how many layers are new, of which kinds, and how many are gone."""
    there, here = Counter(before.diff_ids), Counter(after.diff_ids)
    new = here - there
    gone = sum(there.values()) - sum((there & here).values())
    parts = []
    if new:
        kinds = dict.fromkeys(_kinds(after, new))
        named = f" ({', '.join(kinds)})" if any(kinds) else ""
        parts.append(f"{new.total()} of {len(after.diff_ids)} new{named}")
    if gone > new.total():
        parts.append(f"{gone - new.total()} fewer")
    if not parts and before.diff_ids != after.diff_ids:
        parts.append("another order")
    return ", ".join(parts)


def _kinds(config: ImageConfig, new: Counter[Digest]) -> Iterator[str]:
    steps = [step.created_by for step in config.history if not step.empty_layer]
    if len(steps) == len(config.diff_ids):
        for step, diff_id in zip(steps, config.diff_ids, strict=True):
            if diff_id in new:
                yield cut(step.removeprefix("immutable "), 40)


def _keys(before: Execution, after: Execution) -> Iterator[str]:
    for attribute in fields(Execution):
        old, new = getattr(before, attribute.name), getattr(after, attribute.name)
        if old == new:
            continue
        name = _NAMES.get(attribute.name, attribute.name)
        if attribute.name == "env":
            name += f" ({', '.join(_variables(old, new))})"
        yield name


def _variables(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """Return the names of the variables that differ; never a value, which may be a secret."""
    different = set(before) ^ set(after)
    return sorted({variable.partition("=")[0] for variable in different}) or ["order"]
