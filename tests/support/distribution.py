"""The registry of the distribution project, run on this machine for a test."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

USER, PASSWORD = "tester", "pw"
# bcrypt of the password above, as htpasswd(1) writes it.
_HTPASSWD = f"{USER}:$2b$04$J7XoLS/OTpYlWrt8KyNsa.CaK2kF9frbJpMSuwRXdlJs2e7vVZYd2\n"
_PATIENCE = 20.0  # seconds until it listens


@frozen
class Distribution:
    """A registry that runs: ``HOST:PORT``, and the certificate to trust if it speaks TLS."""

    host: str
    ca_file: Path | None = None

    @property
    def port(self) -> int:
        return int(self.host.rpartition(":")[2])


@contextmanager
def serve(folder: Path, *, secure: bool = False) -> Iterator[Distribution]:
    """Run a registry that keeps its blobs in `folder`; a `secure` one has TLS and a login."""
    port = free_port()
    config = _config(folder, port, secure=secure)
    ca_file = _certificates(folder) if secure else None
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(config)], stdout=log, stderr=log, cwd=folder
        )
        try:
            _wait(process, port)
            yield Distribution(f"127.0.0.1:{port}", ca_file)
        finally:
            process.kill()
            process.wait()


def free_port() -> int:
    """Return a port on which nobody listens now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _config(folder: Path, port: int, *, secure: bool) -> Path:
    lines = [
        "version: 0.1",
        "log: {accesslog: {disabled: true}, level: error}",
        "storage:",
        f"  filesystem: {{rootdirectory: {folder}/blobs}}",
        "  delete: {enabled: true}",
        "http:",
        f"  addr: 127.0.0.1:{port}",
        "  secret: of-no-matter",
    ]
    if secure:
        (folder / "htpasswd").write_text(_HTPASSWD)
        lines.append(f"  tls: {{certificate: {folder}/cert.pem, key: {folder}/key.pem}}")
        lines.append(f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}")
    path = folder / "config.yml"
    path.write_text("\n".join(lines) + "\n")
    return path


def _certificates(folder: Path) -> Path:
    """Make an authority and a certificate of it; return the authority's own."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    authority = ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority"]
    openssl("req", "-x509", *key, *authority, "-days", "30")
    openssl("req", *key, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=127.0.0.1")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    signer = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names"]
    openssl("x509", "-req", "-in", "request.pem", "-out", "cert.pem", "-days", "30", *signer)
    return folder / "ca.pem"


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    pause = threading.Event()
    for _ in range(int(_PATIENCE / 0.02)):
        assert process.poll() is None, "the registry ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        pause.wait(0.02)
    raise AssertionError("the registry does not listen")
