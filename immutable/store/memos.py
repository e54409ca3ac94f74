"""What a store remembers to save time, and loses at no cost but time.

Contents are of a blob, and go with it. Questions and answers are of derivations: a sweep keeps
those that were last of use, and so many that there is room for all that a build asks for.
"""

from __future__ import annotations

import abc
from typing import Final

from immutable.oci.digest import Digest

# How many stay for each derivation that has a realisation. Of answers there is one for each stack
# of layers that it is built over.
QUESTIONS_KEPT: Final = 2
ANSWERS_KEPT: Final = 16


class Memos(abc.ABC):
    """Memos by digests. Each may be forgotten at any time.

    A store that can only be read records none, silently. A full disk is an error, as elsewhere.
    """

    @abc.abstractmethod
    def find_contents(self, blob: Digest) -> bytes | None:
        """Return what was recorded of the layer `blob`, which need not be there."""

    @abc.abstractmethod
    def record_contents(self, blob: Digest, data: bytes) -> None:
        """Remember the encoded contents of the layer `blob`, in place of older ones."""

    @abc.abstractmethod
    def find_questions(self, key: Digest) -> bytes | None:
        """Return what was recorded under `key`; it is of use now."""

    @abc.abstractmethod
    def record_questions(self, key: Digest, data: bytes) -> None:
        """Remember what a derivation asks about, encoded, in place of older data."""

    @abc.abstractmethod
    def find_answers(self, derivation: Digest, chain: Digest) -> Digest | None:
        """Return the digest of what certain layers answered to the derivation; it is of use now.

        `chain` is the layers' chain ID (image-spec config.md, "Layer ChainID").
        """

    @abc.abstractmethod
    def record_answers(self, derivation: Digest, chain: Digest, answers: Digest) -> None:
        """Remember the digest that `find_answers` is to return, in place of an older one."""
