"""The trigger table, row by row, and who may ask, objection by objection."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.payload import SHAPES
from issuebox.domain.events import Intention
from issuebox.domain.run_comment import marker
from issuebox.domain.triggers import ADMISSION, EVENTS, TABLE, Association, Criteria, Detection, Facts, detect
from issuebox.environment import load
from issuebox.settings import ApiSettings, WorkerSettings, criteria_of

CRITERIA = Criteria(label="claude", phrase="@claude", login="claude-bot")
OFF = Criteria(label="", phrase="", login="")
GATED = replace(CRITERIA, required_label="agreed")
ENSURE, STOP, DELETE, IGNORE, PONG = (
    Intention.ENSURE, Intention.STOP, Intention.DELETE, Intention.IGNORE, Intention.PONG,
)  # fmt: skip

TRUTH: list[tuple[Facts, Intention, bool]] = [
    # facts, intention, explicit
    (Facts("ping"), PONG, False),
    (Facts("issues", "opened"), ENSURE, False),
    (Facts("issues", "reopened"), ENSURE, False),
    (Facts("issues", "labeled", label="claude"), ENSURE, True),
    (Facts("issues", "labeled", label="Claude"), ENSURE, True),
    (Facts("issues", "labeled", label="bug"), IGNORE, False),
    (Facts("issues", "labeled"), IGNORE, False),
    (Facts("issues", "unlabeled", label="claude"), IGNORE, False),
    (Facts("issues", "assigned", assignee="claude-bot"), ENSURE, False),
    (Facts("issues", "assigned", assignee="Claude-Bot"), ENSURE, False),
    (Facts("issues", "assigned", assignee="octocat"), IGNORE, False),
    (Facts("issues", "unassigned", assignee="claude-bot"), IGNORE, False),
    (Facts("issues", "closed"), STOP, False),
    (Facts("issues", "closed", is_bot=True), STOP, False),
    (Facts("issues", "transferred"), STOP, False),
    (Facts("issues", "deleted"), DELETE, False),
    (Facts("issues", "edited"), IGNORE, False),
    (Facts("issues", "pinned"), IGNORE, False),
    (Facts("issues"), IGNORE, False),
    (Facts("issue_comment", "created", comment="hey @claude, look"), ENSURE, True),
    (Facts("issue_comment", "created", comment="nothing"), IGNORE, False),
    (Facts("issue_comment", "created", comment=f"{marker('r-0')}\n@claude"), IGNORE, False),
    (Facts("issue_comment", "created", comment=f"@claude, what is {marker('r-0')}?"), ENSURE, True),
    (Facts("issue_comment", "created", comment="@claude", is_bot=True), IGNORE, False),
    (Facts("issue_comment", "created", comment="@claude", is_pull_request=True), IGNORE, False),
    (Facts("issue_comment", "edited", comment="@claude"), IGNORE, False),
    (Facts("issue_comment", "deleted", comment="@claude"), IGNORE, False),
    (Facts("pull_request", "opened"), IGNORE, False),
    (Facts("push"), IGNORE, False),
    (Facts(""), IGNORE, False),
]


@pytest.mark.parametrize(("facts", "intention", "is_explicit"), TRUTH)
def test_facts_are_detected_as_the_table_says(facts: Facts, intention: Intention, is_explicit: bool) -> None:
    """Each delivery asks for exactly what its row names, with a reason in words."""
    detection = detect(facts, CRITERIA)
    assert (detection.intention, detection.is_explicit) == (intention, is_explicit)
    assert detection.reason


def test_every_row_is_reached() -> None:
    """No row of the table is hidden behind another that matches all of its deliveries."""
    cases = [(facts, CRITERIA) for facts, _, _ in TRUTH] + [(Facts("issues", "labeled", label="agreed"), GATED)]
    runs = replace(CRITERIA, run_on=("label", "comment"))
    cases += [(Facts("issues", "unlabeled", label="claude"), runs)]
    cases += [(Facts("issue_comment", "created", comment="@claude stop"), runs)]
    reached = {(detect(facts, criteria).intention, detect(facts, criteria).reason) for facts, criteria in cases}
    assert {(row.intention, row.reason) for row in TABLE} <= reached


def test_every_event_of_the_table_has_its_body() -> None:
    """An event that may ask for something is parsed as strictly as the others; a ping carries no issue."""
    assert set(SHAPES) == EVENTS - {"ping"}


@pytest.mark.parametrize(
    "facts",
    [
        Facts("issues", "labeled", label=""),
        Facts("issues", "assigned", assignee=""),
        Facts("issue_comment", "created", comment=""),
        Facts("issue_comment", "created", comment="@claude"),
    ],
)
def test_trigger_switched_off_asks_for_nothing(facts: Facts) -> None:
    """An empty setting switches its trigger off, and does not match empty fields."""
    assert detect(facts, OFF).intention is IGNORE


OPENED = Facts("issues", "opened", repository="octo/repo", sender="ann", author="ann")
COMMENT = replace(OPENED, event="issue_comment", action="created", comment="@claude", sender="bob")
LABELED = replace(OPENED, action="labeled", label="claude")
ASSIGNED = replace(OPENED, action="assigned", assignee="claude-bot")
REOPENED = replace(OPENED, action="reopened")
REQUESTS = [OPENED, REOPENED, LABELED, ASSIGNED, COMMENT]
ENDINGS = [replace(OPENED, action=action) for action in ("closed", "transferred", "deleted")]


@pytest.mark.parametrize(
    ("globs", "repository", "is_allowed"),
    [
        (("*",), "octo/repo", True),
        (("*",), "", True),
        ((), "octo/repo", False),
        (("octo/repo",), "octo/repo", True),
        (("octo/repo",), "Octo/REPO", True),
        (("Octo/Repo",), "octo/repo", True),
        (("octo/*",), "octo/repo", True),
        (("octo/*",), "octopus/repo", False),
        (("octo*/*",), "octopus/repo", True),
        (("*/repo",), "octo/repo", True),
        (("*/repo",), "octo/repo-2", False),
        (("octo/r?po",), "octo/repo", True),
        (("o*o",), "octo/repo", False),
        (("acme/web", "octo/*"), "octo/repo", True),
        (("acme/web", "acme/api"), "octo/repo", False),
        (("octo/*",), "", False),
    ],
)
def test_repository_is_allowed_when_a_glob_covers_it(globs: tuple[str, ...], repository: str, is_allowed: bool) -> None:
    """A glob must match owner and name as a whole, ignoring case; no star matches across the slash."""
    detection = detect(replace(OPENED, repository=repository), replace(CRITERIA, allowed_repositories=globs))
    assert (detection.intention is ENSURE) is is_allowed
    assert is_allowed or "ISSUEBOX_ALLOWED_REPOSITORIES" in detection.reason


ORDER = ["", "SOMETHING_NEW", "MANNEQUIN", "FIRST_TIMER", "FIRST_TIME_CONTRIBUTOR", "CONTRIBUTOR"]
ORDER += ["COLLABORATOR", "MEMBER", "OWNER"]


@pytest.mark.parametrize("least", Association)
@pytest.mark.parametrize("word", [*ORDER, "NONE", "None", "Member"])
def test_association_is_judged_by_its_place_in_the_order(word: str, least: Association) -> None:
    """The required association and any above it pass; a missing or unknown one counts as NONE."""
    places = list(Association)
    given = places.index(Association.__members__.get(word.upper(), Association.NONE))
    detection = detect(replace(OPENED, issue_association=word), replace(CRITERIA, min_association=least))
    assert (detection.intention is ENSURE) is (given >= places.index(least))
    assert detection.intention is ENSURE or "ISSUEBOX_MIN_ASSOCIATION" in detection.reason


def test_associations_are_in_the_documented_order() -> None:
    """A change of the order of trust must be intended."""
    assert [*Association] == ["NONE", *ORDER[2:]]


@pytest.mark.parametrize(
    ("facts", "issue_counts", "comment_counts"),
    [
        pytest.param(OPENED, True, False, id="opened"),
        pytest.param(replace(OPENED, sender="bob"), True, False, id="opened by a transfer"),
        pytest.param(COMMENT, False, True, id="comment by another"),
        pytest.param(replace(COMMENT, sender="ann"), False, True, id="comment by the author"),
        pytest.param(LABELED, True, False, id="labeled by the author, as a template does"),
        pytest.param(replace(LABELED, sender="ANN"), True, False, id="labeled by the author in other case"),
        pytest.param(replace(LABELED, author=""), True, False, id="labeled when the author is not known"),
        pytest.param(replace(LABELED, sender="bob"), False, False, id="labeled by another"),
        pytest.param(ASSIGNED, True, False, id="assigned by the author"),
        pytest.param(replace(ASSIGNED, sender="bob"), False, False, id="assigned by another"),
        pytest.param(REOPENED, True, False, id="reopened by the author"),
        pytest.param(replace(REOPENED, sender="bob"), False, False, id="reopened by another"),
    ],
)
def test_association_of_the_one_who_asks_counts(facts: Facts, issue_counts: bool, comment_counts: bool) -> None:
    """A comment counts by its own author, the rest by the issue's. No association is needed with triage rights."""
    criteria = replace(CRITERIA, min_association=Association.MEMBER)
    for issue, comment in (("NONE", "NONE"), ("MEMBER", "NONE"), ("NONE", "MEMBER"), ("MEMBER", "MEMBER")):
        is_good = (issue == "MEMBER" or not issue_counts) and (comment == "MEMBER" or not comment_counts)
        detection = detect(replace(facts, issue_association=issue, comment_association=comment), criteria)
        assert (issue, comment, detection.intention) == (issue, comment, ENSURE if is_good else IGNORE)


