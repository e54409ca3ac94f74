"""Choosing packages: what comes out, what is kept, and why it cannot be."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immutable.errors import ResolutionError
from immutable.oci.digest import Digest
from immutable.sources.debian.index import IndexedPackage
from immutable.sources.debian.relations import Relation, parse_relations, parse_request
from immutable.sources.debian.resolver import Selection, Universe, meets, select


class FakeIndex:
    """An index in memory."""

    def __init__(
        self,
        packages: Iterable[IndexedPackage],
        essential: Iterable[str] = (),
        suite: str = "bookworm",
    ) -> None:
        self.suite = suite
        self.packages = [*packages]
        self._essential = tuple(sorted(essential))

    def find(self, name: str) -> tuple[IndexedPackage, ...]:
        return tuple(package for package in self.packages if package.name == name)

    def providers(self, name: str) -> tuple[str, ...]:
        found = {p.name for p in self.packages if any(name == r.name for r in p.provides)}
        return tuple(sorted(found))

    def essential(self) -> tuple[str, ...]:
        return self._essential

    def names_like(self, name: str) -> Iterable[str]:
        return (package.name for package in self.packages)


def package(
    name: str,
    version: str = "1.0",
    depends: str = "",
    *,
    arch: str = "all",
    provides: str = "",
    conflicts: str = "",
    recommends: str = "",
    suite: str = "bookworm",
    priority: str = "optional",
) -> IndexedPackage:
    return IndexedPackage(
        name=name,
        version=version,
        architecture=arch,
        suite=suite,
        path=f"pool/{name}_{version}_{arch}.deb",
        size=1,
        sha256=Digest.of(f"{name} {version} {arch}".encode()),
        depends=parse_relations(depends),
        recommends=parse_relations(recommends),
        conflicts=tuple(group[0] for group in parse_relations(conflicts)),
        provides=tuple(group[0] for group in parse_relations(provides)),
        priority=priority,
    )


def resolve(
    packages: Iterable[IndexedPackage],
    *asked: str,
    held: Sequence[IndexedPackage] = (),
    kept: Mapping[str, str] | None = None,
    essential: Iterable[str] = (),
    recommends: bool = False,
    also_essential: bool = False,
) -> dict[str, tuple[str, ...]]:
    """Return ``{"name version": why}``."""
    universe = Universe([FakeIndex(packages, essential)], "amd64", kept)
    selection = select(
        universe,
        [parse_request(text) for text in asked],
        held={one.name: one for one in held},
        essential=also_essential,
        recommends=recommends,
    )
    return {str(package): why for package, why in selection.packages}


def refused(
    packages: Iterable[IndexedPackage], *asked: str, held: Sequence[IndexedPackage] = ()
) -> str:
    with pytest.raises(ResolutionError) as caught:
        resolve(packages, *asked, held=held)
    return str(caught.value)


# --- what comes out ---


def test_dependencies_come_along_with_what_needs_them() -> None:
    world = [package("app", depends="libx, liby"), package("libx", depends="liby"), package("liby")]

    assert {
        "app 1.0": ("asked for",),
        "libx 1.0": ("app",),
        "liby 1.0": ("app", "libx"),
    } == resolve(world, "app")


def test_cycles_are_fine() -> None:
    world = [package("aa", depends="bb"), package("bb", depends="aa")]

    assert {"aa 1.0": ("asked for",), "bb 1.0": ("aa",)} == resolve(world, "aa")


def test_the_highest_version_is_chosen() -> None:
    world = [package("aa", version) for version in ("1.9", "1:0.1", "1.10", "1.10~rc1")]

    assert ["aa 1:0.1"] == [*resolve(world, "aa")]
    assert ["aa 1.9"] == [*resolve(world, "aa=1.9")]
    assert ["aa 1.10"] == [*resolve(world, "aa (<< 1:0)")]


def test_the_version_in_the_lock_is_kept_while_it_fits() -> None:
    world = [package("aa", "1.0"), package("aa", "2.0"), package("bb", depends="aa (>= 2)")]

    assert ["aa 1.0"] == [*resolve(world, "aa", kept={"aa": "1.0"})]
    assert ["aa 2.0"] == [*resolve(world, "aa", kept={"aa": "0.9"})]
    assert ["aa 2.0", "bb 1.0"] == [*resolve(world, "aa", "bb", kept={"aa": "1.0"})]


def test_what_the_lock_chose_to_meet_a_relation_is_kept() -> None:
    world = [package("aa", depends="p1 | p2"), package("p1"), package("p2")]

    assert ["aa 1.0", "p1 1.0"] == [*resolve(world, "aa")]
    assert ["aa 1.0", "p2 1.0"] == [*resolve(world, "aa", kept={"p2": "1.0"})]


def test_of_one_version_in_two_suites_the_base_suites_is_taken() -> None:
    base = FakeIndex([package("aa")])
    pocket = FakeIndex([package("aa", suite="bookworm-security")], suite="bookworm-security")

    ((chosen, _),) = select(Universe([base, pocket], "amd64"), [Relation("aa")]).packages

    assert "bookworm" == chosen.suite


def test_a_pocket_has_the_newer_version() -> None:
    base = FakeIndex([package("aa")])
    pocket = FakeIndex([package("aa", "1.0+deb12u1", suite="pocket")], suite="pocket")

    ((chosen, _),) = select(Universe([base, pocket], "amd64"), [Relation("aa")]).packages

    assert "pocket" == chosen.suite


def test_another_architectures_packages_do_not_count() -> None:
    world = [package("aa", "2.0", arch="arm64"), package("aa", "1.0", arch="amd64")]

    assert ["aa 1.0"] == [*resolve(world, "aa")]


@pytest.mark.parametrize("qualifier", ["any", "native", "amd64"])
def test_qualified_names_are_of_this_architecture(qualifier: str) -> None:
    world = [package("aa", depends=f"bb:{qualifier}"), package("bb", arch="amd64")]

    assert ["aa 1.0", "bb 1.0"] == [*resolve(world, "aa")]


def test_a_foreign_architecture_cannot_be_had() -> None:
    world = [package("aa", depends="bb:i386"), package("bb", arch="amd64")]

    assert "aa → bb:i386: bb:i386 is for another architecture than amd64" == refused(world, "aa")


# --- alternatives and virtual packages ---


def test_the_first_alternative_that_can_be_met_is_taken() -> None:
    world = [package("aa", depends="gone | p2 (>= 2) | p3"), package("p2"), package("p3")]

    assert ["aa 1.0", "p3 1.0"] == [*resolve(world, "aa")]


def test_what_is_there_anyway_meets_an_alternative() -> None:
    world = [
        package("aa", depends="p1 | p2, bb"),
        package("bb", depends="p2"),
        package("p1"),
        package("p2"),
    ]

    assert {"aa 1.0": ("asked for",), "bb 1.0": ("aa",), "p2 1.0": ("aa", "bb")} == resolve(
        world, "aa"
    )


def test_a_virtual_dependency_takes_the_first_provider_by_name() -> None:
    world = [
        package("aa", depends="mta"),
        package("postfix", provides="mta"),
        package("exim", provides="mta"),
    ]

    assert ["aa 1.0", "exim 1.0"] == [*resolve(world, "aa")]
    assert ["aa 1.0", "postfix 1.0"] == [*resolve(world, "aa", "postfix")]


def test_a_version_is_only_met_by_a_versioned_provides() -> None:
    world = [
        package("aa", depends="virtual (>= 2)"),
        package("p1", "9", provides="virtual"),
        package("p2", "9", provides="virtual (= 1)"),
        package("p3", "9", provides="virtual (= 2)"),
    ]

    assert ["aa 1.0", "p3 9"] == [*resolve(world, "aa")]
    assert (
        "aa → virtual (>= 2): bookworm only has it as a virtual package, provided by p1, p2"
    ) == refused(world[:3], "aa")


def test_a_virtual_package_with_one_provider_may_be_asked_for() -> None:
    assert {"p1 1.0": ("asked for",)} == resolve([package("p1", provides="virtual")], "virtual")


def test_a_virtual_package_with_several_providers_asks_back() -> None:
    world = [package("p2", provides="virtual"), package("p1", provides="virtual")]

    message = refused(world, "virtual")

    assert "virtual: is a virtual package in bookworm; ask for one of those" in message
    assert message.endswith("p1, p2")
    assert ["p2 1.0"] == [*resolve(world, "virtual", "p2")]


# --- conflicts ---


def test_a_conflict_makes_another_choice() -> None:
    world = [
        package("aa", depends="p1 | p2"),
        package("bb", conflicts="p1"),
        package("p1"),
        package("p2"),
    ]

    assert ["aa 1.0", "bb 1.0", "p2 1.0"] == [*resolve(world, "aa", "bb")]


def test_a_conflict_far_away_makes_an_older_version_be_taken() -> None:
    world = [
        package("aa", depends="libx"),
        package("bb", depends="cc"),
        package("cc", depends="libx (<< 2)"),
        package("libx", "2.0"),
        package("libx", "1.0"),
    ]

    assert ["aa 1.0", "bb 1.0", "cc 1.0", "libx 1.0"] == [*resolve(world, "aa", "bb")]


def test_breaks_of_older_versions_spare_newer_ones() -> None:
    world = [package("aa", conflicts="bb (<< 2)"), package("bb", "1.0"), package("bb", "2.0")]

    assert ["aa 1.0", "bb 2.0"] == [*resolve(world, "aa", "bb")]
    assert "conflicts with" in refused(world, "aa", "bb=1.0")


def test_a_package_does_not_conflict_with_what_it_provides_itself() -> None:
    world = [package("exim", provides="mta", conflicts="mta"), package("mail", depends="mta")]

    assert ["exim 1.0", "mail 1.0"] == [*resolve(world, "mail")]


def test_a_conflict_shows_both_chains() -> None:
    world = [
        package("aa", depends="libx"),
        package("libx"),
        package("bb", depends="cc"),
        package("cc", conflicts="libx"),
    ]

    message = refused(world, "aa", "bb")

    assert "bb → cc: cc 1.0 conflicts with libx 1.0, which is there for aa → libx" == message


def test_two_providers_that_exclude_each_other_are_named() -> None:
    world = [
        package("p1", provides="mta", conflicts="mta"),
        package("p2", provides="mta", conflicts="mta"),
    ]

    assert "p2: p2 1.0 conflicts with p1 1.0, which is there for p1" == refused(world, "p1", "p2")


# --- why not ---


def test_a_version_that_is_not_on_offer_shows_the_chain() -> None:
    world = [
        package("nginx", depends="core"),
        package("core", depends="libfoo (>= 2)"),
        package("libfoo", "1.0"),
    ]

    assert ("nginx → core → libfoo (>= 2): only 1.0 is on offer in bookworm") == refused(
        world, "nginx"
    )


def test_a_missing_dependency_shows_the_chain() -> None:
    assert (
        "aa → gone | lost: no package gone is on offer in bookworm; "
        "no package lost is on offer in bookworm"
    ) == refused([package("aa", depends="gone | lost")], "aa")


def test_a_misspelt_name_is_hinted_at() -> None:
    world = [package("nginx"), package("nginx-full"), package("bash")]

    message = refused(world, "ngnix")

    assert "ngnix: no package ngnix is on offer in bookworm; did you mean nginx" in message


# --- what is there already ---


def test_what_a_layer_below_holds_is_not_chosen_again() -> None:
    world = [package("aa", depends="libx (>= 1)"), package("libx", "2.0"), package("libx", "1.0")]

    assert ["aa 1.0"] == [*resolve(world, "aa", held=[package("libx", "1.0")])]
    assert {} == resolve(world, "libx", held=[package("libx", "1.0")])


def test_what_is_held_meets_by_what_it_provides() -> None:
    world = [package("aa", depends="mta"), package("exim", provides="mta")]

    assert ["aa 1.0"] == [*resolve(world, "aa", held=[package("postfix", provides="mta")])]


def test_what_is_held_cannot_be_replaced() -> None:
    world = [package("aa", depends="libx (>= 2)"), package("libx", "2.0")]

    assert (
        "aa → libx (>= 2): libx 2.0 cannot replace libx 1.0, which a layer below holds"
    ) == refused(world, "aa", held=[package("libx", "1.0")])


def test_what_is_held_conflicts_all_the_same() -> None:
    held = [package("old", conflicts="aa")]

    assert "aa: aa 1.0 conflicts with old 1.0, which a layer below holds" == refused(
        [package("aa")], "aa", held=held
    )
    assert "conflicts with old 1.0" in refused(
        [package("aa", conflicts="old")], "aa", held=[package("old")]
    )


# --- essential and recommended packages ---


def test_essential_packages_come_only_when_asked_for() -> None:
    world = [package("aa"), package("dpkg", depends="tar"), package("tar")]

    assert ["aa 1.0"] == [*resolve(world, "aa", essential=["dpkg"])]
    assert {
        "aa 1.0": ("asked for",),
        "dpkg 1.0": ("asked for",),
        "tar 1.0": ("dpkg",),
    } == resolve(world, "aa", essential=["dpkg"], also_essential=True)


def test_recommended_packages_come_only_when_asked_for_and_where_they_fit() -> None:
    world = [
        package("aa", recommends="r1, gone, r2 | r3, rival"),
        package("r1", depends="libr", recommends="r4"),
        package("r2", depends="gone"),
        package("r3"),
        package("r4"),
        package("libr"),
        package("rival", conflicts="aa"),
    ]

    assert ["aa 1.0"] == [*resolve(world, "aa")]
    assert {
        "aa 1.0": ("asked for",),
        "libr 1.0": ("r1",),
        "r1 1.0": ("aa",),
        "r3 1.0": ("aa",),
        "r4 1.0": ("r1",),
    } == resolve(world, "aa", recommends=True)


# --- the search ---


def test_a_choice_that_became_superfluous_is_left_out() -> None:
    # At first p1 meets "mta"; then p2 comes for q2, and it meets the earlier alternative.
    world = [
        package("aa", depends="gone | p2 | p1"),
        package("bb", depends="v1"),
        package("p1"),
        package("p2"),
        package("q2", provides="v1", depends="p2"),
    ]

    assert ["aa 1.0", "bb 1.0", "p2 1.0", "q2 1.0"] == [*resolve(world, "aa", "bb")]


def test_a_deep_conflict_is_found_without_trying_everything() -> None:
    # Forty innocent choices of three each stand between the guilty one and its conflict.
    world = [package("aa", depends="zz | yy"), package("zz", conflicts="last"), package("yy")]
    world += [package(f"m{n}", depends=f"x{n} | y{n} | z{n}") for n in range(40)]
    world += [package(f"{letter}{n}") for n in range(40) for letter in "xyz"]
    world += [package("zend", depends="last | lost"), package("last")]

    chosen = resolve(world, "aa", "zend", *(f"m{n}" for n in range(40)))

    assert {"yy 1.0", "last 1.0"} < set(chosen)


def test_an_impossible_request_ends() -> None:
    world = [package(f"m{n}", depends=f"x{n} | y{n} | z{n}") for n in range(30)]
    world += [package(f"{letter}{n}") for n in range(30) for letter in "xyz"]
    world += [package("zend", depends="never | nowhere")]

    message = refused(world, "zend", *(f"m{n}" for n in range(30)))

    assert message.startswith("zend → never | nowhere: no package never")


NAMES = ["aa", "bb", "cc", "dd", "ee", "ff"]
bounds = st.sampled_from(["", "", " (>= 2)", " (<< 2)", " (= 1)"])
simple = st.builds(lambda name, bound: name + bound, st.sampled_from([*NAMES, "vv"]), bounds)
dependency = st.lists(simple, min_size=1, max_size=2).map(" | ".join)
stanzas = st.builds(
    package,
    st.sampled_from(NAMES),
    st.sampled_from(["1", "2", "3"]),
    st.lists(dependency, max_size=2).map(", ".join),
    provides=st.sampled_from(["", "", "", "vv", "vv (= 2)"]),
    conflicts=st.just("") | st.just("") | simple,
)
worlds = st.lists(stanzas, max_size=12, unique_by=str)
requests = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)


def attempt(world: Iterable[IndexedPackage], asked: Iterable[str]) -> Selection | None:
    try:
        return select(Universe([FakeIndex(world)], "amd64"), [Relation(name) for name in asked])
    except ResolutionError:
        return None


def faults(chosen: Sequence[IndexedPackage], asked: Iterable[str]) -> list[str]:
    """Return which relations do not hold, by the plain reading of Policy 7."""
    bad = [f"{name} is not there" for name in asked if name not in {p.name for p in chosen}]
    bad += [f"{a} beside {b}" for a, b in itertools.combinations(chosen, 2) if a.name == b.name]
    for one in chosen:
        for group in one.depends:
            if not any(meets(other, relation) for other in chosen for relation in group):
                bad.append(f"{one} lacks {group}")
        for relation in one.conflicts:
            bad += [f"{one} against {o}" for o in chosen if o is not one and meets(o, relation)]
    return bad


@settings(max_examples=100)
@given(worlds, requests)
def test_in_every_answer_all_relations_hold(world: list[IndexedPackage], asked: list[str]) -> None:
    answer = attempt(world, asked)

    if answer is not None:
        chosen = [package for package, _ in answer.packages]
        assert [] == faults(chosen, asked)
        needed = {package.name for package in chosen}
        for package, why in answer.packages:
            assert set(why) <= needed or (("asked for",) == why and package.name in asked)


@settings(max_examples=100)
@given(worlds, requests, st.randoms(use_true_random=False))
def test_the_order_of_stanzas_and_requests_never_changes_the_answer(
    world: list[IndexedPackage], asked: list[str], random: object
) -> None:
    before = attempt(world, asked)
    random.shuffle(world)  # type: ignore[attr-defined]
    random.shuffle(asked)  # type: ignore[attr-defined]

    assert before == attempt(world, asked)


@settings(max_examples=100)
@given(st.lists(stanzas, max_size=7, unique_by=str), requests)
def test_where_no_answer_is_found_there_is_none(
    world: list[IndexedPackage], asked: list[str]
) -> None:
    if attempt(world, asked) is not None:
        return
    for size in range(len(world) + 1):
        for chosen in itertools.combinations(world, size):
            assert [] != faults(chosen, asked)


@settings(max_examples=100)
@given(worlds, requests)
def test_what_was_answered_once_is_answered_again(
    world: list[IndexedPackage], asked: list[str]
) -> None:
    first = attempt(world, asked)
    if first is None:
        return
    kept = {package.name: package.version for package, _ in first.packages}

    again = select(Universe([FakeIndex(world)], "amd64", kept), [Relation(name) for name in asked])

    assert first == again


def test_of_several_providers_the_one_of_the_higher_priority_is_taken() -> None:
    packages = [
        package("base", depends="awk"),
        package("gawk", provides="awk"),
        package("mawk", provides="awk", priority="required"),
    ]
    assert {"base 1.0", "mawk 1.0"} == set(resolve(packages, "base"))


def test_a_pinned_provider_stays_before_one_of_a_higher_priority() -> None:
    packages = [
        package("base", depends="awk"),
        package("gawk", provides="awk"),
        package("mawk", provides="awk", priority="required"),
    ]
    assert {"base 1.0", "gawk 1.0"} == set(resolve(packages, "base", kept={"gawk": "1.0"}))
