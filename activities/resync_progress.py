"""How far a walk through a repository is: what another attempt needs to go on. Heartbeat details hold this shape."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from activities.github_messages import Counts, Sent
from issuebox.domain.resync import Mark


class Stage(StrEnum):
    """The listings, in the order in which they are read."""

    ISSUES = "issues"
    COMMENTS = "comments"
    OPEN = "open"
    KNOWN = "known"
    DONE = "done"


@dataclass(slots=True)
class Place:
    """Where a listing that is sorted by its updates was read up to.

    ``since`` moves along with the last update read, instead of a page number: an issue that is updated
    meanwhile moves to the end, and would move another one across a page border, unseen.
    """

    since: datetime
    cursor: str = ""
    etag: str = ""
    pages: int = 0
    size: int = 0
    newest: datetime | None = None


@dataclass(slots=True)
class Progress:
    """All that another attempt needs to go on. Bounded: it is a heartbeat's details.

    ``judged`` is what was dealt with of the page at hand, and of the page before, of which this one shows the
    end again: IDs with the time of the update, because an issue that is updated again is another finding.
    """

    mark: Mark
    counts: Counts = field(default_factory=Counts)
    sent: list[Sent] = field(default_factory=list)
    stage: Stage = Stage.ISSUES
    place: Place | None = None
    judged: list[str] = field(default_factory=list)
    open_to: datetime | None = None
    known_token: str = ""
    swept_at: datetime | None = None

    def count(self, **more: int) -> None:
        """Add to the counts."""
        now = self.counts
        self.counts = Counts(**{name: getattr(now, name) + more.get(name, 0) for name in Counts.__dataclass_fields__})
