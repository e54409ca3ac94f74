"""Trees for benchmarks, the same on every machine: sizes, names and contents from one seed."""

from __future__ import annotations

import random
from pathlib import Path

_WORDS = 4096
_PIECE = 1 << 16


def make_tree(root: Path, *, files: int, size: int, seed: int = 1) -> None:
    """Make `files` files of about `size` bytes in all below `root`.

    Like an application with its libraries: most files are small texts, a few large ones hold
    most of the bytes; about a fifth of all bytes do not compress.
    """
    rng = random.Random(seed)
    words = [rng.randbytes(rng.randint(2, 9)).hex().encode() for _ in range(_WORDS)]
    weights = [rng.lognormvariate(0, 1.6) for _ in range(files)]
    scale = size / sum(weights)
    text = _text(rng, words)
    noise = rng.randbytes(1 << 22)
    for number, weight in enumerate(weights):
        folder = root / f"lib{number % 97:02d}" / f"package-{number // 97 % 61:02d}"
        if number < 97 * 61:
            folder.mkdir(parents=True, exist_ok=True)
        source = noise if rng.random() < 0.2 else text
        length = int(weight * scale)
        with (folder / f"module_{number:05d}.py").open("wb") as file:
            while length > 0:
                start = rng.randrange(len(source) - _PIECE)
                piece = source[start : start + min(length, _PIECE)]
                file.write(piece)
                length -= len(piece)


def _text(rng: random.Random, words: list[bytes]) -> bytes:
    lines = []
    for _ in range(120_000):
        indent = b"    " * rng.randrange(4)
        lines.append(indent + b" ".join(rng.choices(words, k=rng.randint(2, 9))))
    return b"\n".join(lines)
