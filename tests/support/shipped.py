"""The specs that we ship, and the digests that their locks give."""

from __future__ import annotations

from pathlib import Path

SPECS = Path(__file__).parents[2] / "specs"

# The digests that these specs and locks have on every machine. When one changes, so does every
# user's image made of such parts: say so in the changelog.
DIGESTS = {
    "hello": "sha256:71e72caa6b8ad9d2b6abf00bf5edd3f3167d3f27500d946c884535fa79b03730",
    "nginx": "sha256:36fe5a440cf7db1620bf9cb82a153bdc886fcda346e1c43b673c597027343ef5",
    "node-web": "sha256:9886a5a77d66eb3a4816efbc26a21fd8ad98550ddcb7825eec3a7022254997b6",
    "python-web": "sha256:3388cd9bd43f4dcdf65496248ecedcb92214fe97cb480dc9264904b842b0d415",
    "python": "sha256:0dde22fe322e1be657494053bf09416caec849e80f51e73b612fd51a43ae85ba",
}
