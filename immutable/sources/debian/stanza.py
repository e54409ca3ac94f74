"""Control data: Debian Policy 5.1, one stanza of fields."""

from __future__ import annotations

from immutable.redact import quoted


def parse_stanza(data: bytes) -> dict[str, str]:
    """Return the fields of the one stanza in `data`, their names in lower case.

    A folded value keeps its line breaks. Raises ValueError, saying what was found, for text
    that is not UTF-8, a line that is no field, and a field that is there twice.
    """
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    fields: dict[str, str] = {}
    name = ""
    for line in lines:
        text = line.removesuffix("\r")
        if not text:
            continue
        if text[0] in " \t" and name:
            fields[name] += "\n" + text[1:]
            continue
        key, colon, value = text.partition(":")
        name = key.lower()
        if not colon or not key or key != key.strip():
            raise ValueError(f"expected a field, found {quoted(text, 60)}")
        if name in fields:
            raise ValueError(f"{key}: a second field of that name")
        fields[name] = value.strip()
    return fields


def unfold(value: str) -> str:
    """Return a folded value as one line, every run of blanks as one."""
    return " ".join(value.split())
