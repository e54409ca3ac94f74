"""Reading shell scripts without running them: the simple commands whose words are plain.

The lexical half of POSIX.1-2017, "Shell Command Language", 2.2 to 2.7, and no more of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Word = str | None  # None: the word depends on what the script finds when it runs

# Packages write it for installations into another root; here, as mostly, it is empty.
_ROOT = re.compile(r"\$(?:DPKG_ROOT\b|\{DPKG_ROOT(?::?-)?\})")
_EXPANSION = re.compile(r"\$(?:\{[^}]*\}|\w+|[@*#?$!-])")
_HERE = re.compile(r"<<(-?)[ \t]*(?:'([^'\n]*)'|\"([^\"\n]*)\"|([^\s;&|<>()'\"]+))")


def commands(script: str) -> Iterator[tuple[Word, ...]]:
    """Yield the words of each command in `script`, wherever it stands in it.

    Conditions and loops are not weighed, functions not called. Redirections end a command.
    """
    yield from _Lexer(script).commands()


class _Lexer:
    def __init__(self, script: str) -> None:
        self._text = script.replace("\\\n", "")
        self._at = 0
        self._word: list[str] | None = None
        self._plain = True
        self._words: list[Word] = []
        self._here: list[tuple[str, bool]] = []

    def commands(self) -> Iterator[tuple[Word, ...]]:
        while self._at < len(self._text):
            if self._step(self._text[self._at]):
                yield from self._take()
        self._end_word()
        yield from self._take()

    def _take(self) -> Iterator[tuple[Word, ...]]:
        if self._words:
            yield tuple(self._words)
            self._words = []

    def _step(self, character: str) -> bool:
        """Take what begins with `character`; say whether a command ends there."""
        if character in " \t\r":
            self._end_word()
        elif character == "\n":
            self._end_word()
            self._at += 1
            self._skip_here_documents()
            return True
        elif character in ";&|()":
            self._end_word()
            self._at += 1
            return True
        elif character in "<>":
            self._redirect()
            return True
        elif character == "#" and self._word is None:
            end = self._text.find("\n", self._at)
            self._at = len(self._text) if end < 0 else end
            return False
        else:
            self._take_part(character)
            return False
        self._at += 1
        return False

    def _take_part(self, character: str) -> None:
        """Take a part of a word: a character, a quotation or an expansion."""
        if self._word is None:
            self._word, self._plain = [], True
        if character == "'":
            end = self._text.find("'", self._at + 1)
            end = len(self._text) if end < 0 else end
            self._word.append(self._text[self._at + 1 : end])
            self._at = end + 1
        elif character == '"':
            self._at += 1
            self._double_quoted()
        elif character == "\\":
            self._word.append(self._text[self._at + 1 : self._at + 2])
            self._at += 2
        elif character in "$`":
            self._expansion(character)
        else:
            # A pattern's matches, like an expansion, are known only in the end.
            self._plain = self._plain and character not in "*?["
            self._word.append(character)
            self._at += 1

    def _double_quoted(self) -> None:
        assert self._word is not None  # noqa: S101 - its caller has begun one
        while self._at < len(self._text):
            character = self._text[self._at]
            if character == '"':
                self._at += 1
                return
            if character == "\\" and self._text[self._at + 1 : self._at + 2] in tuple('$`"\\'):
                self._word.append(self._text[self._at + 1])
                self._at += 2
            elif character in "$`":
                self._expansion(character)
            else:
                self._word.append(character)
                self._at += 1

    def _expansion(self, character: str) -> None:
        root = _ROOT.match(self._text, self._at)
        if root:
            self._at = root.end()
            return
        self._plain = False
        if character == "`":
            end = self._text.find("`", self._at + 1)
            self._at = len(self._text) if end < 0 else end + 1
            return
        if self._text.startswith("$(", self._at):
            self._skip_parentheses()
            return
        match = _EXPANSION.match(self._text, self._at)
        self._at = match.end() if match else self._at + 1

    def _skip_parentheses(self) -> None:
        depth = 0
        while self._at < len(self._text):
            character = self._text[self._at]
            depth += (character == "(") - (character == ")")
            self._at += 1
            if character == ")" and depth == 0:
                return

    def _redirect(self) -> None:
        if self._word is not None and "".join(self._word).isdigit():
            self._word = None  # the descriptor's number
        self._end_word()
        here = _HERE.match(self._text, self._at)
        if self._text.startswith("<<<", self._at):
            self._at += 3  # bash's here-string; its word is read as one more command
        elif here:
            delimiter = here[2] or here[3] or here[4] or ""
            self._here.append((delimiter, bool(here[1])))
            self._at = here.end()
        else:
            self._at += 1

    def _skip_here_documents(self) -> None:
        for delimiter, tabs in self._here:
            while self._at < len(self._text):
                end = self._text.find("\n", self._at)
                end = len(self._text) if end < 0 else end
                line = self._text[self._at : end]
                self._at = end + 1
                if (line.lstrip("\t") if tabs else line) == delimiter:
                    break
        self._here = []

    def _end_word(self) -> None:
        if self._word is not None:
            self._words.append("".join(self._word) if self._plain else None)
            self._word = None
