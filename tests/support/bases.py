"""Base images as others build them, and a folder with everything that goes on top of one.

The tars are written by hand: with ``./`` before each name or without, parents left out or not, in
one gzip member, as other builders have it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import define, evolve, field

import immutable
from immutable.build.contents import LayerContents, StoredRootfs
from immutable.build.results import Image
from immutable.config import Config
from immutable.content.contents import Inode
from immutable.content.entries import EntryKind
from immutable.content.rootfs import Found
from immutable.store import AbstractStore, MemoryStore
from immutable.store.layout import Layout
from tests.support.archives import END, directory, member, pax, symlink
from tests.support.npm import Project
from tests.support.specs import CONFIG, build, fill, layer, layout_image, write
from tests.support.wheels import pylock, wheel

PASSWD: Final = b"root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/sh\n"
GROUP: Final = b"root:x:0:\nwww-data:x:33:\nusers:x:100:\nssl-cert:x:101:\n"


def own(path: bytes, mode: int, uid: int = 0, gid: int = 0, **xattrs: bytes) -> bytes:
    """Return a directory's header, with xattrs of users."""
    pairs = [(b"SCHILY.xattr.user." + name.encode(), data) for name, data in xattrs.items()]
    return (pax(*pairs) if pairs else b"") + directory(path, mode=mode, uid=uid, gid=gid)


def usr_merged() -> bytes:
    """Debian since bookworm: ``/bin``, ``/sbin`` and the libraries are links into ``/usr``."""
    return (
        b"".join(
            directory(path)
            for path in (b"etc/", b"usr/", b"usr/bin/", b"usr/sbin/", b"usr/lib/", b"usr/lib64/")
        )
        + directory(b"run/")
        + own(b"run/lock/", 0o1777)
        + b"".join(symlink(name, b"usr/" + name) for name in (b"bin", b"sbin", b"lib", b"lib64"))
        + directory(b"var/")
        + symlink(b"var/run", b"/run")
        + symlink(b"var/lock", b"/run/lock")
        + member(b"usr/bin/dash", b"\x7fELF dash", mode=0o755)
        + symlink(b"usr/bin/sh", b"dash")
        + member(b"usr/lib/libc.so.6", b"\x7fELF libc", mode=0o755)
        + symlink(b"usr/lib64/ld-linux-x86-64.so.2", b"../lib/ld.so")
        + member(b"usr/lib/ld.so", b"\x7fELF ld", mode=0o755)
        + member(b"etc/passwd", PASSWD)
        + member(b"etc/group", GROUP)
        + END
    )


def with_owners() -> bytes:
    """One whose directories have owners, modes and xattrs of their own."""
    passwd = PASSWD + b"web:x:1001:1001::/home/web:/bin/sh\n"
    return (
        own(b"./", 0o755)
        + own(b"./data/", 0o1777, 1000, 1000)
        + own(b"./etc/", 0o755)
        + member(b"./etc/passwd", passwd, mode=0o640, gid=42)
        + member(b"./etc/group", GROUP + b"web:x:1001:\n", mode=0o640, gid=42)
        + own(b"./etc/ssl/private/", 0o700, 0, 101)
        + own(b"./srv/shared/", 0o2775, 0, 50, origin=b"kept", other=b"\0\xff")
        + own(b"./opt/", 0o711)
        + own(b"./home/", 0o751)
        + own(b"./home/web/", 0o750, 1001, 1001)
        + own(b"./var/lib/app/", 0o700, 5, 6)
        + own(b"./usr/lib/", 0o755, 3, 4)
        + own(b"./lib/", 0o750, 7, 8, origin=b"lib")
        + own(b"./bin/", 0o555)
        + member(b"./bin/sh", b"\x7fELF sh", mode=0o755)
        + END
    )


