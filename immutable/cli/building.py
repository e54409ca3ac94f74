"""``lock``, ``build`` and ``verify``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from immutable.cli import output, reports
from immutable.cli.params import (
    complete_files,
    load_spec,
    parse_platforms,
    parse_tags,
    replace_option,
)
from immutable.cli.shell import RegistryCommand, Shell, pass_shell
from immutable.oci.platforms import Platform
from immutable.spec.document import Spec
from immutable.transports import destinations

if TYPE_CHECKING:
    from immutable.build.remote_cache import RemoteCache
    from immutable.build.results import Image
    from immutable.config import Config
    from immutable.progress import Progress
    from immutable.store import AbstractStore

DIFFERENT: Final = 3


@click.command(cls=RegistryCommand)
@click.argument("specs", metavar="SPEC...", shell_complete=complete_files, nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="DEST",
    help="Also put the image there: oci:DIR[:REF], oci-archive:FILE[:REF], "
    "docker-archive:FILE[:NAME:TAG], docker-daemon:[NAME:TAG], docker://HOST[/NAME[:TAG]]. What "
    "is left out of the name is the image's own, with its first tag; in a registry, with all.",
)
@click.option(
    "-t",
    "--tag",
    "tags",
    callback=parse_tags,
    multiple=True,
    metavar="TAG",
    help="A tag beside the spec's.",
)
@click.option(
    "--platform",
    "platforms",
    callback=parse_platforms,
    multiple=True,
    metavar="PLATFORM",
    help="Build for this one, say linux/arm64, not for all that the spec names.",
)
@click.option("--offline", is_flag=True, help="Fetch nothing: what is missing is an error.")
@click.option(
    "--cache-from",
    "cache_from",
    multiple=True,
    metavar="CACHE",
    help="Fetch layers that docker://HOST/NAME has, signed by a trusted key, instead of building "
    "them.",
)
@click.option(
    "--cache-to",
    "cache_to",
    metavar="CACHE",
    help="Share the layers in docker://HOST/NAME, signed with this user's own key.",
)
@replace_option
@pass_shell
def build(
    shell: Shell,
    specs: tuple[str, ...],
    outputs: tuple[str, ...],
    tags: tuple[str, ...],
    platforms: tuple[Platform, ...],
    offline: bool,
    cache_from: tuple[str, ...],
    cache_to: str | None,
    replace_tag: bool,
) -> None:
    """Build the image of each SPEC.

    It becomes the newest generation of its name in the store, and is written to each DEST. Its
    tags move to it in the store, but not in a registry: there they stay on what they name.
    With --json the document is an object for one SPEC, and an array of such for several. With
    --quiet only the digests are printed, one a line.
    """
    from immutable.build.build import build as build_image

    if offline and (cache_from or cache_to):
        raise click.UsageError("--offline fetches nothing, and a cache is elsewhere")
    config = shell.config()
    caches, sharing = _caches(cache_from, cache_to, config)
    loaded = [load_spec(path) for path in specs]
    documents = []
    with shell.open_store(config) as store:
        _check_outputs(outputs, loaded, tags, store)
        for spec in loaded:
            with shell.watching() as progress:
                image = build_image(
                    spec,
                    store,
                    config=config,
                    platforms=platforms,
                    tags=tags,
                    offline=offline,
                    cache_from=caches,
                    cache_to=sharing,
                    progress=progress,
                )
                written = [
                    _deliver(image, output_, config, progress, replace_tag=replace_tag)
                    for output_ in outputs
                ]
            document = reports.built(image, [one for places in written for one in places])
            documents.append(document)
            if not shell.json:
                output.say(document["digest"] if shell.quiet else reports.built_text(document))
                _say_how_to_run(shell, image, [places[0] for places in written])
    if shell.json:
        output.say_json(documents if len(specs) > 1 else documents[0])


def _caches(
    sources: Sequence[str], destination: str | None, config: Config
) -> tuple[list[RemoteCache], RemoteCache | None]:
    """Return the caches that the command line names."""
    if not sources and destination is None:
        return [], None
    from immutable.build.remote_cache import RemoteCache

    parsed = [RemoteCache.parse(source, config) for source in sources]
    return parsed, None if destination is None else RemoteCache.parse(destination, config)


def _check_outputs(
    outputs: Sequence[str], specs: Sequence[Spec], tags: Sequence[str], store: AbstractStore
) -> None:
    """Find out before any work that an image cannot go where it is to go."""
    from immutable.build.outputs import expect_distinct, expect_place

    places = []
    for destination in outputs:
        for spec in specs:
            tag = next(iter((*spec.image.tags, *tags)), None)
            # What git has to say comes later; any tag will do to see whether it is one.
            known = "0" if tag is not None and "{" in tag else tag
            place = destinations.check(destination, spec.image.name, known, store)
            expect_place(place, spec)
            places.append(place)
        if len(specs) > 1 and destinations.holds_one(destination):
            raise click.UsageError(
                f"-o {destination} takes one image; there are {len(specs)} specs. "
                "oci:DIR without a name holds them all."
            )
    expect_distinct(places)


def _deliver(
    image: Image, destination: str, config: Config, progress: Progress, *, replace_tag: bool
) -> tuple[str, ...]:
    """Copy a built image out of the store; return the whole references."""
    from immutable import transports
    from immutable.transports.store import StoreImage

    place = destinations.place(
        destination,
        image.name,
        image.tags,
        store=image.store,
        registries=config.registries,
        replace_tag=replace_tag,
    )
    source = StoreImage(f"{image.name}@{image.generation.number}", image.store)
    transports.copy(source, place, progress=progress)
    return destinations.references(place)


def _say_how_to_run(shell: Shell, image: Image, written: Sequence[str]) -> None:
    if shell.quiet:
        return
    for reference in written:
        output.say("".join(f"run it: {c}\n" for c in reports.how_to_run(reference, image)).rstrip())
    if not written:
        name = f"{image.name}:{next(iter(image.tags), 'TAG')}"
        shell.hint(f"to Docker: immutable copy {image.name} docker-daemon:{name}")


class LockCommand(RegistryCommand):
    """The command whose ``--upgrade`` may have a value, but only one that is joined to it.

    Otherwise ``lock --upgrade web.toml`` would take the spec for a layer.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give a bare ``--upgrade`` the empty value."""
        end = args.index("--") if "--" in args else len(args)
        bare = ["--upgrade=" if arg == "--upgrade" else arg for arg in args[:end]]
        return super().parse_args(ctx, [*bare, *args[end:]])


@click.command(cls=LockCommand)
@click.argument("spec", metavar="SPEC", shell_complete=complete_files)
@click.argument("layers", metavar="[LAYER]...", nargs=-1)
@click.option(
    "--upgrade",
    multiple=True,
    metavar="[=LAYER]",
    help="Take the newest of everything, or only for the layers that are named.",
)
@click.option("--check", is_flag=True, help="Only say why the lock is stale; 3 if it is.")
@pass_shell
def lock(
    shell: Shell, spec: str, layers: tuple[str, ...], upgrade: tuple[str, ...], check: bool
) -> int:
    """Pin what SPEC takes from outside.

    It is resolved, and written with its digests into SPEC's .lock.toml; a build takes nothing
    else. Only what must change changes. SPEC always comes first; the layers to upgrade follow it:

    \b
      immutable lock web.toml --upgrade            everything
      immutable lock web.toml --upgrade runtime    one layer
      immutable lock --upgrade=runtime web.toml    the same
    """  # noqa: D301 - click's mark
    if layers and not upgrade:
        raise click.UsageError(f"a LAYER comes with --upgrade only; found {' '.join(layers)}")
    if check and upgrade:
        raise click.UsageError("--check changes nothing, so it cannot be had with --upgrade")
    loaded = load_spec(spec)
    if check:
        return _check_lock(shell, loaded)
    named = tuple(dict.fromkeys((*layers, *filter(None, upgrade))))
    return _lock(shell, loaded, named or bool(upgrade))


def _check_lock(shell: Shell, spec: Spec) -> int:
    from immutable.build.loading import load_lock, lock_path
    from immutable.build.lock import check as check_lock

    path = str(lock_path(spec))
    reasons = check_lock(spec, config=shell.config())
    if shell.json:
        output.say_json({"path": path, "stale": [*reasons]})
    elif reasons:
        # A missing lock is told with its path already.
        lines = [r if r.startswith(path) else f"{path}: stale: {r}" for r in reasons]
        output.say("\n".join(lines))
        shell.hint(f"run `immutable lock {spec.where}`")
    elif load_lock(spec) is None:
        output.say(reports.needs_no_lock(spec.where))
    else:
        output.say(f"{path}: up to date")
    return DIFFERENT if reasons else 0


def _lock(shell: Shell, spec: Spec, upgrade: bool | tuple[str, ...]) -> int:
    from immutable.build.lock import lock as lock_spec

    config = shell.config()
    with shell.open_store(config) as store, shell.watching() as progress:
        locked = lock_spec(spec, store, config=config, upgrade=upgrade, progress=progress)
    if shell.json:
        output.say_json(reports.locked(locked))
    elif not shell.quiet:
        output.say(reports.locked_text(locked, spec.where))
    return 0


@click.command(cls=RegistryCommand)
@click.argument("spec", metavar="SPEC", shell_complete=complete_files)
@pass_shell
def verify(shell: Shell, spec: str) -> int:
    """Prove that SPEC's image is reproducible.

    It is built into the store first, as by `build`; then again with nothing cached, and every
    digest is compared. Exit status 3 when anything differs.
    """
    from immutable.build.verify import verify as verify_spec

    config = shell.config()
    loaded = load_spec(spec)
    with shell.open_store(config) as store, shell.watching() as progress:
        image, found = verify_spec(loaded, store, config=config, progress=progress)
    if shell.json:
        output.say_json(reports.verified(image, found))
    elif found:
        output.say("\n".join(map(str, found)))
    else:
        output.say(f"reproducible: {image.name} {image.digest}")
    return DIFFERENT if found else 0
