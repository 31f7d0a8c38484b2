"""One event, one answer: what a lost delivery would have done, resync does, whoever acted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from api.payload import SHAPES
from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.issue_source import NO_ACTS, Act, ActKind, Acts
from issuebox.domain.known_issues import KnownIssue
from issuebox.domain.resync import Answer, Standing, Window, acts_needed, judge_comment, judge_issue
from issuebox.domain.triggers import OCCASIONS, Association, Criteria, Detection, detect
from issuebox.providers.github_models import CommentBody, EventBody, IssueBody

REPOSITORY = "octo/repo"
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
LONG_AGO, CLOSED_AT, DONE_AT = SINCE - timedelta(days=9), SINCE + timedelta(minutes=5), SINCE + timedelta(minutes=9)
WINDOW = Window(SINCE)

AUTHOR = {"login": "octocat", "type": "User"}
MAINTAINER = {"login": "maintainer", "type": "User"}
BOT = {"login": "helper[bot]", "type": "Bot"}
TRIGGER, REQUIRED, LOGIN = "claude", "agreed", "claude-bot"

OPEN, CLOSED = IssueState.OPEN, IssueState.CLOSED
WORLDS: dict[str, list[tuple[Standing, IssueState]]] = {
    "opened": [(Standing.UNKNOWN, OPEN), (Standing.UNREAD, OPEN)],
    "reopened": [(Standing.UNKNOWN, OPEN), (Standing.CLOSED, OPEN)],
    "trigger label": [
        (Standing.UNKNOWN, OPEN), (Standing.UNREAD, OPEN), (Standing.OPEN, OPEN),
        (Standing.UNKNOWN, CLOSED), (Standing.OPEN, CLOSED), (Standing.CLOSED, CLOSED),
    ],
    "required label": [(Standing.UNKNOWN, OPEN), (Standing.UNREAD, OPEN)],
    "assigned": [(Standing.UNKNOWN, OPEN), (Standing.UNREAD, OPEN)],
    "comment": [
        (Standing.UNKNOWN, OPEN), (Standing.OPEN, OPEN), (Standing.UNKNOWN, CLOSED), (Standing.CLOSED, CLOSED),
    ],
}  # fmt: skip
"""By way of asking: what is known of the issue, and how GitHub lists it after the delivery was lost."""

ACTIONS = {"trigger label": "labeled", "required label": "labeled", "comment": "created"}


@dataclass(frozen=True)
class Lost:
    """A delivery that was lost, and what it finds."""

    way: str
    standing: Standing
    state: IssueState
    who: str
    association: str
    is_allowed: bool
    required: str
    run_on: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = "allowed" if self.is_allowed else "elsewhere"
        return f"{self.way}-{self.standing}-{self.state}-{self.who}-{self.association}-{where}-{self.required}"

    @property
    def criteria(self) -> Criteria:
        return Criteria(
            label=TRIGGER,
            login=LOGIN,
            allowed_repositories=(REPOSITORY if self.is_allowed else "acme/*",),
            min_association=Association.COLLABORATOR,
            required_label="" if self.required == "none" else REQUIRED,
            run_on=self.run_on,
        )

    @property
    def sender(self) -> dict[str, str]:
        return {"author": AUTHOR, "maintainer": MAINTAINER, "bot": BOT}[self.who]

    @property
    def action(self) -> str:
        return ACTIONS.get(self.way, self.way)

    @property
    def label(self) -> str:
        return {"trigger label": TRIGGER, "required label": REQUIRED}.get(self.way, "")

    def issue(self) -> dict[str, Any]:
        """GitHub's body of the issue after the event: the same in a delivery and in a listing."""
        labels = [self.label] if self.label else []
        labels += [REQUIRED] if self.required == "carried" else []
        return {
            "id": 5, "number": 7, "title": "A title", "html_url": "https://github.com/octo/repo/issues/7",
            "state": str(self.state), "state_reason": "reopened" if self.way == "reopened" else None,
            "created_at": _iso(DONE_AT if self.way == "opened" else LONG_AGO), "updated_at": _iso(DONE_AT),
            "closed_at": _iso(CLOSED_AT) if self.state is CLOSED else None,
            "user": self.sender if self.way == "opened" else AUTHOR, "author_association": self.association,
            "labels": [{"name": name} for name in labels],
            "assignees": [{"login": LOGIN}] if self.way == "assigned" else [],
        }  # fmt: skip

    def comment(self) -> dict[str, Any]:
        url = "https://api.github.com/repos/octo/repo/issues/7"
        association = "NONE" if self.who == "bot" else self.association
        return {
            "id": 9, "body": "please @claude", "issue_url": url, "created_at": _iso(DONE_AT),
            "updated_at": _iso(DONE_AT), "user": self.sender, "author_association": association,
        }  # fmt: skip

    def by_webhook(self) -> Detection:
        """What the webhook decides about the delivery."""
        event = "issue_comment" if self.way == "comment" else "issues"
        body = {
            "action": self.action, "issue": self.issue(), "repository": {"full_name": REPOSITORY},
            "sender": self.sender, "label": {"name": self.label} if self.label else None,
            "assignee": {"login": LOGIN} if self.way == "assigned" else None, "comment": self.comment(),
        }  # fmt: skip
        return detect(SHAPES[event].model_validate_json(json.dumps(body)).facts(event), self.criteria)

    def by_resync(self) -> tuple[Answer, IssueEvent | None]:
        """What resync decides when it finds the issue, and its acts where it asks for them."""
        found, known = IssueBody.model_validate(self.issue()).listed(REPOSITORY), self.known()
        if self.way == "comment":
            comment = CommentBody.model_validate(self.comment()).listed()
            assert comment is not None
            judgement = judge_comment(comment, found, known, self.criteria)
        else:
            needed = acts_needed(found, known, WINDOW, self.criteria)
            acts = NO_ACTS if needed is None else Acts(tuple(self.acts()))
            judgement = judge_issue(found, known, WINDOW, self.criteria, acts)
        return judgement.answer, judgement.event

    def known(self) -> KnownIssue | None:
        if self.standing is Standing.UNKNOWN:
            return None
        if self.standing is Standing.UNREAD:
            return KnownIssue(Issue(5), is_published=False)
        state = IssueState(self.standing.value)
        return KnownIssue(Issue(5, REPOSITORY, 7, state=state, updated_at=SINCE), requested_at=SINCE)

    def acts(self) -> Iterator[Act]:
        """The issue's events: the close before, and the event whose delivery was lost."""
        done: dict[str, Any] = {"event": self.action, "created_at": _iso(DONE_AT), "actor": self.sender}
        if self.way == "assigned":
            done |= {"actor": {"login": LOGIN}, "assignee": {"login": LOGIN}, "assigner": self.sender}
        if self.label:
            done |= {"label": {"name": self.label}}
        closed = {"event": "closed", "created_at": _iso(CLOSED_AT), "actor": AUTHOR}
        bodies = [*([closed] if self.state is CLOSED or self.way == "reopened" else []), {"event": "mentioned"}, done]
        for number, body in enumerate(bodies, start=1):
            act = EventBody.model_validate({"id": number, "created_at": _iso(SINCE)} | body).act()
            if act is not None:
                yield act


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


