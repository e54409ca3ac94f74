"""Commands of real programs over Debian's packages, run by whom and where a test says."""

from __future__ import annotations

import io
import json
import pickle
import platform
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import evolve, field, frozen

import immutable
from immutable.builders.run.twice import Machine
from immutable.config import Config
from immutable.oci.platforms import Platform
from immutable.progress import Progress
from immutable.sandbox.command import Command, Layer, Limits, Ran, Surroundings
from immutable.sandbox.run import Sandbox
from immutable.store import Store
from tests.support import sandboxes
from tests.support.archives import gzipped
from tests.support.specs import fill, layer, write

_EXCLUDED: Final = tuple(
    f"/usr/share/{one}/**" for one in ("doc", "info", "lintian", "locale", "man")
)


def packages(*names: str) -> str:
    """Return a layer of the packages; the main pool of bookworm no longer changes."""
    return layer("debian", "base", suite="bookworm", pockets=[], packages=names, exclude=_EXCLUDED)


FEW: Final = packages(
    "base-files", "base-passwd", "coreutils", "dash", "findutils", "libcap2-bin", "openssl"
) + layer(
    "files",
    "data",
    entries=[
        {"path": "/srv/one", "text": "one"},
        {"path": "/srv/two", "text": "two", "mode": "0600", "owner": "7:8"},
        {"path": "/srv/gone", "text": "gone"},
        {"path": "/srv/can", "text": "can", "capabilities": "cap_net_raw+ep"},
        {"path": "/srv/old/a", "text": "a"},
        {"path": "/srv/old/in/b", "text": "b"},
        {"path": "/srv/tree/a", "text": "a", "owner": "5:6"},
        {"path": "/srv/tree/in/b", "text": "b"},
        {"path": "/srv/tree/in/link", "link": "b"},
        {"path": "/srv/kinds/file", "text": "1"},
        {"path": "/srv/kinds/folder/in", "text": "1"},
        {"path": "/srv/kinds/link", "link": "folder"},
    ],
)
MANY: Final = packages(
    "base-files", "base-passwd", "ca-certificates", "coreutils", "dash", "findutils", "fontconfig",
    "fonts-dejavu-core", "gcc", "grep", "gzip", "libc-bin", "libc6-dev", "locales", "make",
    "passwd", "python3", "python3-pip", "python3-setuptools", "python3-wheel", "sed",
)  # fmt: skip
BASES: Final = {"few": FEW, "many": MANY}


@frozen
class Case:
    """A script, and the name of the base that it runs over."""

    script: str
    base: str = "many"
    options: Mapping[str, Any] = field(factory=dict)


CHANGES: Final = Case(
    "cd /srv; mv one two; rm gone; rm -r old; mkdir old; echo new > old/new\n"
    "echo linked > first; ln first second; setcap cap_net_bind_service+ep can",
    "few",
)
"""A rename onto a lower file, a whiteout, an opaque directory, hard links, another capability."""

MOVES: Final = Case(
    """cd /srv
mv tree moved; mkdir tree; echo 1 > tree/new; mv moved/in tree/in2; cp -a moved copied
ln two kinds/two; ln moved/a moved/again; mv moved/again kinds/a
rm kinds/file; mkdir kinds/file; echo 1 > kinds/file/in
rm -r kinds/folder; echo 1 > kinds/folder; rm kinds/link; mkdir kinds/link; echo 1 > kinds/link/x
rm -r old/in; mkdir old/in; mkdir -m 2775 old/in/set; chown 5:65534 old/in/set; ln -s nowhere old/l
chown -h 9:9 old/l; chmod 1777 old; touch old/b; rm old/b; chmod 0 gone; truncate -s 100K sparse
install -m 6755 -o 1 -g 2 /usr/bin/true true; mv /srv/one '/srv/o n\\e'; echo 1 > .wh; mkdir 'é'
chown 7 /srv; : > seen
find /srv -type f -printf '%y %m %U:%G %s %p\\n' -o -printf '%y %m %U:%G %l %p\\n' |
LC_ALL=C sort > /tmp/seen; cat /tmp/seen > seen""",
    "few",
)
"""Moves, links and files of other kinds, and at the end a list of all that the command sees."""

