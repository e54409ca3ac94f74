"""Certificates: OpenSSL's subject hashes, update-ca-certificates, Java's key store."""

from __future__ import annotations

import base64
import hashlib
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immutable.builders.debian import x509
from tests.support import needs
from tests.support.debian_layer import Built, build, package
from tests.support.trees import unpack

BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
CERTIFICATES = "/usr/share/ca-certificates/mozilla"


def der(tag: int, *parts: bytes) -> bytes:
    data = b"".join(parts)
    size = bytes([len(data)]) if len(data) < 128 else b"\x82" + struct.pack(">H", len(data))
    return bytes([tag]) + size + data


def certificate(
    common_name: str, serial: int = 1, tag: int = 0x0C, encoding: str = "utf-8"
) -> bytes:
    """Return as much of a certificate as matters here."""
    value = der(tag, common_name.encode(encoding))
    name = der(0x30, der(0x31, der(0x30, der(0x06, b"\x55\x04\x03"), value)))
    body = der(
        0x30,
        der(0xA0, der(0x02, b"\x02")),
        der(0x02, bytes([serial])),
        der(0x30),
        der(0x30),
        der(0x30),
        name,
    )
    return der(0x30, body, der(0x30), der(0x03, b"\0"))


def pem(*certificates: bytes) -> bytes:
    return b"".join(
        b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(one) + b"-----END CERTIFICATE-----\n"
        for one in certificates
    )


def trusting(**roots: bytes) -> Built:
    files = {f"{CERTIFICATES}/{name}.crt": data for name, data in roots.items()}
    return build(package("ca-certificates", files={**files, f"{CERTIFICATES}/readme": b""}))


def test_texts_that_differ_only_in_case_and_blanks_have_one_hash() -> None:
    hashes = {
        x509.subject_hash(certificate(name, serial, tag, encoding))
        for name, serial, tag, encoding in [
            ("Root  CA", 1, 0x0C, "utf-8"),
            (" root ca\t", 2, 0x13, "ascii"),
            ("ROOT CA", 1, 0x1E, "utf-16-be"),
            ("rOOT CA", 1, 0x1C, "utf-32-be"),
        ]
    }
    assert 1 == len(hashes)
    assert x509.subject_hash(certificate("Root CA2")) not in hashes


def test_each_certificate_has_a_link_by_name_and_one_by_hash() -> None:
    layer = trusting(Zed=pem(certificate("zed")), Alpha=pem(certificate("alpha")))
    assert layer.target("/etc/ssl/certs/Alpha.pem") == f"{CERTIFICATES}/Alpha.crt"
    subject = x509.subject_hash(certificate("alpha"))
    assert "Alpha.pem" == layer.target(f"/etc/ssl/certs/{subject}.0")
    settings = layer.text("/etc/ca-certificates.conf").splitlines()
    assert ["mozilla/Alpha.crt", "mozilla/Zed.crt"] == settings[-2:]


def test_the_bundle_has_them_in_the_order_of_names_each_ended_by_a_newline() -> None:
    one, two = pem(certificate("one")), pem(certificate("two"))
    layer = trusting(b_two=two, a_one=one.rstrip(b"\n"))
    assert (one + two).decode() == layer.text("/etc/ssl/certs/ca-certificates.crt")


def test_equal_subjects_are_numbered_and_equal_certificates_linked_once() -> None:
    layer = trusting(
        A=pem(certificate("same", 1)), B=pem(certificate("same", 2)), C=pem(certificate("same", 1))
    )
    subject = x509.subject_hash(certificate("same"))
    found = {
        path.decode().rpartition("/")[2]: entry.target
        for path, entry in layer.entries.items()
        if subject.encode() in path
    }
    assert {f"{subject}.0": b"A.pem", f"{subject}.1": b"B.pem"} == found


@pytest.mark.parametrize(
    "data",
    [
        b"nothing",
        pem(b"nonsense"),
        pem(certificate("a"), certificate("b")),
        b"-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----\n",
        pem(certificate("a")[:-9]),
    ],
)
def test_what_is_not_one_certificate_gets_no_hash(data: bytes) -> None:
    layer = trusting(Odd=data)
    links = [p for p in layer.entries if p.startswith(b"etc/ssl/certs/") and p.endswith(b".0")]
    assert [] == links
    assert "/etc/ssl/certs/Odd.pem" in layer


def test_names_with_blanks_and_brackets_are_changed_as_debian_does() -> None:
    layer = trusting(**{"A (b), c": pem(certificate("x"))})
    assert "/etc/ssl/certs/A_=b=__c.pem" in layer


def test_an_excluded_certificate_is_not_trusted() -> None:
    files = {f"{CERTIFICATES}/{name}.crt": pem(certificate(name)) for name in ("one", "two")}
    layer = build(package("ca-certificates", files=files), exclude=("**/one.crt",))
    assert pem(certificate("two")).decode() == layer.text("/etc/ssl/certs/ca-certificates.crt")


@given(st.binary(max_size=80))
def test_no_bytes_do_worse_than_a_value_error(data: bytes) -> None:
    for given_bytes in (data, certificate("x")[: len(data)] + data):
        try:
            x509.subject_hash(given_bytes)
        except ValueError:
            continue


def test_javas_key_store_holds_the_same_roots() -> None:
    root = certificate("root")
    files = {f"{CERTIFICATES}/Root_X.crt": pem(root)}
    layer = build(package("ca-certificates", files=files), package("ca-certificates-java"))
    data = b"".join(layer.entry("/etc/ssl/certs/java/cacerts").content.read())  # type: ignore[union-attr]
    body, seal = data[:-20], data[-20:]
    assert (
        hashlib.sha1("changeit".encode("utf-16-be") + b"Mighty Aphrodite" + body).digest() == seal
    )
    assert (0xFEEDFEED, 2, 1) == struct.unpack(">III", body[:12])
    assert b"debian:root_x.pem" in body
    assert body.endswith(struct.pack(">I", len(root)) + root)


def test_javas_tools_are_alternatives() -> None:
    tools = "name=java-17\npriority=1711\n\nhl java /usr/lib/jvm/17/bin/java\njdkhl javac /usr/lib/jvm/17/bin/javac\nplugin x /y /z\n"  # noqa: E501
    layer = build(
        package(
            "jre",
            files={"/usr/lib/jvm/.java.jinfo": tools.encode(), "/usr/lib/jvm/17/bin/java": b""},
        )
    )
    assert "/etc/alternatives/java" == layer.target("/usr/bin/java")
    assert "/usr/lib/jvm/17/bin/java" == layer.target("/etc/alternatives/java")
    assert "/usr/bin/javac" not in layer


@needs.tool("openssl")
@pytest.mark.skipif(not BUNDLE.is_file(), reason="this machine has no bundle of certificates")
def test_hashes_are_openssls_own(tmp_path: Path) -> None:
    roots = x509.certificates(BUNDLE.read_bytes())
    assert roots
    layer = trusting(**{f"root{number:03}": pem(root) for number, root in enumerate(roots)})
    unpack(layer.arrangement, tmp_path)
    folder = tmp_path / "etc/ssl/certs"
    links = [path for path in folder.iterdir() if path.is_symlink() and path.suffix != ".pem"]
    made = {path.name: path.readlink() for path in links}
    again = tmp_path / "again"
    again.mkdir()
    for number, root in enumerate(roots):
        (again / f"root{number:03}.pem").write_bytes(pem(root))
    subprocess.run(["openssl", "rehash", str(again)], check=True, capture_output=True)
    expected = {path.name: path.readlink() for path in again.iterdir() if path.is_symlink()}
    assert expected == made
