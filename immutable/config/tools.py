"""What of the environment the tools see that are run."""

from __future__ import annotations

import os
from collections.abc import Mapping

# Where git's settings are is for the user to say, in whatever way.
_FILES = frozenset({"GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_SYSTEM"})


def git_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment to run git in: without what points it at another repository.

    A hook, and whatever it starts, has GIT_DIR and GIT_INDEX_FILE set. `environ` stands for
    the process's environment.
    """
    env = os.environ if environ is None else environ
    return {
        name: value for name, value in env.items() if not name.startswith("GIT_") or name in _FILES
    }
