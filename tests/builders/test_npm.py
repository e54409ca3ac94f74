"""Layers of kind ``npm``: as ``npm ci --ignore-scripts`` lays a project out."""

from __future__ import annotations

import json
import posixpath
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

import immutable
from immutable.build.loading import load_lock
from immutable.content.entries import EntryKind
from immutable.errors import (
    ArchiveError,
    LockStale,
    NoMirror,
    ResolutionError,
    SourceError,
    SpecError,
)
from immutable.store import MemoryStore
from tests.support.archives import hardlink, member, symlink
from tests.support.npm import Project, integrity, shape, tarball
from tests.support.progress import Notes
from tests.support.specs import CONFIG, attributes, contents, layer, text
from tests.support.web import Answer, WebServer

HIDDEN = "node_modules/.package-lock.json"
BOTH = 'platforms = ["linux/amd64", "linux/arm64"]'


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def without_hidden(project: Project, store: MemoryStore, **options: Any) -> dict[str, str]:
    found = shape(project.layer(store, **options))
    assert HIDDEN in found
    return {path: word for path, word in found.items() if path != HIDDEN}


def hidden(project: Project, store: MemoryStore) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text(project.layer(store)[f"app/{HIDDEN}"]))
    return document


def test_packages_nest_and_have_scopes_and_aliases(project: Project, store: MemoryStore) -> None:
    project.add("a", {"index.js": "a"})
    project.add("node_modules/a/node_modules/b", {"index.js": "b of a"}, version="2.0.0")
    project.add("b", {"index.js": "b"})
    project.add("@s/c", {"lib/index.js": "c"})
    project.add("other-name", {"index.js": "alias"}, name="real-name", version="3.1.0-rc.1")

    found = without_hidden(project, store)

    assert {
        "node_modules/@s/c/lib/index.js": "644 c",
        "node_modules/a/index.js": "644 a",
        "node_modules/a/node_modules/b/index.js": "644 b of a",
        "node_modules/b/index.js": "644 b",
        "node_modules/other-name/index.js": "644 alias",
    } == found


def test_one_package_at_two_places_is_fetched_once(project: Project, store: MemoryStore) -> None:
    project.add("a").add("b")
    for place in ("a", "b"):
        project.add(f"node_modules/{place}/node_modules/c", {"index.js": "c"})

    assert ["a", "b", "c"] == [pin.name for pin in project.lock(store).lock.layer[0].pin]
    assert {"node_modules/a/node_modules/c/index.js", "node_modules/b/node_modules/c/index.js"} < {
        *without_hidden(project, store)
    }


def test_what_is_bundled_and_not_in_the_archive_is_refused(
    project: Project, store: MemoryStore
) -> None:
    project.add("a", {"index.js": "a"}, bundleDependencies=["b"], dependencies={"b": "1"})
    project.entry("node_modules/a/node_modules/b", version="1.2.3", inBundle=True)
    with pytest.raises(ArchiveError, match=r"a/node_modules/b: expected b 1\.2\.3 in the archive"):
        project.build(store)


def test_modes_are_those_that_npm_gives(project: Project, store: MemoryStore) -> None:
    modes = {"a": 0o600, "b": 0o755, "c": 0o700, "d": 0o4755, "e": 0o010, "f": 0o777, "g": 0}
    project.add("p", {name: (name, mode) for name, mode in modes.items()})

    found = attributes(project.layer(store))

    expected = {"a": 0o644, "b": 0o755, "c": 0o744, "d": 0o755, "e": 0o654, "f": 0o755, "g": 0o644}
    assert expected == {name: found[f"app/node_modules/p/{name}"][0] for name in modes}
    assert (0o755, 0, 0) == found["app/node_modules/p"]


def test_commands_are_links_to_executable_files(project: Project, store: MemoryStore) -> None:
    project.add("a", {"cli.js": "#!/usr/bin/env node\n"}, bin={"a": "cli.js", "gone": "gone.js"})
    project.add("@s/b", {"bin/b.js": "b"}, bin={"b": "./bin/b.js"})
    project.add("node_modules/a/node_modules/c", {"c": "c"}, bin={"c": "c"})

    found = without_hidden(project, store)

    assert {
        "node_modules/.bin/a": "-> ../a/cli.js",
        "node_modules/.bin/b": "-> ../@s/b/bin/b.js",
        "node_modules/@s/b/bin/b.js": "755 b",
        "node_modules/a/cli.js": "755 #!/usr/bin/env node\n",
        "node_modules/a/node_modules/.bin/c": "-> ../c/c",
        "node_modules/a/node_modules/c/c": "755 c",
    } == found


