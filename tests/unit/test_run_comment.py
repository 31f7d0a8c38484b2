"""What a run's comment says, and what it can never do: make a mention, a link or a request of somebody else's words."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from issuebox.domain.issue import Issue
from issuebox.domain.run import (
    QUEUE_MAX,
    RequestKind,
    Run,
    RunGoal,
    RunOutcome,
    RunPhase,
    RunRequest,
    Runs,
)  # fmt: skip
from issuebox.domain.run_comment import (
    TOLD_WITHIN,
    UNSURE,
    Hints,
    State,
    Surroundings,
    body_of,
    has_news,
    inert,
    is_needed,
    marker,
    state_of,
)
from issuebox.domain.triggers import says

ASKED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BEGUN = ASKED + timedelta(minutes=1)
ISSUE = Issue(7, "octo/repo", 5, url="https://github.com/octo/repo/issues/5")
HINTS = Hints("claude", "@claude")
WAITING = Run("r-0123456789ab", (), ASKED)
WORKING = replace(WAITING, phase=RunPhase.RUNNING, first_begun_at=BEGUN, begun_at=BEGUN)
PAUSED = replace(WORKING, phase=RunPhase.ABSENT, goal=RunGoal.PAUSE)
ENDING = replace(WORKING, goal=RunGoal.CANCEL)
CUT_OFF = replace(WORKING, phase=RunPhase.ASLEEP, attempt=2)
OVER = replace(
    WORKING, phase=RunPhase.ENDED, outcome=RunOutcome.DONE, ended_at=BEGUN + timedelta(minutes=12, seconds=5)
)


def said(run: Run, hints: Hints = HINTS, **around: object) -> str:
    return body_of(run, Surroundings(ISSUE, **around), hints)  # type: ignore[arg-type]


def test_waiting_run_says_how_to_stop_it_without_the_phrase() -> None:
    """The whole text: the marker, the state, the queue, the ways to stop it."""
    assert said(WAITING, waiting=2, place=3) == (
        "<!-- issuebox run r-0123456789ab -->\n"
        "**The agent is about to begin.**\n"
        "\n"
        "When this was written, it had place 3 among the runs that wait for their turn. 2 further requests wait for "
        "the next run, which takes all of them.\n"
        "\n"
        "To stop it: take the label `claude` off, or comment with nothing but the trigger phrase and the word *stop*, "
        "or run `issuebox cancel 7 r-0123456789ab`.\n"
        "\n"
        "<sub>run `r-0123456789ab`, attempt 1</sub>\n"
    )


def test_working_run_says_at_what() -> None:
    """The last line of progress, quoted, and since when it works."""
    text = said(replace(WORKING, progress="running the tests"))
    assert "**The agent is at work.** It began at 2026-03-01 12:01 UTC.\n\n> \u200drunning the tests\n" in text


def test_done_run_says_what_came_of_it() -> None:
    """Summary, branch, pull request, cost, duration, and what helps. How to stop it is left out."""
    run = replace(
        OVER, summary="Fixed the parser.", branch="claude/issue-5", cost_usd=0.4213,
        pull_request="https://github.com/octo/repo/pull/9", progress="committing",
    )  # fmt: skip
    text = said(run, advice="Nothing to do.", waiting=1)
    assert "**The agent is done.** It took 12 min 5 s.\n\n> \u200dFixed the parser.\n" in text
    assert "Branch: `claude/issue-5` · Pull request: https://github.com/octo/repo/pull/9 · Cost, as the" in text
    assert "as the agent says: 0.42 USD\n" in text
    assert "Nothing to do." in text
    assert "To stop it" not in text
    assert "committing" not in text


def test_failed_run_says_why_and_what_helps() -> None:
    run = replace(OVER, outcome=RunOutcome.CREDENTIALS, reason="401 from the provider")
    text = said(run, advice="Set valid credentials.")
    assert (
        "**The agent's credentials were not accepted.** It took 12 min 5 s.\n\nReason: 401 from the provider\n" in text
    )
    assert "\n\nSet valid credentials.\n" in text


def test_step_that_failed_is_told_with_the_time_of_the_next_try() -> None:
    run = replace(CUT_OFF, trouble="the provider is busy", next_step_at=BEGUN + timedelta(hours=1))
    assert "The last step failed: the provider is busy. It is tried again at 2026-03-01 13:01 UTC.\n" in said(run)


@pytest.mark.parametrize(
    "address",
    ["https://evil.example/octo/repo/pull/9", "https://github.com/octo/other/pull/9", "javascript:alert(1)", "#9"],
)
def test_address_that_is_no_pull_request_of_the_repository_is_no_link(address: str) -> None:
    """The agent may name anything: only the issue's own repository is linked to, by an address or a number."""
    assert "Pull request: https://github.com/octo/repo/pull/9\n" in said(replace(OVER, pull_request="9"))
    assert f"Pull request: `{address}`" in said(replace(OVER, pull_request=address))


@pytest.mark.parametrize(
    ("run", "state"),
    [
        (WAITING, State.WAITING),
        (replace(WAITING, phase=RunPhase.PREPARED), State.WAITING),
        (WORKING, State.WORKING),
        (replace(WORKING, phase=RunPhase.UNKNOWN), State.WORKING),
        (replace(WORKING, phase=RunPhase.UNKNOWN, failures=3), State.INTERRUPTED),
        (CUT_OFF, State.INTERRUPTED),
        (PAUSED, State.PAUSED),
        (ENDING, State.ENDING),
        (replace(WORKING, ending="time_limit"), State.ENDING),
        *((replace(OVER, outcome=outcome), outcome) for outcome in RunOutcome),
    ],
)
def test_every_state_has_its_words(run: Run, state: State | RunOutcome) -> None:
    """Each state is told, and no two in the same words."""
    assert state_of(run) == state
    told = said(run).splitlines()[1]
    others = [said(other).splitlines()[1] for other in (WAITING, WORKING, PAUSED, ENDING, CUT_OFF, OVER)]
    assert others.count(told) == (run in (WAITING, WORKING, PAUSED, ENDING, CUT_OFF, OVER)) or state in State