def alpine() -> bytes:
    """Alpine: real ``/bin`` and ``/lib``, links to busybox, its account files and package base."""
    applets = (b"cat", b"ls", b"sh", b"stat")
    passwd = (
        b"root:x:0:0:root:/root:/bin/ash\nbin:x:1:1:bin:/bin:/sbin/nologin\n"
        b"www-data:x:82:82:Linux User,,,:/home/www-data:/sbin/nologin\n"
        b"guest:x:405:100:guest:/dev/null:/sbin/nologin\n"
    )
    group = b"root:x:0:root\nbin:x:1:root,bin,daemon\nwww-data:x:82:\nusers:x:100:games\n"
    return (
        own(b"./", 0o755)
        + member(b"./bin/busybox", b"\x7fELF busybox", mode=0o755)
        + b"".join(symlink(b"./bin/" + one, b"/bin/busybox", mode=0o777) for one in applets)
        + member(b"./lib/ld-musl-x86_64.so.1", b"\x7fELF musl", mode=0o755)
        + symlink(b"./lib/libc.musl-x86_64.so.1", b"ld-musl-x86_64.so.1")
        + own(b"./lib/apk/db/", 0o755)
        + member(b"./lib/apk/db/installed", b"P:musl\n")
        + member(b"./etc/passwd", passwd)
        + member(b"./etc/group", group)
        + member(b"./etc/shadow", b"root:*::0:::::\nguest:!::0:::::\n", mode=0o640, gid=42)
        + symlink(b"./etc/mtab", b"../proc/mounts")
        + own(b"./tmp/", 0o1777)
        + own(b"./run/", 0o755)
        + symlink(b"./var/run", b"../run")
        + own(b"./var/tmp/", 0o1777)
        + own(b"./var/empty/", 0o555)
        + own(b"./home/", 0o755)
        + END
    )


def linked_app(*links: tuple[bytes, bytes], there: bool = True) -> bytes:
    """One with links that make ``/app`` lead to ``/srv/app``, if that is `there`."""
    made = [directory(b"etc/"), member(b"etc/passwd", PASSWD), directory(b"srv/")]
    if there:
        made += [own(b"srv/app/", 0o2750, 33, 33, origin=b"app"), member(b"srv/app/old", b"old")]
    made += [directory(b"bin/"), member(b"bin/sh", b"\x7fELF sh", mode=0o755)]
    return b"".join([*made, *(symlink(path, target) for path, target in links), END])


BASES: Final[Mapping[str, bytes]] = {
    "usr-merged": usr_merged(),
    "owners": with_owners(),
    "alpine": alpine(),
    "app absolute": linked_app((b"app", b"/srv/app")),
    "app relative": linked_app((b"srv/www/app", b"../../srv/app"), (b"app", b"../srv/app")),
    "app dangling": linked_app((b"app", b"srv/app"), there=False),
    "app twice": linked_app((b"app", b"/srv/current"), (b"srv/current", b"app")),
}

_SHORT: Final = 12  # bytes of a file that are shown

# What goes on top: the layers of each kind.

ARCHIVE: Final = (
    own(b"lib/", 0o700, 7, 7)
    + member(b"lib/from-archive", b"a")
    + own(b"data/", 0o755)
    + member(b"data/deep/y", b"a")
    + own(b"opt/", 0o700)
    + member(b"opt/tool/run", b"a", mode=0o755)
    + END
)
PLUGIN: Final = own(b"./", 0o700, 9, 9) + member(b"./plugin", b"p", mode=0o755) + END
PURE: Final = wheel("pure", scripts={"pure": "pure:main"})
MORE: Final = wheel("more", scripts={"more": "more:main"})
TREE: Final[Mapping[str, str | bytes]] = {
    "lib/x": "x",
    "etc/ssl/private/key": "k",
    "data/y": "y",
    "app/z": "z",
    "opt/o": "o",
    "var/lib/app/state": "s",
}


