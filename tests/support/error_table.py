"""The table of errors in specs/README.md, made from the docstrings of `immutable.errors`.

``python -m tests.support.error_table`` writes it into the page again.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Final

from immutable import errors
from immutable.errors import ImmutableError
from tests.support.pages import ROOT

PAGE: Final = "specs/README.md"
BEGIN: Final = "<!-- errors -->\n"
END: Final = "<!-- end of errors -->\n"
STATUS: Final = 1  # of a command that such an error ends
COMMAND: Final = "python -m tests.support.error_table"

_HEAD: Final = "| error | when | exit status |\n|---|---|---|\n"


def all_errors() -> list[type[ImmutableError]]:
    """Return the exceptions of `immutable.errors` in the order in which they stand there."""
    found = (one for one in vars(errors).values() if inspect.isclass(one))
    return [one for one in found if issubclass(one, ImmutableError)]


def table() -> str:
    """Return the table as the page has to have it."""
    return _HEAD + "".join(f"| {name} | {when} | {STATUS} |\n" for name, when in _rows())


def between_marks(text: str) -> tuple[str, str, str]:
    """Return what stands in a page before, between and after the marks of the table."""
    before, begin, rest = text.partition(BEGIN)
    inside, end, after = rest.partition(END)
    assert begin, f"{PAGE}: expected the line {BEGIN}"
    assert end, f"{PAGE}: expected the line {END}"
    return before + begin, inside, end + after


def _rows() -> Iterator[tuple[str, str]]:
    for one in all_errors():
        (parent,) = one.__bases__
        is_a = "" if parent in (Exception, ImmutableError) else f" ({parent.__name__})"
        said = " ".join((one.__doc__ or "").split()).replace("``", "`").replace("|", r"\|")
        yield f"`{one.__name__}`{is_a}", said


def main() -> None:
    """Write the table into the page."""
    before, _, after = between_marks((ROOT / PAGE).read_text())
    (ROOT / PAGE).write_text(before + table() + after)


if __name__ == "__main__":
    main()
