"""Why two runs of a command differ: the known kinds, told by what differs, and what to do."""

from __future__ import annotations

import re
from typing import Final, Literal

__all__ = ["ARCHIVE_TIMES", "ORDER", "TEMPORARY", "hint", "is_secret", "same_shape"]

_DAYS: Final = 2 * 86400  # the clocks of the two runs may be a day apart
_SINCE: Final = 1_500_000_000  # no time of a run is before that
_AROUND: Final = 256

ARCHIVE_TIMES: Final = {
    "gzip": "gzip wrote a file's time: use `gzip -n`",
    "ar": "ar wrote the members' times: use `ar D` (deterministic)",
    "zip": "zip wrote the members' times: set them with `touch -d @$SOURCE_DATE_EPOCH` first",
    "tar": "tar wrote the members' times: use `tar --mtime=@$SOURCE_DATE_EPOCH --sort=name`",
}
ORDER: Final = (
    "the same in another order, as of parallel jobs, threads or a directory that is not sorted "
    "(`ls -U`, `find`): sort it"
)
TEMPORARY: Final = "a random name, as `mktemp` makes: choose a fixed one, or remove it"
_KEY: Final = "a key that was made: make it when the container starts, or drop it"
_TIME: Final = "a time of the run: have it use SOURCE_DATE_EPOCH, or leave it out"
_PYC: Final = (
    "a .pyc with the time of its source, which the command wrote: compile with "
    "`python -m compileall --invalidation-mode unchecked-hash`"
)
_DATE: Final = "`__DATE__` or `__TIME__` of a compiler that does not heed SOURCE_DATE_EPOCH"
_LTO: Final = "code made with `-flto` has random names: give `-frandom-seed=` with a fixed text"
_ADDRESS: Final = "an address in memory, which is another in each run"
_UUID: Final = "a random UUID: give a fixed one, or drop the file"

_SECRET: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY|PuTTY-User-Key-File")
_CERTIFIED: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,40}-----|\A(?:ssh|ecdsa)-[a-z0-9-]+ AAAA")
_MONTHS: Final = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_COMPILED: Final = re.compile(_MONTHS + rb" [ 123]\d \d{4}|(?<![\d:])\d\d:\d\d:\d\d(?![\d:])")
# Each kind with what stands for all of it; two texts that then are the same differ in that alone.
_MASKS: Final = (
    (
        re.compile(
            rb"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[ +-]\d{4})?)?"
            rb"|(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? )?(?:"
            + _MONTHS
            + rb" [ \d]\d|\d\d? "
            + _MONTHS
            + rb" \d{4})(?:,? \d\d:\d\d:\d\d(?: [AP]M)?(?: [A-Z]{3,4}| [+-]\d{4})?)?(?: \d{4})?"
            rb"|(?<!\d)\d\d:\d\d:\d\d(?:[.,]\d+)?"
            rb"|(?<!\d)(?:1[5-9]|[23]\d)\d{8}(?:\.\d+|\d{3}|\d{6}|\d{9})?(?!\d)"
        ),
        _TIME,
    ),
    (
        re.compile(rb"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"),
        _UUID,
    ),
    (re.compile(rb"0x[0-9a-f]{6,16}"), _ADDRESS),
    (
        re.compile(
            rb"/tmp/[^\s\"':\0]+"
            rb"|(?<![A-Za-z0-9])(?:tmp[._]?|cc)[A-Za-z0-9_]{6,12}(?![A-Za-z0-9_])"
        ),
        TEMPORARY,
    ),
)
_WORD: Final = re.compile(rb"\w+")
_RANDOM: Final = re.compile(rb"[A-Za-z0-9_]{6,}")


def is_secret(data: bytes) -> bool:
    """Tell whether `data` holds a private key, of which nothing is to be shown."""
    return _SECRET.search(data) is not None


def same_shape(one: bytes, other: bytes) -> bool:
    """Tell whether two names differ in what `mktemp` fills in alone: six characters and more."""
    if len(one) != len(other) or one == other:
        return False
    start, end = _ends(one, other)
    # Chance may give both the same first or last random character.
    start, end = max(0, start - 2), min(len(one), end + 2)
    while start and one[start - 1 : start].isalnum() and end - start < 6:
        start -= 1
    while end < len(one) and one[end : end + 1].isalnum() and end - start < 6:
        end += 1
    differ = sum(a != b for a, b in zip(one, other, strict=True))
    middle = one[start:end].strip(b".-"), other[start:end].strip(b".-")
    return differ >= 3 and all(_RANDOM.search(text) is not None for text in middle)


def hint(path: bytes, one: bytes, other: bytes, at: int) -> str:
    """Return why the bytes of a file may differ from offset `at` on; empty if nothing is known."""
    if is_secret(one) or _CERTIFIED.search(one) or path.endswith((b".key", b".p12", b".jks")):
        return _KEY
    if _is_pyc(one, other):
        return _PYC
    if one.startswith(b"\x7fELF"):
        if b".gnu.lto_" in one or b".lto_priv." in one:
            return _LTO
        if _masked(_COMPILED, _text(one, at)) == _masked(_COMPILED, _text(other, at)):
            return _DATE
    lines = one.splitlines(), other.splitlines()
    if len(one) == len(other) and len(lines[0]) > 1 and sorted(lines[0]) == sorted(lines[1]):
        return ORDER
    near = _line(one, at), _line(other, at)
    for pattern, why in _MASKS:
        if _masked(pattern, near[0]) == _masked(pattern, near[1]):
            return why
    words = [sorted(_WORD.findall(line)) for line in near]
    if len(words[0]) > 1 and words[0] == words[1]:
        return ORDER
    return _TIME if _has_time(one, other, at) else ""


def _masked(pattern: re.Pattern[bytes], data: bytes) -> bytes:
    return pattern.sub(b"\0", data)


def _ends(one: bytes, other: bytes) -> tuple[int, int]:
    pairs = list(zip(one, other, strict=True))
    differ = [index for index, (a, b) in enumerate(pairs) if a != b]
    return differ[0], differ[-1] + 1


def _line(data: bytes, at: int) -> bytes:
    """Return the line that `at` is in, as far as it is near."""
    start = max(data.rfind(b"\n", 0, at) + 1, at - _AROUND)
    end = data.find(b"\n", at)
    return data[start : min(end if end >= 0 else len(data), at + _AROUND)]


def _text(data: bytes, at: int) -> bytes:
    """Return the text between two NULs that `at` is in, as far as it is near."""
    start = max(data.rfind(b"\0", 0, at) + 1, at - _AROUND)
    end = data.find(b"\0", at)
    return data[start : min(end if end >= 0 else len(data), at + _AROUND)]


def _is_pyc(one: bytes, other: bytes) -> bool:
    """PEP 552: a magic number that ends in a line's end, flags, and the source's time and size."""
    return (
        one[:8] == other[:8]
        and one[2:8] == b"\r\n\0\0\0\0"
        and one[8:12] != other[8:12]
        and one[12:] == other[12:]
    )


def _has_time(one: bytes, other: bytes, at: int) -> bool:
    """Tell whether a number of 32 bits at `at` is a time in both, a little apart."""
    if one[max(0, at - 3) : at + 4].decode("latin-1").isprintable():
        return False  # text
    for start in range(max(0, at - 3), at + 1):
        orders: tuple[Literal["little", "big"], ...] = ("little", "big")
        for order in orders:
            first = int.from_bytes(one[start : start + 4], order)
            second = int.from_bytes(other[start : start + 4], order)
            if first > _SINCE and second > _SINCE and 0 < abs(first - second) <= _DAYS:
                return True
    return False
