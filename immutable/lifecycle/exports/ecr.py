"""Amazon ECR: the lifecycle policy of one repository.

Its rules expire what they select. An image that a rule's tag patterns match is no later rule's
business, whether it expires or not, so a count that is never reached keeps tags. Counts and ages
are of pushes. ECR counts every tagged manifest, so a count allows for what is tagged beside an
image; untagged ones, the children of indexes among them, are never counted here.

https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from immutable.content.globs import compile_globs
from immutable.lifecycle.exports.common import (
    Export,
    Keeps,
    Wish,
    budget,
    days,
    glob_of,
    rounded,
    tokens,
)
from immutable.lifecycle.retention.policy import Policy
from immutable.lifecycle.retention.tags import Selector

# More than a repository may have.
_NEVER: Final = 1_000_000
_EVERY: Final = "*"
_MAX_WILDCARDS: Final = 4  # in one pattern
_MAX_RULES: Final = 50
_COMPANIONS: Final = "sha256-*"  # signatures and the like: they go with their subject


def export(policy: Policy, repository: str, *, places: int = 4) -> Export:
    """Return the lifecycle policy of `repository`, and what of it ECR cannot be told.

    `places` is how many tagged manifests belong to one image at most: itself and, say, its
    signature, attestation and SBOM. With 1 counts are the policy's own.
    """
    wish = Wish()
    for number, rule in enumerate(policy.rules, 1):
        if compile_globs(rule.images, whole=True)(repository.encode()):
            wish |= Wish.of(number, rule)
    if wish.cannot:
        return Export(None, (*wish.cannot, *budget(policy)))
    cannot: list[str] = []
    selections = [*_untagged(wish.untagged, cannot), *_tagged(wish.tagged, places, cannot)]
    if len(selections) > _MAX_RULES:
        cannot.append(f"more than {_MAX_RULES} rules: none is written, all images stay")
        selections = []
    cannot = [f"{wish.label}: {line}" for line in dict.fromkeys(cannot)]
    rules = [
        {"rulePriority": number, "selection": selection, "action": {"type": "expire"}}
        for number, selection in enumerate(selections, 1)
    ]
    document = {"rules": rules} if rules else None
    return Export(document, (*cannot, *budget(policy)))


def _untagged(keeps: Keeps | None, cannot: list[str]) -> Iterator[dict[str, Any]]:
    if keeps is None:
        return
    if keeps.last is not None:
        # They would be counted with the children of indexes.
        cannot.append(f"keep-last {keeps.last}: not for untagged images: all of them stay")
        return
    cannot.append("untagged referrers: whether ECR spares those of live images is not documented")
    age = _least(keeps.within, cannot, "untagged images")
    yield {"tagStatus": "untagged", **_since(age)}


def _tagged(keeps: Keeps | None, places: int, cannot: list[str]) -> Iterator[dict[str, Any]]:
    if keeps is None:
        return
    if keeps.last is not None and keeps.within is not None:
        cannot.append(
            "keep-last or keep-within: one of them is enough to expire in ECR; "
            "all tagged images stay"
        )
        return
    patterns = dict.fromkeys([_COMPANIONS, *(_pattern(s, cannot) for s in keeps.tags)])
    if _EVERY in patterns:
        return
    for pattern in patterns:
        yield _like(pattern) | {"countType": "imageCountMoreThan", "countNumber": _NEVER}
    if keeps.last is not None:
        count = keeps.last * places
        if places > 1:
            cannot.append(f"keep-last {keeps.last}: keeps the {count} last tagged manifests")
        yield _like(_EVERY) | {"countType": "imageCountMoreThan", "countNumber": count}
    else:
        yield _like(_EVERY) | _since(_least(keeps.within, cannot, "tagged images"))


def _like(pattern: str) -> dict[str, Any]:
    # Of several patterns in one list, all would have to match.
    return {"tagStatus": "tagged", "tagPatternList": [pattern]}


def _since(age: timedelta) -> dict[str, Any]:
    return {"countType": "sinceImagePushed", "countUnit": "days", "countNumber": days(age)}


def _least(age: timedelta | None, cannot: list[str], what: str) -> timedelta:
    if age is None:
        cannot.append(f"{what}: stay for a day at least")
        return timedelta(days=1)
    cannot.extend(rounded(age))
    return age


def _pattern(selector: Selector, cannot: list[str]) -> str:
    """Return a pattern for all that `selector` keeps; ``*`` is its only wildcard."""
    pattern = _starred(glob_of(selector))
    if pattern != str(selector):
        cannot.append(f"keep-tags {selector}: keeps {pattern}")
    return pattern


def _starred(glob: str) -> str:
    pieces = (token.text if token.kind == "literal" else _EVERY for token in tokens(glob))
    first, *rest = "".join(pieces).split(_EVERY)
    if not rest:
        return first
    # Stars side by side are one, and what follows the last one allowed may be anything.
    parts = [first, *(part for part in rest[:-1] if part), rest[-1]]
    if len(parts) > _MAX_WILDCARDS + 1:
        parts = [*parts[:_MAX_WILDCARDS], ""]
    return _EVERY.join(parts)
