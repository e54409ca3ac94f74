"""Pruning elsewhere: a repository of a registry, a Docker engine."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from immutable.config import Registries
from immutable.errors import AllVersionsExpired, RegistryError, TransportError
from immutable.lifecycle.prune import Plan, prune
from immutable.lifecycle.retention import Item, Policy, decide
from immutable.lifecycle.targets.engine import EnginePlace
from immutable.lifecycle.targets.registry import RegistryPlace
from immutable.oci import canonical
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Descriptor
from immutable.progress import SILENT
from immutable.reference.registry import RegistryName
from immutable.transports import copy
from immutable.transports.registry import lists
from immutable.transports.registry.client import Client
from immutable.transports.registry.transport import RegistryImage
from tests.support import needs
from tests.support.command import Shell
from tests.support.distribution import Distribution
from tests.support.engine import FakeEngine
from tests.support.images import MemoryTransport, image, index
from tests.support.registry import Answer, Asked, FakeRegistry
from tests.support.specs import CONFIG

LATER = datetime.now(UTC) + timedelta(days=365)


# A registry


class Repository:
    """A new repository of a real registry."""

    def __init__(self, host: str) -> None:
        self.name = RegistryName(host, f"shop/{secrets.token_hex(4)}")
        self.place = RegistryPlace(RegistryImage(self.name))

    def push(self, source: MemoryTransport, *tags: str) -> Digest:
        for tag in tags:
            copy(source, RegistryImage(evolve(self.name, tag=tag), replace_tag=True))
        return root(source).digest

    def client(self) -> Any:
        return Client.connect(
            self.name.host, self.name.repository, Registries(), actions="pull,push,delete"
        )

    def tags(self) -> dict[str, Digest | None]:
        with self.client() as client:
            return {tag: client.head_manifest(tag) for tag in lists.tags(client)}

    def has(self, digest: Digest) -> bool:
        with self.client() as client:
            return client.head_manifest(digest) is not None

    def prune(self, policy: Policy, **options: Any) -> Any:
        return prune(f"docker://{self.name}", policy, now=LATER, config=CONFIG, **options)


@pytest.fixture
def repository(registry: Distribution) -> Repository:
    return Repository(registry.host)


def root(source: MemoryTransport) -> Descriptor:
    assert source.root is not None
    return source.root


def made(seed: int, created: str) -> MemoryTransport:
    """An image of a known age."""
    source = image(seed)
    config = json.loads(source.config)
    config["created"] = created
    described = source.add(json.dumps(config).encode(), oci.CONFIG)
    source.add_manifest(evolve(source.manifest, config=described))
    return source


@pytest.mark.tools
@needs.tool("docker-registry")
def test_a_registry_is_pruned_by_age(repository: Repository) -> None:
    for year in range(2020, 2025):
        repository.push(made(year, f"{year}-01-01T00:00:00Z"), f"v{year}")
    before = repository.tags()
    dry = repository.prune(Policy(keep_last=2), dry_run=True)
    assert before == repository.tags()
    done = repository.prune(Policy(keep_last=2))
    assert {"v2023", "v2024"} == repository.tags().keys()
    assert dry.freed == done.freed
    assert done.freed.total > 0
    assert not any(
        repository.has(before[f"v{year}"] or Digest.of(b"")) for year in range(2020, 2023)
    )


@pytest.mark.tools
@needs.tool("docker-registry")
def test_what_has_no_known_age_is_young(repository: Repository) -> None:
    for seed in range(3):
        repository.push(made(seed, "1970-01-01T00:00:00Z"), f"v{seed}")
    done = repository.prune(Policy(keep_within="1d"))
    assert 3 == len(repository.tags())
    assert all(decision.keep for decision in done.decisions)


@pytest.mark.tools
@needs.tool("docker-registry")
def test_the_children_of_a_live_index_stay_and_those_of_an_expired_go(
    repository: Repository,
) -> None:
    old, new = index(100), index(200)
    repository.push(old, "nightly-1")
    repository.push(new, "v1.0.0")
    # One platform of the old index is an image of its own that is kept.
    shared = json.loads(old.blobs[root(old).digest])["manifests"][0]
    with repository.client() as client:
        digest = Digest.parse(shared["digest"])
        client.put_manifest(*client.manifest(digest), "v0.9.0")
    repository.prune(Policy(keep_tags=["v*"]))
    assert {"v1.0.0", "v0.9.0"} == repository.tags().keys()
    assert not repository.has(root(old).digest)
    kept = [child["digest"] for child in json.loads(new.blobs[root(new).digest])["manifests"]]
    assert all(repository.has(Digest.parse(child)) for child in (*kept, shared["digest"]))
    manifests = json.loads(old.blobs[root(old).digest])["manifests"][1:]
    # The attestations of both are one manifest.
    gone = {child["digest"] for child in manifests} - {*kept}
    assert 1 == len(gone)
    assert not any(repository.has(Digest.parse(child)) for child in gone)


SHAPES = pytest.mark.parametrize(
    ("tags", "word", "left"),
    [
        ("1.20 1.21 1.22", "newest 1", "1.22"),
        ("1.20 1.21 1.22", ">=1.21", "1.21 1.22"),
        ("1 2 3", "newest 1", "3"),
        ("2023.12.31 2024.01.15", "newest 1", "2024.01.15"),
        ("20231231 20240115", "newest 1", "20240115"),
        ("release-0.9.0 release-1.0.0", "newest 1", "release-1.0.0"),
        ("1.2.3.4 1.2.3.10", "newest 1", "1.2.3.10"),
        ("3.18 3.19 3.18-alpine 3.19-alpine", "newest 1", "3.19 3.19-alpine"),
        ("1.08.0 1.9.0", "newest 1", "1.9.0"),
        ("main edge", "newest 1", "main edge"),
    ],
)


@pytest.mark.tools
@needs.tool("docker-registry")
@SHAPES
def test_a_registry_keeps_the_newest_whatever_the_shape_of_its_tags(
    repository: Repository, tags: str, word: str, left: str
) -> None:
    for number, tag in enumerate(tags.split()):
        repository.push(made(number, "2024-01-01T00:00:00Z"), tag)
    repository.prune(Policy(keep_tags=[word]))
    assert {*left.split()} == repository.tags().keys()


@pytest.mark.tools
@needs.tool("docker-registry")
def test_a_registry_loses_every_version_only_if_that_is_said(repository: Repository) -> None:
    for number, tag in enumerate(("1.20", "1.21")):
        repository.push(made(number, "2024-01-01T00:00:00Z"), tag)
    policy = Policy(keep_tags=["v*"])
    dry = repository.prune(policy, dry_run=True)
    name = repository.name.repository
    assert (2, (name,)) == (len(dry.expired), dry.emptied)
    with pytest.raises(AllVersionsExpired, match=f"every version of {name}; .*--delete-all-vers"):
        repository.prune(policy)
    assert {"1.20", "1.21"} == repository.tags().keys()
    repository.prune(policy, delete_all_versions=True)
    assert {} == repository.tags()


def test_the_command_refuses_to_delete_every_version_in_one_line(
    fake: FakeRegistry, shell: Shell
) -> None:
    repository = Repository(fake.host)
    for number, tag in enumerate(("1.20", "1.21")):
        repository.push(made(number, "2024-01-01T00:00:00Z"), tag)
    path = shell.write("keep.toml", '[[rule]]\nkeep-tags = ["v*"]\n')
    command = ("prune", f"docker://{repository.name}", "--policy", path)
    name = repository.name.repository
    dry = shell.run(*command, "--dry-run")
    assert (0, "") == (dry.status, dry.err)
    assert "2 images to delete" in dry.out
    assert f"would be refused: deletes every version of {name}; say --delete-all" in dry.out
    assert [name] == shell.run(*command, "--dry-run", "--json").json["refused"]
    allowed = shell.run(*command, "--dry-run", "--delete-all-versions")
    assert "refused" not in allowed.out
    done = shell.run(*command, "--yes")
    assert (1, "", 1) == (done.status, done.out, len(done.err.splitlines()))
    assert f"every version of {name}" in done.err
    assert "--delete-all-versions" in done.err
    assert {"1.20", "1.21"} == repository.tags().keys()
    assert 0 == shell.run(*command, "--yes", "--delete-all-versions").status
    assert {None} == {*repository.tags().values()}


def signature(subject: Descriptor) -> tuple[Descriptor, bytes]:
    empty = b"{}"
    data = canonical.encode(
        {
            "schemaVersion": 2,
            "mediaType": oci.MANIFEST,
            "artifactType": "application/vnd.test.signature",
            "config": Descriptor(
                "application/vnd.oci.empty.v1+json", Digest.of(empty), len(empty)
            ).plain(),
            "layers": [],
            "subject": subject.plain(),
        }
    )
    return Descriptor(oci.MANIFEST, Digest.of(data), len(data)), data


@pytest.mark.tools
@needs.tool("docker-registry")
def test_referrers_share_the_fate_of_their_subject(repository: Repository) -> None:
    from immutable.build.remote_cache import _Blobs
    from immutable.store.memory import MemoryStore

    old, new = made(1, "2020-01-01T00:00:00Z"), made(2, "2024-01-01T00:00:00Z")
    repository.push(old, "v1")
    repository.push(new, "v2")
    signed = []
    with repository.client() as client:
        config = Descriptor("application/vnd.oci.empty.v1+json", Digest.of(b"{}"), 2)
        client.upload(_Blobs("test", MemoryStore(), {config.digest: b"{}"}), config)
        for source in (old, new):
            signed.append(signature(root(source)))
            lists.put_referrer(client, *signed[-1])
    repository.prune(Policy(keep_last=1))
    assert [False, True] == [repository.has(descriptor.digest) for descriptor, _ in signed]
    assert "v2" in repository.tags()
    assert "v1" not in repository.tags()


@pytest.mark.tools
@needs.tool("docker-registry")
def test_what_gets_a_new_tag_meanwhile_stays(repository: Repository) -> None:
    sources = [made(year, f"{year}-01-01T00:00:00Z") for year in (2020, 2021)]
    for number, source in enumerate(sources):
        repository.push(source, f"v{number}")
    place = repository.place
    decided = Plan(place, decide(Policy(keep_last=1), place.items(), LATER))
    repository.push(sources[0], "released")
    decided.carry_out()
    assert {"v0", "v1", "released"} == repository.tags().keys()


@pytest.mark.tools
@needs.tool("docker-registry")
def test_an_empty_repository(registry: Distribution) -> None:
    with pytest.raises(RegistryError):
        Repository(registry.host).prune(Policy(keep_last=1))


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    registry = FakeRegistry()
    with registry.serve():
        yield registry


def test_a_tag_that_moved_to_what_expired_keeps_it(fake: FakeRegistry) -> None:
    repository = Repository(fake.host)
    sources = [made(year, f"{year}-01-01T00:00:00Z") for year in (2020, 2021, 2022)]
    for number, source in enumerate(sources):
        repository.push(source, f"v{number}")
    place = repository.place
    decided = Plan(place, decide(Policy(keep_last=1), place.items(), LATER))
    repository.push(sources[1], "v0")  # an expired image takes another's tag
    done = decided.carry_out()
    gone, kept, _ = (root(source).digest for source in sources)
    assert [gone] == [decision.item.digest for decision in done.expired]
    assert [False, True] == [repository.has(digest) for digest in (gone, kept)]


@pytest.mark.parametrize("referrers", [True, False])
def test_referrers_of_what_gets_a_new_tag_meanwhile_stay(
    fake: FakeRegistry, referrers: bool
) -> None:
    fake.referrers = referrers
    repository = Repository(fake.host)
    old, new = made(1, "2020-01-01T00:00:00Z"), made(2, "2024-01-01T00:00:00Z")
    repository.push(old, "v1")
    repository.push(new, "v2")
    fake.repository(repository.name.repository).blobs[Digest.of(b"{}")] = b"{}"
    signed = signature(root(old))
    with repository.client() as client:
        lists.put_referrer(client, *signed)
    place = repository.place
    decided = Plan(place, decide(Policy(keep_last=1), place.items(), LATER))
    assert any(decision.item.digest == signed[0].digest for decision in decided.decisions)
    repository.push(old, "released")
    assert () == decided.carry_out().expired
    assert repository.has(root(old).digest)
    assert repository.has(signed[0].digest)


def test_a_registry_that_deletes_nothing_says_so(fake: FakeRegistry) -> None:
    repository = Repository(fake.host)
    for year in (2020, 2021):
        repository.push(made(year, f"{year}-01-01T00:00:00Z"), f"v{year}")
    fake.plan("DELETE", "/manifests/", Answer(405))
    with pytest.raises(TransportError, match="this registry deletes nothing"):
        repository.prune(Policy(keep_last=1))
    assert {"v2020", "v2021"} == repository.tags().keys()


def test_what_somebody_else_deleted_is_gone(fake: FakeRegistry) -> None:
    repository = Repository(fake.host)
    for year in (2020, 2021):
        repository.push(made(year, f"{year}-01-01T00:00:00Z"), f"v{year}")
    fake.plan("DELETE", "/manifests/", Answer(404))
    assert 1 == len(repository.prune(Policy(keep_last=1)).expired)


def test_a_tag_that_goes_meanwhile_is_none(fake: FakeRegistry) -> None:
    repository = Repository(fake.host)
    for year in (2020, 2021):
        repository.push(made(year, f"{year}-01-01T00:00:00Z"), f"v{year}")
    fake.page = 1

    def lose(_: Asked) -> None:
        del fake.repository(repository.name.repository).tags["v2020"]

    fake.plan("HEAD", "/manifests/v2020", lose)
    assert [("v2021",)] == [item.tags for item in repository.place.items()]


def test_a_tag_is_no_place() -> None:
    with pytest.raises(TransportError, match="expected a whole repository"):
        prune("docker://h.test/name:tag", Policy(), config=CONFIG)


# An engine


def test_an_engine_that_is_gone_is_told_of() -> None:
    fake = FakeEngine()
    with fake.serve() as host:
        place = EnginePlace(host)
        assert () == place.items()
        assert 0 == place.preview([]).total == place.delete([], SILENT).total
    for act in (place.items, lambda: place.delete([], SILENT)):
        with pytest.raises(TransportError, match="docker-daemon:: no Docker engine answers"):
            act()


@pytest.mark.engine
@needs.engine()
def test_an_engine_loses_only_what_this_project_loaded(
    engine: Any, tmp_path: Path, repository_name: str
) -> None:
    ours, used, kept, other = (image(seed) for seed in (31, 32, 33, 34))
    for source in (ours, used, kept):
        as_ours(source)
    names = ("v1", "v2", "v3", "other")
    for source, tag in zip((ours, used, kept, other), names, strict=True):
        copy(source, f"docker-daemon:{repository_name}:{tag}")
    container = engine.containers.create(f"{repository_name}:v2", command=["/none"])
    try:
        place = EnginePlace()
        mine = [item for item in place.items() if item.name == repository_name]
        assert {("v1", False), ("v2", True), ("v3", False)} == {
            (*item.tags, item.pinned) for item in mine
        }
        chosen = [item for item in mine if item.tags != ("v3",)]
        decided = Plan(place, decide(Policy(keep_tags=["v3"]), chosen, LATER))
        done = decided.carry_out()
        left = {
            tag.rpartition(":")[2] for i in engine.images.list(repository_name) for tag in i.tags
        }
    finally:
        container.remove()
    assert {"v2", "v3", "other"} == left
    assert ["v1"] == [tag for one in done.expired for tag in one.item.tags]


@pytest.mark.engine
@needs.engine()
def test_what_a_container_uses_by_now_stays(engine: Any, repository_name: str) -> None:
    source = image(35)
    as_ours(source)
    copy(source, f"docker-daemon:{repository_name}:v1")
    place = EnginePlace()
    (item,) = [one for one in place.items() if one.name == repository_name]
    container = engine.containers.create(f"{repository_name}:v1", command=["/none"])
    try:
        freed = place.delete([item], SILENT)
        assert (0, frozenset({item})) == (freed.total, freed.spared)
        assert [f"{repository_name}:v1"] == engine.images.get(f"{repository_name}:v1").tags
    finally:
        container.remove()


@pytest.mark.engine
@needs.engine()
def test_a_name_that_means_another_image_by_now_stays(engine: Any, repository_name: str) -> None:
    first, second = image(36), image(37)
    for source in (first, second):
        as_ours(source)
    copy(first, f"docker-daemon:{repository_name}:v1")
    place = EnginePlace()
    items = [one for one in place.items() if one.name == repository_name]
    copy(second, f"docker-daemon:{repository_name}:v1")
    place.delete(items, SILENT)
    assert str(Digest.of(second.config)) == engine.images.get(f"{repository_name}:v1").id


@pytest.fixture
def repository_name(engine: Any) -> Iterator[str]:
    name = f"immutable-test/{secrets.token_hex(8)}"
    yield name
    for one in engine.images.list(name):
        engine.images.remove(one.id, force=True)


def as_ours(source: MemoryTransport) -> None:
    """Have the history say what this project's builds say."""
    config = json.loads(source.config)
    steps = len(config["rootfs"]["diff_ids"])
    config["history"] = [
        {"created": "1970-01-01T00:00:00Z", "created_by": "immutable files"} for _ in range(steps)
    ]
    described = source.add(json.dumps(config).encode(), oci.CONFIG)
    source.add_manifest(evolve(source.manifest, config=described))


def test_items_know_their_name_without_a_host() -> None:
    from immutable.lifecycle.targets.engine import _items
    from immutable.transports.engine import EngineImage

    one = EngineImage(
        Digest.of(b""),
        ("host.test:5000/shop/web:1", "shop/web:2", "localhost/api:1", "library/x:1"),
        (),
        5,
        None,
    )
    found = dict(_items(one, pinned=False))
    assert {"shop/web": ("1", "2"), "api": ("1",), "library/x": ("1",)} == {
        item.name: item.tags for item in found
    }
    assert ("host.test:5000/shop/web:1", "shop/web:2") in found.values()
    nameless = dict(_items(evolve(one, names=()), pinned=True))
    assert [("<none>", (), True)] == [(i.name, i.tags, i.pinned) for i in nameless]
    assert isinstance(next(iter(nameless)), Item)