def test_of_equal_commands_the_first_package_s_counts(project: Project, store: MemoryStore) -> None:
    for name in ("zebra", "ant", "Bee"):
        project.add(name, {"x.js": name}, bin={"x": "x.js"})

    found = without_hidden(project, store)

    assert "-> ../ant/x.js" == found["node_modules/.bin/x"]
    # Only what is linked becomes executable.
    assert ["755 ant", "644 Bee", "644 zebra"] == [
        found[f"node_modules/{name}/x.js"] for name in ("ant", "Bee", "zebra")
    ]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("#!/usr/bin/env node\r\nx\r\n", "#!/usr/bin/env node\nx\r\n"),
        ("#!/usr/bin/env node\nx\r\n", "#!/usr/bin/env node\nx\r\n"),
        ("x\r\n", "x\r\n"),
        ("#!\r\n", "#!\r\n"),
        ("#!" + "x" * 2100 + "\r\n", "#!" + "x" * 2100 + "\r\n"),
    ],
)
def test_first_lines_of_commands_end_as_unix_has_it(
    project: Project, store: MemoryStore, script: str, expected: str
) -> None:
    project.add("a", {"cli.js": script, "no.js": script}, bin={"a": "cli.js"})
    found = without_hidden(project, store)
    assert f"755 {expected}" == found["node_modules/a/cli.js"]
    assert f"644 {script}" == found["node_modules/a/no.js"]


def test_commands_cannot_lead_out_of_their_package(project: Project, store: MemoryStore) -> None:
    files = {"etc/passwd": "not that one", "x": "x"}
    bins = {"../../evil": "../../../etc/passwd", "a\\b": "x", "": "x", "..": "x", "n": 1}
    project.add("a", files, bin=bins)

    found = without_hidden(project, store)

    assert {
        "node_modules/.bin/evil": "-> ../a/etc/passwd",
        "node_modules/.bin/b": "-> ../a/x",
    } == {path: word for path, word in found.items() if word.startswith("->")}


def test_what_archives_hold_beside_files_does_not_count(
    project: Project, store: MemoryStore
) -> None:
    more = symlink(b"package/link", b"a") + hardlink(b"package/hard", b"package/a")
    more += member(b"top-file", b"of no folder")
    files = {"a": "a", ".gitignore": "g", "sub/.npmignore": "n", "sub/.gitignore": "gone"}
    project.add("p", tarball(files, top="any name", more=member(b"any name/x/", flag=b"5")))
    project.add("q", tarball({"a": "a"}, more=more))

    found = without_hidden(project, store)

    assert {
        "node_modules/p/.npmignore": "644 g",
        "node_modules/p/a": "644 a",
        "node_modules/p/sub/.npmignore": "644 n",
        "node_modules/q/a": "644 a",
    } == found


def test_a_path_that_stands_twice_has_its_last_content(
    project: Project, store: MemoryStore
) -> None:
    more = member(b"package/a", b"second", mode=0o755) + member(b"other/b", b"also second")
    project.add("p", tarball({"a": "first", "b": "first"}, more=more))
    found = without_hidden(project, store)
    assert {"node_modules/p/a": "644 second", "node_modules/p/b": "644 also second"} == found


def test_bundled_packages_come_with_their_parent(project: Project, store: MemoryStore) -> None:
    files: dict[str, Any] = {
        "index.js": "a",
        "node_modules/b/cli.js": "bundled",
        "node_modules/b/package.json": "{}",
        "node_modules/c/index.js": "stale",
        "node_modules/.bin/b": "no link",
    }
    project.add("a", files, bundleDependencies=["b"], dependencies={"b": "1", "c": "1"})
    project.entry(
        "node_modules/a/node_modules/b", version="1.2.3", inBundle=True, bin={"b": "cli.js"}
    )
    project.add("node_modules/a/node_modules/c", {"index.js": "own"})

    found = without_hidden(project, store)

    assert {
        "node_modules/a/index.js": "644 a",
        "node_modules/a/node_modules/.bin/b": "-> ../b/cli.js",
        "node_modules/a/node_modules/b/cli.js": "755 bundled",
        "node_modules/a/node_modules/b/package.json": "644 {}",
        "node_modules/a/node_modules/c/index.js": "644 own",
    } == found


