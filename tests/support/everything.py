"""A spec with a bit of everything that needs no network, and the digests that it always gave."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.support.archives import END, directory, member
from tests.support.specs import fill, layer, write

TOOL = directory(b"tool/") + member(b"tool/run", b"#!/bin/sh\n", mode=0o755) + END


APP: dict[str, str | bytes] = {
    "server.js": "listen()\n" * 1000,
    "public/index.html": "<p>hello",
    "public/copy.html": "<p>hello",
    "public/größe İ.txt": "names beyond ASCII",
    f"public/{'long' * 30}": "names beyond ustar",
    "zeros": bytes(100_000),
}


def everything(folder: Path, image: str = "") -> Path:
    """Write a spec with a bit of everything that needs no network."""
    app = fill(folder / "app", APP)
    (app / "public" / "link").unlink(missing_ok=True)
    (app / "public" / "link").symlink_to("index.html")
    (app / "server.js").chmod(0o755)
    (folder / "tool.tar").write_bytes(TOOL)
    entries = [
        {"path": "/etc/motd", "text": "hello\n"},
        {"path": "/data", "directory": True, "owner": "nodejs", "mode": "0750"},
        {"path": "/etc/localtime", "link": "/usr/share/zoneinfo/UTC"},
    ]
    digest = hashlib.sha256(TOOL).hexdigest()
    return write(
        folder,
        layer("archive", "tool", path="tool.tar", sha256=digest, target="/opt", strip=1)
        + layer("files", "settings", entries=entries)
        + layer("files", "app", source="app", target="/app", owner="nodejs")
        + '[[user]]\nname = "nodejs"\nuid = 1001\n'
        + '[config]\nuser = "nodejs"\nworkdir = "/app"\nenv = { NODE_ENV = "production" }\n'
        + 'expose = ["3000/tcp"]\nvolumes = ["/data"]\ncmd = ["node", "server.js"]\n'
        + 'labels = { a = "b" }\nstop-signal = "SIGTERM"\n'
        + 'healthcheck = { cmd = ["node", "health.js"], interval = "30s" }\n',
        image=image,
    )


GOLDEN = {
    "gzip": "4c57e45ecd5cc94971b01c8ace48288923bd3b324b0500063b09f31db561c7f3",
    "zstd": "d3ef9e386b6856250b62ba58e4bcca5063c45553b4e56b43a1b7a668b1a8716b",
    "none": "56e318ddd2d042e6fddb9a5bac772371114a08c2be3f783174a94d480f5dc815",
}