@pytest.mark.parametrize(
    ("facts", "carries"),
    [
        (OPENED, False),
        (replace(OPENED, labels=("bug",)), False),
        (replace(OPENED, labels=("bug", "agreed")), True),
        (replace(OPENED, labels=("Agreed",)), True),
        (COMMENT, False),
        (replace(COMMENT, labels=("agreed",)), True),
        (LABELED, False),
        (replace(LABELED, labels=("claude", "agreed")), True),
        (replace(LABELED, label="agreed"), True),
        (replace(LABELED, label="AGREED"), True),
        (replace(ASSIGNED, labels=("agreed",)), True),
        (REOPENED, False),
    ],
)
def test_issue_must_carry_the_required_label(facts: Facts, carries: bool) -> None:
    """Every request needs it on the issue, ignoring case; the label that is just being added counts."""
    detection = detect(facts, GATED)
    assert (detection.intention is ENSURE) is carries
    assert carries or "ISSUEBOX_REQUIRED_LABEL" in detection.reason
    assert detect(replace(facts, label="claude"), CRITERIA).intention is ENSURE


def test_required_label_put_on_lets_the_issue_in_without_being_a_request_of_its_own() -> None:
    """The issue that was refused without it is served, but a closed issue is not woken up by it."""
    detection = detect(replace(LABELED, label="agreed", sender="bob"), GATED)
    assert (detection.intention, detection.is_explicit) == (ENSURE, False)
    both = replace(GATED, required_label="claude")
    assert detect(LABELED, both).is_explicit
    other = detect(replace(LABELED, label="bug"), both)
    assert other.reason == "the label is not 'claude'"


