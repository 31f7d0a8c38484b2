"""What a run that works costs: requests to Daytona, and events of the history."""

from __future__ import annotations

import pytest
from temporalio.api.enums.v1 import EventType

import activities.runs
from activities.runs import PAUSE_GROWTH, PAUSE_MAX_S, PAUSE_S
from issuebox.domain.run import FOLLOW_SLICE
from tests.waiting import until

from .conftest import Stack, Started
from .test_agent_runs import UNTIL_TOLD, WORK, ask, let_go, over, working

EVENTS_PER_SLICE_MAX = 6
"""Three of the follower, three of the workflow task that follows its end."""


PROBES_PER_SLICE_MAX = 3
"""Of one second, at one each 0.4 s."""


def test_followers_ask_daytona_twelve_times_in_the_first_minute_and_then_six() -> None:
    moments, now, pause_s = [], 0.0, PAUSE_S
    while now < 180:
        moments.append(now)
        now, pause_s = now + pause_s, min(PAUSE_MAX_S, pause_s * PAUSE_GROWTH)
    per_minute = [sum(60 * minute <= moment < 60 * (minute + 1) for moment in moments) for minute in range(3)]
    assert per_minute[0] <= 12
    assert max(per_minute[1:]) <= 6
    assert 3600 / FOLLOW_SLICE.total_seconds() * EVENTS_PER_SLICE_MAX <= 60


async def test_each_slice_costs_six_events_and_no_probe_more(start: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of a second in place of ten minutes, with a probe every 0.4 s. The next follower goes on at that pace."""
    monkeypatch.setattr(activities.runs, "FOLLOW_S", 1.0)
    monkeypatch.setattr(activities.runs, "PAUSE_S", 0.02)
    monkeypatch.setattr(activities.runs, "PAUSE_MAX_S", 0.4)
    stack = await start(**WORK, run_command=UNTIL_TOLD, run_report="none")
    await ask(stack, 1)
    await working(stack)
    # The first follower begins with short pauses.
    before = await until(lambda: counted(stack), lambda seen: seen[0] >= 2, "the second slice", 60.0)
    mark = await stack.journal_end()
    after = await until(lambda: counted(stack), lambda seen: seen[0] >= before[0] + 5, "five more slices", 60.0)
    probes = await stack.daytona.admin.journal(kind="toolbox", after=mark)
    await let_go(stack)
    await over(stack)
    slices, events = after[0] - before[0], after[1] - before[1]
    assert events <= (slices + 1) * EVENTS_PER_SLICE_MAX
    assert len(probes) <= (slices + 1) * PROBES_PER_SLICE_MAX


async def counted(stack: Stack) -> tuple[int, int]:
    """How many followers the history has seen begin, and how many events it has up to the last of them."""
    history = await stack.handle.fetch_history()
    followers = [
        event.event_id
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
        and event.activity_task_scheduled_event_attributes.activity_type.name == "follow_run"
    ]
    return len(followers), followers[-1] if followers else 0
