"""The plan of a chaos run: it is the same for the same seed, and has everything that a run should meet."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import Counter, defaultdict

import pytest

from localdaytona.config import Config
from localdaytona.fault_model import Plan as FaultPlan
from proofs.chaos.fault_schedule import (
    FOREIGN,
    IN_COMMANDS,
    MEDDLINGS,
    MOMENTS,
    Act,
    Burst,
    Command,
    Door,
    Freeze,
    Kill,
    Knob,
    Meddle,
    RollingRestart,
    Stall,
    StallReader,
    Stray,
    Terminate,
    TimedStep,
    Wave,
    Work,
)
from proofs.chaos.faults import FALSE_404, deck
from proofs.chaos.hostile import deliveries, knocks, rest_calls
from proofs.chaos.parts import END_TIMEOUT_S
from proofs.chaos.plan import BURST_ISSUES_MAX, BURSTS_S, ROUND_S, Plan, make_plan
from proofs.chaos.story import DELIVERIES_PER_ISSUE, IssueState
from proofs.chaos.terms import (
    API,
    CALM,
    CONFIRM_GONE_S,
    GRACE_S,
    HEARTBEAT_TIMEOUT_S,
    INSTANCE,
    OURS,
    PARTS,
    SHORTENED,
    SLOW,
    STALL_S,
    STRAYS,
    WORKERS,
)
from proofs.checker.evidence import Expectation

SHORT_S, LONG_S = 45.0, 300.0
READS_OF_A_SECOND_LOOKUP = 4
"""By ID and by name, before and after a list."""


@pytest.fixture(scope="module")
def short() -> Plan:
    return make_plan(1, 24, SHORT_S)


@pytest.fixture(scope="module")
def long() -> Plan:
    return make_plan(1, 1000, LONG_S)


def test_same_seed_gives_the_same_plan_in_another_process(short: Plan) -> None:
    """The seed repeats the plan: nothing depends on the order of a set or on a clock."""
    command = [sys.executable, "-m", "proofs.chaos", "--seed", "1", "--issues", "24", "--minutes", "0.75", "--plan"]
    printed = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONHASHSEED": "7"}
    )
    first, *lines = printed.stdout.splitlines()
    assert first == "seed 1   (again: make chaos SEED=1 ISSUES=24 MINUTES=0.75)"
    assert lines == list(short.lines())
    assert lines != list(make_plan(2, 24, SHORT_S).lines())


def test_every_kind_of_process_is_killed_and_frozen(short: Plan) -> None:
    """This holds in the shortest run too."""
    killed = {timed.step.part.partition("-")[0] for timed in short.schedule if isinstance(timed.step, Kill)}
    frozen = {timed.step.part.partition("-")[0] for timed in short.schedule if isinstance(timed.step, Freeze)}
    assert killed == frozen == {part.partition("-")[0] for part in PARTS}


def test_worker_wakes_up_late_and_another_is_cut_off(short: Plan) -> None:
    """Both last longer than the heartbeat timeout, so that a lost attempt goes on beside its successor."""
    long_frozen = {
        timed.step.part
        for timed in short.schedule
        if isinstance(timed.step, Freeze) and timed.step.seconds > HEARTBEAT_TIMEOUT_S
    }
    cut_off = {
        timed.step.link.partition(">")[0]
        for timed in short.schedule
        if isinstance(timed.step, Stall) and timed.step.seconds > HEARTBEAT_TIMEOUT_S
    }
    assert long_frozen
    assert cut_off
    assert long_frozen | cut_off <= set(WORKERS)
    assert not long_frozen & cut_off


def _rounds(plan: Plan) -> list[list[TimedStep]]:
    """The steps on processes, by round."""
    rounds: list[list[TimedStep]] = [[] for _ in range(round(plan.seconds / ROUND_S))]
    for timed in plan.schedule:
        if isinstance(timed.step, Kill | Freeze | Terminate | StallReader):
            rounds[int(timed.at_s * len(rounds) / plan.seconds)].append(timed)
    return rounds


@pytest.mark.parametrize("seed", range(5))
def test_every_kind_of_our_processes_gets_a_sigterm_in_each_round(seed: int) -> None:
    """Two of the workers, at different times, and an API, as in a deploy."""
    for plan in (make_plan(seed, 24, SHORT_S), make_plan(seed, 24, LONG_S)):
        for steps in _rounds(plan):
            ends = {timed.step.part: timed.at_s for timed in steps if isinstance(timed.step, Terminate)}
            assert {part.partition("-")[0] for part in ends} == {part.partition("-")[0] for part in OURS}
            assert len(ends.keys() & set(WORKERS)) == 2
            assert len(set(ends.values())) == len(ends)


@pytest.mark.parametrize("seconds", [SHORT_S, LONG_S])
def test_all_workers_are_restarted_one_after_the_other_once(seconds: float) -> None:
    """Every run has one rolling restart, which begins within the duration."""
    rolls = [timed for timed in make_plan(1, 24, seconds).schedule if isinstance(timed.step, RollingRestart)]
    assert len(rolls) == 1
    assert rolls[0].at_s < seconds
    assert isinstance(rolls[0].step, RollingRestart)
    assert sorted(rolls[0].step.parts) == sorted(WORKERS)


@pytest.mark.parametrize("seed", range(5))
def test_sigterm_meets_commands_that_last_longer_than_the_grace(seed: int) -> None:
    """Daytona is slow at every SIGTERM of a worker, so that the SIGTERM interrupts commands."""
    plan = make_plan(seed, 24, SHORT_S)
    slow = [timed for timed in plan.schedule if isinstance(timed.step, Knob) and "durations" in timed.step.changes]
    for timed in plan.schedule:
        is_worker = isinstance(timed.step, Terminate) and timed.step.part in WORKERS
        if is_worker or isinstance(timed.step, RollingRestart):
            assert any(
                knob.at_s < timed.at_s < knob.at_s + knob.step.seconds for knob in slow if isinstance(knob.step, Knob)
            )
    assert all(isinstance(timed.step, Knob) and timed.step.changes == {"durations": SLOW} for timed in slow)
    assert all(float(str(SLOW[name])) > GRACE_S for name in ("create_s", "start_s", "stop_s", "destroy_s"))
    assert SHORTENED["daytona_settle_timeout_s"] > GRACE_S


@pytest.mark.parametrize("seed", range(5))
def test_log_of_a_worker_that_is_left_alone_is_not_read_for_long_in_each_round(seed: int) -> None:
    """A kill would cut the stall short, and no process would hang."""
    for plan in (make_plan(seed, 24, SHORT_S), make_plan(seed, 24, LONG_S)):
        for steps in _rounds(plan):
            stalls = {timed.step.part: timed.step for timed in steps if isinstance(timed.step, StallReader)}
            long = {part for part, stall in stalls.items() if part in WORKERS and stall.seconds > STALL_S}
            hit = {timed.step.part for timed in steps if not isinstance(timed.step, StallReader)}  # type: ignore[union-attr]
            assert len(long) == 1
            assert not long & hit
            assert len(stalls.keys() & set(WORKERS)) == 2


@pytest.mark.parametrize("seed", range(5))
def test_api_gets_a_sigterm_while_nobody_reads_its_log(seed: int) -> None:
    """Its log is unread for longer than its end may take; the other API's log is unread for a moment."""
    for steps in _rounds(make_plan(seed, 24, LONG_S)):
        ((api, at_s),) = [
            (timed.step.part, timed.at_s)
            for timed in steps
            if isinstance(timed.step, Terminate) and timed.step.part in API
        ]
        stalls = {timed.step.part: timed for timed in steps if isinstance(timed.step, StallReader)}
        stall = stalls[api]
        assert isinstance(stall.step, StallReader)
        assert stall.at_s < at_s < at_s + END_TIMEOUT_S < stall.at_s + stall.step.seconds
        assert stalls.keys() >= set(API)


