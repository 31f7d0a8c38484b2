"""How a process that uses Temporal's SDK ends: the `issuebox` command, the proofs and the benchmarks."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import NoReturn


def run_and_end(work: Callable[[], int | None]) -> NoReturn:
    """Do the work, and end this process with the exit code that it returns (None: 0) or raises as `SystemExit`.

    It skips Python's own shutdown, during which the SDK's threads may still run and abort the process with exit
    code 134 or by SIGSEGV although the work succeeded (temporalio 1.35.0: every second `issuebox show` on two cores,
    one of 22 workers that were stopped under load).
    """
    try:
        code: object = work() or 0
    except SystemExit as end:
        code = end.code
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else int(bool(code)))  # `_exit` is its documented, public name.
