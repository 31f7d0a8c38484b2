"""GitHub, where issues are told of their runs: each write meets a fate by the seed, and what became of it is noted.

The checker judges the comments as GitHub knows them. What is refused for good is for a person to mend, and what is
carried out long after nobody waits for it is a documented limit, so neither is dealt.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request

from proofs.chaos.terms import REPOSITORY
from proofs.checker.evidence import Comment, Receipt
from proofs.checker.runs import mistold
from proofs.github_api import TOKEN
from proofs.github_comments import Fate, GitHubWithComments, Mischief

_MARKER: Final = re.compile(r"<!-- issuebox run (r-[0-9a-f]+) -->")

LOST: Final = (Fate.LOST_BEFORE, Fate.LOST_AFTER)
FATES: Final[Mapping[str, tuple[Fate, ...]]] = {
    "create": (*LOST, Fate.AWAY, Fate.LATE, Fate.TWICE, Fate.SLOW, Fate.REFUSED),
    "edit": (*LOST, Fate.AWAY, Fate.LATE, Fate.TWICE, Fate.SLOW),
    "delete": LOST,
    "react": (*LOST, Fate.TWICE),
}
"""What may become of each kind of write. A refusal is a rate limit, which all wait for."""
PAUSE_S: Final = 1
"""What a rate limit asks for."""
TOLD_WITHIN_S: Final = 120.0
"""How long after rest the last reports may take: the pause after seven failures in a row."""
POLL_INTERVAL_S: Final = 0.5


class ToldGitHub(GitHubWithComments):
    """`fine` of the writes of each kind are done and answered for each round of `FATES` but the first, until `is_calm`.

    `late_s`: how long after it came a request may be carried out, or be answered.
    """

    def __init__(self, seed: int, *, fine: int, late_s: float = 1.0) -> None:
        super().__init__()
        self.is_calm = False
        self.dealt: Counter[str] = Counter()
        self._known: dict[int, int] = {}
        self._fine = fine
        self._late_s = late_s
        self._chance = random.Random(f"{seed}/comments")
        self._decks: dict[str, list[Fate | None]] = {}

    @property
    def settings(self) -> dict[str, str]:
        """What the workers need to tell it."""
        return {"ISSUEBOX_GITHUB_TOKEN": TOKEN, "ISSUEBOX_GITHUB_API_URL": self.url}

    def know(self, issues: Iterable[tuple[int, int]], repository: str = REPOSITORY) -> None:
        """Issues by ID and number: each is there from now on."""
        for issue, number in issues:
            self.issue(issue, number, at=datetime.now(UTC), repo=repository)
            self._known[number] = issue

    def told(self) -> list[Comment]:
        """The evidence: each comment that was ever written. Raises ValueError for one that names no run."""
        return [
            Comment(
                issue=self._known[kept.number],
                run=_run_of(kept.body),
                comment_id=comment_id,
                asked_at=kept.asked_at,
                looked_at=kept.looked_at,
                at=kept.at,
                deleted_at=kept.deleted_at,
                body=kept.body,
            )
            for comment_id, kept in self.kept.items()
        ]

    def counts(self) -> dict[str, int]:
        """What became of the writes, for people."""
        kept = self.kept.values()
        ends = {"comments": len(kept), "comments that were deleted": sum(each.deleted_at is not None for each in kept)}
        return ends | dict(sorted(self.dealt.items()))

    def _mischief(self, request: Request) -> Mischief | None:
        fate = None if self.is_calm else self._deal(_kind(request))
        if fate is None:
            return None
        headers = {"retry-after": str(PAUSE_S)} if fate is Fate.REFUSED else {}
        return Mischief(request.method, "", fate, headers=headers, seconds=self._late_s)

    def _deal(self, kind: str) -> Fate | None:
        fine = self._fine if kind in self._decks else 0
        deck = self._decks.setdefault(kind, [])
        if not deck:
            deck += [*FATES[kind], *[None] * fine]
            self._chance.shuffle(deck)
        fate = deck.pop()
        self.dealt[f"{kind} {fate or 'answered'}"] += 1
        return fate


async def told_of(github: ToldGitHub, receipts: Iterable[Receipt]) -> None:
    """Wait until each of these runs is told, for `TOLD_WITHIN_S`. What is missing then, the checker says."""
    states = {receipt.run: receipt.state for receipt in receipts if receipt.run}
    ends_at = asyncio.get_running_loop().time() + TOLD_WITHIN_S
    while asyncio.get_running_loop().time() < ends_at:
        written: defaultdict[str, list[Comment]] = defaultdict(list)
        for comment in github.told():
            written[comment.run].append(comment)
        if not any(mistold(run, written[run], state) for run, state in states.items()):
            return
        await asyncio.sleep(POLL_INTERVAL_S)


def _kind(request: Request) -> str:
    if request.url.path.endswith("/reactions"):
        return "react"
    return {"POST": "create", "PATCH": "edit", "DELETE": "delete"}[request.method]


def _run_of(body: str) -> str:
    found = _MARKER.match(body)
    if found is None:
        raise ValueError(f"a comment of ours names no run: {body[:80]!r}")
    return found[1]