def test_workspaces_are_links_whose_own_modules_are_installed(
    project: Project, store: MemoryStore
) -> None:
    project.project["workspaces"] = ["packages/*"]
    project.entry("packages/w", name="@s/w", version="1.0.0", bin={"w": "w.js"})
    project.entry("node_modules/@s/w", resolved="packages/w", link=True)
    project.add("packages/w/node_modules/x", {"index.js": "x"})

    found = without_hidden(project, store)

    assert {
        "node_modules/.bin/w": "-> ../@s/w/w.js",
        "node_modules/@s/w": "-> ../../packages/w",
        "packages/w/node_modules/x/index.js": "644 x",
    } == found


def test_what_the_project_itself_bundles_is_installed(project: Project, store: MemoryStore) -> None:
    project.project["bundleDependencies"] = ["a"]
    project.add("a", {"index.js": "a"}, inBundle=True, dependencies={"b": "1"})
    project.add("b", {"index.js": "b"}, inBundle=True)

    assert {
        "node_modules/a/index.js": "644 a",
        "node_modules/b/index.js": "644 b",
    } == without_hidden(project, store)
    listed = hidden(project, store)["packages"]
    assert [True, True] == [entry["inBundle"] for entry in listed.values()]


def test_what_nothing_asks_for_is_pruned(project: Project, store: MemoryStore) -> None:
    project.add("a").add("stray", extraneous=True, integrity=None, os=["darwin"])
    project.entry("packages/gone", name="gone", extraneous=True)
    project.entry("node_modules/gone", resolved="packages/gone", link=True, extraneous=True)

    assert ["a"] == [pin.name for pin in project.lock(store).lock.layer[0].pin]
    assert {"node_modules/a"} == hidden(project, store)["packages"].keys()


@pytest.mark.parametrize("link", ["../beside", "..", "../../beside", "lib/../../x"])
def test_links_out_of_the_project_are_refused(
    project: Project, store: MemoryStore, link: str
) -> None:
    project.entry(posixpath.normpath(link), name="beside")
    project.entry("node_modules/beside", resolved=link, link=True)
    with pytest.raises(SpecError) as caught:
        project.lock(store)
    assert (
        'packages["node_modules/beside"]: beside: links to '
        f"{posixpath.normpath(link)}, outside of the project; move that folder into it"
    ) in str(caught.value)
    # As with anything else, what is left out does no harm.
    project.packages["node_modules/beside"]["dev"] = True
    project.packages[posixpath.normpath(link)]["dev"] = True
    project.options["omit"] = ["dev"]
    project.lock(store)


def test_archives_beside_the_lockfile(project: Project, store: MemoryStore) -> None:
    data = tarball({"index.js": "local"})
    folder = project.root / "app" / "vendor"
    folder.mkdir(parents=True)
    (folder / "x.tgz").write_bytes(data)
    entry = {"version": "1.0.0", "resolved": "file:vendor/x.tgz", "integrity": integrity(data)}
    project.entry("node_modules/x", **entry)

    assert {"node_modules/x/index.js": "644 local"} == without_hidden(project, store)
    assert "file:vendor/x.tgz" == hidden(project, store)["packages"]["node_modules/x"]["resolved"]
    (folder / "x.tgz").write_bytes(b"another, and no shorter" * 99)
    # What is pinned is in the store already; a new one has to fetch, and finds it changed.
    project.build(store)
    with pytest.raises(SourceError, match=r"x 1\.0\.0: cannot be fetched"):
        immutable.build(project.write(), MemoryStore(), config=project.config)


