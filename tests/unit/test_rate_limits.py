"""The rate limiter, by the clock of the test: what is let in, what is closed, and when each caller's slot comes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from structlog.testing import capture_logs

from issuebox.domain.errors import RateLimitedError
from issuebox.domain.provider import Spare
from issuebox.providers.rate_limits import (
    LINE_MAX_S,
    PROBES_MAX,
    SLOT_S,
    UNNAMED_S,
    Limiter,
    RateLimiter,
    Ticket,
    Told,
    Window,
    pauses_of,
    told_by,
)

CREATE = Limiter.CREATE
USED_UP = {"Limit": "3", "Remaining": "0", "Reset": "60"}

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
    """A named limiter is closed alone; a pause without a name applies to every request of this process."""
    assert pauses_of(headers, CREATE) == pauses


def test_headers_of_a_reply_are_read_in_any_case() -> None:
    """The SDK keeps the server's capitals on errors, aiohttp its own on replies; an incomplete set is ignored."""
    headers = {"X-RATELIMIT-limit-Sandbox-Create": "300", "x-ratelimit-remaining-sandbox-create": "12"}
    assert told_by(headers, CREATE) is None
    whole = headers | {"X-RateLimit-Reset-sandbox-create": "44"}
    assert told_by(whole, CREATE) == Told(300, 12, 44.0)
    for missing in whole:
        assert told_by({name: text for name, text in whole.items() if name != missing}, CREATE) is None
    assert told_by(headers | {"X-RateLimit-Reset-sandbox-create": "soon"}, CREATE) is None
    assert told_by(headers | {"X-RateLimit-Reset-authenticated": "44"}, Limiter.AUTHENTICATED) is None


def test_closed_window_lets_in_again_when_the_time_is_over() -> None:
    """Nothing is sent before, and a shorter second pause does not shorten the first."""
    window = Window()
    window.close(100.0, 60.0)
    window.close(101.0, 5.0)
    assert window.enter(CREATE, 159.9) is None
    assert window.enter(CREATE, 160.0) is not None


def test_spent_window_is_not_asked_for_more() -> None:
    """As many requests as the limit are sent, and the next window is full again without a request to check."""
    window = Window()
    _told(window, 0.0, Told(3, 2, 60.0))
    assert [window.enter(CREATE, 1.0) is not None for _ in range(3)] == [True, True, False]
    assert window.enter(CREATE, 59.9) is None
    assert [window.enter(CREATE, 60.0) is not None for _ in range(4)] == [True, True, True, False]


def test_what_others_used_is_not_asked_for_again() -> None:
    """Other workers' requests show in the remaining count."""
    window = Window()
    _told(window, 0.0, Told(300, 299, 60.0))
    _told(window, 1.0, Told(300, 0, 59.0))
    assert window.enter(CREATE, 2.0) is None


def test_reply_that_overtook_another_counts_and_what_is_left_is_counted_down() -> None:
    """The lower count is the newer one, as others used the rest meanwhile. No more than that is sent."""
    window = Window()
    _told(window, 0.0, Told(300, 299, 60.0))
    slow, quick = _entered(window, 1.0), _entered(window, 1.1)
    window.learn(quick, Told(300, 2, 58.9))
    window.learn(slow, Told(300, 250, 59.0))
    assert [window.enter(CREATE, 2.0) is not None for _ in range(3)] == [True, True, False]


def test_what_was_sent_before_the_first_reply_counts() -> None:
    """The reply to the first of five knows nothing of the other four."""
    window = Window()
    first, *_ = [_entered(window, 0.0) for _ in range(5)]
    window.learn(first, Told(5, 4, 60.0))
    assert window.enter(CREATE, 1.0) is None


def test_reply_from_an_earlier_window_is_history() -> None:
    """Daytona holds a create for up to 30 s; its headers were true when it arrived."""
    window = Window()
    _told(window, 0.0, Told(3, 2, 60.0))
    late = _entered(window, 59.0)
    assert _entered(window, 61.0).number == 1
    window.learn(late, Told(3, 0, 1.0))
    assert [window.enter(CREATE, 61.5) is not None for _ in range(3)] == [True, True, False]


def test_reply_counts_its_window_from_when_it_was_asked() -> None:
    """The seconds of a held reply began long before it is read."""
    window = Window()
    ticket = _entered(window, 0.0)
    window.learn(ticket, Told(1, 0, 60.0))
    assert window.enter(CREATE, 59.0) is None
    assert window.enter(CREATE, 60.0) is not None


