"""The arithmetic of what runs cost, on made-up journals, histories and copies; and the benchmarks' GitHub."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from bench.measure import run_history, run_overhead, run_recovery, run_requests
from bench.measure.comments import LOGIN, TOKEN, serving_comments
from bench.measure.run_history import TOLD, UNTOLD, RunHistory
from bench.measure.run_overhead import BARE, RUN, Taken, kind_of, steps_of
from bench.measure.run_requests import KINDS, RunRequests
from bench.measure.run_work import FOLLOW
from issuebox.providers.github_client import GitHubOptions
from issuebox.providers.github_comments import GitHubComments
from localdaytona.journal import Entry


def entry(at: float, operation: str = "", path: str = "/process/execute") -> Entry:
    kind = "request" if operation else "toolbox"
    detail = {} if operation else {"path": path}
    return Entry(seq=1, at=at, kind=kind, sandbox_id="s", name="a", operation=operation or "toolbox", detail=detail)  # type: ignore[arg-type]


def event(number: int, kind: str, activity: str = "", begun: int = 0, at_ms: int = 0) -> HistoryEvent:
    made = HistoryEvent(event_id=number, event_type=EventType.Value(f"EVENT_TYPE_{kind}"))  # type: ignore[arg-type]
    made.event_time.FromMilliseconds(at_ms)
    if activity:
        made.activity_task_scheduled_event_attributes.activity_type.name = activity
    if begun:
        made.activity_task_completed_event_attributes.scheduled_event_id = begun
    return made


def history(opening: int, slices: int, ending: int, per_slice: int = 6) -> list[HistoryEvent]:
    """Events of a run: those before its first follower, whole slices, the last follower and what comes after it."""
    found = [event(number, "WORKFLOW_TASK_COMPLETED") for number in range(opening)]
    for _ in range(slices):
        found.append(event(0, "ACTIVITY_TASK_SCHEDULED", FOLLOW))
        found += [event(0, "WORKFLOW_TASK_COMPLETED") for _ in range(per_slice - 1)]
    return [
        *found,
        event(0, "ACTIVITY_TASK_SCHEDULED", FOLLOW),
        *(event(0, "WORKFLOW_TASK_COMPLETED") for _ in range(ending - 1)),
    ]


def test_requests_are_told_apart_by_what_they_do() -> None:
    """Lookups, commands inside, uploads; anything new stands under its own name and is not left out."""
    asked = [entry(0, "get"), entry(0), entry(0, path="/files/bulk-upload"), entry(0, "stop"), entry(0, path="/new")]
    assert list(map(kind_of, asked)) == [
        "lookups of the sandbox", "commands inside", "uploads of files", "stop", "/new",
    ]  # fmt: skip


def test_requests_are_counted_by_minutes_since_the_begin() -> None:
    """Those before it are counted apart, and those after the last whole minute not at all."""
    asked = [entry(95, "get"), entry(99), *(entry(at) for at in (100, 159.9, 160, 219.9, 220, 280, 300))]
    found = run_requests.summarize("x", asked, begun_at=100.0, minutes=3)
    assert (sum(found.to_begin.values()), found.counts) == (2, [2, 2, 1])
    assert found.at_s == [0, 59.9, 60, 119.9, 120]


@pytest.mark.parametrize(
    ("minutes", "is_met"),
    [([12, 6, 6], [True, True]), ([13, 6, 6], [False, True]), ([12, 6, 7], [True, False]), ([12], [True])],
)
def test_each_minute_has_its_bound(minutes: list[int], is_met: list[bool]) -> None:
    """12 requests in the first minute, 6 in the worst of the later ones. The loud agent has no bound."""
    rows = [
        run_requests.Minutes(what=kind.name, to_begin={}, minutes=[{"x": count} for count in counts], at_s=[])
        for kind, counts in ((KINDS[0], minutes), (KINDS[-1], [99] * len(minutes)))
    ]
    assert [
        target.is_met for target in run_requests.targets(RunRequests(rows=rows, pauses_s=[3, 10], load=[0.0]))
    ] == is_met


def test_hour_is_made_of_its_beginning_six_slices_and_its_end() -> None:
    """The last slice is part of the end, and is not counted twice."""
    found = run_history.summarize(UNTOLD, history(opening=21, slices=4, ending=16), {})
    assert (found.slices, found.opening.events, found.slice.events, found.ending.events) == (4, 21, 6, 16)
    assert found.working_hour.events == 36
    assert found.whole_hour.events == 21 + 5 * 6 + 16
    assert found.activities == {FOLLOW: 5}
    # 31 events beside the slices: (31 + 36 h) / h = 60.
    assert math.isclose(found.hours_within(60), 31 / 24)


def test_history_without_a_whole_slice_is_refused() -> None:
    """One follower alone says nothing of a slice."""
    with pytest.raises(ValueError, match="no whole slice"):
        run_history.summarize(UNTOLD, history(opening=3, slices=0, ending=5), {})


def test_bound_of_the_history_counts_the_reports() -> None:
    """They are what a run costs more when its issue is told: here 18 events, beside an hour's 36 or 42."""

    def met(per_slice: int) -> list[tuple[float, bool]]:
        cases = [
            run_history.summarize(UNTOLD, history(21, 2, 10 + per_slice, per_slice), {}),
            run_history.summarize(TOLD, history(33, 2, 16 + per_slice, per_slice), {}),
        ]
        figures = RunHistory(cases=cases, slice_s=1.0, load=[0.0])
        return [(target.value, target.is_met) for target in run_history.targets(figures)]

    assert met(6) == [(36, True), (54, True)]
    assert met(8) == [(48, True), (66, False)]