def test_news_are_the_first_report_the_last_one_and_what_stops_the_work() -> None:
    """That the agent works is no news after the first report: its follower tells."""
    now = OVER.ended_at
    assert now is not None
    first, told = replace(WAITING), {"comment_id": 3, "told": "waiting"}
    assert has_news(first, now)
    assert has_news(WORKING, now)
    assert not has_news(replace(WAITING, **told), now)
    assert not has_news(replace(WORKING, **told), now)
    assert has_news(replace(WORKING, comment_id=3, told=UNSURE), now)
    assert has_news(replace(PAUSED, **told), now)
    assert has_news(replace(OVER, **told), now)
    assert not has_news(replace(OVER, comment_id=3, told="done"), now)
    assert not has_news(replace(OVER, comment_id=-1, told="waiting"), now), "somebody deleted the comment"
    assert not has_news(OVER, now + TOLD_WITHIN + timedelta(seconds=1)), "it is old"
    assert [is_needed(run) for run in (first, replace(WORKING, comment_id=3), replace(OVER, comment_id=3))] == [
        True, False, True,
    ]  # fmt: skip


def test_only_what_was_taken_is_to_be_seen() -> None:
    """A request that is known, or refused, is not answered, and no more are kept than may wait."""
    runs = Runs()
    for number in [*range(1, QUEUE_MAX + 3), 1]:
        runs.take(RunRequest(RequestKind.COMMENT, f"comment-{number}", "ann", "go", comment_id=number), ASKED)
    assert runs.unseen == list(range(1, QUEUE_MAX + 1))
    runs.take(RunRequest(RequestKind.CALL, "call-1", "ann", "go"), ASKED)
    assert len(Runs(unseen=[1] * 1000).unseen) == QUEUE_MAX


texts = st.one_of(
    st.text(max_size=60),
    st.lists(
        st.sampled_from(
            [
                "@ann", "@octo/team", "&#64;ann", "&commat;ann", "#12", "octo/repo#3", "GH-4", "https://evil.example/x",
                "www.evil.example", "me@evil.example", "[a](https://evil.example)", "![i](//evil.example/i.png)", "<b>",
                "<img src=x>", "`", "```", "# head", "1. one", "- dash", "> quote", "| a | b |", "\\", "*", "_", "~~",
                "-->", "<!--", "@claude", "@CLAUDE stop", "claude", "\n", "$x$", "<https://evil.example>", " ",
            ]
        ),
        max_size=6,
    ).map("".join),
)  # fmt: skip
runs = st.builds(
    lambda base, progress, summary, reason, trouble, branch, pull_request: replace(
        base, progress=progress, summary=summary, reason=reason, trouble=trouble, branch=branch,
        pull_request=pull_request,
    ),
    st.sampled_from([WAITING, WORKING, PAUSED, ENDING, CUT_OFF, OVER, replace(OVER, outcome=RunOutcome.FAILED)]),
    texts, texts, texts, texts, texts, texts.map("no {}".format),
)  # fmt: skip

RENDERER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
"""Addresses are looked for in what is shown: the part that makes links of them is not installed."""


@given(runs)
def test_no_words_of_others_make_a_mention_a_reference_or_a_link(run: Run) -> None:
    """As GitHub renders it: no tag but ours, no link, and nothing that GitHub would look for in what is shown."""
    body = said(run)
    html = RENDERER.render(body)
    tags = set(re.findall(r"</?([a-z0-9]+)", html.replace(marker(run.id), "")))
    assert tags <= {"p", "strong", "em", "blockquote", "code", "sub"}
    shown = re.sub(r"<code>.*?</code>", "", html, flags=re.DOTALL)
    shown = re.sub(r"<[^>]*>", "", shown)
    assert not re.search(r"@\w|#\d|gh-\d|://|www\.", shown, re.IGNORECASE)
    assert len(body) < 12_000


@given(
    runs, st.one_of(st.sampled_from(["@claude", "claude", "the", "run", "a", "**", "/agent go"]), st.text("abC @#*-"))
)
def test_trigger_phrase_is_never_written(run: Run, phrase: str) -> None:
    """Whatever it is: a comment of ours must not ask for the next run."""
    body = said(run, Hints("claude", phrase))
    assert body.startswith(marker(run.id))
    assert not phrase.strip() or not says(body, phrase)
    rest = body.removeprefix(marker(run.id))
    assert not phrase or phrase.isspace() or not re.search(re.escape(phrase), rest, re.IGNORECASE)


@given(st.text(max_size=200))
def test_inert_words_read_as_they_are(text: str) -> None:
    """What is shown is what was written, but for what nobody sees."""
    line = " ".join(text.split())
    html = RENDERER.renderInline("x" + inert(line))
    shown = re.sub(r"<[^>]*>", "", html).replace("\u200d", "")
    for entity, mark in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        shown = shown.replace(entity, mark)
    assert shown == "x" + line.replace("\u200d", "").replace("\x00", "\N{REPLACEMENT CHARACTER}")
