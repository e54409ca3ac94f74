"""Archives from outside, read strictly: tar, zip, ar and deb, compressed or not."""

from immutable.content.entries import Entry, EntryKind, show
from immutable.errors import ArchiveError

__all__ = ["refuse_special"]

_SPECIAL = {
    EntryKind.CHARACTER: "a character device",
    EntryKind.BLOCK: "a block device",
    EntryKind.FIFO: "a FIFO",
}


def refuse_special(entry: Entry, name: str) -> None:
    """Raise ArchiveError if `entry`, of the archive called `name`, is a device or a FIFO."""
    what = _SPECIAL.get(entry.kind)
    if what is not None:
        raise ArchiveError(
            f"{name}: {show(entry.path)}: {what}; expected files, directories and links"
        )
