"""What SECURITY.md says of tests and budgets is so."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from immutable import reading
from immutable.build import cache_entries as cache
from immutable.build import locked
from immutable.builders.npm import project
from immutable.builders.wheels import wheel
from immutable.content import entries, placing
from immutable.content.archives import deb, decompress
from immutable.content.tar import reader
from immutable.net.attempts import ATTEMPTS, LONGEST_DELAY, MOST_ATTEMPTS
from immutable.sources import git
from immutable.sources.debian import index, release, resolver
from immutable.sources.git import answers, objects
from immutable.spec import toml
from immutable.transports import base
from immutable.transports.registry import auth, session

_ROOT = Path(__file__).parents[1]
_PAGE = (_ROOT / "SECURITY.md").read_text()
_PROMISES = _PAGE.partition("<!-- promises -->")[2].partition("<!-- end -->")[0]
_NAMED = re.findall(r"`([\w/]+\.py)::(test_\w+)`", _PROMISES)
_MIB, _GIB = 1 << 20, 1 << 30


def _row(subject: str) -> str:
    (row,) = [line for line in _PAGE.splitlines() if line.startswith(f"| {subject} |")]
    return row.split("|")[2].strip()


def test_each_promise_names_tests() -> None:
    rows = [line for line in _PROMISES.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 10
    assert [] == [row for row in rows if not re.search(r"`[\w/]+\.py::test_\w+`", row)]


@pytest.mark.parametrize(("module", "name"), _NAMED)
def test_each_named_test_is_there(module: str, name: str) -> None:
    path = _ROOT / "tests" / module
    tests = [node.name for node in ast.parse(path.read_text()).body if hasattr(node, "name")]
    assert name in tests


@pytest.mark.parametrize(
    ("subject", "budget"),
    [
        ("a spec or lock", f"{reading.MAX_WRITTEN // _MIB} MiB, {toml._MAX_DEPTH} levels"),
        (
            "an archive",
            (
                f"{reader.DEFAULT.members:,} members, {reader.DEFAULT.names // _MIB} MiB of names, "
                f"{reader.DEFAULT.content // _GIB} GiB of content, "
                f"{reader.DEFAULT.extension // _MIB} MiB a header extension"
            ),
        ),
        (
            f"an archive past {reader.FREE // _GIB} GiB of content",
            f"{reader.MOST_RATIO:,} bytes for each byte of input",
        ),
        ("a path; one of its names", f"{entries.MAX_PATH:,} bytes; {entries.MAX_NAME} bytes"),
        (
            "memory of a decoder",
            (
                f"xz {decompress._XZ_MEMORY // _MIB} MiB, "
                f"zstd a window of {(1 << decompress._ZSTD_WINDOW_LOG) // _MIB} MiB"
            ),
        ),
        ("a package's control members", f"{deb._CONTROL_LIMIT // _MIB} MiB"),
        (
            "a file of metadata in a wheel; an npm lockfile",
            f"{wheel._LARGEST // _MIB} MiB; {project._LARGEST // _MIB} MiB",
        ),
        ("InRelease", f"{release.MAX_SIZE // _MIB} MiB"),
        ("a stanza of a Packages index", f"{index._MAX_STANZA // _MIB} MiB"),
        ("choices of Debian's resolver", f"{resolver._MOST_STEPS:,}"),
        ("a manifest, index or config of a registry", f"{base.MAX_DOCUMENT // _MIB} MiB"),
        (
            "an answer of a token server; what is shown of a refusal",
            f"{auth._MAX_ANSWER // _MIB} MiB; {session._MAX_REFUSAL // 1024} KiB",
        ),
        (
            "redirects; attempts to fetch, to reach a registry; the wait between two",
            f"{session._MOST_REDIRECTS}; {ATTEMPTS}, {MOST_ATTEMPTS}; {LONGEST_DELAY:.0f} s",
        ),
        ("signatures of a cache's entry", f"{cache.MOST_SIGNATURES}"),
        (
            "the paths that a layer of a cache asks about",
            f"{cache.MOST_QUESTIONS // _MIB} MiB; {placing.MOST_PATHS // _MIB} MiB unpacked",
        ),
        ("specs upon specs", f"{locked._MOST_BASES}"),
        (
            "what git says of a commit, for a spec that names it",
            (
                f"{objects.MOST_ENTRIES:,} files and folders, {objects.MOST_NAMES // _MIB} MiB of "
                f"paths, {git._MOST_WITHIN} submodules in one another"
            ),
        ),
        (
            "one answer of git; its complaints; its memory for one object",
            (
                f"{answers.MOST // _MIB} MiB, {answers.SECONDS:.0f} s; "
                f"{answers.MOST_SAID // 1024} KiB are kept; {answers.MOST_AT_ONCE // _MIB} MiB"
            ),
        ),
    ],
)
def test_each_budget_is_the_one_in_the_code(subject: str, budget: str) -> None:
    assert budget == _row(subject)