LOST = [
    Lost(way, standing, state, who, association, is_allowed, required)
    for way, worlds in WORLDS.items()
    for (standing, state), who, association, is_allowed, required in product(
        worlds, ("author", "maintainer", "bot"), ("NONE", "COLLABORATOR"), (True, False), ("none", "carried", "lacking")
    )
    # Whoever opens an issue is its author. Only a required label can be put on; then the issue carries it.
    if (way, who) != ("opened", "maintainer") and (way != "required label" or required == "carried")
]


@pytest.mark.parametrize("lost", LOST, ids=str)
def test_lost_delivery_is_decided_as_the_webhook_would(lost: Lost) -> None:
    """The same request is taken or refused. Its workflow learns the state of the issue in both cases."""
    detection, (answer, event) = lost.by_webhook(), lost.by_resync()
    is_taken = event is not None and event.intention is Intention.ENSURE
    assert is_taken == (detection.intention is Intention.ENSURE), detection.reason
    if event is not None and is_taken:
        assert (event.is_explicit, event.action) == (detection.is_explicit, lost.action)
        assert lost.way == "opened" or event.requested_at == DONE_AT
    elif not is_taken and lost.standing is Standing.UNKNOWN and lost.state is OPEN:
        assert answer is Answer.REFUSED
    is_news = lost.standing is Standing.UNREAD or lost.standing.value not in {Standing.UNKNOWN, lost.state}
    assert event is not None or not is_news
    assert event is None or event.issue.state is lost.state


