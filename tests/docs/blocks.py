"""The shell blocks of the pages, and what a page says about those that cannot run here.

An HTML comment before a block, which no reader sees, says why it is not run, or which test runs it:
``<!-- not run: … -->`` or ``<!-- run by tests/… -->``. A block without one is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
ROOT_PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = [*(REPOSITORY / name for name in ROOT_PAGES), *sorted((REPOSITORY / "docs").rglob("*.md"))]

BLOCK = re.compile(r"(?:^<!-- (?P<mark>[^\n]*?) -->\n+)?^```sh\n(?P<commands>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN, RUN_BY = "not run: ", "run by "


@dataclass(frozen=True, slots=True)
class Block:
    """One shell block of a page."""

    page: str
    mark: str
    commands: str

    @property
    def is_run_here(self) -> bool:
        return not self.mark.startswith((NOT_RUN, RUN_BY))


def blocks() -> Iterator[Block]:
    """All shell blocks, page by page, in their order."""
    for page in PAGES:
        for found in BLOCK.finditer(page.read_text()):
            yield Block(str(page.relative_to(REPOSITORY)), found["mark"] or "", found["commands"])
