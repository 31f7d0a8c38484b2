"""What the status page shows of all issues: one page of them, sorted, searched and counted.

Temporal's index can neither sort nor search texts. So this reads the whole index into a snapshot, which all callers
share for a while, and answers from it. `GET /v1/sandboxes` is for programs: it reads the index page by page.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from api.listing import ListedSandbox, listed
from issuebox.domain.phase import Cause, Phase
from issuebox.temporal.index import PAGE_SIZE, RUNNING, Index
from issuebox.temporal.issues import Issues

READS_SHARE = 10
"""A snapshot is used for at least that many times as long as it took to read: reads take a tenth of the time."""
USED_MIN_S = 1.0
ROWS_MAX = 50_000
"""Newest issues in a snapshot. At some 2 kB each, more would need more memory than the container has."""

EXAMINED_MAX = 500
EXAMINED_AT_ONCE = 100
"""Of the newest issues, and how many in one call: before server 1.30 each costs a describe, at most once in 30 s."""


class Group(StrEnum):
    """The groups of issues that the page counts and filters by; each issue is in one of them, and in *all*."""

    ALL = "all"
    RUNNING = "running"
    CHANGING = "changing"
    QUEUED = "queued"
    BLOCKED = "blocked"
    RESTING = "resting"


GROUPS: Mapping[Phase, Group] = {
    Phase.USABLE: Group.RUNNING,
    Phase.PENDING: Group.CHANGING,
    Phase.THAWING: Group.CHANGING,
    Phase.UNPREPARED: Group.CHANGING,
    Phase.BUSY: Group.CHANGING,
    Phase.STOPPING: Group.CHANGING,
    Phase.LEAVING: Group.CHANGING,
    Phase.RECOVERABLE: Group.CHANGING,
    Phase.BROKEN: Group.CHANGING,
    Phase.UNBUILT: Group.CHANGING,
    Phase.UNKNOWN: Group.CHANGING,
    Phase.STOPPED: Group.RESTING,
    Phase.PAUSED: Group.RESTING,
    Phase.ARCHIVING: Group.RESTING,
    Phase.ARCHIVED: Group.RESTING,
    Phase.MISSING: Group.RESTING,
}
"""The group of an issue that is neither queued nor blocked nor stuck. One that was not looked up yet is changing."""

_URGENCY = (Group.BLOCKED, Group.QUEUED, Group.CHANGING, Group.RUNNING, Group.RESTING)


class Sort(StrEnum):
    """What the issues are sorted by."""

    ISSUE = "issue"
    STATE = "state"
    GOAL = "goal"
    ACTIVITY = "activity"
    AGE = "age"


@dataclass(frozen=True, slots=True)
class Entry:
    """One issue: what is shown of it, its group, and the text that the search reads."""

    shown: ListedSandbox
    group: Group
    text: str


_NEVER = "~"
"""After every time in ISO 8601."""

_KEYS: Mapping[Sort, Callable[[Entry], tuple[str | int | float, ...]]] = {
    Sort.ISSUE: lambda entry: (entry.shown.repository.lower(), entry.shown.number),
    Sort.STATE: lambda entry: (_URGENCY.index(entry.group), entry.shown.state),
    Sort.GOAL: lambda entry: (entry.shown.goal_due_at or _NEVER,),
    Sort.ACTIVITY: lambda entry: (max(entry.shown.requested_at, entry.shown.issue_updated_at),),
    Sort.AGE: lambda entry: (entry.shown.started_at.timestamp(),),
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All issues at one moment of this process's monotonic clock. ``is_cut``: there are more than `ROWS_MAX`."""

    entries: tuple[Entry, ...]
    read_at_s: float
    due_at_s: float
    is_cut: bool = False


class Wanted(BaseModel):
    """Which issues, in which order, and which page of them, from 1. A page past the end is the last one."""

    model_config = ConfigDict(extra="forbid")

    group: Group = Group.ALL
    search: str = Field("", max_length=200)
    sort: Sort = Sort.AGE
    descending: bool = True
    page: int = Field(1, ge=1, le=ROWS_MAX)
    page_size: int = Field(50, ge=1, le=200)


class Overview(BaseModel):
    """One page of issues. ``counts`` are of all issues, ``matching`` of those of the group that the search finds."""

    counts: dict[Group, int]
    matching: int
    page: int
    pages: int
    is_cut: bool
    issues: list[ListedSandbox]


