"""The JSON documents of the verbs: plain JSON, with the fields that their docstrings state."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import immutable
from immutable.build.lock import Change, Locked, locked_document, stale_document
from immutable.build.results import built_document
from immutable.build.verify import Difference, verified_document
from immutable.config.keys import keys_document, trusted_document
from immutable.explain.inspect import inspect, inspected_document
from immutable.lifecycle.exports import export_document, zot
from immutable.lifecycle.generations import (
    generation_document,
    generations,
    rollback_document,
    version_document,
)
from immutable.lifecycle.prune import plan, pruned_document
from immutable.lifecycle.retention import Policy
from immutable.spec.keys import SecretKey
from immutable.spec.lock import Lock
from immutable.store import MemoryStore
from immutable.store.faults import Fault, FaultKind
from immutable.store.reports import (
    check_document,
    fault_document,
    info_document,
    kept_document,
    listed_document,
)
from immutable.transports.reports import copied_document, pulled_document, pushed_document
from tests.support import specs
from tests.support.specs import CONFIG

Function = Callable[..., dict[str, Any]]
LAYER: Final = specs.layer("files", "motd", entries=[{"path": "/etc/motd", "text": "hello"}])
KEY: Final = SecretKey.generate("ci").public
FAULT: Final = Fault(
    FaultKind.BLOB, "blob", "its bytes", "others", repairable=True, hint="build again"
)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Function, dict[str, Any]]]:
    """Every function that makes a document, with one that it made."""
    folder = tmp_path_factory.mktemp("documents")
    with MemoryStore() as store:
        image = immutable.build(specs.write(folder, LAYER), store, config=CONFIG, tags=["1"])
        generation, root = image.generation, image.descriptor
        (version,) = generations(store, image.name)
        found = inspect(image.name, store)
        policy = Policy(keep_last=1)
        pruned = plan(store, policy, config=CONFIG).outlook()
        info = store.info()
    locked = Locked(folder / "web.lock.toml", Lock(), (Change("web", "curl", "all", "", "1.0"),))
    different = [Difference("image", "one", "other")]
    made: list[tuple[Function, tuple[Any, ...]]] = [
        (built_document, (image, ["oci:out:web:1"])),
        (locked_document, (locked,)),
        (stale_document, (locked.path, ["there is no lock"])),
        (verified_document, (image, different)),
        (inspected_document, (found,)),
        (generation_document, (generation,)),
        (version_document, (version,)),
        (rollback_document, (generation, generation)),
        (pruned_document, (pruned,)),
        (export_document, (zot.export(policy),)),
        (kept_document, (generation,)),
        (listed_document, (generation, image.size)),
        (info_document, ("store", info)),
        (check_document, ("store", [FAULT], [])),
        (fault_document, (FAULT,)),
        (copied_document, ("store:web", "oci:out:web", root)),
        (pushed_document, ("store:web", ["docker://host.test/web:1"], root)),
        (pulled_document, ("oci:out:web", generation)),
        (keys_document, ([KEY],)),
        (trusted_document, (Path("trusted-keys"), [KEY])),
    ]
    return [(function, function(*given)) for function, given in made]


def test_every_function_that_makes_one_is_tried_here(
    documents: list[tuple[Function, dict[str, Any]]],
) -> None:
    sources = (path.read_text() for path in Path(immutable.__file__).parent.rglob("*.py"))
    defined = [
        name
        for text in sources
        for name in re.findall(r"^def ([a-z]\w*_document)\(", text, re.MULTILINE)
    ]
    tried = [function.__name__ for function, _ in documents]
    others = {"decode_document", "redact_document"}  # make none of a value
    assert sorted({*defined} - others) == sorted(tried)


def test_documents_are_plain_json(documents: list[tuple[Function, dict[str, Any]]]) -> None:
    for _, document in documents:
        assert document == json.loads(json.dumps(document))


def test_docstrings_state_every_field(documents: list[tuple[Function, dict[str, Any]]]) -> None:
    told = {function.__name__: function.__doc__ or "" for function, _ in documents}
    for function, document in documents:
        words = set(re.findall(r"\w+", _whole(function.__name__, told)))
        assert (function.__name__, []) == (
            function.__name__,
            [name for name in _fields(document) if name not in words],
        )


def _whole(name: str, told: dict[str, str]) -> str:
    """A docstring, and those of the functions that it names."""
    others = [other for other in re.findall(r"`(\w+)`", told[name]) if other in told]
    return " ".join([told[name], *(told[other] for other in others)])


def _fields(document: Any) -> Iterator[str]:
    """The names of a document, and of those in its lists."""
    if isinstance(document, list):
        for item in document:
            yield from _fields(item)
    elif isinstance(document, dict):
        for name, value in document.items():
            yield name
            # A config and what a registry reads are documents of others.
            if name not in ("config", "annotations", "document"):
                yield from _fields(value)
