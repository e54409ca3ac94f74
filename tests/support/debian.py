"""A signed Debian mirror made on the spot, of packages whose bytes are the same everywhere.

::

    mirror = DebianMirror(tmp_path)
    mirror.add("hello", "1.0", depends="libc6", files={"/usr/bin/hello": File(b"...", 0o755)})
    with mirror.serve() as url:
        config = Config.load(mirror.environ(url), ...)

No compression library has a say in a package's bytes: they are stored, not compressed, in
valid gzip, xz and zstd containers.
"""

from __future__ import annotations

import hashlib
import lzma
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

from attrs import define, field, frozen

from tests.support.archives import gzipped
from tests.support.web import WebServer

DATE = datetime(2024, 5, 1, 12, 0, 0, tzinfo=UTC)
ARCHITECTURES = ("amd64", "arm64")


@frozen
class File:
    """A packaged file with other attributes than root's 0644."""

    data: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


@frozen
class Package:
    """One .deb and what the index says of it."""

    name: str
    version: str
    architecture: str
    suite: str
    component: str
    deb: bytes
    path: str
    stanza: str

    @property
    def sha256(self) -> str:
        """The hex digest of the .deb."""
        return hashlib.sha256(self.deb).hexdigest()


@define
class Suite:
    """What a suite's Release says beyond its packages."""

    codename: str
    fields: dict[str, str | None] = field(factory=dict)
    extra: str = ""


class DebianMirror:
    """The archives ``debian`` and ``debian-security`` below one folder.

    `add` packages, then `publish` (or `serve`, which publishes first). `suites[name].fields`
    override fields of its Release, None leaves one out.
    """

    def __init__(self, folder: Path) -> None:
        from pysequoia import Tsk

        self.folder = folder / "mirror"
        self.web = WebServer(self.folder)
        self.key = Tsk.generate("Archive of the tests")
        self.keyring = folder / "keyring.pgp"
        self.armoured_keyring = folder / "keyring.asc"
        certificate = self.key.extract_certificate()
        folder.mkdir(parents=True, exist_ok=True)
        self.keyring.write_bytes(bytes(certificate))
        self.armoured_keyring.write_text(str(certificate))
        self.packages: list[Package] = []
        self.suites: dict[str, Suite] = {}
        self.architectures: tuple[str, ...] = ARCHITECTURES
        self.compressions: tuple[str, ...] = ("xz", "gz", "")
        self.suite("bookworm")

    def suite(self, name: str) -> Suite:
        """Return the suite called `name`, made when there is none yet."""
        return self.suites.setdefault(name, Suite(name))

    def add(
        self,
        name: str,
        version: str = "1.0",
        *,
        arch: str = "all",
        suite: str = "bookworm",
        component: str = "main",
        files: Mapping[str, bytes | File] | None = None,
        links: Mapping[str, str] | None = None,
        scripts: Mapping[str, str] | None = None,
        conffiles: Sequence[str] = (),
        compression: str = "xz",
        deb: bytes | None = None,
        **fields: str,
    ) -> Package:
        """Put a package into a suite; keywords are fields (``pre_depends="libc6"``).

        `compression` is gz, xz, zst or empty. `deb` stands in for the built bytes.
        """
        self.suite(suite)
        control = control_text(name, version, arch, fields)
        if deb is None:
            data = data_members(files or {}, links or {})
            deb = build_deb(
                control, data, scripts=scripts, conffiles=conffiles, compression=compression
            )
        plain_version = version.partition(":")[2] or version
        path = f"pool/{component}/{name[0]}/{name}/{name}_{plain_version}_{arch}.deb"
        stanza = (
            f"{control}Filename: {path}\nSize: {len(deb)}\n"
            f"SHA256: {hashlib.sha256(deb).hexdigest()}\n"
        )
        package = Package(name, version, arch, suite, component, deb, path, stanza)
        self.packages.append(package)
        return package

    def publish(self, *, date: datetime = DATE) -> None:
        """Write pools, indexes and signed Releases; packages since removed are gone."""
        for path in sorted(self.folder.glob("*/pool/**/*.deb")):
            path.unlink()
        for package in self.packages:
            _write(self.archive(package.suite) / package.path, package.deb)
        for name in self.suites:
            self._publish_suite(name, date)

    @contextmanager
    def serve(self, *, date: datetime = DATE) -> Iterator[str]:
        """Publish and serve; the value is the base URL of the archives."""
        self.publish(date=date)
        with self.web.serve() as url:
            yield url

    def environ(self, url: str) -> dict[str, str]:
        """Return the variables that point immutable to this mirror and its key."""
        return {
            "IMMUTABLE_MIRROR_DEBIAN": f"{url}/debian",
            "IMMUTABLE_MIRROR_DEBIAN_SECURITY": f"{url}/debian-security",
            "IMMUTABLE_DEBIAN_KEYRING": str(self.keyring),
        }

    def archive(self, suite: str) -> Path:
        """Return the root folder of the archive that holds `suite`."""
        return self.folder / ("debian-security" if suite.endswith("-security") else "debian")

    def in_release(self, suite: str) -> Path:
        """Return where the suite's InRelease is."""
        return self.archive(suite) / "dists" / suite / "InRelease"

    def sign(self, text: bytes) -> bytes:
        """Return `text` as a clear-signed message by the mirror's key."""
        return clear_sign(self.key, text)

    def _publish_suite(self, name: str, date: datetime) -> None:
        root = self.archive(name) / "dists" / name
        sums: list[tuple[str, bytes]] = []
        components = sorted({p.component for p in self.packages if p.suite == name} | {"main"})
        for component in components:
            for architecture in self.architectures:
                text = self._index(name, component, architecture)
                sums += [
                    (f"{component}/binary-{architecture}/Packages{ending}", data)
                    for ending, data in _compressed(text)
                ]
        release = self._release(name, date, components, sums)
        stored = [f".{kind}" if kind else "" for kind in self.compressions]
        for path, data in sums:
            if "." + path.rpartition(".")[2] in stored or (path.endswith("s") and "" in stored):
                _write(root / path, data)
                digest = hashlib.sha256(data).hexdigest()
                _write(root / Path(path).parent / "by-hash" / "SHA256" / digest, data)
        _write(root / "Release", release)
        _write(root / "InRelease", self.sign(release))

    def _index(self, suite: str, component: str, architecture: str) -> bytes:
        stanzas = [
            package.stanza
            for package in self.packages
            if package.suite == suite
            and package.component == component
            and package.architecture in ("all", architecture)
        ]
        text = "\n".join(stanzas)
        return (text + self.suites[suite].extra).encode()

    def _release(
        self, name: str, date: datetime, components: Sequence[str], sums: list[tuple[str, bytes]]
    ) -> bytes:
        suite = self.suites[name]
        fields: dict[str, str | None] = {
            "Origin": "Tests",
            "Suite": name,
            "Codename": suite.codename,
            "Date": format_datetime(date.astimezone(UTC)).replace("+0000", "UTC"),
            "Acquire-By-Hash": "yes",
            "No-Support-for-Architecture-all": "Packages",
            "Architectures": " ".join(self.architectures),
            "Components": " ".join(components),
            "SHA256": "".join(
                f"\n {hashlib.sha256(data).hexdigest()} {len(data):>8} {path}"
                for path, data in sums
            ),
        }
        fields.update(suite.fields)
        lines = [f"{key}: {value}".replace(": \n", ":\n") for key, value in fields.items() if value]
        return ("\n".join(lines) + "\n").encode()


