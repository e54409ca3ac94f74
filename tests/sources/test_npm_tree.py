"""A lockfile as a graph: how far a project reaches, and what goes with an optional package."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

from immutable.sources.npm.lockfile import parse
from immutable.sources.npm.selection import Target, installable, select
from immutable.sources.npm.tree import Tree
from tests.support.npm import integrity

HERE = Target("linux", "x64", "glibc")
MODULES = "node_modules/"


def tree(root: Mapping[str, Any], **packages: Mapping[str, Any]) -> Tree:
    """Return a tree of packages, each below node_modules unless it is a project's folder."""
    good = {"version": "1.0.0", "integrity": integrity(b"x")}
    entries = {
        location if "/" in location else MODULES + location: {**good, **entry}
        for location, entry in packages.items()
    }
    document = {"lockfileVersion": 3, "packages": {"": root, **entries}}
    return Tree(parse(json.dumps(document).encode(), "package-lock.json"))


def names(tree: Tree, *omit: str, target: Target = HERE) -> set[str]:
    """Return the names of all that is installed."""
    chosen = select(tree, omit, target)
    possible = {package.location for package in installable(tree, omit).packages}
    assert possible.issuperset(package.location for package in chosen.packages)
    every = (*chosen.packages, *chosen.bundled, *chosen.links)
    return {package.location.removeprefix(MODULES) for package in every}


def asking(*wanted: str, kind: str = "dependencies", **more: Any) -> dict[str, Any]:
    return {kind: dict.fromkeys(wanted, "1"), **more}


def test_what_nothing_leads_to_is_left_out() -> None:
    made = tree(
        asking("a"),
        a=asking("b"),
        b={},
        stray=asking("under", "b"),
        under={"extraneous": True},
        **{"node_modules/stray/node_modules/c": {}},
    )
    assert {"a", "b"} == names(made)
    assert {"", "node_modules/a", "node_modules/b"} == made.reached


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("dependencies", {"a", "b"}),
        ("optionalDependencies", {"a", "b"}),
        ("peerDependencies", {"a", "b"}),
        ("devDependencies", {"a"}),  # of packages' own, nobody installs these
    ],
)
def test_every_wish_that_npm_follows_leads_on(kind: str, expected: set[str]) -> None:
    assert expected == names(tree(asking("a"), a=asking("b", kind=kind), b={}))


def test_a_peer_that_is_optional_leads_nowhere() -> None:
    meta = {"peerDependenciesMeta": {"b": {"optional": True}}}
    peer = asking("b", kind="peerDependencies", **meta)
    assert {"a"} == names(tree(asking("a"), a=peer, b={}))
    assert {"a", "b"} == names(tree(asking("a", "b"), a=peer, b={}))


def test_the_nearest_package_answers() -> None:
    made = tree(
        asking("a", "b"),
        a=asking("b", "c"),
        b={},
        c=asking("b"),
        **{"node_modules/a/node_modules/b": {}, "node_modules/c/node_modules/c": {}},
    )
    assert {"a", "b", "c", "a/node_modules/b"} == names(made)
    answers = {edge.name: at for edge, at in made.targets["node_modules/a"]}
    assert {"b": "node_modules/a/node_modules/b", "c": "node_modules/c"} == answers


def workspaces(patterns: Any, **root: Any) -> Tree:
    return tree(
        {"workspaces": patterns, **root},
        **{
            "packages/one": asking("x"),
            "packages/one/node_modules/x": {},
            "node_modules/one": {"link": True, "resolved": "packages/one"},
            "node_modules/other": {},
        },
    )


@pytest.mark.parametrize(
    "patterns",
    [
        ["packages/*"],
        ["./packages/*/"],
        ["/packages/one"],
        ["packages/**", "!packages/two"],
        {"packages": ["packages/*"]},
        ["packages/{one,two}"],
        ["packages/+(one|two)"],
        ["**one"],
    ],
)
def test_workspaces_are_asked_for(patterns: Any) -> None:
    assert {"one", "packages/one/node_modules/x"} == names(workspaces(patterns))


@pytest.mark.parametrize("patterns", [[], ["libraries/*"], None])
def test_a_link_that_is_no_workspace_and_that_nothing_asks_for_is_left_out(patterns: Any) -> None:
    assert set() == names(workspaces(patterns))
    asked = workspaces(patterns, dependencies={"one": "file:packages/one"})
    assert {"one", "packages/one/node_modules/x"} == names(asked)


def test_links_that_lead_to_each_other_or_to_the_project_end() -> None:
    made = tree(
        asking("x", "self"),
        x={"link": True, "resolved": "node_modules/y"},
        y={"link": True, "resolved": "node_modules/x"},
        self={"link": True, "resolved": ""},
    )
    assert {"x", "y", "self"} == names(made)


def bundling() -> Tree:
    inside: Mapping[str, Any] = {"inBundle": True, "integrity": ""}
    return tree(
        asking("a", "own"),
        a=asking("b"),
        own={"inBundle": True, **asking("deep")},
        deep={"inBundle": True},
        **{
            "node_modules/a/node_modules/b": inside,
            "node_modules/a/node_modules/b/node_modules/c": inside,
            # As npm writes of a folder without a manifest.
            "node_modules/a/node_modules/unasked": {**inside, "version": "", "extraneous": True},
            "node_modules/own/node_modules/deeper": {"inBundle": True},
        },
    )


def test_what_the_project_itself_bundles_is_installed_as_usual() -> None:
    made = bundling()
    chosen = select(made, (), HERE)
    assert ["a", "deep", "own"] == sorted(package.name for package in chosen.packages)
    # All that an archive brings is there, asked for or not.
    assert ["b", "c", "unasked"] == sorted(package.name for package in chosen.bundled)


def test_what_a_workspace_bundles_is_in_no_archive() -> None:
    made = tree(
        {"workspaces": ["packages/*"]},
        **{
            "packages/one": asking("x"),
            "packages/one/node_modules/x": {"inBundle": True},
            "node_modules/one": {"link": True, "resolved": "packages/one"},
        },
    )
    assert ["x"] == [package.name for package in select(made, (), HERE).packages]


def test_with_an_optional_package_goes_what_it_alone_asks_for() -> None:
    mac = {"optional": True, "os": ["darwin"]}
    made = tree(
        {**asking("a"), "optionalDependencies": {"group": "1"}},
        a=asking("shared"),
        group={"optional": True, **asking("native", "helper")},
        native={**mac, **asking("mine", "shared", "chain")},
        helper={"optional": True, **asking("mine")},
        mine={"optional": True},
        chain={"optional": True, **asking("link")},
        link={"optional": True, **asking("chain")},
        shared=asking("below"),
        below={},
    )
    # Up to where it was optional, so the group goes as a whole.
    assert {"a", "shared", "below"} == names(made)
    assert len(made.reached) == len(made.lockfile.packages) + 1
    everywhere = names(made, target=Target("darwin", "x64", ""))
    assert {"group", "native", "helper", "mine", "chain", "link"} < everywhere


def test_long_chains_take_time_in_proportion() -> None:
    def chain(length: int) -> Tree:
        packages: dict[str, Any] = {
            f"p{number}": {"optional": True, **asking(f"p{number + 1}")} for number in range(length)
        }
        packages["p0"]["os"] = ["darwin"]
        root = {**asking("x"), "optionalDependencies": {"p0": "1"}}
        return tree(root, x=asking("p1"), **packages)

    made = chain(20_000)
    start = time.process_time()
    assert 20_000 == len(names(made))
    # Seconds; what is quadratic takes a minute.
    assert time.process_time() - start < 10