def add(routes: APIRouter, issues: Issues) -> None:
    """The route of the status page's list. It is no public interface: it changes with the page."""
    snapshots = Snapshots(Index(issues))

    @routes.get("/overview", include_in_schema=False)
    async def overview(wanted: Annotated[Wanted, Query()], if_none_match: Annotated[str, Header()] = "") -> Response:
        """The page, with its age in seconds; 304 without it when the caller has it already."""
        snapshot = await snapshots.current()
        body = view(snapshot, wanted).model_dump_json(exclude_defaults=True).encode()
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {
            "ETag": etag,
            "Age": str(round(time.monotonic() - snapshot.read_at_s)),
            "Cache-Control": "private, no-cache",
        }
        if if_none_match == etag:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="application/json", headers=headers)


class Snapshots:
    """The one snapshot that all callers share, read anew when it is due. Callers who wait share one read."""

    def __init__(self, index: Index, *, used_min_s: float = USED_MIN_S, reads_share: int = READS_SHARE) -> None:
        self._index = index
        self._used_min_s = used_min_s
        self._reads_share = reads_share
        self._kept: Snapshot | None = None
        self._reading: asyncio.Task[Snapshot] | None = None

    async def current(self) -> Snapshot:
        """The snapshot; raises what the read of a due one raises, so that nobody takes an old one for the present."""
        if self._kept is not None and time.monotonic() < self._kept.due_at_s:
            return self._kept
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        self._kept = await asyncio.shield(self._reading)
        return self._kept

    async def _read(self) -> Snapshot:
        """Read the whole index. Where an examination costs a describe for each row, only the newest are examined."""
        began_s = time.monotonic()
        is_cheap = await self._index.reports_stuck()
        entries: dict[int, Entry] = {}  # One that continues as new between two pages comes twice.
        token = b""
        while True:
            is_examined = is_cheap or len(entries) < EXAMINED_MAX
            size = PAGE_SIZE if is_cheap or not is_examined else EXAMINED_AT_ONCE
            page = await self._index.page(RUNNING, size=size, token=token, is_examined=is_examined)
            entries |= {row.issue_id: entry_of(listed(row)) for row in page.rows if row.issue_id}
            token = page.next_token
            if not token or len(entries) >= ROWS_MAX:
                break
        now_s = time.monotonic()
        due_at_s = now_s + max(self._used_min_s, self._reads_share * (now_s - began_s))
        return Snapshot(tuple(entries.values())[:ROWS_MAX], began_s, due_at_s, is_cut=bool(token))


def view(snapshot: Snapshot, wanted: Wanted) -> Overview:
    """The wanted page of the snapshot. Issues that the sort cannot tell apart keep one order: by their ID."""
    words = wanted.search.lower().split()
    found = [
        entry
        for entry in snapshot.entries
        if wanted.group in (Group.ALL, entry.group) and all(word in entry.text for word in words)
    ]
    key = _KEYS[wanted.sort]
    found.sort(key=lambda entry: (*key(entry), entry.shown.issue_id), reverse=wanted.descending)
    pages = max(1, -(-len(found) // wanted.page_size))
    page = min(wanted.page, pages)
    shown = found[(page - 1) * wanted.page_size : page * wanted.page_size]
    counted = Counter(entry.group for entry in snapshot.entries)
    return Overview(
        counts={group: counted[group] for group in Group} | {Group.ALL: len(snapshot.entries)},
        matching=len(found),
        page=page,
        pages=pages,
        is_cut=snapshot.is_cut,
        issues=[entry.shown for entry in shown],
    )


def entry_of(shown: ListedSandbox) -> Entry:
    """The issue with what is derived from it once for all callers."""
    return Entry(shown, _group(shown), _text(shown))


def _group(shown: ListedSandbox) -> Group:
    if shown.stuck or shown.blocked:
        return Group.QUEUED if shown.blocked == Cause.QUEUED and not shown.stuck else Group.BLOCKED
    return GROUPS[Phase(shown.phase)] if shown.phase in GROUPS else Group.CHANGING


def _text(shown: ListedSandbox) -> str:
    """What the search reads of an issue: what the page shows of it, in small letters."""
    texts = (
        f"{shown.repository}#{shown.number}",
        str(shown.issue_id),
        shown.title,
        *(shown.phase, shown.state, shown.outcome.replace("_", " "), shown.goal, shown.issue_state),
        *(shown.blocked, shown.blocked.replace("_", " "), shown.stuck and "stuck", shown.work),
        *(shown.run, shown.run.replace("_", " ")),
    )
    return " ".join(texts).lower()
