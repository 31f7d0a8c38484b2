"""Importing without garbage collection."""

from __future__ import annotations

import gc

import pytest

from issuebox.cli.app import uncollected


def test_collector_rests_while_modules_are_imported() -> None:
    """The collector is off during imports, on afterwards, and has less to scan."""
    try:
        with uncollected():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 1000
    finally:
        gc.unfreeze()


def test_collector_goes_on_when_an_import_fails() -> None:
    """A process that catches the error must not run without the collector."""
    try:
        with pytest.raises(ImportError), uncollected():
            raise ImportError("no such module")
        assert gc.isenabled()
    finally:
        gc.unfreeze()
