"""The rules for the code that no linter here checks."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
ROOTS = ("api", "workflows", "activities", "issuebox", "localdaytona", "proofs", "bench")
SOURCES = sorted(path for root in ROOTS for path in (REPOSITORY / root).rglob("*.py"))
FILE_LINES_MAX = 600
# A file holds one idea and is split when it holds two: this limit only catches what has grown too long.
FUNCTION_LINES_MAX = 60
# Spelled in pieces, so that this file may be searched as well.
UNFINISHED = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "Not" + "ImplementedError")))

TEXTS = {str(path.relative_to(REPOSITORY)): path.read_text() for path in SOURCES}
TREES = {name: ast.parse(text) for name, text in TEXTS.items()}


def test_sources_are_finished() -> None:
    """No code here is left unfinished for later."""
    assert [name for name, text in TEXTS.items() if UNFINISHED.search(text)] == []


def test_files_are_short_enough_to_read() -> None:
    """A file can be read in one sitting."""
    assert [name for name, text in TEXTS.items() if len(text.splitlines()) > FILE_LINES_MAX] == []


def test_functions_are_short_enough_to_read() -> None:
    """A function fits on a screen."""
    lengths = {f"{name}:{function}": length for name, tree in TREES.items() for function, length in functions(tree)}
    assert {place: length for place, length in lengths.items() if length > FUNCTION_LINES_MAX} == {}


def test_modules_say_what_lives_in_them() -> None:
    """Every module with code in it opens with a docstring."""
    assert [name for name, tree in TREES.items() if tree.body and not ast.get_docstring(tree)] == []


def test_workflows_ask_nobody_but_temporal() -> None:
    """Workflow code uses no clock, randomness, environment or network of its own: it must replay.

    Temporal's sandbox, which would enforce this, is not used: decision 12.
    """
    trees = {name: tree for name, tree in TREES.items() if name.startswith(("workflows/", "issuebox/domain/"))}
    assert len(trees) > 20
    assert {name: sorted(found) for name, tree in trees.items() if (found := set(unrepeatable(tree)))} == {}


UNREPEATABLE = {
    *("time", "random", "secrets", "uuid", "os", "sys", "pathlib", "io", "shutil", "subprocess"),
    *("tempfile", "glob", "platform", "signal", "sqlite3", "queue", "select", "multiprocessing"),
    *("threading", "concurrent", "socket", "ssl", "http", "urllib", "httpx", "aiohttp"),
}
"""Modules whose answers differ from one run to the next."""


def unrepeatable(tree: ast.Module) -> Iterator[str]:
    """Imports and calls whose result cannot be repeated."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.split(".")[0] in UNREPEATABLE)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNREPEATABLE:
            yield node.module or ""
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = ast.unparse(node.func)
            if called in {"datetime.now", "datetime.utcnow", "datetime.today", "date.today"}:
                yield called
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"open", "input", "id"}:
            yield node.func.id


def functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1
