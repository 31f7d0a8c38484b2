"""The pace of requests, by the clock of the test: what is let in, what is closed, and whose turn comes when."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from issuebox.domain.errors import RateLimitedError
from issuebox.providers.rate_limits import (
    LINE_MAX_S,
    PROBES_MAX,
    TURN_S,
    UNNAMED_S,
    Lane,
    Limiter,
    Pace,
    Ticket,
    Told,
    pauses_of,
    told_by,
)

CREATE = Limiter.CREATE

PAUSES: list[tuple[dict[str, str], dict[Limiter, float]]] = [
    ({"Retry-After-sandbox-create": "7"}, {Limiter.CREATE: 7.0}),
    ({"retry-after-SANDBOX-CREATE": "7"}, {Limiter.CREATE: 7.0}),
    ({"Retry-After-authenticated": "3"}, {Limiter.AUTHENTICATED: 3.0}),
    ({"Retry-After-sandbox-create": "7", "Retry-After": "90"}, {Limiter.CREATE: 7.0}),
    ({"Retry-After": "40", "X-RateLimit-Limit-failed-auth": "3"}, dict.fromkeys(Limiter, 40.0)),
    ({"Retry-After": "-4"}, dict.fromkeys(Limiter, 0.0)),
    ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, {CREATE: UNNAMED_S}),
    ({"Retry-After": "inf"}, {CREATE: UNNAMED_S}),
    ({"Retry-After-somebody-else": "9"}, {CREATE: UNNAMED_S}),
    ({}, {CREATE: UNNAMED_S}),
]


@pytest.mark.parametrize(("headers", "pauses"), PAUSES, ids=[str(row[0]) for row in PAUSES])
def test_429_closes_what_it_names(headers: dict[str, str], pauses: dict[Limiter, float]) -> None:
    """A named limiter is closed alone; a pause without a name is for every request of this process."""
    assert pauses_of(headers, CREATE) == pauses


def test_headers_of_a_reply_are_read_in_any_case() -> None:
    """The SDK keeps the server's capitals on errors and aiohttp its own on replies; half a set says nothing."""
    headers = {"X-RATELIMIT-limit-Sandbox-Create": "300", "x-ratelimit-remaining-sandbox-create": "12"}
    assert told_by(headers, CREATE) is None
    assert told_by(headers | {"X-RateLimit-Reset-sandbox-create": "44"}, CREATE) == Told(300, 12, 44.0)
    assert told_by(headers | {"X-RateLimit-Reset-sandbox-create": "soon"}, CREATE) is None
    assert told_by(headers | {"X-RateLimit-Reset-authenticated": "44"}, Limiter.AUTHENTICATED) is None


def test_closed_lane_lets_in_again_when_the_time_is_over() -> None:
    """Nothing is sent before, and a shorter second pause does not cut the first short."""
    lane = Lane()
    lane.close(100.0, 60.0)
    lane.close(101.0, 5.0)
    assert lane.enter(CREATE, 159.9) is None
    assert lane.enter(CREATE, 160.0) is not None


def test_spent_window_is_not_asked_for_more() -> None:
    """As many as the limit are sent, and the next window is whole again without having asked."""
    lane = Lane()
    _told(lane, 0.0, Told(3, 2, 60.0))
    assert [lane.enter(CREATE, 1.0) is not None for _ in range(3)] == [True, True, False]
    assert lane.enter(CREATE, 59.9) is None
    assert [lane.enter(CREATE, 60.0) is not None for _ in range(4)] == [True, True, True, False]


def test_what_others_used_is_not_asked_for_again() -> None:
    """Another worker's requests show in what is left."""
    lane = Lane()
    _told(lane, 0.0, Told(300, 299, 60.0))
    _told(lane, 1.0, Told(300, 0, 59.0))
    assert lane.enter(CREATE, 2.0) is None


def test_reply_from_an_earlier_window_is_history() -> None:
    """A create is held for up to 30 s; its headers were true when it arrived."""
    lane = Lane()
    _told(lane, 0.0, Told(3, 2, 60.0))
    late = _entered(lane, 59.0)
    assert _entered(lane, 61.0).window == 1
    lane.learn(late, Told(3, 0, 1.0))
    assert [lane.enter(CREATE, 61.5) is not None for _ in range(3)] == [True, True, False]