SAME: Final[Mapping[str, Case]] = {
    "changes": CHANGES,
    "moves": MOVES,
    "useradd": Case("useradd --create-home --uid 1234 web; useradd --system --no-create-home two"),
    "update-ca-certificates": Case(
        "sed -i 's/^mozilla.ISRG_Root_X1/!&/' /etc/ca-certificates.conf; update-ca-certificates"
    ),
    "compileall": Case(
        "python3 -m compileall -q /usr/lib/python3.11/json /usr/lib/python3.11/email\n"
        "python3 -c 'import xml.dom.minidom'"
    ),
    "gcc": Case(
        "mkdir /srv/gcc; cd /srv/gcc\n"
        "echo '#include <stdio.h>' > a.c\n"
        "echo 'int main(void) { puts(__DATE__ __TIME__ __FILE__); return 0; }' >> a.c\n"
        "gcc -g -O2 a.c -o a; ./a > said"
    ),
    "make": Case(
        "mkdir /srv/make; cd /srv/make\n"
        'for one in 1 2 3 4 5 6 7 8; do echo "int f$one(int a) { return a; }" > $one.c; done\n'
        "echo 'lib.a: $(patsubst %.c,%.o,$(wildcard *.c)); ar rcs $@ $^' > Makefile\n"
        "make -j8"
    ),
    "fc-cache": Case("fc-cache -f"),
    "locale-gen": Case("echo 'de_DE.UTF-8 UTF-8' > /etc/locale.gen; locale-gen"),
    "pip": Case(
        "pip install --break-system-packages --no-index --no-build-isolation --no-deps "
        "/src/one-1.0.tar.gz",
        options={"inputs": [{"path": "one-1.0.tar.gz", "to": "/src/one-1.0.tar.gz"}]},
    ),
}
"""What is to be the same for everyone and everywhere."""

# Numbers on lines of their own, and more of them than one turn of a processor takes.
_RACE: Final = (
    "eight='1 2 3 4 5 6 7 8'; for a in $eight; do (for b in $eight; do for c in $eight; do "
    "for d in $eight; do echo $a; done; done; done) >> /srv/race & done; wait"
)
_MANY_FILES: Final = (
    "mkdir /srv/d; cd /srv/d; for one in a b c d e f g h i j k l m n; do : > $one; done"
)
REFUSED: Final[Mapping[str, tuple[Case, str]]] = {
    "openssl": (Case("openssl genrsa -out /srv/key 2048", "few"), r"/srv/key: content differs"),
    "mktemp": (
        Case("mktemp /srv/made-XXXXXXXX", "few"),
        r"/srv/made-\w{8}: a file, only in the \w+ run; the \w+ has made-\w{8}; a random name",
    ),
    "ls": (
        Case(f"{_MANY_FILES}; ls -U > /srv/list", "few"),
        r"/srv/list: content differs .* the same in another order",
    ),
    "date": (Case("date > /srv/date", "few"), r"/srv/date: content differs .* a time of the run"),
    "slow": (
        # Process ids are higher in the second run, which is over at once.
        Case("if [ $$ -lt 10000 ]; then sleep 1.5; fi; date > /srv/date", "few"),
        r"/srv/date: content differs .* a time of the run",
    ),
    "race": (Case(_RACE, "few"), r"/srv/race: content differs .* the same in another order"),
    "pyc": (
        Case("echo 'a = 1' > /srv/one.py; cd /srv; python3 -c 'import one'"),
        r"/srv/__pycache__/one.cpython-311.pyc: .* a .pyc with the time of its source",
    ),
    "lto": (
        Case("echo 'int f(int a) { return a; }' > /srv/a.c; gcc -flto -c /srv/a.c -o /srv/a.o"),
        r"/srv/a.o: .* code made with `-flto` has random names",
    ),
}
"""What differs from run to run, and what is said of it."""

HELPED: Final[Mapping[str, Case]] = {
    "openssl": Case("openssl genrsa -out /srv/key 2048", "few", {"drop": ["/srv/key"]}),
    "mktemp": Case("made=$(mktemp /srv/made-XXXXXXXX); mv $made /srv/made", "few"),
    "ls": Case(f"{_MANY_FILES}; ls -U | sort > /srv/list", "few"),
    "date": Case('date -d "@$SOURCE_DATE_EPOCH" > /srv/date', "few"),
    "slow": Case(
        'if [ $$ -lt 10000 ]; then sleep 1.5; fi; date -d "@$SOURCE_DATE_EPOCH" > /srv/date', "few"
    ),
    "race": Case(f"{_RACE}; sort -o /srv/race /srv/race", "few"),
    "pyc": Case(
        "echo 'a = 1' > /srv/one.py; cd /srv\n"
        "python3 -m compileall --invalidation-mode unchecked-hash one.py"
    ),
    "lto": Case(
        "echo 'int f(int a) { return a; }' > /srv/a.c\n"
        "gcc -flto -frandom-seed=one -c /srv/a.c -o /srv/a.o"
    ),
}
"""The same, once what was said is heeded."""


