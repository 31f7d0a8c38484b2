"""The append-only journal: what it holds, how it is written and read. SQL only, no decisions.

An entry is written in the transaction of the effect it records, so the journal is exact and
complete. No entry is ever changed or removed.
"""

import json
import sqlite3
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from localdaytona.types import JSON, JSONObject

SCHEMA = """
CREATE TABLE IF NOT EXISTS journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    sandbox_id TEXT,
    name TEXT,
    operation TEXT,
    detail TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS journal_sandbox ON journal (sandbox_id, seq);
CREATE INDEX IF NOT EXISTS journal_name ON journal (name, seq);
"""
PAGE_MAX = 10_000


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry to record. The name is the sandbox's at that moment."""

    kind: str
    sandbox_id: str | None = None
    name: str | None = None
    operation: str | None = None
    detail: JSONObject | None = None


class Entry(BaseModel):
    """A recorded entry; `at` is epoch seconds, UTC."""

    seq: int
    at: float
    kind: str
    sandbox_id: str | None
    name: str | None
    operation: str | None
    detail: dict[str, JSON]


class JournalPage(BaseModel):
    """Entries in order, and the `after` for the next page, None at the end."""

    entries: list[Entry]
    next: int | None


@dataclass(frozen=True, slots=True)
class Moment:
    """The name and states of a sandbox at some time, and since when, in epoch seconds."""

    name: str
    state: str
    desired: str
    since: float


class Journal:
    """Writes and reads the journal over the store's connection; the store owns the transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.executescript(SCHEMA)

    def append(self, at: float, entry: NewEntry) -> int:
        """Append within the open transaction and return the entry's number."""
        cursor = self._connection.execute(
            "INSERT INTO journal (at, kind, sandbox_id, name, operation, detail) VALUES (?, ?, ?, ?, ?, ?)",
            (at, entry.kind, entry.sandbox_id, entry.name, entry.operation, json.dumps(entry.detail or {})),
        )
        if cursor.lastrowid is None:
            raise RuntimeError("SQLite gave no row ID")
        return cursor.lastrowid

    def page(
        self,
        after: int = 0,
        limit: int = 1000,
        filters: dict[Literal["sandbox_id", "name", "kind", "operation"], str] | None = None,
    ) -> JournalPage:
        """Return up to `limit` entries with a number above `after`."""
        wanted = dict(filters or {})
        where = "".join(f" AND {column} = ?" for column in wanted)
        rows = self._connection.execute(
            f"SELECT * FROM journal WHERE seq > ?{where} ORDER BY seq LIMIT ?",  # noqa: S608 - literal columns
            (after, *wanted.values(), limit + 1),
        ).fetchall()
        entries = [Entry(**{**dict(row), "detail": json.loads(row["detail"])}) for row in rows[:limit]]
        return JournalPage(entries=entries, next=entries[-1].seq if len(rows) > limit else None)

    def moment(self, sandbox_id: str, at: float) -> Moment | None:
        """Return the sandbox's name and states at a time; None: it did not exist yet.

        Entries of these kinds hold the whole of `now`, so the last one is enough.
        """
        row = self._connection.execute(
            "SELECT at, detail FROM journal WHERE sandbox_id = ? AND at <= ?"
            " AND kind IN ('created', 'state', 'desired', 'renamed') ORDER BY seq DESC LIMIT 1",
            (sandbox_id, at),
        ).fetchone()
        if row is None:
            return None
        now = json.loads(row["detail"])["now"]
        return Moment(now["name"], now["state"], now["desired"], row["at"])

    def owner(self, name: str, at: float) -> str | None:
        """Return the ID of the sandbox that had a name at a time."""
        row = self._connection.execute(
            "SELECT sandbox_id FROM journal WHERE name = ? AND at <= ? AND kind = 'created' ORDER BY seq DESC LIMIT 1",
            (name, at),
        ).fetchone()
        if row is None:
            return None
        moment = self.moment(row["sandbox_id"], at)
        return row["sandbox_id"] if moment is not None and moment.name == name else None
