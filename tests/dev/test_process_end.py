"""No process that uses Temporal's SDK ends by Python's own shutdown, in which the SDK's threads may crash it."""

from __future__ import annotations

import asyncio
import sys

import pytest

from issuebox.dev.environment import bare

# Its own shutdown would run what `atexit` has: after an end that skips it, nothing is printed.
PROGRAM = """
import atexit, importlib, runpy, sys
atexit.register(print, "Python's own shutdown")
module, function, code = sys.argv[1:4]
sys.argv = [module, *sys.argv[4:]]
place, _, name = function.rpartition(".")
setattr(importlib.import_module(place), name, lambda *_, **__: int(code))
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""

WORKER = ("proofs.shortened", "issuebox.worker.serve", "0", "{}")
CHAOS = ("proofs.chaos", "proofs.chaos.restore.command.start", "1", "restore")
COMMAND = ("issuebox", "issuebox.cli.app.app", "0")


@pytest.mark.parametrize("arguments", [WORKER, CHAOS, COMMAND], ids=lambda arguments: arguments[0])
async def test_process_ends_with_its_own_exit_code_and_no_more(arguments: tuple[str, ...]) -> None:
    """The exit code of the work reaches whoever waits for it, whatever threads are left."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", PROGRAM, *arguments),
        env=bare() | {"DAYTONA_API_KEY": "key"},
        stdout=asyncio.subprocess.PIPE,
    )
    written, _ = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, written.decode()) == (int(arguments[2]), "")
