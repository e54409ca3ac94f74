"""Layers of each kind over Debian's packages, whose ``/lib`` and ``/bin`` are links: it runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import immutable
from immutable.config import Config
from tests.support import needs
from tests.support.bases import KINDS, Bench, changed
from tests.support.bases_expected import expected
from tests.support.containers import ENGINES, Loaded
from tests.support.specs import fill, layer

pytestmark = [pytest.mark.network]
SHELL = layer("debian", "runtime", suite="bookworm", packages=["base-files", "dash"])
PACKAGES = ["base-files", "base-passwd", "coreutils", "dash", "openssl"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), settings=Config.load())


@pytest.fixture(scope="module")
def source(bench: Bench) -> immutable.Image:
    """A shell, and a folder of sources that has a ``lib``."""
    fill(bench.folder / "source", {"lib/x": "from the source\n"})
    return bench.build(
        SHELL,
        layer("files", "app", source="source", target="/"),
    )


@pytest.fixture(scope="module")
def everything(bench: Bench) -> immutable.Image:
    """Packages, and layers of each kind over them."""
    base = layer("debian", "runtime", suite="bookworm", packages=PACKAGES)
    return bench.build(base, *(one for kind in KINDS.values() for one in kind))


# These it has, unlike the base that stands for it where there is no mirror.
DIRECTORIES = {"home", "opt", "srv", "usr/local", "usr/local/bin", "var/lib"}


@needs.network()
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_adds_its_own_and_leaves_all_else_as_packages_have_it(
    bench: Bench, kind: str
) -> None:
    image = bench.build(SHELL, *KINDS[kind])

    rows = expected("usr-merged", kind).items()
    wanted = {path: words for path, words in rows if path not in DIRECTORIES}
    assert wanted == changed(image, bench, len(KINDS[kind]))


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def loaded(engine: str, everything: immutable.Image) -> Iterator[Loaded]:
    with Loaded(engine, everything) as made:
        yield made


@needs.network()
@needs.engine()
@needs.tool("podman")
@needs.root()
@pytest.mark.engine
@pytest.mark.tools
def test_a_shell_runs_that_a_folder_with_lib_was_put_over(
    engine: str, source: immutable.Image
) -> None:
    script = 'read -r line < /lib/x; echo "$line"; test -L /lib && echo a link'
    with Loaded(engine, source) as made:
        assert "from the source\na link" == made.says("/bin/sh", "-c", script)


STOOD = """\
'/bin' -> 'usr/bin' lrwxrwxrwx root:root
'/lib' -> 'usr/lib' lrwxrwxrwx root:root
'/sbin' -> 'usr/sbin' lrwxrwxrwx root:root
'/var/run' -> '/run' lrwxrwxrwx root:root
'/var/lock' -> '/run/lock' lrwxrwxrwx root:root
/etc/ssl/private drwx------ root:root
/root drwx------ root:root
/run/lock drwxrwxrwt root:root
/tmp drwxrwxrwt root:root
/var/tmp drwxrwxrwt root:root
/var/mail drwxrwsr-x root:mail
/opt drwxr-xr-x root:root
/usr/lib drwxr-xr-x root:root
/etc/passwd -rw-r--r-- root:root
"""
CAME = """\
/app drwx------ www-data:www-data
/app/node_modules/left/index.js -rwxr-xr-x root:root
/app/plugin -rwxr-xr-x www-data:www-data
/data/home drwx------ data:data
/etc/ssl/private/key -rw-r--r-- root:root
/home/web drwx------ web:web
/opt/tool/run -rwxr-xr-x root:root
/usr/bin/more -rwxr-xr-x root:root
/usr/bin/tool -rwxr-xr-x root:root
/usr/lib/from-archive -rw-r--r-- root:root
/usr/lib/plugins/plugin -rwxr-xr-x root:root
/usr/lib/python3/dist-packages/more/__init__.py -rw-r--r-- root:root
/usr/lib/python3/dist-packages/pure/__init__.py -rw-r--r-- root:root
/usr/lib/x -rw-r--r-- root:root
/usr/local/bin/pure -rwxr-xr-x root:root
"""


def paths(table: str) -> list[str]:
    return [line.split()[0].strip("'") for line in table.splitlines()]


@needs.network()
@needs.engine()
@needs.tool("podman")
@needs.root()
@pytest.mark.engine
@pytest.mark.tools
def test_what_packages_brought_is_as_it_was_and_what_came_is_where_links_lead(
    loaded: Loaded,
) -> None:
    script = 'for one; do case $(stat -c %F "$one") in symb*) f=%N;; *) f=%n;; esac; '
    script += 'stat -c "$f %A %U:%G" "$one"; done'
    shown = loaded.says("sh", "-c", script, "sh", *paths(STOOD), *paths(CAME))

    assert (STOOD + CAME).splitlines() == shown.splitlines()


@needs.network()
@needs.engine()
@needs.tool("podman")
@needs.root()
@pytest.mark.engine
@pytest.mark.tools
def test_each_file_is_there_by_the_path_that_its_layer_gave(loaded: Loaded) -> None:
    script = "cat /lib/x /bin/tool /app/z /lib/plugins/plugin /lib/from-archive /data/y"
    script += " /var/run/motd && test -x /bin/more && id -un"

    assert "xtzpayhiroot" == loaded.says("sh", "-c", script)


@needs.network()
@needs.engine()
@needs.tool("podman")
@needs.root()
@pytest.mark.engine
@pytest.mark.tools
def test_users_are_known_and_see_what_is_theirs(loaded: Loaded) -> None:
    script = "id -un && id -Gn && cd /data/home && touch mine && ls"
    script += " && ! ls /etc/ssl/private 2> /dev/null"

    assert "data\ndata tools\nmine" == loaded.says("sh", "-c", script, user="data")
