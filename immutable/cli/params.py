"""Values of the command line, parsed at once: what is wrong with them is wrong usage."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from immutable.errors import SpecError
from immutable.oci.platforms import Platform
from immutable.oci.tags import checked_version
from immutable.reference.store import Reference

if TYPE_CHECKING:
    from immutable.spec.document import Spec

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


replace_option: Final = click.option(
    "--replace-tag",
    is_flag=True,
    help="Move a tag that is on another image.",
)


def platform_option(does: str) -> Callable[[F], F]:
    """Return the option ``--platform`` of a command that `does` something to images."""
    return click.option(
        "--platform",
        callback=parse_platforms,
        metavar="PLATFORM",
        help=f"{does} only the image for this one, say linux/arm64.",
    )


def parse_platforms(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...] | str | None
) -> Any:
    """Return the platform, or the platforms, that an option writes: ``linux/amd64``."""
    return _parsed(Platform.parse, ctx, param, value)


def parse_tags(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> Any:
    """Return an option's tags if an image can have them: ``1.4.0``."""
    from immutable.spec.types import checked_tag

    return _parsed(checked_tag, ctx, param, value)


def parse_versions(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> Any:
    """Return tags that are written out: ``1.4.0``, and nothing for git to fill in."""
    return _parsed(checked_version, ctx, param, value)


def parse_name(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    """Return the name, or the name with a tag, to keep an image under."""
    return _parsed(_storable, ctx, param, value)


def _storable(text: str) -> Reference:
    reference = Reference.parse(text)
    if reference is None or reference.number is not None or reference.digest is not None:
        raise ValueError(f"{text!r}: expected NAME or NAME:TAG, the name in lower case")
    if reference.tag is not None:
        checked_version(reference.tag)
    return reference


def _parsed(
    parse: Callable[[str], T],
    ctx: click.Context,
    param: click.Parameter,
    value: tuple[str, ...] | str | None,
) -> tuple[T, ...] | T | None:
    try:
        if isinstance(value, tuple):
            return tuple(map(parse, value))
        return None if value is None else parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def load_spec(path: str) -> Spec:
    """Return the spec in the file `path`; raise SpecError, with what may be meant instead."""
    from immutable.build.loading import load

    place = Path(path)
    if place.is_dir():
        raise SpecError(path, [f"is a folder, no spec{_within(place)}"])
    if not place.exists():
        raise SpecError(path, [f"there is no such file{_beside(place)}"])
    if path.endswith(".lock.toml"):
        raise SpecError(path, [f"is a lock; the spec is {path.removesuffix('.lock.toml')}.toml"])
    return load(path)


def _within(folder: Path) -> str:
    specs = _specs(folder)
    if specs:
        return "; did you mean " + " or ".join(str(folder / name) for name in specs[:3]) + "?"
    return f"; `immutable init {folder}` writes one there"


def _beside(place: Path) -> str:
    if place.with_name(place.name + ".toml").is_file():
        return f"; did you mean {place}.toml?"
    near = difflib.get_close_matches(place.name, _specs(place.parent), n=1)
    return f"; did you mean {place.with_name(near[0])}?" if near else ""


def _specs(folder: Path) -> list[str]:
    """Return the names of what may be specs in `folder`."""
    try:
        names = [path.name for path in folder.iterdir() if path.suffix == ".toml"]
    except OSError:
        return []
    return sorted(n for n in names if not n.endswith(".lock.toml") and n != "pyproject.toml")
