"""Which keys this machine's user trusts, and which is the user's own.

Part of `immutable.config`, which alone reads this machine's settings.

========================  ====================================  =================================
what                      file                                  variable
========================  ====================================  =================================
own secret key            ``~/.config/immutable/secret-key``    ``IMMUTABLE_SECRET_KEY_FILE``
trusted public keys       ``~/.config/immutable/trusted-keys``  ``IMMUTABLE_TRUSTED_KEYS``
========================  ====================================  =================================

The first file holds one ``NAME:BASE64``, the second one a line, with ``#`` before comments. The
variable holds keys apart by blanks, beside those of the file. A file that others could have
written is refused, by its own mode and owner and by those of its folder.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from attrs import frozen

from immutable.config.private import (
    expect_private,
    expect_private_folder,
    make_private,
    open_for_owner,
)
from immutable.errors import SpecError
from immutable.reading import read_with_status
from immutable.redact import quoted
from immutable.spec.keys import PublicKey, SecretKey

_SECRET: Final = "IMMUTABLE_SECRET_KEY_FILE"  # noqa: S105 - the name of a variable
_TRUSTED: Final = "IMMUTABLE_TRUSTED_KEYS"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_MOST: Final = 1 << 20  # bytes of a file of keys


@frozen
class Keys:
    """Where this user's keys are; the files need not be there.

    `named` are trusted beside those in the file `trusted_file`.
    """

    secret_file: Path = Path("secret-key")
    trusted_file: Path = Path("trusted-keys")
    named: tuple[PublicKey, ...] = ()

    def trusted(self) -> tuple[PublicKey, ...]:
        """Return the keys whose word counts, the user's own among them.

        Raises SpecError, naming file and line, for what is no key.
        """
        own = self._own()
        found = (*self.named, *self._listed(), *((own.public,) if own else ()))
        return tuple(dict.fromkeys(found))

    def secret(self) -> SecretKey:
        """Return the user's own key; raise SpecError, saying what to do, if there is none."""
        own = self._own()
        if own is None:
            raise SpecError(
                str(self.secret_file), ["there is no such key; run `immutable key generate NAME`"]
            )
        return own

    def generate(self, name: str) -> PublicKey:
        """Make the user's own key; raise SpecError if there is one, or the disk refuses."""
        try:
            key = SecretKey.generate(name)
        except ValueError as error:
            raise SpecError("NAME", [str(error)]) from None
        try:
            make_private(self.secret_file.parent)
            expect_private_folder(self.secret_file.parent)
            _write_new(self.secret_file, f"{key.reveal()}\n".encode())
        except FileExistsError:
            raise SpecError(
                str(self.secret_file),
                ["there is a key already; what it signed counts no more without it: move it away"],
            ) from None
        except OSError as error:
            raise SpecError(
                str(self.secret_file), [f"cannot be written: {error.strerror}"]
            ) from None
        return key.public

    def trust(self, *keys: PublicKey) -> tuple[PublicKey, ...]:
        """Add `keys` to the file; return those that were not trusted before."""
        known = {key.raw for key in self.trusted()}
        new = tuple(key for key in dict.fromkeys(keys) if key.raw not in known)
        try:
            make_private(self.trusted_file.parent)
            expect_private_folder(self.trusted_file.parent)
            with open(self.trusted_file, "ab+", opener=open_for_owner) as file:
                file.write(_line_end(file) + b"".join(f"{key}\n".encode() for key in new))
        except OSError as error:
            raise SpecError(
                str(self.trusted_file), [f"cannot be written: {error.strerror}"]
            ) from None
        return new

    def _own(self) -> SecretKey | None:
        text = _read(self.secret_file, private=True)
        if text is None:
            return None
        try:
            return SecretKey.parse(text)
        except ValueError as error:
            raise SpecError(str(self.secret_file), [str(error)]) from None

    def _listed(self) -> Iterator[PublicKey]:
        text = _read(self.trusted_file) or ""
        faults = []
        for number, line in enumerate(text.splitlines(), 1):
            key = line.partition("#")[0].strip()
            try:
                if key:
                    yield PublicKey.parse(key)
            except ValueError as error:
                faults.append(f"line {number}: {error}")
        if faults:
            raise SpecError(str(self.trusted_file), faults)


def read_keys(env: Mapping[str, str], folder: Path) -> Keys:
    """Return the settings of the environment, and those in the user's `folder`.

    Raises SpecError for what is no key.
    """
    named, faults = [], []
    for text in env.get(_TRUSTED, "").split():
        try:
            named.append(PublicKey.parse(text))
        except ValueError as error:
            faults.append(f"{error}, found {quoted(text)}")
    if faults:
        raise SpecError(_TRUSTED, faults)
    secret = env.get(_SECRET)
    return Keys(
        Path(secret).expanduser() if secret else folder / "secret-key",
        folder / "trusted-keys",
        tuple(named),
    )


def _write_new(path: Path, data: bytes) -> None:
    """Write a file for its owner alone; raise FileExistsError, and OSError if the disk refuses."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except OSError:
        path.unlink()  # half a key would be taken for a whole one
        raise


def _line_end(file: BinaryIO) -> bytes:
    """Return what ends the last line of a file that was edited by hand."""
    if not file.seek(0, os.SEEK_END):
        return b""
    file.seek(-1, os.SEEK_END)
    return b"" if file.read(1) == b"\n" else b"\n"


def _read(path: Path, *, private: bool = False) -> str | None:
    try:
        data, status = read_with_status(path, _MOST, given=True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SpecError(str(path), [f"cannot be read: {error.strerror}"]) from None
    if private and status.st_mode & _OTHERS:
        found = f"found mode {stat.S_IMODE(status.st_mode):04o}"
        fault = f"expected a file for its owner alone, {found}; run `chmod 600 {path}`"
        raise SpecError(str(path), [fault])
    expect_private(path, status)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise SpecError(str(path), ["expected text in UTF-8"]) from None


def keys_document(keys: Iterable[PublicKey]) -> dict[str, Any]:
    """Return the JSON document of some keys; it has keys, each as ``NAME:BASE64``."""
    return {"keys": [str(key) for key in keys]}


def trusted_document(path: Path, added: Iterable[PublicKey]) -> dict[str, Any]:
    """Return the JSON document of keys that are trusted from now on.

    It has path, the file that they were written to, and added, each as ``NAME:BASE64``.
    """
    return {"path": str(path), "added": [str(key) for key in added]}
