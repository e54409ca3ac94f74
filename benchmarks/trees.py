"""Trees for benchmarks, the same on every machine: sizes, names and contents from one seed."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

_SYLLABLES = (
    "ac al an at con de en er ex for get in is key le map ment name of on path pre re ror se "
    "set str tem ti to type un val"
)
_SIGNS = (" ", " ", ".", "(", ", ", " = ", "): ")
_WORDS = 6000
_LINES = 120_000
_PIECE = 1 << 16


def make_tree(root: Path, *, files: int, size: int, seed: int = 1) -> None:
    """Make `files` files of about `size` bytes in all below `root`.

    Like an application with its libraries: most files are small texts, a few large ones hold
    most of the bytes; a tenth of all bytes does not compress. gzip makes a third of the whole,
    as it does of a Python environment with its headers and documents.
    """
    rng = random.Random(seed)
    text, noise = _text(rng), rng.randbytes(1 << 22)
    weights = [rng.lognormvariate(0, 1.6) for _ in range(files)]
    scale = size / sum(weights)
    for number, weight in enumerate(weights):
        folder = root / f"lib{number % 97:02d}" / f"package-{number // 97 % 61:02d}"
        if number < 97 * 61:
            folder.mkdir(parents=True, exist_ok=True)
        source = noise if rng.random() < 0.1 else text
        length = int(weight * scale)
        with (folder / f"module_{number:05d}.py").open("wb") as file:
            while length > 0:
                start = rng.randrange(len(source) - _PIECE)
                piece = source[start : start + min(length, _PIECE)]
                file.write(piece)
                length -= len(piece)


def _text(rng: random.Random) -> bytes:
    """Return lines of identifiers, few of them frequent and most rare, as in any program."""
    syllables = _SYLLABLES.split()
    words = [_word(rng, syllables) for _ in range(_WORDS)]
    frequencies = [*itertools.accumulate(1 / rank for rank in range(1, _WORDS + 1))]
    lines: list[str] = []
    for _ in range(_LINES):
        if lines and rng.random() < 0.25:
            # Much of a program is like what stands a few lines above.
            lines.append(rng.choice(lines[-40:]))
            continue
        some = rng.choices(words, cum_weights=frequencies, k=rng.randint(2, 9))
        signs = rng.choices(_SIGNS, k=len(some))
        line = "".join(itertools.chain.from_iterable(zip(some, signs, strict=True)))
        lines.append("    " * rng.randrange(4) + line)
    return "\n".join(lines).encode()


def _word(rng: random.Random, syllables: list[str]) -> str:
    parts = rng.randint(1, 2)
    return "_".join("".join(rng.choices(syllables, k=rng.randint(1, 3))) for _ in range(parts))