@pytest.mark.parametrize("lost", LOST, ids=str)
def test_lost_delivery_asks_for_the_run_that_the_webhook_would(lost: Lost) -> None:
    """Whatever may ask for a run asks for one, or for none, as its delivery would have."""
    lost = replace(lost, run_on=OCCASIONS)
    detection, (_, event) = lost.by_webhook(), lost.by_resync()
    request = event.request if event is not None else None
    assert (request and request.kind) == detection.run
    assert request is None or (request.at, request.author) == (DONE_AT, lost.sender["login"])


def test_old_act_asks_for_the_sandbox_alone() -> None:
    """A label of an issue without a workflow has its sandbox however old it is, and no run for it."""
    lost = replace(LABELED, run_on=OCCASIONS)
    for before_s, is_asked in ((0, True), (1, False)):
        _, event = judged(lost, label(1, SINCE - timedelta(seconds=before_s)))
        assert event is not None
        assert (event.request is not None) == is_asked


def test_label_asks_for_the_run_whoever_opened_reopened_or_assigned() -> None:
    """One event is sent. That of the label is known by its time from then on, so no later resync sends it again."""
    lost = replace(LABELED, way="assigned", standing=Standing.CLOSED, run_on=("label", "assigned"))
    listed = IssueBody.model_validate(lost.issue()).listed(REPOSITORY)
    listed = replace(listed, labels=(TRIGGER,), created_at=SINCE)
    reopened = Act(1, ActKind.REOPENED, SINCE + timedelta(seconds=1), "octocat")
    labelled = label(2, SINCE + timedelta(seconds=2))
    assigned = Act(3, ActKind.ASSIGNED, DONE_AT, "maintainer", assignee=LOGIN)
    for known, acts in ((lost.known(), (reopened, labelled, assigned)), (None, (labelled, assigned))):
        judgement = judge_issue(listed, known, WINDOW, lost.criteria, Acts(acts))
        event = judgement.event
        assert event is not None
        assert (event.action, event.requested_at) == ("labeled", labelled.at)
        assert event.request is not None
        assert event.request.at == labelled.at


def test_both_answers_are_among_the_lost() -> None:
    """Every way of asking is taken for somebody and refused to somebody else."""
    for way in WORLDS:
        assert {lost.by_webhook().intention for lost in LOST if lost.way == way} == {Intention.ENSURE, Intention.IGNORE}


LABELED = Lost("trigger label", Standing.UNKNOWN, OPEN, "maintainer", "NONE", is_allowed=True, required="none")


def judged(lost: Lost, *acts: Act, **known: datetime) -> tuple[Answer, IssueEvent | None]:
    """What resync makes of the listed issue and these acts."""
    row = IssueBody.model_validate(lost.issue()).listed(REPOSITORY)
    judgement = judge_issue(row, lost.known(), WINDOW, lost.criteria, Acts(acts))
    return judgement.answer, judgement.event


def label(act_id: int, at: datetime = DONE_AT, by: str = "maintainer", name: str = TRIGGER, **given: Any) -> Act:
    return Act(act_id, ActKind.LABELED, at, by, label=name, **given)


def test_newest_admitted_act_asks() -> None:
    """A bot's act neither asks nor hides the one of a person before it; its delivery has the ID of the act."""
    bots = label(3, by="helper[bot]", is_bot=True)
    for acts in ((label(2), bots), (bots, label(2)), (label(1, LONG_AGO), label(2))):
        _, event = judged(LABELED, *acts)
        assert event is not None
        assert (event.delivery, event.requested_at) == ("resync-event-2-open", DONE_AT)


