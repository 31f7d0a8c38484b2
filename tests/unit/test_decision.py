"""The decision table and its overrides, row by row."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from issuebox.domain.decision import FRUITLESS, OVERDUE, TABLE, Column, Decision, Limits, Refusal, Situation, decide
from issuebox.domain.phase import REMEDIES, TRANSITIONAL, Action, Cause, Goal, Phase
from issuebox.domain.sandbox import Ownership, Sandbox, ownership
from issuebox.domain.unsaved_work import WorkState

ISSUE = 7
LIMITS = Limits()
OURS = {"managed-by": "issuebox", "issue-id": str(ISSUE)}


def sandbox(phase: Phase, *, labels: dict[str, str] | None = None, never_ran: bool = False) -> Sandbox:
    return Sandbox(
        id="s1",
        name="claude-issue-7",
        phase=phase,
        state=str(phase),
        labels=OURS if labels is None else labels,
        never_ran=never_ran,
    )


def situation(phase: Phase, goal: Goal = Goal.RUNNING, **facts: object) -> Situation:
    seen = None if phase is Phase.MISSING else sandbox(phase)
    return Situation(issue_id=ISSUE, goal=goal, sandbox=seen, **facts)  # type: ignore[arg-type]


def test_every_phase_and_column_has_an_action() -> None:
    """The table is total: a new phase or column without a cell fails here and at import."""
    for phase, column in itertools.product(Phase, Column):
        assert isinstance(TABLE[phase][column], Action)
    assert set(OVERDUE) == set(Phase)
    assert set(REMEDIES) == set(Cause)
    assert {str(goal) for goal in Goal} <= {str(column) for column in Column}


def test_create_stands_in_one_cell() -> None:
    """Only a missing sandbox that should run is created."""
    cells = [(p, c) for p, c in itertools.product(Phase, Column) if TABLE[p][c] is Action.CREATE]
    assert cells == [(Phase.MISSING, Column.RUNNING)]


def test_delete_meets_only_what_never_ran_or_has_nothing_to_lose() -> None:
    """In a phase in which somebody may have worked, no sandbox is deleted before it is cleared."""
    for phase, column in itertools.product(Phase, Column):
        if TABLE[phase][column] is Action.DELETE and column is not Column.CLEARED:
            assert phase is Phase.UNBUILT


ROWS = """
missing      create   rest     rest     rest     rest     rest
pending      wait     wait     wait     wait     wait     wait
thawing      wait     wait     wait     wait     wait     wait
unprepared   set_up   inspect  inspect  inspect  stop     stop
usable       use      inspect  inspect  inspect  stop     stop
busy         wait     wait     wait     wait     wait     wait
stopping     wait     wait     wait     wait     wait     wait
stopped      start    rest     archive  start    block    delete
paused       start    rest     stop     start    block    delete
archiving    start    rest     rest     start    block    delete
archived     start    rest     rest     start    block    delete
recoverable  recover  rest     rest     recover  block    delete
broken       block    block    block    block    block    delete
unbuilt      delete   delete   delete   delete   delete   delete
leaving      wait     wait     wait     wait     wait     wait
unknown      wait     wait     wait     wait     wait     wait
"""
EXPECTED = {
    (Phase(words[0]), column): Action(word)
    for words in (line.split() for line in ROWS.split("\n") if line)
    for column, word in zip(Column, words[1:], strict=True)
}
FACTS: dict[Column, dict[str, object]] = {
    Column.RUNNING: {"goal": Goal.RUNNING},
    Column.STOPPED: {"goal": Goal.STOPPED},
    Column.ARCHIVED: {"goal": Goal.ARCHIVED},
    Column.DELETED: {"goal": Goal.DELETED},
    Column.HELD: {"goal": Goal.DELETED, "verdict": WorkState.UNSAVED},
    Column.CLEARED: {"goal": Goal.DELETED, "verdict": WorkState.CLEAN},
}


@pytest.mark.parametrize(("phase", "column"), EXPECTED, ids=[f"{p}-{c}" for p, c in EXPECTED])
def test_phase_and_goal_lead_to_their_action(phase: Phase, column: Column) -> None:
    """Each phase has, for each goal, the action that the reference page promises."""
    seen = Phase.USABLE if phase is Phase.UNPREPARED else phase
    facts = situation(seen, **FACTS[column], is_set_up=phase is not Phase.UNPREPARED)  # type: ignore[arg-type]
    decision = decide(facts, LIMITS)
    assert (decision.phase, decision.action) == (phase, EXPECTED[phase, column])


def test_rows_cover_the_whole_table() -> None:
    """The expectations above cover every cell."""
    assert set(EXPECTED) == set(itertools.product(Phase, Column))


@pytest.mark.parametrize("goal", [Goal.STOPPED, Goal.ARCHIVED, Goal.DELETED])
@pytest.mark.parametrize("verdict", WorkState)
def test_inspected_sandbox_is_stopped(goal: Goal, verdict: WorkState) -> None:
    """A stop keeps the disk, so unsaved work does not keep a sandbox running."""
    assert decide(situation(Phase.USABLE, goal, verdict=verdict), LIMITS).action is Action.STOP


@pytest.mark.parametrize("verdict", [WorkState.UNSAVED, WorkState.UNCHECKED])
@pytest.mark.parametrize("phase", [Phase.STOPPED, Phase.ARCHIVING, Phase.ARCHIVED, Phase.BROKEN, Phase.RECOVERABLE])
def test_unsaved_or_unchecked_work_holds_a_delete(phase: Phase, verdict: WorkState) -> None:
    """What could not be checked counts as unsaved, and the reason names the findings."""
    decision = decide(situation(phase, Goal.DELETED, verdict=verdict, findings=("work/repo: 2 files",)), LIMITS)
    assert (decision.action, decision.cause) == (Action.BLOCK, Cause.UNSAVED)
    assert "2 files" in decision.reason


@pytest.mark.parametrize("verdict", [None, WorkState.UNSAVED, WorkState.UNCHECKED])
def test_force_gives_unsaved_work_up(verdict: WorkState | None) -> None:
    """A person's forced delete overrides every verdict."""
    decision = decide(situation(Phase.STOPPED, Goal.DELETED, verdict=verdict, is_forced=True), LIMITS)
    assert decision.action is Action.DELETE


