import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from immutable.content.compat import zstd
from immutable.content.tar import writer
from immutable.errors import (
    ArchiveError,
    BlobMissing,
    DigestMismatch,
    ImageError,
    ImmutableError,
    TransportError,
)
from immutable.oci import documents as oci
from immutable.oci.digest import Digest
from immutable.oci.documents import Manifest
from immutable.oci.platforms import Platform
from immutable.transports import copy
from tests.support.images import (
    ARM64,
    MemoryTransport,
    fetched,
    image,
    index,
    layer_tar,
    raw_tar,
    untar,
)

Files = dict[str, bytes]


def saved(path: Path, source: MemoryTransport | None = None) -> Files:
    """Return the files of a docker archive written at `path`."""
    copy(source or image(), f"docker-archive:{path}:shop/web:1.4.0")
    return untar(path)


def listing(files: Files) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = json.loads(files["manifest.json"])
    return result


# Writing


def test_what_docker_reads(tmp_path: Path) -> None:
    source = image()
    files = saved(tmp_path / "web.tar", source)
    config = Digest.of(source.config)
    layers = [f"{diff_id.hex}.tar" for diff_id in source.diff_ids]
    expected = [{"Config": f"{config.hex}.json", "RepoTags": ["shop/web:1.4.0"], "Layers": layers}]
    assert expected == listing(files)
    assert ["manifest.json", f"{config.hex}.json", *layers] == list(files)
    assert list(source.diff_ids) == [Digest.of(files[layer]) for layer in layers]


def test_without_a_name(tmp_path: Path) -> None:
    copy(image(), f"docker-archive:{tmp_path / 'web.tar'}")
    assert [None] == [saved["RepoTags"] for saved in listing(untar(tmp_path / "web.tar"))]
    assert image().config == fetched(f"docker-archive:{tmp_path / 'web.tar'}").config


def test_the_bytes_do_not_depend_on_how_layers_were_compressed(tmp_path: Path) -> None:
    variants = [(oci.LAYER,) * 3, (oci.LAYER_GZIP,) * 3, (oci.LAYER_ZSTD,) * 3]
    for number, kinds in enumerate(variants):
        saved(tmp_path / f"{number}.tar", image(kinds=kinds))
    assert 1 == len({(tmp_path / f"{number}.tar").read_bytes() for number in range(3)})
    written = (tmp_path / "0.tar").read_bytes()
    assert (
        "a6b857c6879beb28a1fe3ea712c97d81aaf1a1853c0d4f9cd2c7f88174185bfc" == Digest.of(written).hex
    )


def test_a_layer_that_stands_twice_is_written_once(tmp_path: Path) -> None:
    source = image(kinds=(oci.LAYER_GZIP,))
    config = json.loads(source.config)
    config["rootfs"]["diff_ids"] *= 2
    described = source.add(json.dumps(config).encode(), oci.CONFIG)
    plain = source.add(layer_tar(100), oci.LAYER)
    source.add_manifest(Manifest(described, (*source.manifest.layers, plain)))
    files = saved(tmp_path / "web.tar", source)
    assert 3 == len(files)
    assert source.diff_ids == fetched(f"docker-archive:{tmp_path / 'web.tar'}").diff_ids


def test_headers_of_layers_too_large_for_ustar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Eight GiB are too many for a test; the limit is lowered instead.
    monkeypatch.setattr(writer, "_MAX_OCTAL_11", 20_000)
    source = image()
    files = saved(tmp_path / "web.tar", source)
    assert list(source.diff_ids) == [Digest.of(data) for data in list(files.values())[2:]]


def test_one_platform_is_taken(tmp_path: Path) -> None:
    copy(index(), f"docker-archive:{tmp_path / 'web.tar'}", platform=ARM64)
    config = fetched(f"docker-archive:{tmp_path / 'web.tar'}").config
    assert ARM64 == oci.decode_config(config, "test").platform


def test_no_platform_for_this_machine(tmp_path: Path) -> None:
    source = index(platforms=(Platform("linux", "s390x"), Platform("linux", "riscv64")))
    with pytest.raises(TransportError, match="there is linux/riscv64, linux/s390x"):
        copy(source, f"docker-archive:{tmp_path / 'web.tar'}")


