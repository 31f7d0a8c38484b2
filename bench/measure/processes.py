"""Processes that a measurement starts beside the stack; their starter ends them."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from issuebox.dev.child import bound
from issuebox.dev.demo.stack import until

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0


@asynccontextmanager
async def serving(
    arguments: Sequence[str], environment: Mapping[str, str], ready_file: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a Python process with these arguments, once it has touched `ready_file`. The block may kill it."""
    ready_file.unlink(missing_ok=True)  # noqa: ASYNC240 -- one inode
    with ready_file.with_suffix(".log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *bound(sys.executable, "-P", *arguments), env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        await until(lambda: _is_ready(process, ready_file), bool, f"{arguments} is ready", READY_TIMEOUT_S)
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()


async def _is_ready(process: asyncio.subprocess.Process, ready_file: Path) -> bool:
    if process.returncode is not None:
        raise RuntimeError(f"ended with {process.returncode}; see {ready_file.with_suffix('.log')}")
    return ready_file.exists()  # noqa: ASYNC240 -- one inode
