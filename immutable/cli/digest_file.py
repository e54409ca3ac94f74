"""The option ``--digest-file``, and the file that it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from immutable.oci.documents import Descriptor

digest_option: Final = click.option(
    "--digest-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the digest into FILE at the end, and a newline.",
)


@contextmanager
def digest_written(path: Path | None) -> Iterator[Callable[[Descriptor], object]]:
    """Give what takes the digest for the file `path`, which is there if the block ends well.

    Raises TransportError at once for a place where no file can be, and for a file that is
    neither empty nor one with a digest.
    """
    if path is None:
        yield lambda _: None
        return
    from immutable.transports import members, outputs

    with members.written(path, outputs.DIGEST) as draft:
        yield lambda root: draft.write(f"{root.digest}\n".encode())
