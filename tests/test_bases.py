"""Layers of each kind over bases as others build them: where files lie, and what stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from immutable.build.results import Image
from immutable.content.archives.decompress import open_stream
from immutable.content.entries import EntryKind
from immutable.errors import EntryError
from tests.support import needs
from tests.support.archives import END, block, directory, hardlink, member, symlink
from tests.support.bases import BASES, KINDS, PASSWD, PLUGIN, Bench, archive, changed, own
from tests.support.bases_expected import expected
from tests.support.overlay import Overlay
from tests.support.shown import shown
from tests.support.specs import contents, fill, layer, text


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("base", BASES)
def test_a_layer_adds_its_own_and_leaves_all_else_as_it_was(
    bench: Bench, base: str, kind: str
) -> None:
    image = bench.build(bench.base(BASES[base]), *KINDS[kind])

    assert expected(base, kind) == changed(image, bench, len(image.layers) - 1)


@pytest.mark.parametrize("base", BASES)
def test_all_kinds_over_one_another_are_found_by_the_paths_that_they_were_given(
    bench: Bench, base: str
) -> None:
    root = bench.rootfs(everything(bench, base))
    found = {
        path: root.read(path.encode(), limit=9)
        for path in ("lib/x", "bin/tool", "app/z", "app/plugin", "lib/plugins/plugin", "data/y")
    }

    assert ["x", "t", "z", "p", "p", "y"] == [(one or b"").decode() for one in found.values()]
    for path in (b"bin/sh", b"bin/more", b"app/here", b"app/node_modules/.bin/left", b"bin/pure"):
        end = root.rootfs.resolve(b"usr/local/" + path if path == b"bin/pure" else path).found
        assert end is not None
        assert EntryKind.FILE is end.inode.kind


def everything(bench: Bench, base: str) -> Image:
    """Build all kinds over one another."""
    return bench.build(bench.base(BASES[base]), *(one for kind in KINDS.values() for one in kind))


@pytest.fixture(scope="module")
def overlay() -> Iterator[Overlay]:
    process = Overlay()
    yield process
    process.close()


@needs.root()
@needs.overlay()
@pytest.mark.parametrize("base", BASES)
def test_the_kernel_sees_the_same(bench: Bench, overlay: Overlay, base: str) -> None:
    image = everything(bench, base)

    assert overlay.shows(tars(image, bench)) == shown(bench.rootfs(image))


def tars(image: Image, bench: Bench) -> list[bytes]:
    found = []
    for built in image.layers:
        with bench.store.verified(built.blob.digest, built.blob.size) as raw:
            found.append(open_stream(raw, name=built.name).read())
    return found


ALPINE_PASSWD = """root:x:0:0:root:/root:/bin/ash
bin:x:1:1:bin:/bin:/sbin/nologin
www-data:x:82:82:Linux User,,,:/home/www-data:/sbin/nologin
guest:x:405:100:guest:/dev/null:/sbin/nologin
"""
ADDED = """api:x:1002:1002::/app:/usr/sbin/nologin
data:x:1003:1003::/data/home:/usr/sbin/nologin
"""
WEB = "web:x:1001:1001::/home/web:/usr/sbin/nologin\n"


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("usr-merged", PASSWD.decode() + WEB + ADDED),
        ("owners", PASSWD.decode() + "web:x:1001:1001::/home/web:/bin/sh\n" + ADDED),
        ("alpine", ALPINE_PASSWD + WEB + ADDED),
        ("app dangling", PASSWD.decode() + WEB + ADDED),
    ],
)
def test_users_come_after_those_that_are_there(bench: Bench, base: str, expected: str) -> None:
    image = bench.build(bench.base(BASES[base]), *KINDS["users"])

    assert expected == text(contents(bench.store, image.layers[-1])["etc/passwd"])


def test_groups_and_shadow_are_extended_in_their_base_s_shape(bench: Bench) -> None:
    image = bench.build(bench.base(BASES["alpine"]), *KINDS["users"])

    found = contents(bench.store, image.layers[-1])
    assert [
        "root:x:0:root",
        "bin:x:1:root,bin,daemon",
        "www-data:x:82:",
        "users:x:100:games",
        "tools:x:990:data",
        "web:x:1001:",
        "api:x:1002:",
        "data:x:1003:",
    ] == sorted(text(found["etc/group"]).splitlines(), key=lambda line: int(line.split(":")[2]))
    assert ["root", "guest", "web", "api", "data"] == [
        line.split(":")[0] for line in text(found["etc/shadow"]).splitlines()
    ]


def test_what_only_homes_will_be_in_is_as_the_first_layer_makes_it(bench: Bench) -> None:
    data = directory(b"home/", mode=0o711) + END
    (bench.folder / "home.tar").write_bytes(data)
    image = bench.build(archive(data, "home", "home.tar", "/"), *KINDS["users"])

    home = bench.rootfs(image).rootfs.find(b"home")

    assert home is not None
    assert 0o711 == home.inode.mode


@pytest.mark.parametrize(("home", "place"), [("/home/web", "var/home/web"), ("/app", "srv/app")])
def test_what_is_put_into_a_home_finds_it_as_its_user_s_where_links_lead(
    bench: Bench, home: str, place: str
) -> None:
    links = symlink(b"home", b"var/home") + symlink(b"app", b"srv/app")
    image = bench.build(
        bench.base(directory(b"var/home/") + directory(b"srv/") + links + END),
        layer("files", "up", entries=[{"path": f"{home}/mine", "text": "m"}]),
        f'[[user]]\nname = "web"\nuid = 1001\nhome = "{home}"\n',
    )

    found = changed(image, bench, 2)
    assert "directory 0700 1001:1001" == found[place]
    assert "file 0644 0:0 m" == found[f"{place}/mine"]


# What a base's upper layer takes away or makes another counts as it then is.
LOWER = (
    symlink(b"app", b"srv/app")
    + own(b"srv/app/", 0o750, 5, 5)
    + own(b"lib/", 0o711, 3, 3)
    + member(b"lib/old")
    + own(b"opt/", 0o700, 8, 8)
    + member(b"opt/old")
    + own(b"usr/lib/", 0o751, 4, 4)
)


@pytest.mark.parametrize(
    ("upper", "comes"),
    [
        (
            member(b".wh.app") + symlink(b"lib", b"usr/lib") + member(b"opt/.wh..wh..opq"),
            {
                "app": "directory 0755 0:0",
                "app/z": "file 0644 0:0 z",
                "opt/o": "file 0644 0:0 o",
                "usr/lib/x": "file 0644 0:0 x",
            },
        ),
        (
            member(b".wh.srv") + member(b"lib/.wh.old") + member(b".wh.opt"),
            {
                "srv": "directory 0755 0:0",
                "srv/app": "directory 0755 0:0",
                "srv/app/z": "file 0644 0:0 z",
                "lib/x": "file 0644 0:0 x",
                "opt": "directory 0755 0:0",
                "opt/o": "file 0644 0:0 o",
            },
        ),
        (
            own(b"app/", 0o1777, 6, 6) + member(b".wh.lib") + own(b"lib/", 0o500),
            {
                "app/z": "file 0644 0:0 z",
                "lib/x": "file 0644 0:0 x",
                "opt/o": "file 0644 0:0 o",
            },
        ),
    ],
)
def test_a_base_is_what_all_its_layers_add_up_to(
    bench: Bench, upper: bytes, comes: Mapping[str, str]
) -> None:
    tree = layer("files", "tree", source="tree", include=["app/**", "lib/**", "opt/**"])
    image = bench.build(bench.base(LOWER + END, upper + END), tree)

    assert comes == changed(image, bench, 1)


def test_hard_links_by_paths_that_lead_to_one_directory_stay_one_file(bench: Bench) -> None:
    data = member(b"lib/b", b"1") + hardlink(b"usr/lib/a", b"lib/b") + hardlink(b"lib/c", b"lib/b")
    (bench.folder / "links.tar").write_bytes(data + END)
    links = archive(data + END, "links", "links.tar", "/")
    image = bench.build(bench.base(BASES["usr-merged"]), links)

    entries = contents(bench.store, image.layers[-1])
    assert {"usr/lib/a": b"", "usr/lib/b": b"usr/lib/a", "usr/lib/c": b"usr/lib/a"} == {
        path: entry.target
        for path, entry in entries.items()
        if entry.kind is not EntryKind.DIRECTORY
    }


def test_the_parts_of_a_layer_all_go_where_links_lead(bench: Bench) -> None:
    lower = bench.base(BASES["app relative"])
    image = bench.build(lower, npm("/app")({"layers": 2}))

    assert ["1/2", "2/2"] == [built.part for built in image.layers[1:]]
    assert expected("app relative", "npm") == changed(image, bench, 2)


BIN_LINK = symlink(b"bin", b"usr/bin") + directory(b"usr/bin/") + member(b"usr/bin/t", b"t") + END
ODD = (
    member(b"srv", b"f")
    + symlink(b"app", b"srv/app")
    + symlink(b"round", b"trip")
    + symlink(b"trip", b"round")
    + member(b"etc/passwd", PASSWD)
    + block(b"pipe", flag=b"6")
    + END
)
DIR = "directory 0755 0:0"
Layer = Callable[[Mapping[str, Any]], str]

WHEELS = {"lockfile": "pylock.toml", "python": "3.11", "target": "/usr/lib/python3/dist-packages"}
NPM = {"lockfile": "app/package-lock.json"}


def entry(path: str, **options: object) -> Layer:
    return lambda more: layer("files", "up", entries=[{"path": path, **options}], **more)


def motd(target: str) -> Layer:
    return lambda more: layer("files", "up", source="motd", target=target, **more)


def packed(data: bytes, path: str, target: str) -> Layer:
    return lambda more: archive(data, "up", path, target, **more)


def wheels(**options: object) -> Layer:
    return lambda more: layer("wheels", "up", **{**WHEELS, **options}, **more)


def npm(target: str) -> Layer:
    return lambda more: layer("npm", "up", **NPM, target=target, **more)


# What a layer would hide, by whose path and in which words; and what stands there where it is to.
HIDING = [
    (
        "usr-merged",
        entry("/lib", text="t"),
        "/lib: a file",
        "a symlink to usr/lib",
        "file 0644 0:0 t",
    ),
    ("usr-merged", motd("/lib"), "/lib: a file", "a symlink to usr/lib", "file 0644 0:0 hi"),
    ("usr-merged", entry("/usr/lib", link="x"), "/usr/lib: a symlink", "a directory", "-> x"),
    (
        "usr-merged",
        entry("/bin/sh/x", text="t"),
        "/usr/bin/sh: a directory",
        "a symlink to dash",
        DIR,
    ),
    ("usr-merged", entry("/etc/passwd", directory=True), "/etc/passwd: a directory", "a file", DIR),
    ("usr-merged", entry("/etc/passwd", link="x"), "/etc/passwd: a symlink", "a file", "-> x"),
    ("owners", motd("/data"), "/data: a file", "a directory", "file 0644 0:0 hi"),
    (
        "owners",
        entry("/var/lib/app", link="/data"),
        "/var/lib/app: a symlink",
        "a directory",
        "-> /data",
    ),
    ("alpine", packed(BIN_LINK, "bin.tar", "/"), "/bin: a symlink", "a directory", "-> usr/bin"),
    (
        "alpine",
        packed(PLUGIN, "plugin.tar", "/bin/sh"),
        "/bin/sh: a directory",
        "a symlink to /bin/busybox",
        DIR,
    ),
    ("alpine", wheels(scripts="/bin/busybox"), "/bin/busybox: a directory", "a file", DIR),
    ("alpine", wheels(target="/bin/ls"), "/bin/ls: a directory", "a symlink to /bin/busybox", DIR),
    ("alpine", npm("/bin/busybox"), "/bin/busybox: a directory", "a file", DIR),
    ("odd", npm("/app"), "/app: a directory", "a symlink to srv/app", DIR),
    ("odd", entry("/round/z", text="t"), "/round: a directory", "a symlink to trip", DIR),
    ("odd", entry("/round", text="t"), "/round: a file", "a symlink to trip", "file 0644 0:0 t"),
    ("odd", entry("/pipe", text="t"), "/pipe: a file", "a FIFO", "file 0644 0:0 t"),
]


@pytest.mark.parametrize(("base", "make", "what", "hidden", "instead"), HIDING)
def test_nothing_of_another_kind_is_hidden_but_where_the_layer_says_so(
    bench: Bench, base: str, make: Layer, what: str, hidden: str, instead: str
) -> None:
    (bench.folder / "bin.tar").write_bytes(BIN_LINK)
    lower = bench.base({**BASES, "odd": ODD}[base])
    with pytest.raises(EntryError) as caught:
        bench.build(lower, make({}))

    image = bench.build(lower, make({"replace": True}))

    assert (
        f'layer "up": {what} would hide {hidden} of a lower layer; say replace = true in this '
        "layer if it is to"
    ) == str(caught.value)
    assert instead == changed(image, bench, 1)[what.partition(":")[0].lstrip("/")]


@needs.root()
@needs.overlay()
@pytest.mark.parametrize(("base", "make"), [case[:2] for case in HIDING])
def test_the_kernel_sees_what_is_there_instead(
    bench: Bench, overlay: Overlay, base: str, make: Layer
) -> None:
    (bench.folder / "bin.tar").write_bytes(BIN_LINK)
    lower = bench.base({**BASES, "odd": ODD}[base])
    image = bench.build(lower, make({"replace": True}))

    assert overlay.shows(tars(image, bench)) == shown(bench.rootfs(image))


@pytest.mark.parametrize("replace", [True, False])
def test_links_to_directories_are_never_what_is_replaced(bench: Bench, replace: bool) -> None:
    image = bench.build(
        bench.base(BASES["usr-merged"]),
        layer("files", "up", source="tree", include=["lib/**"], replace=replace),
    )

    assert {"usr/lib/x": "file 0644 0:0 x"} == changed(image, bench, 1)


def test_a_layer_may_bring_the_links_that_the_base_has(bench: Bench) -> None:
    (bench.folder / "bin.tar").write_bytes(BIN_LINK)
    image = bench.build(bench.base(BASES["usr-merged"]), packed(BIN_LINK, "bin.tar", "/")({}))

    assert {"usr/bin/t": "file 0644 0:0 t"} == changed(image, bench, 1)


def test_two_files_that_come_to_one_path_are_refused(bench: Bench) -> None:
    fill(bench.folder / "both", {"lib/x": "1", "usr/lib/x": "2"})
    said = 'layer "up": usr/lib/x: claimed twice, .* differs; beneath, /lib leads to /usr/lib$'
    with pytest.raises(EntryError, match=said):
        bench.build(bench.base(BASES["usr-merged"]), layer("files", "up", source="both"))


def test_one_file_that_comes_by_two_paths_is_there_once(bench: Bench) -> None:
    fill(bench.folder / "both", {"lib/x": "1", "usr/lib/x": "1"})
    image = bench.build(bench.base(BASES["usr-merged"]), layer("files", "up", source="both"))

    assert {"usr/lib/x": "file 0644 0:0 1"} == changed(image, bench, 1)


@pytest.mark.parametrize(
    ("home", "message"),
    [
        (
            "/etc/passwd",
            "/etc/passwd: expected a directory as the home of u, a layer below has a file",
        ),
        ("/etc/passwd/u", "etc/passwd/u: goes through etc/passwd, which is a file"),
        (
            "/app",
            "/app: a directory would hide a symlink to srv/app of a lower layer; give the user",
        ),
        ("/round", "round: more than 40 links on the way"),
    ],
)
def test_a_home_hides_nothing(bench: Bench, home: str, message: str) -> None:
    user = f'[[user]]\nname = "u"\nuid = 7\nhome = "{home}"\n'
    with pytest.raises(EntryError, match=f'^layer "users": {message}'):
        bench.build(bench.base(ODD), user)
