"""The stored results: one JSON file per measurement, of its latest full run."""

from __future__ import annotations

from pathlib import Path

from bench.machine import ROOT
from bench.measure.frame import Record

DIRECTORY = ROOT / "bench" / "results"


def write(record: Record, directory: Path = DIRECTORY) -> Path:
    """Store the record in place of the previous one, and return the file."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{record.name}.json"
    path.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return path


def read(name: str, directory: Path = DIRECTORY) -> Record | None:
    """The latest run; None when there is none. Raises pydantic's ValidationError when it is damaged."""
    path = directory / f"{name}.json"
    return Record.model_validate_json(path.read_text(encoding="utf-8")) if path.exists() else None