def test_steps_are_timed_from_schedule_to_end() -> None:
    """An activity that has not ended is left out, and one of before as well."""
    events = [
        event(5, "ACTIVITY_TASK_SCHEDULED", "prepare_run", at_ms=1000),
        event(7, "ACTIVITY_TASK_COMPLETED", begun=2, at_ms=1050),
        event(8, "ACTIVITY_TASK_COMPLETED", begun=5, at_ms=1100),
        event(9, "ACTIVITY_TASK_SCHEDULED", FOLLOW, at_ms=1200),
    ]
    assert steps_of(events) == [("prepare_run", 0.1)]


def test_what_a_run_adds_is_taken_pair_by_pair() -> None:
    """A slow pair slows both sides, and its slowness is not added to ours."""
    taken = Taken(
        took_s={RUN: [1.0, 11.0, 2.0], BARE: [0.5, 10.0, 1.0]},
        requests={RUN: [Counter(a=1), Counter(a=2, b=3)], BARE: [Counter(a=1)]},
        steps_s={"prepare_run": [0.1, 0.2, 0.3]},
    )
    found = run_overhead.summarize(taken, [0.0, 0.0])
    assert (found.added_s.p50, found.ratio.p50) == (1.0, 2.0)
    assert found.ways[RUN].requests == {"a": 1.5, "b": 1.5}
    assert found.steps_s["prepare_run"].p50 == 0.2


@pytest.mark.parametrize(
    ("copied", "lost", "doubled", "is_same"),
    [
        (b"1\n2\n3\n", 0, 0, True),
        (b"1\n3\n", 2, 0, False),
        (b"1\n2\n2\n3\n", 0, 2, False),
        (b"1\n2\n3", 2, 1, False),
        (b"2\n1\n3\n", 0, 0, False),
    ],
)
def test_copy_is_compared_byte_for_byte(copied: bytes, lost: int, doubled: int, is_same: bool) -> None:
    """What is missing and what is there too often is counted; another order differs, too."""
    found = run_recovery.summarize("who", [1.0], [(b"1\n2\n3\n", copied), (b"1\n", b"1\n")])
    assert (found.lost_bytes, found.doubled_bytes, found.is_same) == (lost, doubled, is_same)
    figures = run_recovery.RunRecovery(
        cases=[found], heartbeat_timeout_s=10, heartbeat_s=8, retry_s=[1, 30], load=[0.0]
    )  # fmt: skip
    assert all(target.is_met for target in run_recovery.targets(figures)) is is_same


async def test_stand_in_takes_what_the_provider_sends() -> None:
    """A comment is written, found again by its marker, and edited; a reaction is taken."""
    async with serving_comments() as github:
        options = GitHubOptions(api_url=github.settings["ISSUEBOX_GITHUB_API_URL"], token=TOKEN)
        async with GitHubComments(options) as comments:
            since = datetime(2026, 1, 1, tzinfo=UTC)
            made = await comments.create("octo/repo", 5, "<!-- mark --> one")
            assert await comments.edit("octo/repo", made, "<!-- mark --> two")
            assert not await comments.edit("octo/repo", made + 1, "nothing")
            await comments.react("octo/repo", 7)
            found = await comments.own("octo/repo", 5, since, "<!-- mark -->")
            assert [(each.id, each.body) for each in found] == [(made, "<!-- mark --> two")]
            assert not await comments.own("octo/repo", 6, since, "<!-- mark -->")
        assert github.bodies[made]["user"]["login"] == LOGIN
        assert github.asked == ["create", "edit", "edit", "react", "list", "list"]
