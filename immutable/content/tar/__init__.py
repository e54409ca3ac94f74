"""Tar streams: `writer` turns entries into bytes, `reader` bytes into entries, strictly."""

from immutable.content.tar.reader import Member, read
from immutable.content.tar.writer import BLOCK, END, chunks, header

__all__ = ["BLOCK", "END", "Member", "chunks", "header", "read"]
