"""`issuebox connect` as a process, with which a test speaks while it runs."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.conftest import REPOSITORY, environment
from tests.connect.github_pages import GitHubPages, Person, running
from tests.waiting import until

PAGE = re.compile(r"http://127\.0\.0\.1:\d+/\S+")


@dataclass
class Running:
    """A running command and what it has printed."""

    process: asyncio.subprocess.Process
    out: Path
    err: Path

    @property
    def printed(self) -> str:
        return self.out.read_text() + self.err.read_text()

    async def shows(self, text: str, timeout_s: float = 30.0) -> str:
        """Everything that was printed, once this is in it."""

        async def look() -> str:
            if self.process.returncode is not None and text not in self.printed:
                raise AssertionError(f"it ended with {self.process.returncode}:\n{self.printed}")
            return self.printed

        return await until(look, lambda printed: text in printed, f"it prints {text!r}", timeout_s)

    async def page(self) -> str:
        """The address of the local page."""
        await self.shows("press its button")
        await until(self._printed, PAGE.search, "it prints the page")  # type: ignore[arg-type]
        return PAGE.findall(self.printed.partition("press its button")[2])[0]

    async def _printed(self) -> str:
        return self.printed.partition("press its button")[2]

    async def ends(self, timeout_s: float = 40.0) -> int:
        """The exit code."""
        return await asyncio.wait_for(self.process.wait(), timeout_s)


Start = Callable[..., "asyncio.Future[Running]"]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., object]]:
    """Start `issuebox` with these arguments, in an empty directory, and with these variables as keywords."""
    running_ones: list[Running] = []

    async def started(*arguments: str, cwd: Path | None = None, **given: str) -> Running:
        number = len(running_ones)
        out, err = tmp_path / f"out-{number}", tmp_path / f"err-{number}"
        place = cwd or tmp_path / "here"
        place.mkdir(exist_ok=True)
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "issuebox", *arguments, cwd=place, stdin=asyncio.subprocess.DEVNULL,
                stdout=stdout, stderr=stderr, env=environment(tmp_path, {"PYTHONPATH": str(REPOSITORY)} | given),
            )  # fmt: skip
        running_ones.append(Running(process, out, err))
        return running_ones[-1]

    yield started
    for one in running_ones:
        if one.process.returncode is None:
            one.process.kill()
            await one.process.wait()


@pytest.fixture
async def github() -> AsyncIterator[GitHubPages]:
    """The stand-in for GitHub."""
    async with running() as pages:
        yield pages


@pytest.fixture
async def person() -> AsyncIterator[Person]:
    """Somebody with a browser."""
    one = Person()
    yield one
    await one.http.aclose()
