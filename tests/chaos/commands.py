"""Commands of the proofs, run to their end as a person would run them."""

from __future__ import annotations

import asyncio
import sys


async def ended(*arguments: str) -> tuple[int | None, str]:
    """The exit code of a command, and its output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, output.decode(errors="replace")