@pytest.mark.parametrize(
    ("omit", "expected"),
    [
        ([], ["both", "dev", "optional", "peer", "prod"]),
        (["dev"], ["both", "optional", "peer", "prod"]),
        (["optional"], ["both", "dev", "peer", "prod"]),
        (["dev", "optional"], ["peer", "prod"]),
        (["peer"], ["both", "dev", "optional", "prod"]),
    ],
)
def test_kinds_are_left_out(
    project: Project, store: MemoryStore, omit: list[str], expected: list[str]
) -> None:
    project.add("prod").add("dev", dev=True).add("optional", optional=True)
    project.add("both", devOptional=True).add("peer", peer=True)
    # What lies in a package that is left out goes with it.
    project.add("node_modules/dev/node_modules/nested", dev=True)
    project.options["omit"] = omit

    names = [pin.name for pin in project.lock(store).lock.layer[0].pin]

    assert expected == [name for name in names if name != "nested"]
    assert ("dev" in expected) == ("nested" in names)


def native(project: Project) -> Project:
    """Add a package with one optional helper for each platform, and one for another system."""
    project.project["dependencies"] = {"native": "1"}
    helpers: dict[str, Any] = {
        "native-linux-x64": {"os": ["linux"], "cpu": ["x64"], "libc": ["glibc"]},
        "native-linux-x64-musl": {"os": ["linux"], "cpu": ["x64"], "libc": ["musl"]},
        "native-linux-arm64": {"os": ["linux"], "cpu": ["arm64"]},
        "native-darwin": {"os": ["darwin"]},
        "native-not-linux": {"os": ["!linux"]},
        "native-not-arm": {"cpu": ["!arm", "!arm64"]},
    }
    project.add("native", optionalDependencies=dict.fromkeys(helpers, "1"))
    for name, entry in helpers.items():
        project.add(name, optional=True, dependencies={f"only-{name}": "1", "shared": "1"}, **entry)
        project.add(f"only-{name}", optional=True)
    return project.add("shared", optional=True)


def test_optional_packages_for_other_platforms_are_left_out(
    project: Project, store: MemoryStore
) -> None:
    native(project).image = BOTH
    pins = project.lock(store).lock.layer[0].pin

    on = {pin.name: "+".join(p.architecture for p in pin.platforms) or "all" for pin in pins}
    assert {
        "native": "all",
        "native-linux-arm64": "arm64",
        "native-linux-x64": "amd64",
        "native-not-arm": "amd64",
        "only-native-linux-arm64": "arm64",
        "only-native-linux-x64": "amd64",
        "only-native-not-arm": "amd64",
        "shared": "all",
    } == on
    image = project.build(store)
    for built, other in zip(image.platforms, ("arm64", "x64"), strict=True):
        found = contents(store, built.layers[0])
        assert f"app/node_modules/native-linux-{other}/package.json" not in found
        listed = json.loads(text(found[f"app/{HIDDEN}"]))["packages"]
        assert f"node_modules/native-linux-{other}" not in listed
        assert f"node_modules/only-native-linux-{other}" not in listed


def test_the_image_s_libc_decides(project: Project, store: MemoryStore) -> None:
    native(project).options["libc"] = "musl"
    names = [pin.name for pin in project.lock(store).lock.layer[0].pin]
    assert "native-linux-x64-musl" in names
    assert "native-linux-x64" not in names


def test_a_needed_package_that_does_not_fit_is_refused(
    project: Project, store: MemoryStore
) -> None:
    project.add("mac", os=["darwin"])
    with pytest.raises(
        ResolutionError, match=r"mac 1\.0\.0 .* does not fit linux x64 glibc: it is for os darwin"
    ):
        project.lock(store)


def test_a_misfit_that_is_left_out_does_no_harm(project: Project, store: MemoryStore) -> None:
    project.add("mac", os=["darwin"], dev=True).add("a")
    project.options["omit"] = ["dev"]
    assert ["a"] == [pin.name for pin in project.lock(store).lock.layer[0].pin]


def test_platforms_with_the_same_packages_share_a_layer(
    project: Project, store: MemoryStore
) -> None:
    project.add("a").image = BOTH
    image = project.build(store)
    one, other = (built.layers[0] for built in image.platforms)
    assert one.derivation == other.derivation