def test_an_existing_file_is_replaced_only_when_all_is_well(tmp_path: Path) -> None:
    target = tmp_path / "web.tar"
    copy(image(2), f"docker-archive:{target}")
    before = target.read_bytes()
    source = image()
    source.blobs[source.manifest.layers[-1].digest] = b""
    with pytest.raises(DigestMismatch):
        copy(source, f"docker-archive:{target}")
    assert before == target.read_bytes()
    assert [target] == list(tmp_path.iterdir())


def refused(tmp_path: Path, source: MemoryTransport, error: type[Exception], what: str) -> None:
    with pytest.raises(error) as caught:
        copy(source, f"docker-archive:{tmp_path / 'web.tar'}")
    assert what in str(caught.value)
    assert [] == list(tmp_path.iterdir())


def test_a_config_that_is_none(tmp_path: Path) -> None:
    source = image()
    config = source.add(b"{}", "application/vnd.oci.empty.v1+json")
    source.add_manifest(evolve(source.manifest, config=config))
    refused(tmp_path, source, TransportError, "takes images to run; found a config of type")


def test_a_layer_that_is_no_tar(tmp_path: Path) -> None:
    source = image()
    layers = (evolve(source.manifest.layers[0], media_type="text/x"), *source.manifest.layers[1:])
    source.add_manifest(evolve(source.manifest, layers=layers))
    refused(tmp_path, source, TransportError, "takes tar layers, plain, gzip or zstd; found text/x")


def test_more_layers_than_diff_ids(tmp_path: Path) -> None:
    source = image()
    manifest = source.manifest
    source.add_manifest(evolve(manifest, layers=(*manifest.layers, manifest.layers[0])))
    refused(
        tmp_path, source, ImageError, "diff_ids: expected 4 as the manifest has layers, found 3"
    )


def test_a_layer_of_another_diff_id(tmp_path: Path) -> None:
    source = image()
    manifest = source.manifest
    source.add_manifest(evolve(manifest, layers=manifest.layers[::-1]))
    refused(tmp_path, source, DigestMismatch, "diffID")


def with_layer(data: bytes, kind: str = oci.LAYER_GZIP) -> MemoryTransport:
    source = image(kinds=(oci.LAYER_GZIP,))
    source.add_manifest(evolve(source.manifest, layers=(source.add(data, kind),)))
    return source


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data + b"junk", "junk"),
        (lambda data: data[:-9], "truncated"),
        (lambda data: data[:-8] + bytes(4) + data[-4:], "gzip"),
        (lambda _: layer_tar(100), "expected gzip, found none"),
        (lambda _: zstd.compress(layer_tar(100)), "expected gzip, found zstd"),
    ],
)
def test_layers_that_do_not_decompress(
    tmp_path: Path, change: Callable[[bytes], bytes], message: str
) -> None:
    data = change(gzip.compress(layer_tar(100)))
    refused(tmp_path, with_layer(data), ArchiveError, message)


# Reading


def test_a_docker_archive_keeps_config_and_layers(tmp_path: Path) -> None:
    source = image()
    saved(tmp_path / "web.tar", source)
    back = fetched(f"docker-archive:{tmp_path / 'web.tar'}:shop/web:1.4.0")
    assert source.config == back.config
    assert [oci.LAYER] * 3 == [layer.media_type for layer in back.manifest.layers]
    assert list(source.diff_ids) == [layer.digest for layer in back.manifest.layers]


def test_it_is_read_the_same_again(tmp_path: Path) -> None:
    saved(tmp_path / "one.tar")
    there = f"docker-archive:{tmp_path / 'one.tar'}:shop/web:1.4.0"
    copy(there, f"docker-archive:{tmp_path / 'two.tar'}:shop/web:1.4.0")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert fetched(there).blobs == fetched(f"docker-archive:{tmp_path / 'two.tar'}").blobs


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("web:1", "mirror.test/library/web:1"),
        ("mirror.test/library/web:1", "web:1"),
        ("localhost/web:1", "web:1"),
        ("mirror.test:5000/shop/web:1", "shop/web:1"),
    ],
)
def test_tools_put_a_registry_before_short_names(tmp_path: Path, written: str, asked: str) -> None:
    copy(image(), f"docker-archive:{tmp_path / 'web.tar'}:{written}")
    assert image().config == fetched(f"docker-archive:{tmp_path / 'web.tar'}:{asked}").config


