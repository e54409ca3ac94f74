"""Damage to a store, one at a time and as chance has it.

As a program: ``python -m tests.long.corruption COUNT [SEED]`` looks into a tenth as many whole
stores of all kinds, then damages a store so often, each time anew; it fails for the first damage
that is not found, or is found where there is none.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from immutable.errors import ImageError
from immutable.oci.digest import Digest
from immutable.oci.documents import INDEX, REF_NAME, Descriptor, Index
from immutable.store import Generation, Layout, Store
from immutable.store.check import check
from tests.support.stores import CREATED, image, layer


def whole(root: Path) -> None:
    """Make a store in which everything is that a store can hold, and every blob is needed."""
    with Store.open(root) as store:
        noise = random.Random(0).randbytes(1 << 20)  # chunks that differ
        one = image(store, "web", b"shared", b"one", tags=["1.0", "old"])
        image(store, "web", b"shared", noise, tags=["2.0"], encoder="zstd")
        image(store, "web", b"plain", encoder="none")
        two = image(store, "shop/api", b"shared", b"api", recorded=False)
        data = Index((one, two)).encode()
        top = Descriptor(INDEX, store.put_blob(data), len(data))
        store.commit_generation("multi", top, tags=["1"], created=CREATED)
        store.pin("web", 1)
        store.set_current("web", 2)
        cached = layer(store, b"cached")
        store.record_contents(cached.blob.digest, b"contents")
        store.record_questions(cached.derivation, b"questions")
        store.record_answers(cached.derivation, cached.diff_id, cached.answers)
        store.record_sources([store.put_blob(b"source")])
        store.save_stats(b"/src", {b"a": ((1, 2, 3, 4), one.digest)})
        theirs = store.resolve("web@1").annotated(**{REF_NAME: "tool:1"})
    Layout.open(root).update_index(lambda index: Index((*index.manifests, theirs)))


def chance(root: Path, rng: random.Random) -> None:
    """Make a store by some acts, as chance has it, and none that damages it."""
    with Store.open(root) as store:
        for _ in range(rng.randrange(1, 16)):
            _act(store, rng)


def _act(store: Store, rng: random.Random) -> None:
    names = [generation.name for generation in store.images()]
    act = rng.choice(("build", "build", "build", "pin", "back", "untag", "forget", "sweep", "put"))
    if act == "build" or not names:
        texts = [rng.randbytes(rng.choice((0, 9, 3000))) for _ in range(rng.randrange(1, 4))]
        encoder = rng.choice(("gzip", "zstd", "none"))
        tags = [str(rng.randrange(4))] * rng.randrange(2)
        image(store, rng.choice(("web", "api", "shop/db")), *texts, tags=tags, encoder=encoder)
    elif act == "put":
        store.record_sources([store.put_blob(rng.randbytes(50))])
    elif act == "sweep":
        store.sweep(caches=rng.random() < 0.5)
    else:
        _change_names(store, act, store.generations(rng.choice(names)), rng)


def _change_names(store: Store, act: str, found: Sequence[Generation], rng: random.Random) -> None:
    one = rng.choice(found)
    if act == "pin":
        store.pin(one.name, one.number, pinned=rng.random() < 0.7)
    elif act == "back":
        store.set_current(one.name, one.number)
    elif act == "untag" and one.tags:
        store.untag(one.name, rng.choice(one.tags))
    elif act == "forget" and not one.current and not one.pinned:
        store.forget(one.name, [one.number])


def corrupt(root: Path, rng: random.Random) -> str:
    """Damage the store at `root`; say how. What is damaged then says something else."""
    kind = rng.choice(sorted(_KINDS))
    return f"{kind}: {_KINDS[kind](root, rng)}"


# Blobs


def _blob(root: Path, rng: random.Random) -> Path:
    return rng.choice(sorted((root / "blobs" / "sha256").iterdir()))


def _flip(root: Path, rng: random.Random) -> str:
    path = _blob(root, rng)
    at = rng.randrange(path.stat().st_size)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ (1 << rng.randrange(8))]))
    return f"{path.name} at {at}"


def _truncate(root: Path, rng: random.Random) -> str:
    path = _blob(root, rng)
    size = rng.randrange(path.stat().st_size)
    os.truncate(path, size)
    return f"{path.name} to {size}"


def _extend(root: Path, rng: random.Random) -> str:
    path = _blob(root, rng)
    with path.open("ab") as file:
        file.write(bytes(rng.randint(1, 5000)))
    return path.name


def _empty(root: Path, rng: random.Random) -> str:
    path = _blob(root, rng)
    path.write_bytes(b"")
    return path.name


def _remove(root: Path, rng: random.Random) -> str:
    path = _blob(root, rng)
    path.unlink()
    return path.name


def _swap(root: Path, rng: random.Random) -> str:
    one, other = rng.sample(sorted((root / "blobs" / "sha256").iterdir()), 2)
    kept = root / "kept"
    one.rename(kept)
    other.rename(one)
    kept.rename(other)
    return f"{one.name} {other.name}"


def _rename(root: Path, rng: random.Random) -> str:
    path = _blob(root, rng)
    path.rename(path.with_name(Digest.of(rng.randbytes(4)).hex))
    return path.name


def _replace(root: Path, rng: random.Random) -> str:
    path = _blob(root, rng)
    path.unlink()
    path.mkdir()
    return path.name


def _foreign(root: Path, rng: random.Random) -> str:
    folder = rng.choice([root / "blobs", root / "blobs" / "sha256"])
    name = rng.choice(["README", "A" * 64, "0" * 63, ".hidden", Digest.of(b"").hex + ".part"])
    if rng.random() < 0.3:
        (folder / name).mkdir()
    else:
        (folder / name).write_bytes(b"x")
    return str(folder / name)


# Names


def _index_byte(root: Path, rng: random.Random) -> str:
    path = root / "index.json"
    before = path.read_bytes()
    while True:
        data = bytearray(before)
        at = rng.randrange(len(data))
        data[at] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        if _says(root) != _says_of(before, root):
            return f"at {at}: {before[at : at + 1]!r} to {bytes(data[at : at + 1])!r}"


def _says(root: Path) -> object:
    """What `index.json` says of our names; those of other tools may be anything."""
    try:
        index = Layout(root).index()
    except ImageError:
        return None
    return [
        entry
        for entry in index.manifests
        if dict(entry.annotations).get(REF_NAME, "").startswith(("web", "shop", "multi"))
    ]


def _says_of(data: bytes, root: Path) -> object:
    path = root / "index.json"
    kept = path.read_bytes()
    path.write_bytes(data)
    try:
        return _says(root)
    finally:
        path.write_bytes(kept)


def _index_whole(root: Path, rng: random.Random) -> str:
    path = root / "index.json"
    data = path.read_bytes()
    cut = rng.randrange(len(data))
    choice = rng.choice(["none", "empty", "short"])
    if choice == "none":
        path.unlink()
    else:
        path.write_bytes(b"" if choice == "empty" else data[:cut])
    return f"{choice} {cut}"


def _index_entry(root: Path, rng: random.Random) -> str:
    layout = Layout.open(root)
    chosen = ""

    def change(index: Index) -> Index:
        nonlocal chosen
        ours = [e for e in index.manifests if dict(e.annotations)[REF_NAME] != "tool:1"]
        entry = rng.choice(ours)
        kept = tuple(e for e in index.manifests if e is not entry)
        other = rng.choice([e for e in ours if e.digest != entry.digest])
        moved = Descriptor(other.media_type, other.digest, other.size, entry.annotations)
        chosen = str(dict(entry.annotations)[REF_NAME])
        return Index((*kept, moved) if rng.random() < 0.5 else kept)

    layout.update_index(change)
    return chosen


# Records

_ROWS = {
    "realisation": ["diff_id", "media_type", "blob", "size"],
    "chunk": ["digest", "blob", "position", "length", "frame"],
    "source": ["blob"],
    "contents": ["blob"],
    "generation": ["number", "media_type", "digest", "size", "created", "pinned"],
    "tag": ["digest", "size", "media_type"],
    "image": ["name", "current", "next"],
}


def _cell(root: Path, rng: random.Random) -> str:
    """Change a value in the database to another of its kind, or to nonsense."""
    connection = sqlite3.connect(root / "immutable.db", isolation_level=None)
    table = rng.choice(sorted(_ROWS))
    column = rng.choice(_ROWS[table])
    keys = [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[5]]
    rows = connection.execute(f"SELECT {column}, {', '.join(keys)} FROM {table}").fetchall()
    value, *key = rng.choice(sorted(rows, key=repr))
    changed = _changed(value, rng)
    where = " AND ".join(f"{name} IS ?" for name in keys)
    try:
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (changed, *key))
    except sqlite3.IntegrityError:
        return _cell(root, rng)  # another row has it, so this one cannot
    finally:
        connection.close()
    return f"{table}.{column}: {value!r} to {changed!r}"


def _changed(value: object, rng: random.Random) -> object:
    if isinstance(value, bytes):
        return rng.choice([rng.randbytes(32), value[:-1], value.hex(), b""])
    if isinstance(value, str):
        return rng.choice([value + "x", "", value.encode(), value[:-1]])
    assert isinstance(value, int)
    return rng.choice([value + 1, -1 - value, "many", value + (1 << 40)])


def _row(root: Path, rng: random.Random) -> str:
    """Remove a generation, or put in what is nothing."""
    connection = sqlite3.connect(root / "immutable.db", isolation_level=None)
    statement = rng.choice(
        [
            "DELETE FROM generation WHERE number = 1",
            "DELETE FROM image",
            "INSERT INTO lease VALUES ('lease-0', 'x')",
            "UPDATE stat SET signature = x'00'",
            "UPDATE stat SET digest = 7",
            "INSERT INTO source VALUES (x'00', 0)",
            "INSERT INTO contents VALUES (x'00', x'00')",
            "UPDATE question SET data = 'x'",
            "UPDATE answer SET chain = x'00'",
            "INSERT INTO chunk VALUES (x'00', 'gzip', x'00', 0, 1, x'00')",
            "UPDATE generation SET name = 'No Name' WHERE number = 3",
        ]
    )
    connection.execute(statement)
    connection.close()
    return statement


def _database(root: Path, rng: random.Random) -> str:
    path = root / "immutable.db"
    choice = rng.choice(["none", "empty", "short", "other", "header"])
    size = path.stat().st_size
    if choice == "none":
        path.unlink()
    elif choice == "header":
        with path.open("r+b") as file:
            file.write(rng.randbytes(16))
    elif choice == "other":
        path.write_bytes(rng.randbytes(size))
    else:
        os.truncate(path, 0 if choice == "empty" else rng.randrange(1, size // 4096) * 4096)
    return choice


# The directory


def _place(root: Path, rng: random.Random) -> str:
    choice = rng.choice(["mode", "marker", "no marker", "no blobs"])
    if choice == "mode":
        rng.choice([root, root / "blobs", root / "blobs" / "sha256"]).chmod(0o777)
    elif choice == "marker":
        (root / "oci-layout").write_bytes(rng.choice([b"", b"{}", b'{"imageLayoutVersion":"2"}']))
    elif choice == "no marker":
        (root / "oci-layout").unlink()
    else:
        shutil.rmtree(root / "blobs" / "sha256")
    return choice


_KINDS: dict[str, Callable[[Path, random.Random], str]] = {
    name.lstrip("_"): function
    for name, function in [
        ("flip", _flip),
        ("truncate", _truncate),
        ("extend", _extend),
        ("empty", _empty),
        ("remove", _remove),
        ("swap", _swap),
        ("rename", _rename),
        ("replace", _replace),
        ("foreign", _foreign),
        ("index byte", _index_byte),
        ("index whole", _index_whole),
        ("index entry", _index_entry),
        ("cell", _cell),
        ("row", _row),
        ("database", _database),
        ("place", _place),
    ]
}


def main() -> None:
    """Damage stores as often as the command line says."""
    count, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as folder:
        template, root = Path(folder, "template"), Path(folder, "store")
        for number in range(count // 10):
            chance(root, random.Random(f"{seed}-{number}"))
            assert () == check(root), f"false alarm in a store of chance: {seed}-{number}"
            shutil.rmtree(root)
        whole(template)
        for number in range(count):
            shutil.copytree(template, root)
            assert () == check(root), f"false alarm: {number}"
            how = corrupt(root, random.Random(f"{seed}-{number}"))
            assert check(root), f"not found: {seed}-{number}: {how}"
            shutil.rmtree(root)


if __name__ == "__main__":
    main()