def test_bursts_come_while_a_worker_s_log_is_not_read(long: Plan) -> None:
    """Bursts copy earlier deliveries, many at once, up to a maximum for any number of issues."""
    stalls = [
        (timed.at_s, timed.at_s + timed.step.seconds)
        for timed in long.schedule
        if isinstance(timed.step, StallReader) and timed.step.part in WORKERS and timed.step.seconds > STALL_S
    ]
    first = {post.event: post.at_s for post in reversed(long.posts)}
    assert all(first[post.event] < post.at_s for post in long.again)
    assert all(any(begin < post.at_s < end for begin, end in stalls) for post in long.again)
    bursts = Counter(post.at_s for post in long.again)
    assert len(bursts) == len(stalls) * len(BURSTS_S)
    assert all(50 < posts <= 3 * BURST_ISSUES_MAX for posts in bursts.values())


def test_short_run_deals_every_fault_on_every_operation(short: Plan) -> None:
    """The whole deck is dealt once, in waves that localdaytona accepts."""
    waves = [timed.step for timed in short.schedule if isinstance(timed.step, Wave)]
    dealt = [(rule["match"]["operation"], rule["effect"]) for wave in waves for rule in wave.rules]  # type: ignore[index, call-overload]
    assert all(card in dealt for card in deck())
    for wave in waves:
        FaultPlan.model_validate({"seed": 1, "rules": wave.rules})