STRICT = Criteria("claude", "@claude", "claude-bot", ("octo/*",), Association.MEMBER, "agreed")
WELCOME = {"issue_association": "MEMBER", "comment_association": "MEMBER", "labels": ("agreed",)}
REFUSALS = {
    "bots": {"is_bot": True},
    "ISSUEBOX_ALLOWED_REPOSITORIES": {"repository": "acme/web"},
    "ISSUEBOX_MIN_ASSOCIATION": {"issue_association": "CONTRIBUTOR", "comment_association": "CONTRIBUTOR"},
    "ISSUEBOX_REQUIRED_LABEL": {"labels": ("bug",)},
}


def test_every_objection_has_its_case() -> None:
    """The test below covers every objection."""
    assert len(REFUSALS) == len(ADMISSION)


@pytest.mark.parametrize("words", REFUSALS)
@pytest.mark.parametrize("request_", REQUESTS, ids=lambda facts: facts.action)
def test_request_that_misses_one_criterion_is_refused_by_its_name(request_: Facts, words: str) -> None:
    """All criteria hold for every way to ask, and the reason names the setting to change."""
    welcome = replace(request_, **WELCOME)
    assert detect(welcome, STRICT).intention is ENSURE
    detection = detect(replace(welcome, **REFUSALS[words]), STRICT)
    assert detection.intention is IGNORE
    assert words in detection.reason


