"""Errors: the reference of them in specs/README.md, and what the command line makes of them."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import pytest

import immutable
from immutable.errors import ImmutableError
from tests.support.error_table import COMMAND, PAGE, STATUS, all_errors, between_marks, table
from tests.support.pages import page


def test_the_reference_says_what_the_docstrings_say() -> None:
    assert len(all_errors()) > 20
    _, found, _ = between_marks(page(PAGE))
    assert table() == found, f"the docstrings have changed; run `{COMMAND}`"


def test_every_error_says_when_it_is_raised() -> None:
    assert [] == [one.__name__ for one in all_errors() if not (one.__doc__ or "").strip()]


def test_there_are_no_errors_but_those_of_the_reference() -> None:
    for module in pkgutil.walk_packages(immutable.__path__, "immutable."):
        importlib.import_module(module.name)

    def and_below(cls: type[ImmutableError]) -> set[type[ImmutableError]]:
        return {cls}.union(*map(and_below, cls.__subclasses__()))

    ours = {one for one in and_below(ImmutableError) if one.__module__.startswith("immutable.")}
    assert set(all_errors()) == ours


@pytest.mark.parametrize("error", all_errors(), ids=lambda one: str(one.__name__))
def test_a_command_that_an_error_ends_has_the_exit_status_of_the_reference(
    error: type[ImmutableError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli = importlib.import_module("immutable.cli")

    def refuse(*_: Any, **__: Any) -> None:
        raise error.__new__(error, "place: expected this, found that")

    monkeypatch.setattr(cli.root, "main", refuse)

    assert STATUS == cli.main(["images"])
    assert "error: place: expected this, found that\n" == capsys.readouterr().err