def test_slots_are_given_at_the_rate_of_the_limit() -> None:
    """A thousand waiting callers come back one after the other, and no window gets more than its limit."""
    window = Window()
    _told(window, 0.0, Told(300, 299, 60.0))
    window.close(10.0, 50.0)
    slots = [10.0 + window.slot_s(10.0) for _ in range(1000)]
    assert slots[0] == pytest.approx(60.0)
    assert slots == sorted(slots)
    for number in range(4):
        assert sum(60 * (number + 1) <= slot < 60 * (number + 2) for slot in slots) <= 300


def test_slots_without_a_known_limit_are_apart_too() -> None:
    """A window that has only seen refusals still admits its callers one by one."""
    window = Window()
    window.close(0.0, 5.0)
    assert [window.slot_s(0.0) for _ in range(3)] == pytest.approx([5.0, 5.0 + SLOT_S, 5.0 + 2 * SLOT_S])


def test_queue_of_slots_has_an_end() -> None:
    """However many wait, no slot is further away than the maximum; callers then share slots."""
    window = Window()
    window.close(0.0, 5.0)
    assert max(window.slot_s(0.0) for _ in range(10_000)) <= 5.0 + LINE_MAX_S + 2 * SLOT_S


def test_slots_of_a_long_pause_are_apart_too() -> None:
    """Only the line behind its end is bounded, and the pause itself may be longer than that."""
    window = Window()
    window.close(0.0, 2 * LINE_MAX_S)
    first, second = window.slot_s(0.0), window.slot_s(0.0)
    assert (first, second) == pytest.approx((2 * LINE_MAX_S, 2 * LINE_MAX_S + SLOT_S))


def test_nobody_jumps_the_line() -> None:
    """Whoever comes long after the pause stands behind those who were given a slot before."""
    window = Window()
    window.close(0.0, 5.0)
    slots = [now + window.slot_s(now) for now in (0.0, 300.0, 550.0) for _ in range(1400)]
    assert slots == sorted(slots)
    assert slots[-1] > LINE_MAX_S + 5.0


def test_late_news_shorten_neither_a_pause_nor_the_window() -> None:
    """A reply from before the 429 says that its window ends earlier; a window is as long as the longest reset told."""
    window = Window()
    _told(window, 0.0, Told(300, 299, 60.0))
    late = _entered(window, 30.0)
    window.close(31.0, 60.0)
    window.learn(late, Told(300, 0, 30.0))
    assert window.enter(CREATE, 90.0) is None
    assert window.interval_s == pytest.approx(1.1 * 60 / 300)


def test_who_can_wait_leaves_the_rest_of_the_limit() -> None:
    """A share of the whole limit, however much is left; and no more than that share of what others have left."""
    window = Window()
    assert window.spare(0.0, 0.4) == Spare()
    _told(window, 0.0, Told(600, 599, 60.0))
    assert window.spare(0.0, 0.4).pause_s == pytest.approx(60 / (0.4 * 599))
    assert window.spare(50.0, 0.4).pause_s == pytest.approx(60 / (0.4 * 600))
    _told(window, 30.0, Told(600, 100, 30.0))
    assert window.spare(30.0, 0.4).pause_s == pytest.approx(30 / (0.4 * 100))
    assert window.spare(30.0, 0.2).pause_s == pytest.approx(2 * window.spare(30.0, 0.4).pause_s)
    assert window.spare(60.0, 0.4) == Spare(0.0, 60 / (0.4 * 600))


@pytest.mark.parametrize("remaining", [5_000, 600, 60, 6])
def test_what_waits_takes_no_more_than_its_share_of_a_window(remaining: int) -> None:
    """Sent at the pace that is right each time, from any moment on: most of what was left is there for the others."""
    window = Window()
    _told(window, 0.0, Told(10_000, 9_999, 60.0))
    _told(window, 20.0, Told(10_000, remaining, 40.0))
    now, sent = 20.0, 0
    while (now := now + window.spare(now, 0.4).pause_s) < 60.0 - 0.1 * 40.0:
        assert window.enter(CREATE, now) is not None
        sent += 1
    assert sent <= min(0.4 * 10_000, 0.65 * remaining)
    assert sent >= 0.3 * min(4_000, remaining) - 1


def test_closed_window_has_nothing_to_spare() -> None:
    """Who can wait is told for how long, whether a limit is known or not."""
    window = Window()
    window.close(10.0, 5.0)
    assert window.spare(12.0, 0.4) == Spare(3.0)
    _told(window, 20.0, Told(1, 0, 60.0))
    assert window.spare(30.0, 0.5) == Spare(50.0, 120.0)


async def test_refusal_of_one_limiter_leaves_the_others_open() -> None:
    """Reads go on while creates are limited."""
    rate_limiter = RateLimiter()
    await _refused(rate_limiter, CREATE, {"Retry-After-sandbox-create": "30"})
    with pytest.raises(RateLimitedError, match="sandbox-create") as raised:
        await _passed(rate_limiter, CREATE)
    assert raised.value.retry_after_s is not None
    assert 29 < raised.value.retry_after_s < 31
    assert raised.value.status is None
    await _passed(rate_limiter, Limiter.AUTHENTICATED)
    await _passed(rate_limiter, Limiter.LIFECYCLE)