def test_every_knob_is_one_of_daytonas_and_is_turned_back(short: Plan) -> None:
    """The configuration without faults has every key that a knob changes."""
    knobs = [timed.step for timed in short.schedule if isinstance(timed.step, Knob)]
    assert {name for knob in knobs for name in knob.changes} == set(CALM)
    for knob in knobs:
        Config.model_validate(knob.changes)
    Config.model_validate(CALM)


def test_no_second_lookup_after_a_404_meets_the_next_outage(long: Plan) -> None:
    """Outages are shorter than the pause before the second lookup, as in production."""
    outages = [
        (timed.at_s, timed.at_s + timed.step.seconds)
        for timed in long.schedule
        if isinstance(timed.step, Knob) and timed.step.name == "outage"
    ]
    assert len(outages) > 3
    gaps = [later - end for (_, end), (later, _) in itertools.pairwise(outages)]
    assert min(gaps) > CONFIRM_GONE_S


def test_no_rule_falsifies_all_four_reads_of_a_second_lookup(long: Plan) -> None:
    """False 404s come, but one read of a confirming lookup is always true."""
    rules = [rule for timed in long.schedule if isinstance(timed.step, Wave) for rule in timed.step.rules]
    false_404s = [int(str(rule["times"])) for rule in rules if rule["effect"] == {"kind": FALSE_404}]
    assert max(false_404s) == READS_OF_A_SECOND_LOOKUP - 1


def test_load_has_ten_deliveries_an_issue_of_all_sorts(long: Plan) -> None:
    """There are duplicates, bursts, late deliveries, ties, and events that ask for nothing."""
    posts = long.posts
    assert len(posts) == 1000 * DELIVERIES_PER_ISSUE
    assert {post.event.kind.expects for post in posts} == set(Expectation)
    copies = Counter(post.delivery for post in posts)
    assert max(copies.values()) > 3
    hooks = defaultdict(set)
    for post in posts:
        hooks[post.event].add(post.delivery)
    assert max(len(ids) for ids in hooks.values()) > 1
    kinds = defaultdict(set)
    for event in hooks:
        kinds[event.issue, event.second].add(event.kind.leads_to)
    assert any(len(states) > 1 for states in kinds.values())


def test_deliveries_come_late_and_out_of_order(long: Plan) -> None:
    """No delivery comes before its event, and many come after a later one."""
    newest: dict[int, int] = {}
    overtaken = 0
    for post in long.posts:
        event = post.event
        assert post.at_s >= event.second + 1.0
        overtaken += event.second < newest.get(event.issue, -1)
        newest[event.issue] = max(event.second, newest.get(event.issue, -1))
    assert overtaken > 500


def test_nothing_happens_to_an_issue_that_is_gone(long: Plan) -> None:
    """GitHub sends nothing new about an issue that was deleted or transferred."""
    gone: dict[int, int] = {}
    for post in long.posts:
        if post.event.kind.leads_to is IssueState.GONE:
            gone[post.event.issue] = post.event.second
    assert gone
    assert all(post.event.second <= gone.get(post.event.issue, 10**6) for post in long.posts)


def test_work_is_left_before_any_close_or_order(long: Plan) -> None:
    """Later the service may start a sandbox for an inspection alone, and may rely on its result."""
    ends: dict[int, float] = {}
    for post in long.posts:
        if post.event.kind.leads_to is not IssueState.OPEN:
            issue = post.event.issue
            ends[issue] = min(post.event.second, ends.get(issue, LONG_S))
    for timed in long.schedule:
        if isinstance(timed.step, Command) and timed.step.order != "ensure":
            ends[timed.step.issue] = min(timed.at_s, ends.get(timed.step.issue, LONG_S))
    works = [timed.step for timed in long.schedule if isinstance(timed.step, Work)]
    assert len(works) > 100
    assert all(work.until_s < ends.get(work.issue, 10**6) for work in works)


def test_people_act_and_order(long: Plan) -> None:
    """There is every act and every order, forced or not."""
    acts = {timed.step.act for timed in long.schedule if isinstance(timed.step, Act)}
    orders = {(timed.step.order, timed.step.is_forced) for timed in long.schedule if isinstance(timed.step, Command)}
    assert acts == {"stop", "archive", "start", "break", "idle", "release", FOREIGN}
    assert orders == {("stop", False), ("delete", False), ("delete", True), ("replace", True), ("ensure", False)}