@frozen
class Workshop:
    """A folder with specs, what they take, a store and the machine's cache."""

    folder: Path

    @property
    def config(self) -> Config:
        """Settings that know of no mirror: what is not in the store is not to be had."""
        cache, machine = self.folder / "cache", platform.machine()
        return Config(self.folder / "store", cache, jobs=2, machine=machine)

    @classmethod
    def new(cls, folder: Path, bases: Mapping[str, str] = BASES) -> Workshop:
        """Make one whose store holds the bases: name → layers."""
        made = cls(folder)
        fill(folder, {"one-1.0.tar.gz": sdist()})
        config = evolve(Config.load(), cache=folder / "cache")
        with Store.open(folder / "store") as store:
            for name, layers in bases.items():
                spec = made.spec(name, layers)
                immutable.lock(spec, store, config=config)
                immutable.build(spec, store, config=config)
        return made

    def copied(self, folder: Path, owner: str | None = None) -> Workshop:
        """Return one in `folder`, which is not there yet, that is the same but for the cache."""
        left_out = shutil.ignore_patterns("cache")
        shutil.copytree(self.folder, folder, symlinks=True, ignore=left_out)
        if owner is not None:
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, owner, owner)
        return Workshop(folder)

    def spec(self, name: str, text: str) -> Path:
        """Write a spec for this machine's platform; it is a small one that is soon packed."""
        own = Platform.of_machine(platform.machine())
        head = f'platforms = ["{own}"]\ncompression = "zstd"\n'
        return write(self.folder, text, f"{name}.toml", image=head)

    def command(self, name: str, case: Case) -> Path:
        """Write a spec of the case's base, whose lock it has, and its script."""
        made = layer("run", "made", script=case.script, **case.options)
        base = self.folder / f"{case.base}.toml"
        spec = self.folder / f"{name}.toml"
        spec.write_text(base.read_text() + made)
        lock = base.with_suffix(".lock.toml").read_bytes()
        spec.with_suffix(".lock.toml").write_bytes(lock)
        return spec

    def build(self, name: str, case: Case, store: Store) -> immutable.Image:
        """Build that spec."""
        return immutable.build(self.command(name, case), store, config=self.config)

    def opened(self) -> Store:
        """Open the store."""
        return Store.open(self.folder / "store")


def diff_ids(workshop: Workshop, cases: Mapping[str, Case]) -> dict[str, str]:
    """Return name → the diffID of what the command made, or what was said of it."""
    found = {}
    with workshop.opened() as store:
        for name, case in cases.items():
            try:
                image = workshop.build(name, case, store)
            except immutable.ImmutableError as error:
                found[name] = str(error)
            else:
                found[name] = str(image.platforms[0].layers[-1].diff_id)
    return found


def of_user(workshop: Workshop, cases: Mapping[str, Case]) -> dict[str, str]:
    """Return `diff_ids` as the ordinary user makes them."""
    code = (
        "import json, pickle, sys; from pathlib import Path; from tests.support import commands;"
        "cases = pickle.loads(bytes.fromhex(sys.argv[2]));"
        "print(json.dumps(commands.diff_ids(commands.Workshop(Path(sys.argv[1])), cases)))"
    )
    said = sandboxes.said_by_user(code, str(workshop.folder), pickle.dumps(dict(cases)).hex())
    found: dict[str, str] = json.loads(said)
    return found


@contextmanager
def place(parent: str, owner: str | None = None) -> Iterator[Path]:
    """Give a folder of one's own below `parent`, to which an `owner` has a way."""
    with tempfile.TemporaryDirectory(prefix="immutable-test-", dir=parent) as folder:
        if owner is not None:
            shutil.chown(folder, owner, owner)
        try:
            yield Path(folder) / "workshop"
        finally:
            shutil.rmtree(Path(folder) / "workshop", ignore_errors=True)


_SDIST: Final = {
    "PKG-INFO": "Metadata-Version: 2.1\nName: one\nVersion: 1.0\n",
    "setup.py": (
        "import setuptools\n"
        'setuptools.setup(name="one", version="1.0", py_modules=["one"],'
        ' entry_points={"console_scripts": ["one=one:main"]})\n'
    ),
    "one.py": "def main():\n    print(1)\n",
}


def sdist() -> bytes:
    """Return a source distribution of one module."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in _SDIST.items():
            info = tarfile.TarInfo(f"one-1.0/{name}")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return gzipped(out.getvalue())


class _Once(AbstractContextManager["_Once"]):
    """A sandbox whose second runs are none: they left what the first ones did."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._sandbox = Sandbox.open(folder, progress)
        self._first: Ran | None = None

    def run(
        self,
        layers: Sequence[Layer],
        command: Command,
        surroundings: Surroundings,
        limits: Limits,
    ) -> Ran:
        """Run the first, and return it again for the second."""
        if self._first is None:
            self._first = self._sandbox.run(layers, command, surroundings, limits)
        return self._first

    def close(self) -> None:
        """End what runs."""
        self._sandbox.close()

    def __exit__(self, *_: object) -> None:
        self.close()


ONCE: Final = Machine(_Once, sleep=lambda _: None)
"""A machine on which commands are run once."""


def _none(folder: Path, progress: Progress) -> AbstractContextManager[Sandbox]:
    raise AssertionError("a sandbox was opened")


NONE: Final = Machine(_none)
"""A machine that runs no commands."""
