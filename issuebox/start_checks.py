"""What API and worker check at their start: what lies outside of them is asked again until it is well.

Only malformed settings end a start, and they have been read before. What cannot be reached, or refuses us, is a
trouble: it is logged, shown by `/readyz`, and asked again after growing pauses. No check delays readiness. What to ask
of Daytona and GitHub is in `issuebox.quick_checks`; the thorough examination is `issuebox.doctor`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from temporalio.service import RPCError, RPCStatusCode

from issuebox.temporal.connect import TemporalConfigError, reason_of
from issuebox.temporal.issues import Issues, IssuesError

ANSWER_S = 5.0
"""How long Temporal has to answer: a host that drops packets never refuses a connection."""

_REFUSALS = frozenset({RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED})

_log = structlog.get_logger("issuebox.start")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a check found wrong with a part, and what helps. Never with a secret."""

    part: str
    seen: str
    advice: str

    def __str__(self) -> str:
        return f"{self.part}: {self.seen}. {self.advice}"


@dataclass(frozen=True, slots=True)
class Pauses:
    """The pauses between two tries, in seconds: each twice the one before."""

    first_s: float
    max_s: float

    def each(self) -> Iterator[float]:
        """Without an end."""
        pause_s = self.first_s
        while True:
            yield pause_s
            pause_s = min(2 * pause_s, self.max_s)


TEMPORAL_PAUSES = Pauses(1.0, 5.0)
"""Nothing works without Temporal, and asking it costs next to nothing: a worker begins soon after it is back."""

OUTSIDE_PAUSES = Pauses(30.0, 600.0)
"""Daytona and GitHub count requests, and a key that is refused often is shut out for a while."""

Check = Callable[[], Awaitable[Trouble | None]]
"""Asks a part once; None when it is well."""


@dataclass(slots=True)
class Standing:
    """What was wrong when it was last asked, by part. What is well is not in it."""

    troubles: dict[str, Trouble] = field(default_factory=dict)
    _logged: dict[str, tuple[Trouble, float]] = field(default_factory=dict)

    def note(self, part: str, trouble: Trouble | None, retry_in_s: float) -> None:
        """Remember the answer of a check, and log what is new about it: the trouble, or when it is asked again."""
        if trouble is None:
            if self.troubles.pop(part, None) is not None:
                _log.info("check_passed", part=part)
            return
        self.troubles[part] = trouble
        if self._logged.get(part) != (trouble, retry_in_s):
            self._logged[part] = (trouble, retry_in_s)
            _log.warning("check_failed", part=part, reason=trouble.seen, advice=trouble.advice, retry_in_s=retry_in_s)

    def sentences(self) -> list[str]:
        """One for each trouble."""
        return [str(trouble) for trouble in self.troubles.values()]


@asynccontextmanager
async def repeated(checks: Mapping[str, Check], standing: Standing, pauses: Pauses) -> AsyncIterator[None]:
    """Within the block, make these checks in the background, each until it is well."""
    tasks = {asyncio.create_task(_until_well(part, check, standing, pauses)) for part, check in checks.items()}
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _until_well(part: str, check: Check, standing: Standing, pauses: Pauses) -> None:
    for pause_s in pauses.each():
        trouble = await check()
        standing.note(part, trouble, pause_s)
        if trouble is None:
            return
        await asyncio.sleep(pause_s)


async def reached(
    ask: Callable[[], Coroutine[Any, Any, T]], stop: asyncio.Event, standing: Standing, pauses: Pauses = TEMPORAL_PAUSES
) -> T | None:
    """What Temporal answered, as soon as it answers; None when `stop` is set before. Raises TemporalConfigError."""
    stopping = asyncio.create_task(stop.wait())
    try:
        for pause_s in pauses.each():
            answer = asyncio.create_task(_answer(ask))
            await asyncio.wait({answer, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                answer.cancel()
                return None
            found = answer.result()
            standing.note("temporal", found if isinstance(found, Trouble) else None, pause_s)
            if not isinstance(found, Trouble):
                return found
            await asyncio.wait({stopping}, timeout=pause_s)
        raise AssertionError  # The pauses have no end.
    finally:
        stopping.cancel()


async def _answer(ask: Callable[[], Coroutine[Any, Any, T]]) -> T | Trouble:
    try:
        async with asyncio.timeout(ANSWER_S):
            return await ask()
    except TemporalConfigError:
        raise
    except (RPCError, RuntimeError, TimeoutError) as error:  # The SDK's core has no class of its own.
        return temporal_trouble(error)


async def temporal_check(issues: Issues) -> Trouble | None:
    """Why Temporal does not serve our namespace; None when it does."""
    try:
        await issues.check()
    except (IssuesError, RPCError) as error:
        return temporal_trouble(error)
    return None


def temporal_trouble(error: Exception) -> Trouble:
    """What a failed call to Temporal says about it."""
    cause = error.__cause__ if isinstance(error.__cause__, RPCError | RuntimeError | TimeoutError) else error
    status = cause.status if isinstance(cause, RPCError) else None
    if status is RPCStatusCode.NOT_FOUND:
        advice = "Set TEMPORAL_NAMESPACE, or create it: temporal operator namespace create --namespace NAME"
    elif status in _REFUSALS:
        advice = "Correct TEMPORAL_API_KEY or the client certificate (TEMPORAL_TLS_…)."
    else:
        advice = "Check TEMPORAL_ADDRESS, that Temporal runs there, and that TLS is on only if the server requires it."
    seen = f"no answer within {ANSWER_S:g} s" if isinstance(cause, TimeoutError) else reason_of(cause).rstrip(".")
    return Trouble("temporal", seen, advice)
