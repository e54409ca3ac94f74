"""Ask Docker's credential helpers, programs of the user's own that hold logins.

What they print may hold the very secrets, in any shape; none of it is ever shown. Of a failure
only phrases are told that are known, in our own words, and the exit status.
"""

from __future__ import annotations

import tempfile
from typing import Any, Final

from immutable.net import programs
from immutable.oci import canonical

# Seconds: somebody may have to type a passphrase, or to touch a key.
PATIENCE: Final = 60.0
MOST: Final = 1 << 20  # bytes of an answer
# What Docker's helpers say if they have no login, which is no failure.
_NOT_FOUND: Final = b"credentials not found in native keychain"
_REASONS: Final = (
    "no credentials server URL",
    "no credentials username",
    "pass not initialized",
    "password store is empty",
    "no usable private key",
    "no secret key",
    "decryption failed",
    "no pinentry",
    "Inappropriate ioctl for device",
    "User interaction is not allowed",
    "The user name or passphrase you entered is not correct",
    "The specified item could not be found in the keychain",
    "A keychain cannot be found",
    "Cannot autolaunch D-Bus without X11 $DISPLAY",
    "Cannot create an item in a locked collection",
    "executable file not found in $PATH",
    "connection refused",
    "permission denied",
    "timed out",
)


class HelperFailedError(Exception):
    """A helper gave no answer; the text says why, without anything that it printed."""


def ask(path: str, place: str, patience: float | None = None) -> dict[str, Any] | None:
    """Return what the helper at `path` has for `place`: an object; None if it has nothing.

    It has `patience` seconds, PATIENCE if None, and MOST bytes. Raises HelperFailedError.
    """
    status, output, told = _run(path, place, PATIENCE if patience is None else patience)
    if status != 0:
        if _NOT_FOUND in output:
            return None
        raise HelperFailedError(f"exit status {status}{_reason(output + told)}")
    try:
        answer = canonical.decode(output)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise HelperFailedError("expected a JSON object, found something else")
    for name in ("Username", "Secret"):
        if not isinstance(answer.get(name), str):
            raise HelperFailedError(f"expected {name}, a string, found none")
    return answer


def _reason(output: bytes) -> str:
    lower = output.lower()
    known = [reason for reason in _REASONS if reason.lower().encode() in lower]
    return f" ({known[0]})" if known else ""


def _run(path: str, place: str, patience: float) -> tuple[int, bytes, bytes]:
    """Return the exit status of ``path get``, and what it wrote to stdout and to stderr."""
    with tempfile.TemporaryFile() as given:
        given.write(place.encode())
        given.seek(0)
        try:
            return programs.run([path, "get"], programs.Bounds(patience, MOST), given=given)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "no such name can be"
            raise HelperFailedError(f"cannot be run: {reason}") from None
        except programs.LateError:
            raise HelperFailedError(f"no answer within {patience:g} s") from None
        except programs.TooMuchError:
            raise HelperFailedError(f"expected at most {MOST} bytes, it writes more") from None
