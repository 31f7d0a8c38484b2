"""The plan of a chaos run: the same for the same seed, and everything in it that a run should meet."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import Counter, defaultdict

import pytest

from localdaytona.config import Config
from localdaytona.fault_model import Plan as FaultPlan
from proofs.chaos.deeds import (
    Act,
    Command,
    Freeze,
    Kill,
    Knob,
    RollingRestart,
    Stall,
    StallReader,
    Terminate,
    Timed,
    Wave,
    Work,
)
from proofs.chaos.faults import MISSES, deck
from proofs.chaos.parts import END_TIMEOUT_S
from proofs.chaos.plan import BURST_ISSUES_MAX, BURSTS_S, ROUND_S, Plan, make_plan
from proofs.chaos.story import DELIVERIES_PER_ISSUE, IssueState
from proofs.chaos.terms import (
    API,
    CALM,
    CONFIRM_GONE_S,
    GRACE_S,
    HEARTBEAT_TIMEOUT_S,
    OURS,
    PARTS,
    SETTINGS,
    SLOW,
    STALL_S,
    WORKERS,
)
from proofs.checker.evidence import Wish

SHORT_S, LONG_S = 45.0, 300.0
READS_OF_A_SECOND_LOOK = 4
"""By ID and by name, before and after a list."""


@pytest.fixture(scope="module")
def short() -> Plan:
    return make_plan(1, 24, SHORT_S)


@pytest.fixture(scope="module")
def long() -> Plan:
    return make_plan(1, 1000, LONG_S)


def test_same_seed_gives_the_same_plan_in_another_process(short: Plan) -> None:
    """Whoever has the seed has the run; nothing comes from the order of a set or from a clock."""
    command = [sys.executable, "-m", "proofs.chaos", "--seed", "1", "--issues", "24", "--minutes", "0.75", "--plan"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONHASHSEED": "7"})
    first, *lines = told.stdout.splitlines()
    assert first == "seed 1   (again: make chaos SEED=1 ISSUES=24 MINUTES=0.75)"
    assert lines == list(short.lines())
    assert lines != list(make_plan(2, 24, SHORT_S).lines())


def test_every_kind_of_process_is_killed_and_frozen(short: Plan) -> None:
    """Also in the shortest run."""
    killed = {timed.deed.part.partition("-")[0] for timed in short.deeds if isinstance(timed.deed, Kill)}
    frozen = {timed.deed.part.partition("-")[0] for timed in short.deeds if isinstance(timed.deed, Freeze)}
    assert killed == frozen == {part.partition("-")[0] for part in PARTS}


def test_worker_wakes_up_late_and_another_is_cut_off(short: Plan) -> None:
    """Both for longer than a heartbeat may be late, so that a lost attempt goes on beside its successor."""
    long_frozen = {
        timed.deed.part
        for timed in short.deeds
        if isinstance(timed.deed, Freeze) and timed.deed.seconds > HEARTBEAT_TIMEOUT_S
    }
    cut_off = {
        timed.deed.link.partition(">")[0]
        for timed in short.deeds
        if isinstance(timed.deed, Stall) and timed.deed.seconds > HEARTBEAT_TIMEOUT_S
    }
    assert long_frozen
    assert cut_off
    assert long_frozen | cut_off <= set(WORKERS)
    assert not long_frozen & cut_off


def _rounds(plan: Plan) -> list[list[Timed]]:
    """What is done to processes, by round."""
    rounds: list[list[Timed]] = [[] for _ in range(round(plan.seconds / ROUND_S))]
    for timed in plan.deeds:
        if isinstance(timed.deed, Kill | Freeze | Terminate | StallReader):
            rounds[int(timed.at_s * len(rounds) / plan.seconds)].append(timed)
    return rounds


@pytest.mark.parametrize("seed", range(5))
def test_every_kind_of_our_processes_is_told_to_end_in_each_round(seed: int) -> None:
    """Two of the workers, at different moments, and an API; as a deploy does it, which kill -9 is not."""
    for plan in (make_plan(seed, 24, SHORT_S), make_plan(seed, 24, LONG_S)):
        for deeds in _rounds(plan):
            ends = {timed.deed.part: timed.at_s for timed in deeds if isinstance(timed.deed, Terminate)}
            assert {part.partition("-")[0] for part in ends} == {part.partition("-")[0] for part in OURS}
            assert len(ends.keys() & set(WORKERS)) == 2
            assert len(set(ends.values())) == len(ends)


@pytest.mark.parametrize("seconds", [SHORT_S, LONG_S])
def test_all_workers_are_restarted_one_after_the_other_once(seconds: float) -> None:
    """A rolling restart in every run, begun within its time."""
    rolls = [timed for timed in make_plan(1, 24, seconds).deeds if isinstance(timed.deed, RollingRestart)]
    assert len(rolls) == 1
    assert rolls[0].at_s < seconds
    assert isinstance(rolls[0].deed, RollingRestart)
    assert sorted(rolls[0].deed.parts) == sorted(WORKERS)


@pytest.mark.parametrize("seed", range(5))
def test_sigterm_meets_commands_that_last_longer_than_the_grace(seed: int) -> None:
    """Daytona is slow at every SIGTERM of a worker, so that what is cut off is in the middle of a command."""
    plan = make_plan(seed, 24, SHORT_S)
    slow = [timed for timed in plan.deeds if isinstance(timed.deed, Knob) and "durations" in timed.deed.changes]
    for timed in plan.deeds:
        is_worker = isinstance(timed.deed, Terminate) and timed.deed.part in WORKERS
        if is_worker or isinstance(timed.deed, RollingRestart):
            assert any(
                knob.at_s < timed.at_s < knob.at_s + knob.deed.seconds for knob in slow if isinstance(knob.deed, Knob)
            )
    assert all(isinstance(timed.deed, Knob) and timed.deed.changes == {"durations": SLOW} for timed in slow)
    assert all(float(str(SLOW[name])) > GRACE_S for name in ("create_s", "start_s", "stop_s", "destroy_s"))
    assert float(SETTINGS["ISSUEBOX_DAYTONA_SETTLE_TIMEOUT_S"]) > GRACE_S


@pytest.mark.parametrize("seed", range(5))
def test_log_of_a_worker_that_is_left_alone_is_not_read_for_long_in_each_round(seed: int) -> None:
    """A stall that a kill would cut short hangs nobody."""
    for plan in (make_plan(seed, 24, SHORT_S), make_plan(seed, 24, LONG_S)):
        for deeds in _rounds(plan):
            stalls = {timed.deed.part: timed.deed for timed in deeds if isinstance(timed.deed, StallReader)}
            long = {part for part, stall in stalls.items() if part in WORKERS and stall.seconds > STALL_S}
            hit = {timed.deed.part for timed in deeds if not isinstance(timed.deed, StallReader)}  # type: ignore[union-attr]
            assert len(long) == 1
            assert not long & hit
            assert len(stalls.keys() & set(WORKERS)) == 2


@pytest.mark.parametrize("seed", range(5))
def test_api_is_told_to_end_while_nobody_reads_its_log(seed: int) -> None:
    """For longer than it may take; the other API's log is not read for a moment."""
    for deeds in _rounds(make_plan(seed, 24, LONG_S)):
        ((api, at_s),) = [
            (timed.deed.part, timed.at_s)
            for timed in deeds
            if isinstance(timed.deed, Terminate) and timed.deed.part in API
        ]
        stalls = {timed.deed.part: timed for timed in deeds if isinstance(timed.deed, StallReader)}
        stall = stalls[api]
        assert isinstance(stall.deed, StallReader)
        assert stall.at_s < at_s < at_s + END_TIMEOUT_S < stall.at_s + stall.deed.seconds
        assert stalls.keys() >= set(API)