@pytest.mark.parametrize("seed", range(5))
def test_others_take_the_name_of_an_issue_before_it_opens(seed: int) -> None:
    """By each of the labels that say whose a sandbox is."""
    plan = make_plan(seed, 48, SHORT_S)
    opened: dict[int, float] = {}
    for post in reversed(plan.posts):
        opened[post.event.issue] = post.at_s
    foreign = [timed for timed in plan.schedule if isinstance(timed.step, Act) and timed.step.act == FOREIGN]
    for timed in foreign:
        assert isinstance(timed.step, Act)
        assert timed.at_s <= opened[timed.step.issue]
    own = {"issuebox-instance": INSTANCE, "managed-by": "issuebox", "issue-id": "1"}
    labels = [timed.step.detail["labels"] for timed in foreign if isinstance(timed.step, Act)]
    strange = {key for each in labels for key, value in each.items() if own[key] != value}  # type: ignore[union-attr]
    assert strange == own.keys()


def test_issue_is_reopened_by_some_who_may_not_ask(long: Plan) -> None:
    """By a bot, and by an author whom the settings do not admit; the delivery expects that the sandbox is kept."""
    kinds = {post.event.kind for post in long.posts if post.event.kind.action == "reopened"}
    assert {(kind.sender, kind.expects) for kind in kinds} == {
        ("maintainer", Expectation.RUNNING),
        ("author", Expectation.KEPT),
        ("bot", Expectation.KEPT),
    }
    assert {kind.leads_to for kind in kinds} == {IssueState.OPEN}


@pytest.mark.parametrize("seed", range(5))
def test_operators_end_and_reset_workflows_at_every_moment(seed: int) -> None:
    """Each of the three, in a create, in another command, while blocked and at rest; in the shortest run too."""
    plan = make_plan(seed, 24, SHORT_S)
    steps = [(timed.at_s, timed.step) for timed in plan.schedule if isinstance(timed.step, Meddle)]
    dealt = Counter((step.act, step.moment) for _, step in steps)
    often = dict.fromkeys(itertools.product(("cancel",), IN_COMMANDS), 3)
    assert dealt == dict.fromkeys(itertools.product(MEDDLINGS, MOMENTS), 1) | often
    assert all(0.1 * SHORT_S < at_s < 0.95 * SHORT_S for at_s, _ in steps)
    slow = [timed.at_s for timed in plan.schedule if isinstance(timed.step, Knob) and "durations" in timed.step.changes]
    for at_s, step in steps:
        assert step.moment not in IN_COMMANDS or any(0.0 < at_s - began < GRACE_S for began in slow)


@pytest.mark.parametrize("seed", range(5))
def test_workers_with_a_wrong_setting_serve_for_a_while_in_each_round(seed: int) -> None:
    """Each differs from the others in one setting alone."""
    for plan, rounds in ((make_plan(seed, 24, SHORT_S), 1), (make_plan(seed, 24, LONG_S), 8)):
        strays = [timed.step for timed in plan.schedule if isinstance(timed.step, Stray)]
        assert Counter(stray.part for stray in strays) == dict.fromkeys(STRAYS, rounds)
    settings = [name for changes in STRAYS.values() for name in changes]
    assert settings == ["ISSUEBOX_NAME_PREFIX", "ISSUEBOX_INSTANCE"]


@pytest.mark.parametrize("seed", range(5))
def test_strangers_come_in_bursts_through_every_door(seed: int) -> None:
    """With a few hundred calls each through the webhook and to Temporal, about issues that have a workflow."""
    plan = make_plan(seed, 24, SHORT_S)
    first: dict[int, float] = {}
    for post in reversed(plan.posts):
        first[post.event.issue] = post.at_s
    bursts = [timed for timed in plan.schedule if isinstance(timed.step, Burst)]
    assert Counter(timed.step.door for timed in bursts if isinstance(timed.step, Burst)) == dict.fromkeys(Door, 2)
    kinds = {
        Door.WEBHOOK: list(deliveries(1, "s", 1)),
        Door.REST: list(rest_calls(1, "t")),
        Door.SIGNAL: list(knocks(1)),
    }
    least = {Door.WEBHOOK: 300, Door.REST: 100, Door.SIGNAL: 300}
    for timed in bursts:
        assert isinstance(timed.step, Burst)
        assert all(first[issue] < timed.at_s for issue in timed.step.issues)
        burst = timed.step
        assert len(kinds[burst.door]) * burst.copies * len(burst.issues) >= least[burst.door]


def test_plan_prints_operators_and_strangers(short: Plan) -> None:
    """`--plan` shows what is going to be done to which issues."""
    text = "\n".join(short.lines())
    for word in ("Meddle(act='terminate', moment='in a create', issue=", "Stray(part='worker-prefix'", "Burst(door="):
        assert word in text