@pytest.mark.parametrize("facts", ENDINGS, ids=lambda facts: facts.action)
@pytest.mark.parametrize("words", REFUSALS)
def test_event_that_ends_work_is_never_refused(facts: Facts, words: str) -> None:
    """Anyone may close, transfer or delete. Where the issue's opening would be refused, its end starts no workflow."""
    welcome = replace(facts, author="octocat", **WELCOME)
    for each in (welcome, replace(welcome, **REFUSALS[words])):
        assert detect(each, STRICT).intention is (DELETE if facts.action == "deleted" else STOP)
    assert detect(welcome, STRICT).start_objection == ""
    objection = detect(replace(welcome, **REFUSALS[words]), STRICT).start_objection
    # A bot that closes a person's issue is no bot that opened it.
    assert (words in objection) == (words != "bots")
    assert "bots" in detect(replace(welcome, author="renovate[bot]"), STRICT).start_objection


def test_comment_that_asks_for_nothing_is_not_blamed_on_its_author() -> None:
    """The reason for an ordinary comment is that it asks for nothing, not who wrote it."""
    detection = detect(replace(COMMENT, comment="thanks", is_bot=True), STRICT)
    assert detection.reason == "the comment does not say '@claude'"


def test_criteria_come_from_the_settings_of_any_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """API and workers read the same variables, so that resync admits whom a webhook admits."""
    for name, value in {
        "TRIGGER_LABEL": "ai",
        "TRIGGER_PHRASE": "@ai",
        "TRIGGER_LOGIN": "ai-bot",
        "ALLOWED_REPOSITORIES": "octo/*, acme/web",
        "MIN_ASSOCIATION": "MEMBER",
        "REQUIRED_LABEL": "agreed",
    }.items():
        monkeypatch.setenv(f"ISSUEBOX_{name}", value)
    criteria = Criteria("ai", "@ai", "ai-bot", ("octo/*", "acme/web"), Association.MEMBER, "agreed")
    assert criteria_of(load(ApiSettings)) == criteria_of(load(WorkerSettings)) == criteria


def test_criteria_admit_everybody_unless_something_is_set() -> None:
    """Without settings only bots are refused."""
    assert criteria_of(ApiSettings()) == Criteria()
    assert detect(OPENED, Criteria()).intention is ENSURE


WORDS = st.sampled_from(["", "issues", "issue_comment", "ping", "push", "opened", "created", "labeled", "closed"])
ANYTHING = st.one_of(WORDS, st.text(max_size=30), st.sampled_from(["claude", "@claude", "claude-bot", "> @claude"]))


@given(st.builds(Facts, WORDS | st.text(), ANYTHING, ANYTHING, ANYTHING, ANYTHING, st.booleans(), st.booleans()))
def test_detection_is_total(facts: Facts) -> None:
    """Every delivery has one intention and a reason; only requests for a sandbox are explicit."""
    for criteria in (CRITERIA, STRICT):
        detection = detect(facts, criteria)
        assert isinstance(detection, Detection)
        assert detection.reason
        assert not detection.is_explicit or detection.intention is ENSURE
        if facts.event not in EVENTS:
            assert detection.intention is IGNORE