def test_broken_sandbox_that_cannot_be_inspected_is_not_deleted_unforced() -> None:
    """Without an inspection there is no proof, and a broken sandbox cannot be inspected."""
    decision = decide(situation(Phase.BROKEN, Goal.DELETED), LIMITS)
    assert (decision.action, decision.cause) == (Action.BLOCK, Cause.UNSAVED)
    assert decide(situation(Phase.BROKEN, Goal.DELETED, is_forced=True), LIMITS).action is Action.DELETE


def test_overdue_start_with_nothing_to_lose_is_deleted() -> None:
    """A sandbox that hangs in a start is deleted when that is the goal and a person gave up its work."""
    facts = situation(Phase.PENDING, Goal.DELETED, is_forced=True, waited_s=1e6)
    assert decide(facts, LIMITS).action is Action.DELETE


@pytest.mark.parametrize("never_ran", [True, False])
@pytest.mark.parametrize("phase", sorted(set(LIMITS.budget_s) - {Phase.PENDING}))
def test_overdue_wait_for_anything_but_a_start_is_never_ended_by_a_delete(phase: Phase, *, never_ran: bool) -> None:
    """Whoever gave its work up: Daytona is busy with it, and answers another delete with a conflict."""
    stuck = sandbox(phase, never_ran=never_ran)
    facts = Situation(ISSUE, Goal.DELETED, stuck, is_forced=True, waited_s=1e6)
    assert (decide(facts, LIMITS).action, decide(facts, LIMITS).cause) == (Action.BLOCK, OVERDUE[phase])


def test_anothers_sandbox_that_is_being_deleted_is_waited_out() -> None:
    """It is not touched, and its name will be free."""
    facts = Situation(ISSUE, Goal.RUNNING, sandbox(Phase.LEAVING, labels={"issue-id": "8"}))
    assert decide(facts, LIMITS).action is Action.WAIT


