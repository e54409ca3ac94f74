"""Every exception that immutable raises on purpose.

::

    ImmutableError
    ├── SpecError             the spec file is wrong; carries every fault at once
    ├── LockError             the lock file cannot be used
    │   ├── LockMissing       there is none, and the spec needs one
    │   └── LockStale         it answers another question than the spec asks
    ├── ResolutionError       a request that cannot be met by what is on offer
    ├── SourceError           an outside input cannot be had
    │   ├── NoMirror          nothing says where to fetch it from
    │   ├── FetchError        every place that was tried refused or failed
    │   └── SignatureError    signed data whose signature does not hold
    ├── DigestMismatch        bytes that are not the ones that were pinned
    ├── ArchiveError          a tar, zip, ar or deb that is damaged or unsafe
    ├── EntryError            tree entries that cannot stand in one layer
    ├── CommandError          a layer's command failed, or gave other files the second time
    ├── SandboxError          a command that cannot be run, or went past its limits
    │   └── NoNamespaces      this machine or user has no namespaces to run it in
    ├── EncoderError          an encoder that would give other bytes than released
    ├── TagTaken              a tag that stands on another image, and does not move
    ├── AllVersionsExpired    a policy that would leave nothing of a name
    ├── ImageError            a manifest, index, config or layout that does not hold
    ├── StoreError            the store cannot be used
    │   ├── BlobMissing       a blob that something refers to is not there
    │   └── ImageNotFound     no image, tag or generation of that name
    └── TransportError        an image cannot be sent or taken
        └── RegistryError     a registry refuses, or cannot be talked to

A message says where, what was expected, what was found and, where there is one, what
to do about it. Only the command line turns an `ImmutableError` into an exit status.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from immutable.findings import Finding, Severity
from immutable.redact import redact

if TYPE_CHECKING:
    from immutable.oci.digest import Digest


class ImmutableError(Exception):
    """The root of all errors that are the input's or the surroundings' doing.

    What is said is redacted when the error is made: no password gets further.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(redact(one) if isinstance(one, str) else one for one in args))


class SpecError(ImmutableError):
    """A spec that cannot be accepted.

    `faults` holds one line for each fault, every one starting with its path in the file
    (``layer[2].packages[0]: expected a string, found the integer 3``).
    """

    def __init__(self, where: str, faults: Iterable[str]) -> None:
        self.where = where = redact(where)
        self.faults = tuple(map(redact, faults))
        super().__init__("\n".join(f"{where}: {fault}" for fault in self.faults))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The faults as findings; their code is ``spec``."""
        return tuple(
            Finding.of_line("spec", Severity.ERROR, self.where, fault) for fault in self.faults
        )


class LockError(ImmutableError):
    """A lock file that is damaged, of a newer version, or not in the expected form."""


class LockMissing(LockError):
    """The spec takes something from outside, and there is no lock file."""


class LockStale(LockError):
    """The lock answers a question that the spec no longer asks."""


class ResolutionError(ImmutableError):
    """What was asked for cannot be had together; the message shows the chain that asked."""


class SourceError(ImmutableError):
    """An outside input that cannot be had."""


class NoMirror(SourceError):
    """Nothing on this machine says where such inputs come from; the message says what to set."""


class FetchError(SourceError):
    """Every place that was tried refused or failed; the message names them."""


class SignatureError(SourceError):
    """Signed data whose signature is missing, wrong, expired, or by an unknown key."""


class DigestMismatch(ImmutableError):
    """Bytes that are not the pinned ones.

    `expected` and `actual` are the two digests.
    """

    def __init__(self, name: str, *, expected: Digest, actual: Digest) -> None:
        self.name, self.expected, self.actual = redact(name), expected, actual
        super().__init__(f"{name}: expected {expected}, found {actual}")


class TagTaken(ImmutableError):
    """A tag that stands on another image already.

    `reference` is the name with the tag; `holds` is the digest that the tag is on, `wanted` the
    one that it was to be put on.
    """

    def __init__(self, reference: str, *, holds: Digest, wanted: Digest) -> None:
        self.reference, self.holds, self.wanted = redact(reference), holds, wanted
        super().__init__(
            f"{reference}: the tag is on {holds}, and was to be put on {wanted}; tags do not move: "
            "take another, or replace this one (--replace-tag)"
        )


class AllVersionsExpired(ImmutableError):
    """A policy that would delete every version of `names`, which nobody said it may."""

    def __init__(self, place: str, names: Iterable[str]) -> None:
        self.place, self.names = place, tuple(names)
        super().__init__(
            f"{place}: expected a policy that keeps some version of each name, found that it would "
            f"delete every version of {', '.join(self.names)}; change it, or allow this "
            "(--delete-all-versions)"
        )


class ArchiveError(ImmutableError):
    """A damaged or unsafe archive; the message names the archive and the member."""


class EntryError(ImmutableError):
    """Entries that cannot stand in one layer: unsafe paths, collisions, paths through a link."""


class CommandError(ImmutableError):
    """A layer's command that failed, gave other files the second time, or cannot run here."""


class SandboxError(ImmutableError):
    """A command that cannot be run in a sandbox, or that went past its limits there."""


class NoNamespaces(SandboxError):
    """This machine or user has no namespaces to run commands in; the message says what to set."""


class EncoderError(ImmutableError):
    """An installed compression library that gives other bytes than the released one."""


class ImageError(ImmutableError):
    """A manifest, index, config or image layout that does not hold."""


class StoreError(ImmutableError):
    """A store that cannot be used as it is."""


class BlobMissing(StoreError):
    """A blob that is referred to but not there."""


class ImageNotFound(StoreError):
    """No image, tag or generation of that name in the store."""


class TransportError(ImmutableError):
    """An image that cannot be sent to, or taken from, a transport."""


class RegistryError(TransportError):
    """A registry that refuses, or that cannot be talked to.

    `status` is that of its last answer, 0 if there was none; `codes` are the error codes in
    that answer (distribution-spec 1.1, "Error Codes").
    """

    def __init__(self, message: str, *, status: int = 0, codes: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.status, self.codes = status, frozenset(codes)