def test_bursts_come_while_a_worker_s_log_is_not_read(long: Plan) -> None:
    """Copies of what was sent before, many lines at once, and no flood however many issues there are."""
    stalls = [
        (timed.at_s, timed.at_s + timed.deed.seconds)
        for timed in long.deeds
        if isinstance(timed.deed, StallReader) and timed.deed.part in WORKERS and timed.deed.seconds > STALL_S
    ]
    first = {post.happening: post.at_s for post in reversed(long.posts)}
    assert all(first[post.happening] < post.at_s for post in long.again)
    assert all(any(begin < post.at_s < end for begin, end in stalls) for post in long.again)
    bursts = Counter(post.at_s for post in long.again)
    assert len(bursts) == len(stalls) * len(BURSTS_S)
    assert all(50 < posts <= 3 * BURST_ISSUES_MAX for posts in bursts.values())


def test_short_run_deals_every_fault_on_every_operation(short: Plan) -> None:
    """The whole deck is through once, in waves that localdaytona takes."""
    waves = [timed.deed for timed in short.deeds if isinstance(timed.deed, Wave)]
    dealt = [(rule["match"]["operation"], rule["effect"]) for wave in waves for rule in wave.rules]  # type: ignore[index, call-overload]
    assert all(card in dealt for card in deck())
    for wave in waves:
        FaultPlan.model_validate({"seed": 1, "rules": wave.rules})