HERE = "blue"
FOREIGN = [
    # The labels, and the words that the reason must contain.
    ({"managed-by": "issuebox", "issue-id": "8"}, ("issue-id", "8", "7")),
    ({"managed-by": "terraform", "issue-id": "7"}, ("managed-by", "terraform", "issuebox")),
    (OURS | {"issuebox-instance": "green"}, ("issuebox-instance", "green", HERE)),
    ({"issuebox-instance": "green"}, ("issuebox-instance", "green", HERE)),
    (OURS | {"issuebox-instance": "Blue"}, ("issuebox-instance", "Blue", HERE)),
    (OURS | {"issuebox-instance": ""}, ("issuebox-instance", HERE)),
    (
        {"managed-by": "issuebox", "issue-id": "8", "issuebox-instance": "green"},
        ("issue-id", "8", "7", "issuebox-instance", "green", HERE),
    ),
]


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in {Phase.MISSING, Phase.LEAVING}])
@pytest.mark.parametrize(("labels", "named"), FOREIGN)
def test_foreign_labels_block_in_every_phase(phase: Phase, labels: dict[str, str], named: tuple[str, ...]) -> None:
    """A sandbox labelled as another's is never touched, whatever the goal, the force and the verdict."""
    foreign = sandbox(phase, labels=labels, never_ran=True)
    for goal, is_forced, verdict in itertools.product(Goal, (True, False), (None, *WorkState)):
        decision = decide(
            Situation(
                issue_id=ISSUE,
                goal=goal,
                sandbox=foreign,
                unbuilt_id=foreign.id,
                waited_s=1e6,
                verdict=verdict,
                is_forced=is_forced,
                instance=HERE,
            ),
            LIMITS,
        )
        assert (decision.action, decision.cause) == (Action.BLOCK, Cause.FOREIGN)
        assert all(word in decision.reason for word in (foreign.id, *named))


def test_label_in_a_reason_is_short_and_on_one_line() -> None:
    """The label is untrusted: anyone who may label a sandbox can set it."""
    hostile = sandbox(Phase.USABLE, labels=OURS | {"issuebox-instance": "x\n\x1b[2J" + "y" * 5000})
    reason = decide(Situation(issue_id=ISSUE, goal=Goal.RUNNING, sandbox=hostile, instance=HERE), LIMITS).reason
    assert len(reason) < 300
    assert reason.isprintable()


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {"managed-by": "issuebox"},
        {"issue-id": "7"},
        {"team": "x"},
        OURS,
        {"issuebox-instance": HERE},
        OURS | {"issuebox-instance": HERE},
    ],
)
def test_absent_labels_are_adopted(labels: dict[str, str]) -> None:
    """A sandbox made by hand with our name is used, like our own."""
    found = Situation(issue_id=ISSUE, goal=Goal.RUNNING, sandbox=sandbox(Phase.USABLE, labels=labels), instance=HERE)
    assert decide(found, LIMITS).action is Action.USE


OWNERSHIPS = [
    ({}, Ownership.UNLABELLED),
    ({"managed-by": "issuebox"}, Ownership.UNLABELLED),
    ({"issuebox-instance": HERE}, Ownership.UNLABELLED),
    (OURS, Ownership.UNLABELLED),
    (OURS | {"issuebox-instance": HERE}, Ownership.OURS),
    (OURS | {"issuebox-instance": "green"}, Ownership.FOREIGN),
    (OURS | {"issue-id": "8"}, Ownership.FOREIGN),
    (OURS | {"issue-id": "07"}, Ownership.FOREIGN),
    (OURS | {"managed-by": "terraform"}, Ownership.FOREIGN),
]


@pytest.mark.parametrize(("labels", "whose"), OWNERSHIPS)
def test_ownership_is_read_from_all_three_labels(labels: dict[str, str], whose: Ownership) -> None:
    """Ours only when manager, instance and issue agree; another's as soon as one of them says so."""
    assert ownership(labels, ISSUE, HERE) is whose


def test_refused_create_blocks_while_the_sandbox_is_missing() -> None:
    """A refused command is not sent again: the issue is blocked with the provider's reason."""
    refusal = Refusal(Action.CREATE, Cause.QUOTA, "400: Total CPU limit exceeded")
    decision = decide(situation(Phase.MISSING, refusal=refusal), LIMITS)
    assert decision == Decision(Action.BLOCK, Phase.MISSING, refusal.reason, Cause.QUOTA)


def test_refused_create_is_forgotten_when_a_twin_exists() -> None:
    """A duplicate create may be refused for quota although the first succeeded: the lookup decides."""
    refusal = Refusal(Action.CREATE, Cause.QUOTA, "400: Total CPU limit exceeded")
    assert decide(situation(Phase.USABLE, refusal=refusal), LIMITS).action is Action.USE


