"""A worker whose followers return after some seconds instead of ten minutes, and that is all that differs.

``python -m bench.measure.run_worker SECONDS --ready-file FILE``
"""

from __future__ import annotations

import argparse
from pathlib import Path

import activities.runs
from issuebox.environment import load
from issuebox.logs import begin
from issuebox.process import run_and_end
from issuebox.settings import WorkerSettings
from issuebox.worker import WorkerOptions, serve


def main() -> None:
    """Run the worker until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m bench.measure.run_worker")
    parser.add_argument("slice_s", type=float)
    parser.add_argument("--ready-file", type=Path)
    asked = parser.parse_args()
    activities.runs.FOLLOW_S = asked.slice_s
    settings = load(WorkerSettings, required=("daytona_api_key",))
    begin(settings)
    serve(WorkerOptions.of(settings), asked.ready_file)


if __name__ == "__main__":
    run_and_end(main)