def clear_sign(key: object, text: bytes) -> bytes:
    """Return `text` as a clear-signed message by a pysequoia Tsk."""
    import pysequoia

    return pysequoia.sign(key.signer(), text, mode=pysequoia.SignatureMode.CLEAR)  # type: ignore[attr-defined]


def expired(key: object, *, ago: timedelta = timedelta(seconds=20)) -> bytes:
    """Return the certificate of the new Tsk `key`, expired in the past."""
    certificate = key.extract_certificate()  # type: ignore[attr-defined]
    return bytes(certificate.set_expiration(datetime.now(UTC) - ago, key.certifier()))  # type: ignore[attr-defined]


# --- building .deb files: deb(5) ---


def control_text(name: str, version: str, arch: str, fields: Mapping[str, str]) -> str:
    """Return a control stanza; ``pre_depends`` becomes ``Pre-Depends``."""
    proper = {
        "-".join(part.capitalize() for part in key.split("_")): value
        for key, value in fields.items()
    }
    proper = {
        "Package": name,
        "Version": version,
        "Architecture": arch,
        "Maintainer": "Tests <tests@example.invalid>",
        "Description": f"package {name} of the tests",
        **proper,
    }
    return "".join(f"{key}: {value}\n" for key, value in proper.items())


def build_deb(
    control: str,
    data: Sequence[bytes],
    *,
    scripts: Mapping[str, str] | None = None,
    conffiles: Sequence[str] = (),
    compression: str = "xz",
) -> bytes:
    """Return a .deb: `data` are tar members as `tar_member` makes them."""
    members = [tar_member("./", kind=b"5", mode=0o755), tar_member("./control", control.encode())]
    if conffiles:
        members.append(tar_member("./conffiles", "".join(f"{c}\n" for c in conffiles).encode()))
    for script, text in sorted((scripts or {}).items()):
        members.append(tar_member(f"./{script}", text.encode(), mode=0o755))
    ending = f".{compression}" if compression else ""
    return ar(
        [
            ("debian-binary", b"2.0\n"),
            (f"control.tar{ending}", stored(tar(members), compression)),
            (f"data.tar{ending}", stored(tar(data), compression)),
        ]
    )


def data_members(files: Mapping[str, bytes | File], links: Mapping[str, str]) -> list[bytes]:
    """Return tar members for files and symbolic links, their directories before them."""
    paths = sorted({*files, *links})
    directories = {
        parent for path in paths for parent in map(str, Path(path).parents) if parent != "/"
    }
    members = [tar_member("./", kind=b"5", mode=0o755)]
    members += [tar_member(f".{path}/", kind=b"5", mode=0o755) for path in sorted(directories)]
    for path in paths:
        if path in links:
            members.append(tar_member(f".{path}", kind=b"2", mode=0o777, target=links[path]))
        else:
            given = files[path]
            file = File(given) if isinstance(given, bytes) else given
            members.append(tar_member(f".{path}", file.data, file.mode, file.uid, file.gid))
    return members