@pytest.mark.parametrize("phase", sorted(TRANSITIONAL))
def test_wait_within_its_budget_goes_on(phase: Phase) -> None:
    """A state change has the time of its phase's budget, to the second."""
    assert decide(situation(phase, waited_s=LIMITS.budget_s[phase]), LIMITS).action is Action.WAIT


@pytest.mark.parametrize("phase", sorted(TRANSITIONAL))
def test_wait_beyond_its_budget_blocks_with_the_cause(phase: Phase) -> None:
    """No wait is endless, and the reason names Daytona's own state."""
    decision = decide(situation(phase, waited_s=LIMITS.budget_s[phase] + 1), LIMITS)
    assert (decision.action, decision.cause) == (Action.BLOCK, OVERDUE[phase])
    assert str(phase) in decision.reason


@pytest.mark.parametrize("goal", Goal)
def test_archiving_is_never_overdue(goal: Goal) -> None:
    """Daytona queues it without a useful bound, so it is no wait and blocks nothing."""
    facts = situation(Phase.ARCHIVING, goal)
    assert decide(replace(facts, waited_s=1e6), LIMITS) == decide(facts, LIMITS)


def test_overdue_create_that_never_ran_is_deleted_once() -> None:
    """A sandbox stuck before its first start holds no work: it is created anew; a refused delete is reported."""
    stuck = sandbox(Phase.PENDING, never_ran=True)
    overdue = {"issue_id": ISSUE, "goal": Goal.RUNNING, "sandbox": stuck, "waited_s": 1e6}
    assert decide(Situation(**overdue), LIMITS).action is Action.DELETE  # type: ignore[arg-type]
    again = Situation(**overdue, attempts={Action.DELETE: 1})  # type: ignore[arg-type]
    assert decide(again, LIMITS).cause is Cause.STUCK


def test_overdue_start_of_a_sandbox_that_ran_is_never_deleted() -> None:
    """A sandbox that may hold work is kept and reported."""
    assert decide(situation(Phase.PENDING, waited_s=1e6), LIMITS).action is Action.BLOCK


@pytest.mark.parametrize(("action", "tries"), [(Action.CREATE, 9), (Action.START, 9), (Action.RECOVER, 3)])
def test_fruitless_command_blocks_after_its_tries(action: Action, tries: int) -> None:
    """A command without effect is sent a bounded number of times."""
    phase = {Action.CREATE: Phase.MISSING, Action.START: Phase.STOPPED, Action.RECOVER: Phase.RECOVERABLE}[action]
    assert decide(situation(phase, attempts={action: tries - 1}), LIMITS).action is action
    decision = decide(situation(phase, attempts={action: tries}), LIMITS)
    assert (decision.action, decision.cause) == (Action.BLOCK, FRUITLESS[action])


def test_fruitless_command_reports_its_last_failure() -> None:
    """Attempts that never reached Daytona are not blamed on the sandbox."""
    attempts = {Action.START: LIMITS.attempts_max}
    decision = decide(situation(Phase.STOPPED, attempts=attempts, trouble=Cause.UNREACHABLE), LIMITS)
    assert decision.cause is Cause.UNREACHABLE


def test_error_of_a_sandbox_that_is_known_never_to_have_run_is_rebuilt() -> None:
    """The proof from its create is remembered when a later lookup shows only *error*."""
    assert decide(situation(Phase.BROKEN, unbuilt_id="s1"), LIMITS).action is Action.DELETE
    assert decide(situation(Phase.BROKEN, unbuilt_id="another"), LIMITS).cause is Cause.BROKEN


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in {Phase.MISSING, Phase.BROKEN}])
def test_what_is_remembered_of_a_failed_build_is_only_about_its_error(phase: Phase) -> None:
    """In any other phase its row of the table applies: one that is being deleted is waited for."""
    assert situation(phase, unbuilt_id="s1").phase is phase


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.USABLE])
def test_only_a_running_sandbox_can_lack_its_set_up(phase: Phase) -> None:
    """One that is stopped is started first."""
    assert situation(phase, is_set_up=False).phase is phase
    assert situation(Phase.USABLE, is_set_up=False).phase is Phase.UNPREPARED


