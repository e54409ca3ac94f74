"""A policy in the words of registries that prune themselves, with a report of what they lack."""

from immutable.lifecycle.exports import ecr, harbor, zot
from immutable.lifecycle.exports.common import Export, export_document

__all__ = ["Export", "ecr", "export_document", "harbor", "zot"]