def test_every_knob_is_one_of_daytonas_and_is_turned_back(short: Plan) -> None:
    """What a knob changes, good weather names."""
    knobs = [timed.deed for timed in short.deeds if isinstance(timed.deed, Knob)]
    assert {name for knob in knobs for name in knob.changes} == set(CALM)
    for knob in knobs:
        Config.model_validate(knob.changes)
    Config.model_validate(CALM)


def test_no_second_look_at_a_404_meets_the_next_outage(long: Plan) -> None:
    """Daytona's lies are shorter than the patience of who looks twice, as the real ones are."""
    outages = [
        (timed.at_s, timed.at_s + timed.deed.seconds)
        for timed in long.deeds
        if isinstance(timed.deed, Knob) and timed.deed.name == "outage"
    ]
    assert len(outages) > 3
    gaps = [later - end for (_, end), (later, _) in itertools.pairwise(outages)]
    assert min(gaps) > CONFIRM_GONE_S


def test_no_rule_can_lie_to_all_four_reads_of_a_second_look(long: Plan) -> None:
    """False 404s come, but what makes sure that a sandbox is gone is told the truth once."""
    rules = [rule for timed in long.deeds if isinstance(timed.deed, Wave) for rule in timed.deed.rules]
    lies = [int(str(rule["times"])) for rule in rules if rule["effect"] == {"kind": MISSES}]
    assert max(lies) == READS_OF_A_SECOND_LOOK - 1


def test_load_has_ten_deliveries_an_issue_of_all_sorts(long: Plan) -> None:
    """Duplicates, bursts, late ones, ties, and events that ask for nothing."""
    posts = long.posts
    assert len(posts) == 1000 * DELIVERIES_PER_ISSUE
    assert {post.happening.kind.wish for post in posts} == set(Wish)
    copies = Counter(post.delivery for post in posts)
    assert max(copies.values()) > 3
    hooks = defaultdict(set)
    for post in posts:
        hooks[post.happening].add(post.delivery)
    assert max(len(ids) for ids in hooks.values()) > 1
    kinds = defaultdict(set)
    for happening in hooks:
        kinds[happening.issue, happening.second].add(happening.kind.leads_to)
    assert any(len(states) > 1 for states in kinds.values())


def test_deliveries_come_late_and_out_of_order(long: Plan) -> None:
    """Never before they happened, and many of them behind a later one."""
    newest: dict[int, int] = {}
    overtaken = 0
    for post in long.posts:
        happening = post.happening
        assert post.at_s >= happening.second + 1.0
        overtaken += happening.second < newest.get(happening.issue, -1)
        newest[happening.issue] = max(happening.second, newest.get(happening.issue, -1))
    assert overtaken > 500


def test_nothing_happens_to_an_issue_that_is_gone(long: Plan) -> None:
    """GitHub sends nothing new about an issue that was deleted or transferred."""
    gone: dict[int, int] = {}
    for post in long.posts:
        if post.happening.kind.leads_to is IssueState.GONE:
            gone[post.happening.issue] = post.happening.second
    assert gone
    assert all(post.happening.second <= gone.get(post.happening.issue, 10**6) for post in long.posts)


def test_work_is_left_before_anybody_ends_or_orders_about_the_issue(long: Plan) -> None:
    """Later the service may look into a sandbox that it started for the look alone, and is right to trust it."""
    ends: dict[int, float] = {}
    for post in long.posts:
        if post.happening.kind.leads_to is not IssueState.OPEN:
            issue = post.happening.issue
            ends[issue] = min(post.happening.second, ends.get(issue, LONG_S))
    for timed in long.deeds:
        if isinstance(timed.deed, Command) and timed.deed.order != "ensure":
            ends[timed.deed.issue] = min(timed.at_s, ends.get(timed.deed.issue, LONG_S))
    works = [timed.deed for timed in long.deeds if isinstance(timed.deed, Work)]
    assert len(works) > 100
    assert all(work.until_s < ends.get(work.issue, 10**6) for work in works)


def test_people_act_and_order(long: Plan) -> None:
    """Every act and every order, forced or not."""
    acts = {timed.deed.act for timed in long.deeds if isinstance(timed.deed, Act)}
    orders = {(timed.deed.order, timed.deed.is_forced) for timed in long.deeds if isinstance(timed.deed, Command)}
    assert acts == {"stop", "archive", "start", "break", "idle", "release"}
    assert orders == {("stop", False), ("delete", False), ("delete", True), ("replace", True), ("ensure", False)}
