"""A person's cancel of the workflow run: what is in flight is settled, and then the run ends.

It never cuts a command off: Daytona would execute it, and nobody would know. A wait is. The sandbox stays as it is, and
the next event starts a workflow that finds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Cancellation:
    """Whether the run was cancelled, and whether it is in a wait that may be cut off."""

    is_requested: bool = False
    is_waiting: bool = False

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A cancel ends what is awaited within this block."""
        self.is_waiting = True
        try:
            yield
        finally:
            self.is_waiting = False

    async def settle(self, serving: Coroutine[Any, Any, None]) -> None:
        """Run to the end; after a cancel, to the end of what is in flight. Then raises CancelledError.

        Further cancels change nothing: each would else end the run in the middle of a command.
        """
        task = asyncio.create_task(serving)
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                self.is_requested = True
                if self.is_waiting:
                    task.cancel()
        if self.is_requested:
            raise asyncio.CancelledError
        task.result()
