"""Faults, differences and damage come down to findings that say the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from immutable.build.verify import Difference
from immutable.errors import SpecError
from immutable.findings import Finding, Severity
from immutable.store import Store
from immutable.store.check import check


@pytest.mark.parametrize(
    ("line", "place", "words"),
    [
        ("layer[2].name: is required", "web.toml: layer[2].name", "is required"),
        ("not TOML: line 3", "web.toml", "not TOML: line 3"),
        ("is a folder", "web.toml", "is a folder"),
    ],
)
def test_a_fault_of_a_spec_is_a_finding_at_its_path(line: str, place: str, words: str) -> None:
    (found,) = SpecError("web.toml", [line]).findings
    assert Finding("spec", Severity.ERROR, place, words) == found
    assert f"web.toml: {line}" == str(found)


def test_a_difference_is_a_finding() -> None:
    found = Difference("image", "one", "two").finding
    assert Finding("verify", Severity.ERROR, "image", "expected one, found two") == found


def test_damage_to_a_store_is_a_finding_of_its_kind(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        blob = store.put_blob(b"whole")
    path = tmp_path / "store" / "blobs" / "sha256" / blob.hex
    path.chmod(0o644)
    path.write_bytes(b"other")
    codes = {fault.finding.code for fault in check(tmp_path / "store")}
    assert {"store.blob"} == codes