def test_the_lockfile_that_npm_leaves_names_no_host(project: Project, store: MemoryStore) -> None:
    url = "https://registry.test/a/-/a-1.0.0.tgz"
    project.add("a", resolved=url, license={"type": "MIT"}, engines={}, unknown="field", bin={})
    project.add("dev", dev=True).options["omit"] = ["dev"]

    document = hidden(project, store)

    entry = document["packages"].pop("node_modules/a")
    assert {"version", "integrity", "license"} == set(entry)
    assert "MIT" == entry["license"]
    assert {
        "name": "app",
        "version": "1.0.0",
        "lockfileVersion": 3,
        "requires": True,
        "packages": {},
    } == document


def test_hosts_make_no_difference(tmp_path: Path, store: MemoryStore) -> None:
    digests = set()
    for number, host in enumerate(("one.test", "two.test/npm")):
        project = Project(tmp_path / str(number))
        project.add("a", {"a": "a"}, resolved=f"https://{host}/a/-/a-1.0.0.tgz")
        digests.add(project.build(store).digest)
    assert 1 == len(digests)


def test_an_empty_project_is_an_empty_layer(project: Project, store: MemoryStore) -> None:
    assert {} == project.layer(store)


def test_everything_is_the_owner_s(project: Project, store: MemoryStore) -> None:
    project.more = '[[user]]\nname = "web"\nuid = 1001\n'
    project.options |= {"owner": "web", "target": "/srv/app"}
    project.add("a", {"lib/cli.js": "x"}, bin={"a": "lib/cli.js"})

    found = attributes(project.layer(store))

    assert (0o755, 0, 0) == found.pop("srv")
    assert {(1001, 1001)} == {(uid, gid) for _, uid, gid in found.values()}
    assert {"srv/app", "srv/app/node_modules", "srv/app/node_modules/.bin"} < set(found)


def test_directories_beneath_stay_as_they_were(project: Project, store: MemoryStore) -> None:
    entries = [{"path": "/app", "directory": True, "mode": "0750", "owner": "1:2"}]
    folder = project.write().parent
    spec = project.add("a").write()
    head, _, tail = spec.read_text().partition("[[layer]]")
    above = layer("files", "above", entries=[{"path": "/app/x", "text": "x"}])
    spec.write_text(f"{head}{layer('files', 'base', entries=entries)}[[layer]]{tail}{above}")
    immutable.lock(spec, store, config=project.config)

    image = immutable.build(spec, store, config=project.config)

    assert folder == spec.parent
    for built in image.layers:
        assert (0o750, 1, 2) == attributes(contents(store, built))["app"]


def test_the_root_can_be_the_target(project: Project, store: MemoryStore) -> None:
    project.add("a", {"index.js": "a"}).options["target"] = "/"
    assert "node_modules/a/index.js" in project.layer(store)


def test_install_scripts_are_named_and_not_run(project: Project, store: MemoryStore) -> None:
    project.add("quiet").add("loud", hasInstallScript=True)
    notes = Notes()
    project.build(store, progress=notes)
    assert ["dependencies: install scripts of 1 package were not run: loud"] == notes.notes


# --- locking ---


def test_pins_say_what_and_why(project: Project, store: MemoryStore) -> None:
    project.depend(a="1").add("a", dependencies={"@s/b": "1"}).add("@s/b", {"b": "b"})
    pins = {pin.name: pin for pin in project.lock(store).lock.layer[0].pin}
    assert ("asked for",) == pins["a"].why
    assert ("a",) == pins["@s/b"].why
    assert "@s/b/-/b-1.0.0.tgz" == pins["@s/b"].path
    written = (project.root / "web.lock.toml").read_text()
    assert "://" not in written


def test_pins_that_fit_need_no_network(project: Project, store: MemoryStore) -> None:
    project.add("a").add("b").lock(store)
    project.add("b", {"b": "new"}, version="1.1.0")
    (project.root / "registry" / "a" / "-" / "a-1.0.0.tgz").unlink()

    locked = project.lock(MemoryStore(), upgrade=True)

    assert [("b", "1.0.0", "1.1.0")] == [(c.name, c.old, c.new) for c in locked.changes]


