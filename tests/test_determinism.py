"""One digest, whatever the machine, the user and the moment are like.

What varies is put together into a few processes, as starting one is what takes time.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

import immutable
from immutable import Config, MemoryStore, Store, lock
from tests.support import needs
from tests.support.archives import gzipped
from tests.support.debian import DATE, DebianMirror, File
from tests.support.everything import APP, GOLDEN, everything
from tests.support.specs import contents, fill, layer, text, write

ROOT = Path(immutable.__file__).parents[1]

# Arguments: folder of specs, folder for stores, threads, user or -1, seconds to shift the clock.
BUILD = """
import datetime, os, sys, time
from pathlib import Path
import deflate
from attrs import evolve
import immutable
from immutable import Config, MemoryStore, Store
from immutable.builders import archive, files
from immutable.content.compat import zstd
from immutable.builders.registry import builders
specs, stores, jobs, user, shift = Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:])
immutable.build, [builders()[kind] for kind in ("files", "archive", "image", "users")]
config = Config(stores, stores, jobs=jobs, machine="x86_64", source_date_epoch=abs(shift) or None)
if user >= 0:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
if shift:
    now, now_ns = time.time, time.time_ns
    time.time = lambda: now() + shift
    time.time_ns = lambda: now_ns() + shift * 10**9
for compression in ("gzip", "zstd", "none"):
    spec = specs / compression / "web.toml"
    with Store.open(stores / compression) as store:
        one = immutable.build(spec, store, config=config)
        again = immutable.build(spec, store, config=config)
    other = immutable.build(spec, MemoryStore(), config=config)
    assert one.digest == again.digest == other.digest, (one.digest, other.digest)
    print(compression, one.digest.hex)
"""


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that other users reach too."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def build_all(
    folder: Path,
    *,
    environ: Mapping[str, str],
    options: tuple[str, ...] = (),
    before: tuple[str, ...] = (),
    umask: int,
    cwd: Path,
    jobs: int,
    user: int = -1,
    shift: int = 0,
) -> dict[str, str]:
    """Build the specs in `folder` in a process of its own; return compression → digest."""
    stores = Path(tempfile.mkdtemp(dir=folder))
    if user >= 0:
        os.chown(stores, user, user)
    arguments = (str(folder), str(stores), str(jobs), str(user), str(shift))
    done = subprocess.run(
        [*before, sys.executable, *options, "-c", BUILD, *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ},
        cwd=cwd,
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return dict(line.split() for line in done.stdout.splitlines())


def specs(folder: Path) -> None:
    for compression in GOLDEN:
        everything(folder / compression, f'compression = "{compression}"')


def disguise(folder: Path) -> None:
    """Make the same trees again: in another order, at other times, with links and holes."""
    rng = random.Random(1)
    for compression in GOLDEN:
        app = folder / compression / "app"
        shutil.rmtree(app)
        names = list(APP)
        rng.shuffle(names)
        fill(app, {name: APP[name] for name in names})
        (app / "public" / "link").symlink_to("index.html")
        (app / "public" / "copy.html").unlink()
        os.link(app / "public" / "index.html", app / "public" / "copy.html")
        (app / "zeros").unlink()
        with (app / "zeros").open("wb") as file:
            file.truncate(100_000)
        for number, path in enumerate(sorted(app.rglob("*"))):
            if not path.is_symlink():
                path.chmod(0o777 if path.is_dir() or path.name == "server.js" else 0o666)
                os.utime(path, (number, 2_000_000_000 + number))


def other_hostname() -> tuple[str, ...]:
    """Return a command prefix that gives a process another host name, where that is allowed."""
    prefix = ("unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh")
    try:
        done = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        return ()
    return prefix if done.returncode == 0 else ()


def test_a_plain_surrounding(open_to_all: Path) -> None:
    specs(open_to_all)

    built = build_all(
        open_to_all,
        environ={"PYTHONHASHSEED": "0", "LC_ALL": "C", "TZ": "UTC0", "HOME": "/"},
        umask=0o022,
        cwd=Path("/"),
        jobs=1,
    )

    assert GOLDEN == built


def test_a_strange_surrounding(open_to_all: Path) -> None:
    specs(open_to_all)
    disguise(open_to_all)

    built = build_all(
        open_to_all,
        environ={
            "PYTHONHASHSEED": "4294967295",
            "LANG": "tr_TR.UTF-8",
            "LC_ALL": "tr_TR.UTF-8",
            "TZ": "NPT-5:45",
            "HOME": "/nonexistent",
            "USER": "someone",
            "SOURCE_DATE_EPOCH": "1",
            "PYTHONUTF8": "0",
        },
        options=("-OO",),
        before=other_hostname(),
        umask=0o077,
        cwd=open_to_all / "gzip" / "app",
        jobs=7,
        shift=365 * 86_400,
    )

    assert GOLDEN == built


@needs.root()
def test_another_user_a_year_ago(open_to_all: Path) -> None:
    specs(open_to_all)
    disguise(open_to_all)

    built = build_all(
        open_to_all,
        environ={"PYTHONHASHSEED": "7", "LC_ALL": "C", "HOME": "/", "PYTHONCOERCECLOCALE": "0"},
        umask=0o002,
        cwd=open_to_all,
        jobs=2,
        user=65534,
        shift=-365 * 86_400,
    )

    assert GOLDEN == built


DEBIAN = "9a0d6c19eb10acf7d046dc29b077d85e5729201e73ea3f74384bd68611df615a"


def test_a_debian_layer_locked_from_a_mirror(tmp_path: Path) -> None:
    mirror = DebianMirror(tmp_path)
    mirror.add("libc6", "2.36-9", arch="amd64", files={"/lib/libc.so.6": File(b"C", 0o755)})
    mirror.add(
        "hello",
        "1:2.10-3",
        arch="amd64",
        depends="libc6 (>= 2.34)",
        files={"/usr/bin/hello": File(b"#!", 0o755), "/etc/hello.conf": b"a = b\n"},
        links={"/usr/bin/hi": "hello"},
        conffiles=["/etc/hello.conf"],
        compression="zst",
    )
    debian = layer("debian", "runtime", suite="bookworm", packages=["hello"], pockets=[])
    user = '[[user]]\nname = "nodejs"\nuid = 1001\n'
    spec = write(tmp_path, debian + user)
    nowhere = tmp_path / "nowhere"
    with mirror.serve() as url, Store.open(tmp_path / "store") as store:
        config = Config.load(
            mirror.environ(url), store=nowhere, user_file=nowhere, apt=nowhere, keyrings=nowhere
        )
        lock(spec, store, config=config, now=DATE + timedelta(hours=1))
        image = immutable.build(spec, store, config=config)

        assert DEBIAN == image.digest.hex
        again = immutable.build(spec, MemoryStore(), config=config, sources=store, offline=True)
        assert image.digest == again.digest
        passwd = contents(store, image.layers[1])["etc/passwd"]
        assert "nodejs:x:1001:1001::/home/nodejs:/usr/sbin/nologin" in text(passwd)


def test_archives_that_tests_pack_have_the_same_bytes_on_every_python() -> None:
    # Golden digests cover such bytes: a package's archive stands in npm's lock by its hash.
    packed = "1f8b0800000000000203cb48cdc9c9e7020020303a3606000000"
    assert packed == gzipped(b"hello\n").hex()