async def test_too_many_wrong_keys_close_everything() -> None:
    """Daytona then refuses every request from this address."""
    rate_limiter = RateLimiter()
    await _refused(rate_limiter, CREATE, {"Retry-After": "30", "X-RateLimit-Limit-failed-auth": "1"})
    for limiter in Limiter:
        with pytest.raises(RateLimitedError):
            await _passed(rate_limiter, limiter)


async def test_burst_before_the_first_reply_is_held_back() -> None:
    """Few requests are in flight until the first reply; then all of them go."""
    rate_limiter = RateLimiter()
    async with AsyncExitStack() as under_way:
        tickets = [await under_way.enter_async_context(rate_limiter.entered(CREATE)) for _ in range(PROBES_MAX)]
        more = [asyncio.create_task(_passed(rate_limiter, CREATE)) for _ in range(20)]
        done, _ = await asyncio.wait(more, timeout=0.05)
        assert not done
        rate_limiter.heard(tickets[0], {})
    async with asyncio.timeout(1):
        await asyncio.gather(*more)


@pytest.mark.parametrize("is_refused", [True, False])
async def test_any_reply_ends_the_caution(*, is_refused: bool) -> None:
    """Also one without headers, and a refusal: from then on as many as the limit admits are under way at once."""
    rate_limiter = RateLimiter()
    async with rate_limiter.entered(CREATE) as ticket:
        if is_refused:
            rate_limiter.refused(ticket, {"Retry-After-sandbox-create": "0"}, "slow down")
        else:
            rate_limiter.heard(ticket, None)
    async with AsyncExitStack() as under_way, asyncio.timeout(1):
        for _ in range(5 * PROBES_MAX):
            await under_way.enter_async_context(rate_limiter.entered(CREATE))


async def test_429_without_headers_pauses_for_a_second() -> None:
    """Something in front of Daytona has sent it."""
    rate_limiter = RateLimiter()
    async with rate_limiter.entered(CREATE) as ticket:
        error = rate_limiter.refused(ticket, None, "slow down")
    assert error.retry_after_s is not None
    assert UNNAMED_S <= error.retry_after_s + 0.1 <= UNNAMED_S + SLOT_S + 0.1


async def test_headers_of_a_reply_are_believed() -> None:
    """What it says is used up is not asked for."""
    rate_limiter = RateLimiter()
    async with rate_limiter.entered(CREATE) as ticket:
        said = {f"X-RateLimit-{what}-sandbox-create": text for what, text in USED_UP.items()}
        rate_limiter.heard(ticket, said)
    with pytest.raises(RateLimitedError, match="used up"):
        await _passed(rate_limiter, CREATE)


async def test_pause_is_logged_once() -> None:
    """The requests that were under way meet it too."""
    rate_limiter = RateLimiter()
    with capture_logs() as lines:
        async with rate_limiter.entered(CREATE) as first, rate_limiter.entered(CREATE) as second:
            for ticket in (first, second):
                rate_limiter.refused(ticket, {"Retry-After-sandbox-create": "30"}, "slow down")
    assert [(line["event"], line["limiter"], line["pause_s"]) for line in lines] == [
        ("daytona_rate_limited", "sandbox-create", 30.0)
    ]


async def test_request_that_breaks_gives_its_place_to_the_next() -> None:
    """A failed connection is no reply: the next few requests are tried, and nobody waits for ever."""
    rate_limiter = RateLimiter()

    async def broken() -> None:
        async with rate_limiter.entered(CREATE):
            await asyncio.sleep(0)
            raise ConnectionError

    async with asyncio.timeout(1):
        results = await asyncio.gather(*(broken() for _ in range(5 * PROBES_MAX)), return_exceptions=True)
    assert {type(result) for result in results} == {ConnectionError}


def _entered(window: Window, now: float) -> Ticket:
    ticket = window.enter(CREATE, now)
    assert ticket is not None
    return ticket


def _told(window: Window, now: float, told: Told) -> None:
    window.learn(_entered(window, now), told)


async def _passed(rate_limiter: RateLimiter, limiter: Limiter) -> None:
    async with rate_limiter.entered(limiter) as ticket:
        rate_limiter.heard(ticket, {})


async def _refused(rate_limiter: RateLimiter, limiter: Limiter, headers: dict[str, str]) -> None:
    async with rate_limiter.entered(limiter) as ticket:
        error = rate_limiter.refused(ticket, headers, "429: Too Many Requests")
        assert (error.status, str(error)) == (429, "429: Too Many Requests")