def test_a_changed_lockfile_makes_the_lock_stale(project: Project, store: MemoryStore) -> None:
    project.add("express", version="4.19.1").lock(store)
    project.add("express", version="4.19.2")
    (reason, gone) = immutable.check(project.write(), config=CONFIG)
    assert 'layer "dependencies" asks for express 4.19.2 sha512-' in reason
    assert reason.endswith("which the lock does not hold (packages)")
    assert 'layer "dependencies" no longer asks for express 4.19.1' in gone
    with pytest.raises(LockStale, match=r"express 4\.19\.2"):
        immutable.build(project.write(), store, config=CONFIG)


def test_a_package_that_begins_to_fit_has_to_be_locked(
    project: Project, store: MemoryStore
) -> None:
    project.add("a").add("mac", os=["darwin"], optional=True).lock(store)
    del project.packages["node_modules/mac"]["os"]
    with pytest.raises(LockStale, match=r"the lock does not hold mac 1\.0\.0; run `immutable lock"):
        immutable.build(project.write(), store, config=CONFIG)


def test_building_needs_no_registry_once_all_is_in_the_store(
    project: Project, store: MemoryStore
) -> None:
    project.add("a", {"a": "a"}).lock(store)
    image = immutable.build(project.write(), store, config=CONFIG, offline=True)
    assert 1 == len(image.layers)


def test_without_a_registry_the_error_says_what_to_set(
    project: Project, store: MemoryStore
) -> None:
    spec = project.add("a").write()
    with pytest.raises(NoMirror, match=r"a: no npm registry is known here; pass --mirror npm=URL"):
        immutable.lock(spec, store, config=CONFIG)


def test_wrong_bytes_are_refused_while_locking(project: Project, store: MemoryStore) -> None:
    project.add("a").publish("a", "1.0.0", tarball({"evil": "evil"}))
    with pytest.raises(SourceError, match=r"a 1\.0\.0: cannot be fetched\n.*expected sha512:"):
        project.lock(store)
    assert not (project.root / "web.lock.toml").exists()


def test_any_of_several_sha512_counts(project: Project, store: MemoryStore) -> None:
    data = tarball({"a": "a"})
    both = f"{integrity(b'other')} {integrity(data)} {integrity(data, 'sha1')}"
    project.add("a", data, integrity=both).lock(store)


def test_another_path_in_resolved_is_tried_at_the_registry(
    project: Project, store: MemoryStore
) -> None:
    data = tarball({"a": "a"})
    project.add("a", data, resolved="https://other.test/download/a/1.0.0/x.tgz?token=secret")
    web = WebServer(project.root / "nothing")
    web.answers["/download/a/1.0.0/x.tgz"] = [Answer(body=data)]
    with web.serve() as url:
        config = evolve(CONFIG, mirrors={"npm": [f"{url}/npm"]})
        immutable.lock(project.write(), store, config=config)
    assert ["/npm/a/-/a-1.0.0.tgz", "/download/a/1.0.0/x.tgz"] == web.requests


# --- refused ---


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"integrity": None}, "evil 1.0.0: integrity: expected sha512, found none"),
        (
            {"integrity": integrity(b"x", "sha1")},
            "evil 1.0.0: integrity: expected sha512, found only sha1",
        ),
        (
            {"resolved": "git+ssh://git@host.test/a.git#0123", "integrity": None},
            "evil 1.0.0: comes from git",
        ),
        ({"resolved": "file:../x.tgz"}, "evil 1.0.0: resolved: expected an archive in"),
        ({"resolved": "file:folder", "integrity": None}, "integrity: expected sha512, found none"),
    ],
)
def test_packages_that_are_not_known_to_the_last_byte_are_refused(
    project: Project, store: MemoryStore, entry: dict[str, Any], said: str
) -> None:
    project.add("evil", **entry)
    with pytest.raises(SpecError) as caught:
        project.lock(store)
    assert said in str(caught.value)
    assert 'app/package-lock.json: packages["node_modules/evil"]' in str(caught.value)


def test_packages_by_url_are_refused(project: Project, store: MemoryStore) -> None:
    url = "https://files.test/evil.tgz"
    project.depend(evil=url).add("evil", resolved=url)
    with pytest.raises(SpecError, match=r"evil 1\.0\.0: comes from a URL that is no registry's"):
        project.lock(store)