def test_reply_counts_its_window_from_when_it_was_asked() -> None:
    """A held reply's seconds have begun to pass long before it is read."""
    lane = Lane()
    ticket = _entered(lane, 0.0)
    lane.learn(ticket, Told(1, 0, 60.0))
    assert lane.enter(CREATE, 59.0) is None
    assert lane.enter(CREATE, 60.0) is not None


def test_turns_are_given_at_the_rate_of_the_limit() -> None:
    """A thousand that wait come back one after the other, and no window gets more than it takes."""
    lane = Lane()
    _told(lane, 0.0, Told(300, 299, 60.0))
    lane.close(10.0, 50.0)
    turns = [10.0 + lane.turn_s(10.0) for _ in range(1000)]
    assert turns[0] == pytest.approx(60.0)
    assert turns == sorted(turns)
    for window in range(4):
        assert sum(60 * (window + 1) <= turn < 60 * (window + 2) for turn in turns) <= 300


def test_turns_without_a_known_limit_are_apart_too() -> None:
    """A lane that only ever heard refusals still lets its callers in one by one."""
    lane = Lane()
    lane.close(0.0, 5.0)
    assert [lane.turn_s(0.0) for _ in range(3)] == pytest.approx([5.0, 5.0 + TURN_S, 5.0 + 2 * TURN_S])


def test_line_has_an_end() -> None:
    """However many wait, nobody is sent away for longer than the line may be; they share turns instead."""
    lane = Lane()
    lane.close(0.0, 5.0)
    assert max(lane.turn_s(0.0) for _ in range(10_000)) <= 5.0 + LINE_MAX_S + 2 * TURN_S


async def test_refusal_of_one_limiter_leaves_the_others_open() -> None:
    """Reads go on while creates are limited."""
    pace = Pace()
    await _refused(pace, CREATE, {"Retry-After-sandbox-create": "30"})
    with pytest.raises(RateLimitedError, match="sandbox-create") as raised:
        await _passed(pace, CREATE)
    assert raised.value.retry_after_s is not None
    assert 29 < raised.value.retry_after_s < 31
    assert raised.value.status is None
    await _passed(pace, Limiter.AUTHENTICATED)
    await _passed(pace, Limiter.LIFECYCLE)


async def test_too_many_wrong_keys_close_everything() -> None:
    """Then every request from this address is refused, whatever it asks."""
    pace = Pace()
    await _refused(pace, CREATE, {"Retry-After": "30", "X-RateLimit-Limit-failed-auth": "1"})
    for limiter in Limiter:
        with pytest.raises(RateLimitedError):
            await _passed(pace, limiter)


async def test_burst_before_the_first_reply_is_held_back() -> None:
    """Few requests are under way until the limiter has answered once; then all of them go."""
    pace = Pace()
    async with AsyncExitStack() as under_way:
        tickets = [await under_way.enter_async_context(pace.entered(CREATE)) for _ in range(PROBES_MAX)]
        more = [asyncio.create_task(_passed(pace, CREATE)) for _ in range(20)]
        done, _ = await asyncio.wait(more, timeout=0.05)
        assert not done
        pace.heard(tickets[0], {})
    async with asyncio.timeout(1):
        await asyncio.gather(*more)


async def test_request_that_breaks_gives_its_place_to_the_next() -> None:
    """A connection that fails is no reply: the next few are tried, and nobody waits for ever."""
    pace = Pace()

    async def broken() -> None:
        async with pace.entered(CREATE):
            await asyncio.sleep(0)
            raise ConnectionError

    async with asyncio.timeout(1):
        results = await asyncio.gather(*(broken() for _ in range(5 * PROBES_MAX)), return_exceptions=True)
    assert {type(result) for result in results} == {ConnectionError}


def _entered(lane: Lane, now: float) -> Ticket:
    ticket = lane.enter(CREATE, now)
    assert ticket is not None
    return ticket


def _told(lane: Lane, now: float, told: Told) -> None:
    lane.learn(_entered(lane, now), told)


async def _passed(pace: Pace, limiter: Limiter) -> None:
    async with pace.entered(limiter) as ticket:
        pace.heard(ticket, {})


async def _refused(pace: Pace, limiter: Limiter, headers: dict[str, str]) -> None:
    async with pace.entered(limiter) as ticket:
        error = pace.refused(ticket, headers, "429: Too Many Requests")
        assert (error.status, str(error)) == (429, "429: Too Many Requests")
