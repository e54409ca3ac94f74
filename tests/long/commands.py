"""Commands of real programs: one layer for root and an ordinary user, on disk and in memory.

As a program: ``python -m tests.long.commands``. It needs root, namespaces, a mirror of Debian's
packages, and a /dev/shm with 2 GiB free.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from immutable.oci.digest import Digest
from tests.support import sandboxes
from tests.support.commands import (
    BASES,
    HELPED,
    SAME,
    Case,
    Workshop,
    diff_ids,
    of_user,
    packages,
    place,
)
from tests.support.specs import fill

_NODE: Final = packages(
    "base-files", "base-passwd", "coreutils", "dash", "g++", "gcc", "grep", "libnode-dev", "make",
    "node-gyp", "nodejs", "npm", "python3", "sed",
)  # fmt: skip
_ADDON: Final = {
    "addon/package.json": (
        '{"name": "addon", "version": "1.0.0", "gypfile": true,'
        ' "scripts": {"install": "node-gyp rebuild"}}\n'
    ),
    "addon/binding.gyp": '{"targets": [{"target_name": "addon", "sources": ["addon.c"]}]}\n',
    "addon/addon.c": """#include <node_api.h>
static napi_value init(napi_env env, napi_value exports) {
  napi_value text;
  napi_create_string_utf8(env, __DATE__ __TIME__ __FILE__, NAPI_AUTO_LENGTH, &text);
  return text;
}
NAPI_MODULE(addon, init)
""",
}
_CASES: Final[Mapping[str, Case]] = {
    **SAME,
    **{f"{name} helped": case for name, case in HELPED.items()},
    "npm": Case(
        "mkdir -p /app/node_modules; cd /app; cp -r /src/addon node_modules\n"
        'echo \'{"dependencies": {"addon": "1.0.0"}}\' > package.json\n'
        "npm rebuild\n"
        "node -p 'require(\"/app/node_modules/addon/build/Release/addon.node\")' > said",
        "node",
        {"inputs": [{"path": "addon", "to": "/src/addon"}]},
    ),
}


def main() -> None:
    """Make all layers in each place; fail where two are not the same."""
    with sandboxes.user(), place("/var/tmp") as folder:
        made = Workshop.new(folder, {**BASES, "node": _NODE})
        fill(folder, _ADDON)
        found = {"root on disk": diff_ids(made, _CASES)}
        for parent, name in (("/var/tmp", "disk"), ("/dev/shm", "memory")):
            with place(parent, sandboxes.USER) as other:
                found[f"a user on {name}"] = of_user(made.copied(other, sandboxes.USER), _CASES)
        with place("/dev/shm") as other:
            found["root in memory"] = diff_ids(made.copied(other), _CASES)
    for case in _CASES:
        digests = {where: ids[case] for where, ids in found.items()}
        assert 1 == len({Digest.parse(one) for one in digests.values()}), (case, digests)


if __name__ == "__main__":
    main()