@pytest.mark.parametrize("asked", ["other/web:1", "web:1", "mirror.test/web:1", "shop/web:2"])
def test_other_names_are_others(tmp_path: Path, asked: str) -> None:
    copy(image(), f"docker-archive:{tmp_path / 'web.tar'}:shop/web:1")
    with pytest.raises(TransportError, match="found 0"):
        fetched(f"docker-archive:{tmp_path / 'web.tar'}:{asked}")


def test_the_choice_of_a_name(tmp_path: Path) -> None:
    files = saved(tmp_path / "web.tar", image(1)) | saved(tmp_path / "web.tar", image(2))
    other = untar(tmp_path / "web.tar")
    saved(tmp_path / "web.tar", image(1))
    first = listing(untar(tmp_path / "web.tar"))[0]
    both = [first, listing(other)[0] | {"RepoTags": ["shop/other:2"]}]
    files |= untar(tmp_path / "web.tar") | {"manifest.json": json.dumps(both).encode()}
    (tmp_path / "web.tar").write_bytes(raw_tar([*files.items()]))
    archive = f"docker-archive:{tmp_path / 'web.tar'}"
    assert image(1).config == fetched(f"{archive}:shop/web:1.4.0").config
    assert image(2).config == fetched(f"{archive}:shop/other:2").config
    with pytest.raises(TransportError, match=r"found 2; there is shop/other:2, shop/web:1.4.0"):
        fetched(archive)
    with pytest.raises(
        TransportError, match=r"one image called shop/web:2, found 0; there is shop"
    ):
        fetched(f"{archive}:shop/web:2")


def rewritten(files: Files, layers: list[str]) -> Files:
    item = listing(files)[0] | {"Layers": layers}
    return files | {"manifest.json": json.dumps([item]).encode()}


def test_compressed_layers_stay_as_they_are(tmp_path: Path) -> None:
    source = image(kinds=(oci.LAYER,) * 3)
    files = saved(tmp_path / "web.tar", source)
    names = listing(files)[0]["Layers"]
    files[names[0]] = gzip.compress(files[names[0]])
    files[names[1]] = zstd.compress(files[names[1]])
    (tmp_path / "web.tar").write_bytes(raw_tar([*files.items()]))
    back = fetched(f"docker-archive:{tmp_path / 'web.tar'}")
    kinds = [oci.LAYER_GZIP, oci.LAYER_ZSTD, oci.LAYER]
    assert kinds == [layer.media_type for layer in back.manifest.layers]
    assert [files[name] for name in names] == [
        back.blobs[layer.digest] for layer in back.manifest.layers
    ]
    assert source.diff_ids == back.diff_ids


