"""What issuebox needs of an issue's comments, whoever keeps the issues: `Comments`. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class OwnComment:
    """A comment that was written with our credentials."""

    id: int
    body: str


class Comments(Protocol):
    """Comments of issues. Every method raises a `ProviderError` when there is no answer, or a refusal.

    Reading and reacting are safe to repeat. Who gets a `TransientError` from `create` does not know whether the comment
    is there: look before creating it again.
    """

    async def own(self, repository: str, number: int, since: datetime, marker: str) -> tuple[OwnComment, ...]:
        """Our own comments that were written or changed since then and begin with the marker, the oldest first."""

    async def create(self, repository: str, number: int, body: str) -> int:
        """Write a comment and return its ID."""

    async def edit(self, repository: str, comment_id: int, body: str, *, is_needed: bool = True) -> bool:
        """Replace a comment's text. Returns False when the comment is gone.

        One that is not needed is refused with a `RateLimitedError` while there are few writes left.
        """

    async def delete(self, repository: str, comment_id: int) -> None:
        """Delete a comment, if it is there."""

    async def react(self, repository: str, comment_id: int) -> None:
        """Put 👀 under a comment, once however often it is called. A comment that is gone is none to react to."""