@pytest.mark.parametrize("phase", [Phase.UNBUILT, Phase.MISSING])
def test_builds_that_fail_in_a_row_block(phase: Phase) -> None:
    """A snapshot that never starts is tried `builds_max` times, not endlessly."""
    decision = decide(situation(phase, builds_failed=LIMITS.builds_max), LIMITS)
    assert (decision.action, decision.cause) == (Action.BLOCK, Cause.UNBUILT)
    assert decide(situation(phase, builds_failed=LIMITS.builds_max - 1), LIMITS).action is not Action.BLOCK


def test_builds_that_failed_hold_up_nothing_but_the_next_one() -> None:
    """What never ran is deleted, and a sandbox that came up all the same is started. The block says why they failed."""
    failed = LIMITS.builds_max
    assert decide(situation(Phase.UNBUILT, Goal.DELETED, builds_failed=failed), LIMITS).action is Action.DELETE
    assert decide(situation(Phase.STOPPED, builds_failed=failed), LIMITS).action is Action.START
    unbuilt = replace(sandbox(Phase.UNBUILT), error_reason="no such image")
    decision = decide(replace(situation(Phase.UNBUILT, builds_failed=failed), sandbox=unbuilt), LIMITS)
    assert decision.reason == "3 sandboxes in a row failed before they ran: no such image"
    decision = decide(situation(Phase.UNBUILT, builds_failed=failed), LIMITS)
    assert decision.reason == "3 sandboxes in a row failed before they ran"


@pytest.mark.parametrize(("name", "cause"), [("", None), ("claude-issue-7", None), ("other-7", Cause.WRONG_NAME)])
@pytest.mark.parametrize("phase", Phase)
def test_workflow_under_another_name_touches_nothing(phase: Phase, name: str, cause: Cause | None) -> None:
    """Whatever the state: the issue would get a second sandbox. A memory without a name is of no workflow."""
    decision = decide(situation(phase, Goal.DELETED, is_forced=True, name=name), LIMITS)
    assert (decision.cause is Cause.WRONG_NAME) == (cause is Cause.WRONG_NAME)
    assert (decision.action is Action.BLOCK) == (cause is not None)


TRIED = dict.fromkeys(Action, LIMITS.attempts_max)
LOST = replace(sandbox(Phase.BROKEN), error_reason="disk lost")
REASONS = [
    (situation(Phase.BROKEN), "Daytona reports the sandbox as broken: no reason given"),
    (Situation(ISSUE, Goal.RUNNING, LOST), "Daytona reports the sandbox as broken: disk lost"),
    (
        Situation(ISSUE, Goal.DELETED, LOST),
        "the sandbox is broken (disk lost) and cannot be inspected for unsaved work",
    ),
    (
        situation(Phase.STOPPED, Goal.DELETED, verdict=WorkState.UNCHECKED),
        "the sandbox may hold unsaved work: unchecked",
    ),
    (
        situation(Phase.STOPPED, Goal.DELETED, verdict=WorkState.UNSAVED, findings=("repo: a", "repo: b")),
        "the sandbox may hold unsaved work: repo: a; repo: b",
    ),
    (situation(Phase.STOPPED, attempts=TRIED), "after 9 attempts to start the sandbox, it is still stopped"),
    (situation(Phase.MISSING, attempts=TRIED), "after 9 attempts to create the sandbox, it is still missing"),
    (situation(Phase.THAWING, waited_s=9999.4), "Daytona has reported thawing for 9999 s"),
]


@pytest.mark.parametrize(("facts", "reason"), REASONS)
def test_block_says_what_was_seen(facts: Situation, reason: str) -> None:
    """People read it in `why` and in the Web UI."""
    assert decide(facts, LIMITS).reason == reason


def test_block_always_has_a_cause_and_a_remedy() -> None:
    """Every block has a cause and a reason; no other decision has a cause."""
    for phase, goal, waited_s, tries in itertools.product(Phase, Goal, (0.0, 1e6), (0, 99)):
        facts = situation(phase, goal, waited_s=waited_s, attempts=dict.fromkeys(Action, tries), builds_failed=tries)
        decision = decide(facts, LIMITS)
        assert (decision.cause is not None) == (decision.action is Action.BLOCK), facts
        assert decision.reason
