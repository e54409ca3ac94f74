"""OCI documents: exact bytes out, strict reading in."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immutable.errors import ImageError
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import (
    Descriptor,
    Execution,
    Healthcheck,
    History,
    ImageConfig,
    Index,
    Manifest,
    decode_config,
    decode_document,
    decode_index,
    decode_manifest,
)
from immutable.oci.platforms import Platform
from tests.support import strategies

AMD64 = Platform("linux", "amd64")
ARM = Platform("linux", "arm", "v7")
BLOB = Digest.of(b"blob")

MANIFEST = Manifest(
    Descriptor(oci.CONFIG, BLOB, 4),
    (
        Descriptor(oci.LAYER_GZIP, BLOB, 4),
        Descriptor(oci.LAYER_ZSTD, BLOB, 5, {"b": "2", "a": "1"}),
    ),
    {"org.example": "x"},
)
INDEX = Index(
    (
        Descriptor(oci.MANIFEST, BLOB, 4, platform=AMD64),
        Descriptor(oci.MANIFEST, BLOB, 4, {oci.REF_NAME: "1.0"}, ARM),
    )
)
CONFIG = ImageConfig(
    ARM,
    "1970-01-01T00:00:00Z",
    (BLOB, Digest.of(b"two")),
    Execution(
        "node",
        "/app",
        ("PATH=/bin", "A="),
        ("/init",),
        ("node", "x.js"),
        ("3000/tcp",),
        ("/data",),
        {"b": "2", "a": "1"},
        "SIGTERM",
        Healthcheck(("CMD", "true"), 30_000_000_000, retries=3),
    ),
    (History("1970-01-01T00:00:00Z", "one"), History("1970-01-01T00:00:00Z", "two", True)),
)


def test_the_exact_bytes() -> None:
    assert (
        '{"annotations":{"org.example":"x"},"config":{"digest":"' + str(BLOB) + '",'
        '"mediaType":"application/vnd.oci.image.config.v1+json","size":4},"layers":[{"digest":"'
        + str(BLOB)
        + '","mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","size":4},'
        '{"annotations":{"a":"1","b":"2"},"digest":"'
        + str(BLOB)
        + '","mediaType":"application/vnd.oci.image.layer.v1.tar+zstd","size":5}],'
        '"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2}'
    ) == MANIFEST.encode().decode()
    assert ("b4530b656133", "4825b947300f", "bda1f8033b67", "d5c7debd284f") == (
        Digest.of(MANIFEST.encode()).short,
        Digest.of(INDEX.encode()).short,
        Digest.of(CONFIG.encode()).short,
        Digest.of(ImageConfig(AMD64, "1970-01-01T00:00:00Z", ()).encode()).short,
    )


def test_what_is_empty_is_left_out() -> None:
    document = json.loads(ImageConfig(AMD64, "1970-01-01T00:00:00Z", ()).encode())
    assert {
        "architecture": "amd64",
        "config": {},
        "created": "1970-01-01T00:00:00Z",
        "history": [],
        "os": "linux",
        "rootfs": {"diff_ids": [], "type": "layers"},
    } == document
    assert "annotations" not in json.loads(Index(()).encode())


descriptors = st.builds(
    Descriptor,
    strategies.text,
    strategies.digests,
    st.integers(0, 2**63 - 1),
    st.dictionaries(strategies.text, strategies.text, max_size=2),
    st.none() | strategies.platforms,
    strategies.text,
)
some_descriptors = st.lists(descriptors, max_size=3).map(tuple)
texts = st.lists(strategies.text, max_size=2).map(tuple)
sorted_texts = st.sets(strategies.text, max_size=2).map(lambda found: tuple(sorted(found)))
notes = st.dictionaries(strategies.text, strategies.text, max_size=2)
counts = st.integers(0, 2**63 - 1)


@given(descriptors, some_descriptors, notes, st.none() | descriptors, strategies.text)
def test_a_manifest_is_read_as_written(
    config: Descriptor,
    layers: tuple[Descriptor, ...],
    given_notes: dict[str, str],
    subject: Descriptor | None,
    artifact_type: str,
) -> None:
    manifest = Manifest(config, layers, given_notes, oci.MANIFEST, subject, artifact_type)
    assert manifest == decode_manifest(manifest.encode(), "x")
    assert not oci.is_index(manifest.encode(), "x")


@given(some_descriptors, notes, st.none() | descriptors, strategies.text)
def test_an_index_is_read_as_written(
    manifests: tuple[Descriptor, ...],
    given_notes: dict[str, str],
    subject: Descriptor | None,
    artifact_type: str,
) -> None:
    index = Index(manifests, given_notes, oci.INDEX, subject, artifact_type)
    assert index == decode_index(index.encode(), "x")
    assert oci.is_index(index.encode(), "x")


executions = st.builds(
    Execution,
    strategies.text,
    strategies.text,
    texts,
    texts,
    texts,
    sorted_texts,
    sorted_texts,
    notes,
    strategies.text,
    st.none()
    | st.builds(
        Healthcheck,
        st.lists(strategies.text, min_size=1, max_size=2).map(tuple),
        counts,
        counts,
        counts,
        counts,
        counts,
    ),
    texts,
    st.none() | counts,
    texts,
)


steps = st.builds(
    History, strategies.text, strategies.text, st.booleans(), strategies.text, strategies.text
)
configs = st.builds(
    ImageConfig,
    strategies.platforms,
    strategies.text,
    st.lists(strategies.digests, max_size=2).map(tuple),
    executions,
    st.lists(steps, max_size=2).map(tuple),
    strategies.text,
)


@given(configs)
def test_a_config_is_read_as_written(config: ImageConfig) -> None:
    assert config == decode_config(config.encode(), "x")


def test_docker_s_media_types_are_oci_s_families() -> None:
    docker = "application/vnd.docker."
    assert [
        oci.INDEX,
        oci.MANIFEST,
        oci.CONFIG,
        oci.LAYER,
        oci.LAYER_GZIP,
        oci.LAYER_ZSTD,
        "text/plain",
        oci.LAYER,
    ] == [
        oci.family(media_type)
        for media_type in (
            f"{docker}distribution.manifest.list.v2+json",
            f"{docker}distribution.manifest.v2+json",
            f"{docker}container.image.v1+json",
            f"{docker}image.rootfs.diff.tar",
            f"{docker}image.rootfs.diff.tar.gzip",
            f"{docker}image.rootfs.diff.tar.zstd",
            "text/plain",
            oci.LAYER,
        )
    ]


def test_an_index_lists_children_and_a_manifest_names_blobs() -> None:
    read = [
        decode_document(document.encode(), document.media_type, "x")
        for document in (INDEX, MANIFEST)
    ]
    assert [INDEX, MANIFEST] == read
    assert [INDEX.manifests, ()] == [document.children for document in read]
    assert [(), (MANIFEST.config, *MANIFEST.layers)] == [document.blobs for document in read]


def test_docker_s_manifests_are_read() -> None:
    docker = "application/vnd.docker.distribution.manifest"
    document = json.loads(MANIFEST.encode()) | {"mediaType": f"{docker}.v2+json"}
    assert f"{docker}.v2+json" == decode_manifest(dumped(document), "x").media_type
    document = json.loads(INDEX.encode()) | {"mediaType": f"{docker}.list.v2+json"}
    assert f"{docker}.list.v2+json" == decode_index(dumped(document), "x").media_type


def test_a_document_need_not_say_its_media_type() -> None:
    document = json.loads(INDEX.encode())
    del document["mediaType"]
    assert INDEX == decode_index(dumped(document), "x")


def test_a_bare_descriptor_says_nothing_of_where_it_stood() -> None:
    platform = Platform("linux", "amd64")
    descriptor = Descriptor(oci.MANIFEST, BLOB, 4, {"a": "1"}, platform)
    assert Descriptor(oci.MANIFEST, BLOB, 4) == descriptor.bare()


def test_an_attestation_s_platform_is_none_of_ours() -> None:
    document = json.loads(INDEX.encode())
    document["manifests"][0]["platform"] = {"os": "unknown", "architecture": "unknown"}
    document["manifests"][1]["platform"] = {
        "os": "windows",
        "architecture": "amd64",
        "os.version": "10.0",
        "os.features": ["win32k"],
    }
    assert [None, None] == [d.platform for d in decode_index(dumped(document), "x").manifests]


@pytest.mark.parametrize(
    ("path", "value"),
    [("subject", {}), ("subject", "x"), ("subject", {"mediaType": "x"}), ("artifactType", 1)],
)
def test_a_subject_that_is_not_understood_is_passed_over(path: str, value: Any) -> None:
    assert MANIFEST == decode_manifest(changed(MANIFEST.encode(), path, value), "web")
    assert INDEX == decode_index(changed(INDEX.encode(), path, value), "web")


def test_what_is_not_understood_is_passed_over() -> None:
    document = json.loads(CONFIG.encode()) | {"author": "x", "container_config": {}, "moby": [1.5]}
    document["config"] |= {"OnBuild": None, "ArgsEscaped": True, "Entrypoint": None}
    document["config"]["Volumes"] = None
    read = decode_config(dumped(document), "x").execution
    assert ((), (), ("node", "x.js")) == (read.entrypoint, read.volumes, read.cmd)


def test_a_healthcheck_that_is_turned_off_is_kept() -> None:
    document = json.loads(CONFIG.encode())
    document["config"]["Healthcheck"] = {"Test": ["NONE"]}
    assert Healthcheck(("NONE",)) == decode_config(dumped(document), "x").execution.healthcheck
    document["config"]["Healthcheck"] = {"Test": []}
    assert decode_config(dumped(document), "x").execution.healthcheck is None


def dumped(document: Any) -> bytes:
    return json.dumps(document).encode()


DELETE: Any = object()


def changed(data: bytes, path: str, value: Any) -> bytes:
    parts = [int(part) if part.isdecimal() else part for part in path.split("/")]
    return replaced(data, parts, value)


def replaced(data: bytes, path: Sequence[str | int], value: Any) -> bytes:
    document = json.loads(data)
    *above, last = path
    holder = document
    for part in above:
        holder = holder[part]
    if value is DELETE:
        del holder[last]
    else:
        holder[last] = value
    return dumped(document)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("schemaVersion", 1, "schemaVersion: expected 2, found 1"),
        ("schemaVersion", "2", 'schemaVersion: expected 2, found "2"'),
        ("schemaVersion", 2.0, "schemaVersion: expected 2, found 2.0"),
        ("schemaVersion", True, "schemaVersion: expected 2, found true"),
        ("schemaVersion", DELETE, "schemaVersion: expected 2, found nothing"),
        ("manifests", [], "manifests: has no place beside its other fields"),
        ("mediaType", oci.INDEX, f"mediaType: expected {oci.MANIFEST}, found {oci.INDEX}"),
        ("mediaType", 3, "mediaType: expected a string, found 3"),
        ("config", DELETE, "config: expected an object, found nothing"),
        ("config", [], "config: expected an object, found an array"),
        ("config/digest", DELETE, "config: digest: expected a string, found nothing"),
        ("config/digest", "sha256:../..", "config: digest: expected 64 hex digits, found '../..'"),
        ("config/digest", f"sha512:{'0' * 128}",
         f"config: digest: expected sha256:<64 hex digits>, found 'sha512:{'0' * 73}'"),
        ("config/digest", "sha256:" + "A" * 64,
         f"config: digest: expected lower-case hex digits, found '{'A' * 64}'"),
        ("config/mediaType", DELETE, "config: mediaType: expected a string, found nothing"),
        ("layers", {}, "layers: expected an array, found an object"),
        ("layers", DELETE, "layers: expected an array, found nothing"),
        ("layers/1", "x", 'layers[1]: expected an object, found "x"'),
        ("layers/1/size", -1, "layers[1]: size: out of range: -1"),
        ("layers/1/size", 2**63, "layers[1]: size: out of range: 9223372036854775808"),
        ("layers/1/size", 1.0, "layers[1]: size: expected an integer, found 1.0"),
        ("layers/1/size", True, "layers[1]: size: expected an integer, found true"),
        ("layers/1/size", "5", 'layers[1]: size: expected an integer, found "5"'),
        ("layers/1/annotations/a", 1, "layers[1]: annotations.a: expected a string, found 1"),
        ("layers/1/annotations", [], "layers[1]: annotations: expected an object, found an array"),
    ],
)  # fmt: skip
def test_a_manifest_that_does_not_hold(path: str, value: Any, expected: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode_manifest(changed(MANIFEST.encode(), path, value), "web")
    assert f"web: {expected}" == str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("schemaVersion", 1, "schemaVersion: expected 2, found 1"),
        ("layers", [], "layers: has no place beside its other fields"),
        ("config", None, "config: has no place beside its other fields"),
        ("mediaType", oci.MANIFEST, f"mediaType: expected {oci.INDEX}, found {oci.MANIFEST}"),
        ("manifests", None, "manifests: expected an array, found nothing"),
        ("manifests/1/size", -5, "manifests[1]: size: out of range: -5"),
        ("manifests/0/platform", "linux", 'manifests[0]: platform: expected an object, found "linux"'),  # noqa: E501
        ("manifests/0/platform/os", 1, "manifests[0]: platform: os: expected a string, found 1"),
        ("manifests/0/platform/architecture", DELETE,
         "manifests[0]: platform: architecture: expected a string, found nothing"),
    ],
)  # fmt: skip
def test_an_index_that_does_not_hold(path: str, value: Any, expected: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode_index(changed(INDEX.encode(), path, value), "web")
    assert f"web: {expected}" == str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("os", DELETE, "os: expected a string, found nothing"),
        ("os", "windows", "platform: expected one of linux/386, "),
        ("rootfs", DELETE, "rootfs: expected an object, found nothing"),
        ("rootfs/type", "squashfs", 'rootfs: type: expected layers, found "squashfs"'),
        ("rootfs/diff_ids/1", "x",
         "rootfs: diff_ids[1]: expected sha256:<64 hex digits>, found 'x'"),
        ("rootfs/diff_ids/1", 1, "rootfs: diff_ids[1]: expected a string, found 1"),
        ("config/Env", "A=1", 'config: Env: expected an array, found "A=1"'),
        ("config/Env/1", 1, "config: Env[1]: expected a string, found 1"),
        ("config/Volumes", ["/a"], "config: Volumes: expected an object, found an array"),
        ("config/Healthcheck/Interval", -1, "config: Healthcheck: Interval: out of range: -1"),
        ("config/Labels/a", None, "config: Labels.a: expected a string, found nothing"),
        ("history/1/empty_layer", 1, "history[1]: empty_layer: expected true or false, found 1"),
        ("created", 0, "created: expected a string, found 0"),
    ],
)  # fmt: skip
def test_a_config_that_does_not_hold(path: str, value: Any, expected: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode_config(changed(CONFIG.encode(), path, value), "web")
    assert str(caught.value).startswith(f"web: {expected}")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"schemaVersion":2,"schemaVersion":2}', "not JSON: duplicate key 'schemaVersion'"),
        (b'{"a":NaN}', "not JSON: NaN is not JSON"),
        (b"[]", "expected an object, found an array"),
        (b"7", "expected an object, found 7"),
        (b"", "not JSON: "),
        (b"\xef\xbb\xbf{}", "not JSON: starts with a byte-order mark"),
        (b'{"mediaType":"\\ud800"}', "not JSON: half a surrogate pair"),
        (b'{"a":' * 50_000, "not JSON: nested too deeply"),
    ],
)
def test_what_is_no_document(data: bytes, expected: str) -> None:
    for read in (decode_manifest, decode_index, decode_config, oci.is_index):
        with pytest.raises(ImageError) as caught:
            read(data, "web")
        assert str(caught.value).startswith(f"web: {expected}")


@given(st.sampled_from([MANIFEST, INDEX, CONFIG]), st.data())
def test_one_other_value_gives_a_document_or_an_image_error(
    document: Manifest | Index | ImageConfig, data: st.DataObject
) -> None:
    places = list(_places(json.loads(document.encode())))
    path = data.draw(st.sampled_from(places))
    value = data.draw(strategies.json_values | st.floats())
    encoded = replaced(document.encode(), path, value)
    for read in (decode_manifest, decode_index, decode_config):
        with contextlib.suppress(ImageError):
            read(encoded, "x").encode()


def _places(value: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*above, key)
        if isinstance(item, dict | list):
            yield from _places(item, (*above, key))


def test_annotating_keeps_what_is_there() -> None:
    descriptor = Descriptor(oci.MANIFEST, BLOB, 4, {"a": "1", "b": "2"}).annotated(b="3", c="4")
    assert (("a", "1"), ("b", "3"), ("c", "4")) == descriptor.annotations