def test_layers_as_docker_20_saves_them(tmp_path: Path) -> None:
    """A directory a layer, and a link in the place of a layer that stands twice."""
    data = layer_tar(100)
    source = image(kinds=(oci.LAYER,))
    config = json.loads(source.config)
    config["rootfs"]["diff_ids"] *= 2
    described = json.dumps(config).encode()
    name = f"{Digest.of(described).hex}.json"
    manifest = [{"Config": name, "RepoTags": ["web:1"], "Layers": ["a/layer.tar", "b/layer.tar"]}]
    files = {"a/layer.tar": data, name: described, "manifest.json": json.dumps(manifest).encode()}
    with tarfile.open(tmp_path / "web.tar", "w") as archive:
        for folder in "ab":
            info = tarfile.TarInfo(folder)
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("b/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "../a/layer.tar"
        archive.addfile(link)
    back = fetched(f"docker-archive:{tmp_path / 'web.tar'}")
    assert [Digest.of(data)] * 2 == [layer.digest for layer in back.manifest.layers]


def no_manifest(files: Files) -> Files:
    return {name: data for name, data in files.items() if name != "manifest.json"}


def no_list(files: Files) -> Files:
    return files | {"manifest.json": b"{}"}


def repeated_key(files: Files) -> Files:
    return files | {"manifest.json": b'[{"Config":"a","Config":"b","Layers":[]}]'}


def config_elsewhere(files: Files) -> Files:
    item = listing(files)[0] | {"Config": "../../etc/passwd"}
    return files | {"manifest.json": json.dumps([item]).encode()}


def config_changed(files: Files) -> Files:
    name = listing(files)[0]["Config"]
    return files | {name: files[name] + b" "}


def config_no_text(files: Files) -> Files:
    return files | {"manifest.json": b'[{"Config":1,"Layers":[]}]'}


def layers_no_list(files: Files) -> Files:
    item = listing(files)[0] | {"Layers": "abc"}
    return files | {"manifest.json": json.dumps([item]).encode()}


def layer_less(files: Files) -> Files:
    return rewritten(files, listing(files)[0]["Layers"][:-1])


def layer_elsewhere(files: Files) -> Files:
    return rewritten(files, [*listing(files)[0]["Layers"][:-1], "/etc/passwd"])


def layers_swapped(files: Files) -> Files:
    return rewritten(files, listing(files)[0]["Layers"][::-1])


def layer_flipped(files: Files) -> Files:
    name = listing(files)[0]["Layers"][0]
    return files | {name: b"?" + files[name][1:]}


def packed_layer_flipped(files: Files) -> Files:
    name = listing(files)[0]["Layers"][0]
    return files | {name: gzip.compress(b"?" + files[name][1:])}


def layer_in_xz(files: Files) -> Files:
    name = listing(files)[0]["Layers"][0]
    return files | {name: lzma.compress(files[name])}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (no_manifest, ImageError, "manifest.json: missing; this is no docker archive"),
        (no_list, ImageError, "manifest.json: expected a list, found dict"),
        (repeated_key, ImageError, "duplicate key 'Config'"),
        (config_elsewhere, BlobMissing, "../../etc/passwd is missing"),
        (config_changed, DigestMismatch, ".json: expected sha256:"),
        (config_no_text, ImageError, "[0]: Config: expected a path, found 1"),
        (layers_no_list, ImageError, "Layers: expected a list, found str"),
        (layer_less, ImageError, "diff_ids: expected 2 as manifest.json has layers, found 3"),
        (layer_elsewhere, BlobMissing, "/etc/passwd is missing"),
        (layers_swapped, DigestMismatch, "expected sha256:"),
        (layer_flipped, DigestMismatch, "expected sha256:"),
        (packed_layer_flipped, DigestMismatch, "diffID: expected sha256:"),
        (layer_in_xz, TransportError, "xz"),
    ],
)
def test_damaged_archives(
    tmp_path: Path, change: Callable[[Files], Files], error: type[ImmutableError], message: str
) -> None:
    files = change(saved(tmp_path / "web.tar"))
    (tmp_path / "web.tar").write_bytes(raw_tar([*files.items()]))
    with pytest.raises(error) as caught:
        copy(f"docker-archive:{tmp_path / 'web.tar'}", f"oci-archive:{tmp_path / 'copy.tar'}")
    assert message in str(caught.value)
    assert [tmp_path / "web.tar"] == list(tmp_path.iterdir())


def test_another_kind_of_archive(tmp_path: Path) -> None:
    copy(image(), f"oci-archive:{tmp_path / 'web.tar'}")
    with pytest.raises(ImageError, match="it is an oci-archive"):
        fetched(f"docker-archive:{tmp_path / 'web.tar'}")


# Memory

_MEASURED = """
import re, sys
from pathlib import Path

from immutable.transports import copy

copy(f"oci:{sys.argv[1]}", f"oci-archive:{sys.argv[2]}/a.tar")
copy(f"oci-archive:{sys.argv[2]}/a.tar", f"docker-archive:{sys.argv[2]}/b.tar")
copy(f"docker-archive:{sys.argv[2]}/b.tar", f"oci:{sys.argv[2]}/c")
# ru_maxrss would begin with the parent's.
print(re.search(r"VmHWM:\\s+([0-9]+) kB", Path("/proc/self/status").read_text())[1])
"""


def test_memory_stays_flat(tmp_path: Path) -> None:
    source = image(kinds=(oci.LAYER_ZSTD,), size=20 << 20)  # a layer of 120 MiB
    copy(source, f"oci:{tmp_path / 'layout'}")
    script = [sys.executable, "-c", _MEASURED, str(tmp_path / "layout"), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run(script, env=environment, check=True, capture_output=True, text=True)
    assert 80 << 10 > int(run.stdout)  # KiB