@define
class Bench:
    """A folder with what layers of each kind take, and with a base image; and a store."""

    folder: Path
    store: AbstractStore = field(factory=MemoryStore)
    settings: Config = CONFIG

    def __attrs_post_init__(self) -> None:
        fill(self.folder / "tree", TREE)
        fill(self.folder, {"motd": "hi", "archive.tar": ARCHIVE, "plugin.tar": PLUGIN})
        fill(self.folder, {"pylock.toml": pylock(PURE), "more/pylock.toml": pylock(MORE)})
        for made in (PURE, MORE):
            self.store.put_blob(made.data)
        Project(self.folder).add("left", {"index.js": "l"}, bin={"left": "index.js"}).write()

    @property
    def config(self) -> Config:
        """The settings, under which the packages of npm are found here."""
        mirrors = dict(self.settings.mirrors) | dict(Project(self.folder).config.mirrors)
        return evolve(self.settings, mirrors=mirrors)

    def base(self, *tars: bytes) -> str:
        """Put an image of `tars` there; return the layer that takes it, which the lock pins."""
        where = self.folder / "base"
        layout = Layout.open(where) if where.exists() else Layout.create(where)
        layout_image(layout, *tars, name="base")
        return layer("image", "base", from_="oci:base:base")

    def build(self, *layers: str) -> Image:
        """Lock and build a spec of `layers`."""
        spec = write(self.folder, "".join(layers))
        immutable.lock(spec, self.store, config=self.config, upgrade=True)
        return build(spec, self.store, config=self.config)

    def rootfs(self, image: Image, *, without: int = 0) -> StoredRootfs:
        """Return what the layers add up to, but for the last `without`."""
        layers = image.layers[: len(image.layers) - without]
        return LayerContents(self.store).rootfs([one.blob for one in layers])


def archive(data: bytes, name: str, path: str, target: str, **options: Any) -> str:
    """Return a layer of the archive at `path` of the bench."""
    digest = hashlib.sha256(data).hexdigest()
    return layer("archive", name, path=path, sha256=digest, target=target, **options)


KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "files": (
        layer("files", "tree", source="tree"),
        layer("files", "motd", source="motd", target="/var/run/motd"),
        layer(
            "files",
            "entries",
            entries=[
                {"path": "/bin/tool", "text": "t", "mode": "0755"},
                {"path": "/srv/shared/note", "text": "n"},
                {"path": "/app/here", "link": "/app/z"},
                {"path": "/data/sub", "directory": True, "mode": "0700"},
            ],
        ),
    ),
    "archive": (
        archive(ARCHIVE, "archive", "archive.tar", "/"),
        archive(PLUGIN, "plugin", "plugin.tar", "/app", owner="33:33"),
        archive(PLUGIN, "deeper", "plugin.tar", "/lib/plugins"),
    ),
    "wheels": (
        layer(
            "wheels",
            "pure",
            lockfile="pylock.toml",
            python="3.11",
            target="/usr/lib/python3/dist-packages",
            scripts="/usr/local/bin",
        ),
        layer(
            "wheels",
            "more",
            lockfile="more/pylock.toml",
            python="3.11",
            target="/lib/python3/dist-packages",
            scripts="/bin",
        ),
    ),
    "npm": (layer("npm", "npm", lockfile="app/package-lock.json", target="/app"),),
    "users": (
        "\n".join(
            (
                '[[user]]\nname = "web"\nuid = 1001',
                '[[user]]\nname = "api"\nuid = 1002\nhome = "/app"',
                '[[user]]\nname = "data"\nuid = 1003\nhome = "/data/home"\ngroups = ["tools"]',
                '[[group]]\nname = "tools"\ngid = 990\n',
            )
        ),
    ),
}


def changed(image: Image, bench: Bench, layers: int) -> dict[str, str]:
    """Return path → what stands there, of what is not as it is without the uppermost `layers`.

    What is gone is `gone`. What wheels tell of themselves is left out.
    """
    upper, lower = bench.rootfs(image), bench.rootfs(image, without=layers)
    before = {found.path: found.inode for found in lower.rootfs}
    after = {found.path: found for found in upper.rootfs}
    found = {path.decode(): "gone" for path in before.keys() - after.keys()}
    for path, one in after.items():
        if not _same(before.get(path), one.inode) and b".dist-info/" not in path:
            found[path.decode()] = words(upper, one)
    return found


def _same(one: Inode | None, other: Inode) -> bool:
    return one is not None and evolve(one, position=other.position) == other


def words(root: StoredRootfs, found: Found) -> str:
    """Return what stands there: its kind, mode and owner; or a link's target; xattrs."""
    inode = found.inode
    if inode.kind is EntryKind.SYMLINK:
        return f"-> {inode.target.decode()}"
    kind = "file" if inode.kind is EntryKind.FILE else "directory"
    more = [f"{name.decode()}={value!r}" for name, value in inode.xattrs]
    if inode.kind is EntryKind.FILE and inode.size <= _SHORT:
        more.append(b"".join(root.content(found).read()).decode())
    return " ".join([f"{kind} {inode.mode:04o} {inode.uid}:{inode.gid}", *more])
