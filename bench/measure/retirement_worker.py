"""A worker in whose time a day is some seconds: with `long_s`, what counts as a long rest is shortened as well.

``python -m bench.measure.retirement_worker '{"long_s": 2, "forget_after_s": 3}' --ready-file FILE`` is
`issuebox worker` with these constants; all others are those of `proofs.shortened`.
"""

from __future__ import annotations

import argparse
import json
from datetime import timedelta
from pathlib import Path

from issuebox.domain import retirement
from issuebox.environment import load
from issuebox.logs import begin
from issuebox.process import run_and_end
from issuebox.settings import WorkerSettings
from issuebox.worker import WorkerOptions, serve
from proofs.shortened import shortened


def main() -> None:
    """Run the worker until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m bench.measure.retirement_worker")
    parser.add_argument("changes", type=json.loads)
    parser.add_argument("--ready-file", type=Path)
    asked = parser.parse_args()
    if "long_s" in asked.changes:
        retirement.LONG = timedelta(seconds=asked.changes.pop("long_s"))
    settings = load(WorkerSettings, required=("daytona_api_key",))
    begin(settings)
    serve(shortened(WorkerOptions.of(settings), asked.changes), asked.ready_file)


if __name__ == "__main__":
    run_and_end(main)
