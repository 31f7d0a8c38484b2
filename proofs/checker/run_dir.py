"""A run's evidence on disk: one JSONL file for each source, and `run.json` for facts about the whole run."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from localdaytona.journal import Entry, Journal
from proofs.checker.evidence import (
    Alive,
    Begun,
    Block,
    Comment,
    Delivery,
    End,
    Evidence,
    Lost,
    Order,
    Receipt,
    RunStep,
    Signal,
    read_lines,
    write_lines,
)

JOURNAL, DELIVERIES, ORDERS = "journal.jsonl", "deliveries.jsonl", "orders.jsonl"
HISTORIES, BLOCKS, ENDS = "histories.jsonl", "blocks.jsonl", "ends.jsonl"
LEDGER, RUN_STEPS, RECEIPTS, LEFT = "ledger.jsonl", "run_steps.jsonl", "receipts.jsonl", "left.jsonl"
COMMENTS = "comments.jsonl"
RUN, DATABASE = "run.json", "localdaytona.sqlite3"


class NoEvidenceError(Exception):
    """The directory has no journal."""


class _Run(BaseModel):
    """The fields of `Evidence` that are not lists of lines."""

    model_config = ConfigDict(extra="forbid")

    closed_rests_at: frozenset[str] = frozenset({"stopped", "archived"})
    worked_in: frozenset[str] | None = None
    is_at_rest: bool = True
    instance: str = "default"
    lost: Lost | None = None
    running_max: int = 0
    queued: frozenset[int] = frozenset()


def write_run(directory: Path, evidence: Evidence) -> None:
    """Write the evidence, so that `read_run` returns it."""
    directory.mkdir(parents=True, exist_ok=True)
    write_lines(directory / JOURNAL, evidence.journal)
    write_lines(directory / DELIVERIES, evidence.deliveries)
    write_lines(directory / ORDERS, evidence.orders)
    if evidence.histories is not None:
        write_lines(directory / HISTORIES, evidence.histories)
    if evidence.blocks is not None:
        write_lines(directory / BLOCKS, evidence.blocks)
    for name, lines in (
        (LEDGER, evidence.ledger),
        (RUN_STEPS, evidence.run_steps),
        (RECEIPTS, evidence.receipts),
        (COMMENTS, evidence.comments),
    ):
        if lines is not None:
            write_lines(directory / name, lines)
    write_lines(directory / LEFT, evidence.left)
    write_lines(directory / ENDS, evidence.ends)
    run = _Run.model_validate({field: getattr(evidence, field) for field in _Run.model_fields})
    (directory / RUN).write_text(run.model_dump_json(indent=1) + "\n")


def read_run(directory: Path) -> Evidence:
    """Read a run. Only the journal is required, or localdaytona's database in its place.

    Raises NoEvidenceError without either, and pydantic's ValidationError for a malformed line.
    """
    run_file = directory / RUN
    run = _Run.model_validate_json(run_file.read_text()) if run_file.exists() else _Run()
    histories, blocks = directory / HISTORIES, directory / BLOCKS
    return Evidence(
        journal=_journal(directory),
        deliveries=read_lines(directory / DELIVERIES, Delivery),
        orders=read_lines(directory / ORDERS, Order),
        histories=read_lines(histories, Signal) if histories.exists() else None,
        blocks=read_lines(blocks, Block) if blocks.exists() else None,
        ends=read_lines(directory / ENDS, End),
        ledger=read_lines(directory / LEDGER, Begun) if (directory / LEDGER).exists() else None,
        run_steps=read_lines(directory / RUN_STEPS, RunStep) if (directory / RUN_STEPS).exists() else None,
        receipts=read_lines(directory / RECEIPTS, Receipt) if (directory / RECEIPTS).exists() else None,
        comments=read_lines(directory / COMMENTS, Comment) if (directory / COMMENTS).exists() else None,
        left=read_lines(directory / LEFT, Alive),
        **dict(run),
    )


def _journal(directory: Path) -> list[Entry]:
    if (directory / JOURNAL).exists():
        return read_lines(directory / JOURNAL, Entry)
    if not (directory / DATABASE).exists():
        raise NoEvidenceError(f"{directory} has neither {JOURNAL} nor {DATABASE}")
    return read_database(directory / DATABASE)


def read_database(path: Path) -> list[Entry]:
    """The whole journal of a stopped localdaytona, from its database."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        journal = Journal(connection)
        entries: list[Entry] = []
        after: int | None = 0
        while after is not None:
            page = journal.page(after=after, limit=10_000)
            entries += page.entries
            after = page.next
    return entries
