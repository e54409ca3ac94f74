"""The specs that we ship, and the digests that their locks give."""

from __future__ import annotations

from pathlib import Path

SPECS = Path(__file__).parents[2] / "specs"

# The digests that these specs and locks have on every machine. When one changes, so does every
# user's image made of such parts: say so in the changelog.
DIGESTS = {
    "hello": "sha256:ae77fe31e93a9bb8821000f58f1ad09173808d6c2c8e3d46fe8fdfb061b6da67",
    "nginx": "sha256:61420c4fa8820ec0aa8bd14406e8b4d771ee3f6ea1560542fa6955236c238039",
    "node-web": "sha256:5a99d3ce581f94bb8b7c04b9fdc01a2f28058bd3863fa4ad4de42a1b51db595f",
    "python-web": "sha256:2ada5bdad2d2f7a83d26f85ee50d6646f494661c29398845b24e303d07370818",
    "python": "sha256:afd9034dbb6a2abb0dc082f3ee69ced696ec7c3dca81e92afb514d35b9d3b0ce",
}