def test_packages_that_others_ask_for_by_url_are_refused(
    project: Project, store: MemoryStore
) -> None:
    url = "https://files.test/evil.tgz"
    project.add("a", dependencies={"evil": url}).add("evil", resolved=url)
    with pytest.raises(SpecError, match=r"evil 1\.0\.0: comes from a URL .* depend on the file"):
        project.lock(store)


def test_packages_that_only_a_lockfile_has_from_elsewhere_are_not_fetched_there(
    project: Project, store: MemoryStore
) -> None:
    # As an override by URL leaves it: what asks for the package says nothing of it.
    project.add("evil", resolved="https://files.test/some/evil.tgz")
    web = WebServer(project.root / "nothing")
    spec = project.write()
    with web.serve() as url:
        config = evolve(CONFIG, mirrors={"npm": [f"{url}/npm"]})
        with pytest.raises(SourceError) as caught:
            immutable.lock(spec, store, config=config)
    assert ["/npm/evil/-/evil-1.0.0.tgz", "/some/evil.tgz"] == web.requests
    assert "evil 1.0.0: cannot be fetched" in str(caught.value)
    assert "has it from another URL; where that is no registry's, download it" in str(caught.value)


def test_what_is_left_out_may_be_anything(project: Project, store: MemoryStore) -> None:
    project.add("a").add("evil", integrity=None, dev=True).options["omit"] = ["dev"]
    assert ["a"] == [pin.name for pin in project.lock(store).lock.layer[0].pin]


def test_one_version_has_one_integrity(project: Project, store: MemoryStore) -> None:
    project.add("a", {"a": "1"}).add("b").add("node_modules/b/node_modules/a", {"a": "2"})
    with pytest.raises(SpecError, match=r"a 1\.0\.0: another integrity than at node_modules/a"):
        project.lock(store)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"omit": ["devs"]}, "layer[0].omit: expected dev, optional, peer; found 'devs'"),
        ({"libc": "uclibc"}, "layer[0].libc: expected glibc or musl"),
        ({"lockfile": "gone.json"}, "gone.json: No such file"),
    ],
)
def test_options_are_checked(
    project: Project, store: MemoryStore, options: dict[str, Any], said: str
) -> None:
    project.options |= options
    with pytest.raises(SpecError) as caught:
        project.lock(store)
    assert said in str(caught.value)


# --- digests ---


def golden(folder: Path) -> Project:
    project = Project(folder)
    project.add("a", {"cli.js": "#!/usr/bin/env node\r\nx", "b.txt": "b"}, bin={"a": "cli.js"})
    project.add("@s/b", {"index.js": ("b", 0o755), ".gitignore": "x"}, dependencies={"a": "1"})
    project.entry("packages/w", name="w", version="1.0.0")
    return project.entry("node_modules/w", resolved="packages/w", link=True)


def test_the_golden_digest(tmp_path: Path, store: MemoryStore) -> None:
    image = golden(tmp_path).build(store)
    assert GOLDEN == str(image.layers[0].diff_id)


GOLDEN = "sha256:dc6c73035152e9c485c363a450e49f2dacc7cbd070784ddbd3d0d59851c8b399"


@pytest.mark.parametrize("jobs", [1, 4])
def test_surroundings_make_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: MemoryStore, jobs: int
) -> None:
    project = golden(tmp_path / "elsewhere")
    project.lock(store)
    monkeypatch.chdir("/")
    config = evolve(project.config, jobs=jobs)
    image = immutable.build(project.write(), store, config=config)
    assert GOLDEN == str(image.layers[0].diff_id)


def test_the_lock_file_is_read_back(tmp_path: Path, store: MemoryStore) -> None:
    project = golden(tmp_path)
    locked = project.lock(store)
    assert locked.lock == load_lock(immutable.load(project.write()))
    assert not project.lock(store).written


def test_no_layer_holds_what_is_no_directory_file_or_link(
    tmp_path: Path, store: MemoryStore
) -> None:
    kinds = {entry.kind for entry in golden(tmp_path).layer(store).values()}
    assert {EntryKind.DIRECTORY, EntryKind.FILE, EntryKind.SYMLINK} == kinds