def ar(members: Sequence[tuple[str, bytes]]) -> bytes:
    """Return an ar archive in the common format that dpkg writes."""
    parts = [b"!<arch>\n"]
    for name, data in members:
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n"
        parts += [header.encode(), data, b"\n" if len(data) % 2 else b""]
    return b"".join(parts)


def tar(members: Sequence[bytes]) -> bytes:
    """Return the members as a tar."""
    return b"".join(members) + bytes(1024)


def tar_member(
    name: str | bytes,
    data: bytes = b"",
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    *,
    kind: bytes = b"0",
    target: str = "",
    mtime: int = 1_700_000_000,
) -> bytes:
    """Return one ustar member; names over 100 bytes get a GNU long-name record."""
    raw = name.encode() if isinstance(name, str) else name
    if len(raw) > 100:
        long_name = tar_member("././@LongLink", raw + b"\0", kind=b"L", mtime=0)
        return long_name + tar_member(raw[:100], data, mode, uid, gid, kind=kind, target=target)
    header = bytearray(512)
    header[0:100] = raw.ljust(100, b"\0")
    header[100:108] = b"%07o\0" % mode
    header[108:116] = b"%07o\0" % uid
    header[116:124] = b"%07o\0" % gid
    header[124:136] = b"%011o\0" % len(data)
    header[136:148] = b"%011o\0" % mtime
    header[148:156] = b" " * 8
    header[156:157] = kind
    header[157:257] = target.encode().ljust(100, b"\0")
    header[257:265] = b"ustar\00000" if kind != b"L" else b"ustar  \0"
    header[265:297] = b"root".ljust(32, b"\0") if uid == 0 else bytes(32)
    header[297:329] = b"root".ljust(32, b"\0") if gid == 0 else bytes(32)
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data + bytes(-len(data) % 512)


def stored(data: bytes, compression: str) -> bytes:
    """Return `data` uncompressed within a valid gz, xz or zst container."""
    match compression:
        case "":
            return data
        case "gz":
            return _stored_gzip(data)
        case "xz":
            return _stored_xz(data)
        case "zst":
            return _stored_zstd(data)
    raise ValueError(compression)


def _stored_gzip(data: bytes) -> bytes:
    """RFC 1952 around RFC 1951's stored blocks."""
    blocks = []
    pieces = [data[at : at + 0xFFFF] for at in range(0, len(data), 0xFFFF)] or [b""]
    for number, piece in enumerate(pieces):
        final = number == len(pieces) - 1
        blocks += [struct.pack("<BHH", final, len(piece), len(piece) ^ 0xFFFF), piece]
    trailer = struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"".join(blocks) + trailer


def _stored_xz(data: bytes) -> bytes:
    """The .xz file format, 1.1.0, around LZMA2's uncompressed chunks."""

    def summed(part: bytes) -> bytes:
        return part + struct.pack("<I", zlib.crc32(part))

    flags = b"\0\x01"  # the check is a CRC32
    block_header = summed(b"\x02\0\x21\x01\x10\0\0\0")
    chunks = []
    for at in range(0, len(data), 1 << 16):
        piece = data[at : at + (1 << 16)]
        chunks += [struct.pack(">BH", 1 if at == 0 else 2, len(piece) - 1), piece]
    packed = b"".join(chunks) + b"\0"
    check = struct.pack("<I", zlib.crc32(data))
    unpadded = len(block_header) + len(packed) + len(check)
    records = b"\0\x01" + _xz_number(unpadded) + _xz_number(len(data))
    index = summed(records + bytes(-len(records) % 4))
    footer = struct.pack("<I", len(index) // 4 - 1) + flags
    return b"".join(
        [
            b"\xfd7zXZ\0" + flags + struct.pack("<I", zlib.crc32(flags)),
            block_header + packed + bytes(-len(packed) % 4) + check,
            index,
            struct.pack("<I", zlib.crc32(footer)) + footer + b"YZ",
        ]
    )


def _xz_number(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _stored_zstd(data: bytes) -> bytes:
    """RFC 8878 raw blocks, with the content's size in the header."""
    pieces = [data[at : at + (1 << 17)] for at in range(0, len(data), 1 << 17)] or [b""]
    header = b"\x28\xb5\x2f\xfd" + bytes([0xA0]) + struct.pack("<I", len(data))
    blocks = []
    for number, piece in enumerate(pieces):
        final = number == len(pieces) - 1
        blocks += [struct.pack("<I", len(piece) << 3 | final)[:3], piece]
    return header + b"".join(blocks)


def _compressed(text: bytes) -> list[tuple[str, bytes]]:
    return [
        ("", text),
        (".gz", gzipped(text)),
        (".xz", lzma.compress(text, preset=0)),
    ]


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