def test_act_before_a_close_was_called_off() -> None:
    """What was asked before the newest close is over, also in the second of the close."""
    answer, event = judged(LABELED, label(1), Act(2, ActKind.CLOSED, DONE_AT, "octocat"))
    assert (answer, event) == (Answer.UNASKED, None)


def test_assignment_asks_for_what_a_bot_reopened() -> None:
    """The reopening is refused, but what a maintainer did after it counts."""
    lost = replace(LABELED, way="assigned", standing=Standing.CLOSED)
    bots = Act(1, ActKind.REOPENED, SINCE + timedelta(seconds=1), "helper[bot]", is_bot=True)
    _, event = judged(lost, bots, Act(2, ActKind.ASSIGNED, DONE_AT, "maintainer", assignee=LOGIN))
    assert event is not None
    assert (event.intention, event.action) == (Intention.ENSURE, "assigned")
    answer, event = judged(lost, bots)
    assert event is not None
    assert (answer, event.intention, event.issue.state) == (Answer.REFUSED, Intention.IGNORE, OPEN)


def test_label_that_was_taken_off_asks_for_nothing() -> None:
    """Only what the issue still carries counts."""
    assert judged(replace(LABELED, way="comment"), label(1))[1] is None


def test_act_of_nobody_who_is_known_is_refused() -> None:
    """GitHub does not tell who a deleted account was: a bot may not ask, so nobody may."""
    assert judged(LABELED, label(1, by="")) == (Answer.REFUSED, None)


@pytest.mark.parametrize("body", [{"actor": None}, {"actor": {"login": "ghost", "type": "User"}}])
def test_deleted_account_is_nobody(body: dict[str, Any]) -> None:
    """GitHub shows no account, or its own, for what deleted accounts did."""
    given = {"id": 1, "event": "labeled", "created_at": _iso(DONE_AT), "label": {"name": TRIGGER}}
    act = EventBody.model_validate(given | body).act()
    assert act is not None
    assert act.actor == ""


@pytest.mark.parametrize("standing", [Standing.OPEN, Standing.CLOSED])
@pytest.mark.parametrize("at", [SINCE - timedelta(seconds=1), SINCE])
def test_old_act_asks_no_known_issue_again(standing: Standing, at: datetime) -> None:
    """A label put on before the window, or no later than the newest known request, is no new request."""
    lost = replace(LABELED, standing=standing, state=IssueState(standing.value))
    assert judged(lost, label(1, at))[1] is None


def test_acts_are_asked_for_only_since_they_matter() -> None:
    """A known issue needs those since it is known; an unknown one all, because its label may be old."""
    expected = {
        (Standing.UNKNOWN, OPEN): LONG_AGO, (Standing.UNREAD, OPEN): LONG_AGO, (Standing.OPEN, OPEN): SINCE,
        (Standing.UNKNOWN, CLOSED): SINCE, (Standing.OPEN, CLOSED): SINCE, (Standing.CLOSED, CLOSED): SINCE,
    }  # fmt: skip
    for (standing, state), since in expected.items():
        lost = replace(LABELED, standing=standing, state=state)
        found = IssueBody.model_validate(lost.issue()).listed(REPOSITORY)
        assert acts_needed(found, lost.known(), WINDOW, lost.criteria) == since
        elsewhere = replace(lost, is_allowed=False)
        assert acts_needed(found, lost.known(), WINDOW, elsewhere.criteria) is None


def test_history_that_is_cut_off_refuses_what_it_may_hide() -> None:
    """Nothing is taken that the webhook might have refused; a plain issue is not refused for that."""
    found = IssueBody.model_validate(LABELED.issue()).listed(REPOSITORY)
    cut = Acts((), is_whole=False)
    assert judge_issue(found, None, WINDOW, LABELED.criteria, cut).answer is Answer.REFUSED
    plain = replace(found, labels=())
    assert judge_issue(plain, None, WINDOW, LABELED.criteria, cut).answer is Answer.UNASKED
