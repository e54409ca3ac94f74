"""The rooms of the house, in the order in which they may import from each other."""

from __future__ import annotations

from typing import Final

# The rooms from top to bottom: each may import from those before it. Rooms of one line stand side
# by side and import nothing of each other.
ROOMS: Final = (
    ("redact",),
    ("reading", "findings"),
    ("errors",),
    ("progress", "plugins"),
    ("oci",),
    ("reference",),
    ("content",),
    ("spec",),
    ("config",),
    ("store",),
    ("net",),
    ("sources", "transports"),
    ("sandbox",),
    ("builders",),
    ("attest",),
    ("build",),
    ("lifecycle",),
    ("explain",),
    ("immutable",),  # the public names
    ("testing",),
    ("cli",),
    ("__main__",),
)
LEVELS: Final = {name: level for level, names in enumerate(ROOMS) for name in names}
