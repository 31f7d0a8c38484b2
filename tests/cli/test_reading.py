"""The commands that read: what they list, how an issue is named, and the output for each width of terminal."""

from __future__ import annotations

import itertools
import os
import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from issuebox.cli.cards import TABLE_WIDTH_MIN, age
from issuebox.dev.dev_stack import DevStack
from tests.cli.conftest import Run, issue_in, own_namespace
from tests.waiting import until
from tests.workflow.conftest import Stack
from workflows import search_attributes
from workflows.messages import MEMO_STATUS, WORKFLOW_TYPE, Published, StartInput

IDS = itertools.count(2**40 + os.getpid() * 10_000)
"""A range far from the IDs of other tests."""
PREFIX = "claude-issue-"


async def known(temporal: Client, published: Published, *, is_indexed: bool = False, prefix: str = PREFIX) -> str:
    """Start a new issue's workflow that no worker serves, with what it would have published. Returns its name."""
    issue_id = next(IDS)
    name = f"{prefix}{issue_id}"
    pairs = [SearchAttributePair(search_attributes.NUMBER, published.number)] if is_indexed else []
    await temporal.start_workflow(
        WORKFLOW_TYPE, StartInput(issue_id, name), id=name, task_queue=f"nobody-{uuid.uuid4().hex}",
        memo={MEMO_STATUS: published}, search_attributes=TypedSearchAttributes(pairs),
    )  # fmt: skip
    return name


async def visible(temporal: Client, *names: str) -> None:
    """Wait until Temporal's index shows them."""
    for name in names:

        async def count(name: str = name) -> int:
            return (await temporal.count_workflows(f"WorkflowId = '{name}'")).count

        await until(count, bool, f"{name} in the index")


@pytest.fixture
def read(run: Run, temporal_address: str) -> Run:
    """A command that needs no worker."""

    async def ran(*arguments: str, **given: str) -> object:
        return await run(*arguments, **{"TEMPORAL_ADDRESS": temporal_address} | given)

    return ran  # type: ignore[return-value]


async def test_list_shows_what_fits_and_nothing_else(temporal: Client, repository: str, read: Run) -> None:
    """Each filter excludes the one issue that does not fit; without a filter all are listed, newest first."""
    base = Published(phase="usable", state="started", repository=repository, number=1, title="One", issue_state="open")
    others = {
        "--phase": Published(phase="stopped", state="stopped", repository=repository, number=2, issue_state="open"),
        "--issue-state": Published(
            phase="usable", state="started", repository=repository, number=3, issue_state="closed"
        ),
        "--blocked": Published(phase="missing", blocked="quota", repository=repository, number=4, issue_state="open"),
        "": Published(
            phase="missing", state="x", blocked="queued", repository=repository, number=5, issue_state="open"
        ),
    }
    shown = [base, *others.values()]
    names = [await known(temporal, published) for published in shown]
    await visible(temporal, *names)

    async def numbers(*filters: str) -> list[int]:
        ran = await read("list", "--repo", repository.upper(), "--json", *filters)
        assert (ran.code, ran.err) == (0, "")
        return [row["published"]["number"] for row in ran.json["issues"]]

    assert await numbers() == [5, 4, 3, 2, 1]
    assert await numbers("--phase", "stopped") == [2]
    assert await numbers("--state", "started") == [3, 1]
    assert await numbers("--issue-state", "closed") == [3]
    assert await numbers("--blocked") == [4]
    ran = await read("list", "--repo", repository, "--limit", "2")
    assert (f"{repository}#5" in ran.out, f"{repository}#4" in ran.out, f"{repository}#3" in ran.out) == (
        True, True, False,
    )  # fmt: skip
    assert "raise --limit" in ran.out


async def test_list_leaves_out_other_installations(temporal: Client, repository: str, read: Run) -> None:
    """Two installations with different prefixes share a namespace and do not see each other's issues."""
    published = Published(phase="usable", repository=repository, number=1)
    names = [
        await known(temporal, published, prefix="theirs-"),
        await known(temporal, published),
    ]
    await visible(temporal, *names)
    ours = (await read("list", "--repo", repository, "--json")).json["issues"]
    assert [row["name"] for row in ours] == [names[1]]
    theirs = (await read("list", "--repo", repository, "--json", ISSUEBOX_NAME_PREFIX="theirs-")).json["issues"]
    assert [row["name"] for row in theirs] == [names[0]]


async def test_list_without_issues_is_an_answer(read: Run, repository: str) -> None:
    """Finding nothing is not an error."""
    ran = await read("list", "--repo", repository)
    assert (ran.code, ran.out, ran.err) == (0, "No issue fits.\n", "")
    assert (await read("list", "--repo", repository, "--json")).json == {"issues": [], "is_more": False}


async def test_list_where_nobody_has_asked_yet_says_how_to_begin(run: Run, temporal_address: str) -> None:
    """Not that no issue fits: nothing was asked for but a list."""
    namespace = f"empty-{uuid.uuid4().hex[:8]}"
    await own_namespace(temporal_address, namespace)
    ran = await run("list", TEMPORAL_ADDRESS=temporal_address, TEMPORAL_NAMESPACE=namespace)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("There are no issues yet. ")


async def test_list_shows_how_old_each_issue_is_here(temporal: Client, repository: str, read: Run) -> None:
    """As the time since its workflow began, in one unit."""
    await visible(temporal, await known(temporal, Published(phase="usable", repository=repository, number=1)))
    for width in ("80", "40"):
        assert re.search(r"\b\d{1,2} s\b", (await read("list", "--repo", repository, COLUMNS=width)).out)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (-5, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172_800, "2 d")],
)
def test_age_is_told_in_the_largest_unit_of_which_it_is_two(seconds: int, text: str) -> None:
    """So it never loses more than a third of what it says."""
    now = datetime(2026, 11, 29, tzinfo=UTC)
    assert age(now, now - timedelta(seconds=seconds)) == text


@pytest.mark.parametrize("width", [30, 50, 79, 120])
async def test_list_loses_nothing_on_a_narrow_terminal(
    temporal: Client, repository: str, read: Run, width: int
) -> None:
    """Lines are folded and never cut: every value is shown, and no line is wider than the terminal."""
    title = "A rather long title that must be folded somewhere, but not be cut"
    published = Published("unprepared", "pulling_snapshot", repository=repository, number=7, title=title)
    name = await known(temporal, published)
    await visible(temporal, name)
    ran = await read("list", "--repo", repository, COLUMNS=str(width))
    assert max(len(line) for line in ran.out.splitlines()) <= width
    letters = "".join(ran.out.split())
    assert all(word in ran.out for word in ("unprepared", name.removeprefix(PREFIX)))
    if width < TABLE_WIDTH_MIN:
        assert all(value in letters for value in (f"{repository}#7", "pulling_snapshot", "".join(title.split())))
    else:
        assert all(word in ran.out for word in title.split())


async def test_foreign_text_does_not_steer_the_terminal(temporal: Client, repository: str, read: Run) -> None:
    """A title with control characters or rich's markup is shown as text."""
    published = Published(phase="usable", repository=repository, number=7, title="\x1b[31mred\x9b2J [bold]not[/bold]")
    await visible(temporal, await known(temporal, published))
    ran = await read("list", "--repo", repository)
    assert not {"\x1b", "\x9b"} & set(ran.out)
    assert "[bold]not[/bold]" in ran.out


@pytest.mark.parametrize("is_indexed", [True, False])
async def test_issue_is_found_by_repository_and_number(
    temporal: Client, repository: str, read: Run, is_indexed: bool
) -> None:
    """The search uses the search attribute, or else what the workflow published, and ignores case."""
    name = await known(temporal, Published(repository=repository, number=77), is_indexed=is_indexed)
    await visible(temporal, name)
    for text in (
        f"{repository}#77",
        f"{repository.upper()}#77",
        f"https://github.com/{repository}/issues/77#comment-1",
    ):
        ran = await read("retry", text, "--json")
        assert (ran.code, ran.json["name"]) == (0, name)


async def test_ambiguous_number_is_refused_with_the_ids(temporal: Client, repository: str, read: Run) -> None:
    """A re-created repository uses its numbers twice, so a person must say which issue is meant."""
    names = [await known(temporal, Published(repository=repository, number=5)) for _ in range(2)]
    await visible(temporal, *names)
    ran = await read("stop", f"{repository}#5")
    assert (ran.code, ran.out) == (4, "")
    assert all(name.removeprefix(PREFIX) in ran.err for name in names)


async def test_ended_issue_gives_way_to_the_running_one(temporal: Client, repository: str, read: Run) -> None:
    """An old issue whose workflow has ended does not make its number ambiguous."""
    published = Published(repository=repository, number=5)
    old, new = [await known(temporal, published) for _ in range(2)]
    await temporal.get_workflow_handle(old).terminate()
    await visible(temporal, old, new)

    async def ended() -> int:
        query = f"WorkflowId = '{old}' AND ExecutionStatus = 'Terminated'"
        return (await temporal.count_workflows(query)).count

    await until(ended, bool, "the old one ended in the index")
    ran = await read("retry", f"{repository}#5", "--json")
    assert (ran.code, ran.json["name"]) == (0, new)


@pytest.mark.parametrize("command", ["show", "why", "stop", "delete", "retry"])
async def test_unknown_issue_has_its_own_exit_code(issue_id: int, issuebox: Run, command: str) -> None:
    """The error says that nobody has requested this sandbox and what to do; nothing is created."""
    ran = await issuebox(command, str(issue_id))
    assert (ran.code, ran.out) == (4, "")
    assert "nobody has asked" in ran.err
    assert "owner/repo#number" in ran.err


async def test_unknown_number_says_how_to_get_the_id(read: Run, repository: str) -> None:
    """The global ID always works, and the error has the command that prints it."""
    ran = await read("ensure", f"{repository}#5")
    assert (ran.code, ran.out) == (4, "")
    assert f"gh api repos/{repository}/issues/5 --jq .id" in ran.err


@pytest.mark.parametrize(
    "text", ["0", "-1", "x", "claude-issue-0", "#5", "octo#5", "octo/repo", str(2**63), "octo/repo#0"]
)
async def test_text_that_names_no_issue_is_misuse(read: Run, text: str) -> None:
    """It is refused before any call to Temporal."""
    ran = await read("show", "--", text, TEMPORAL_ADDRESS="127.0.0.1:1")
    assert (ran.code, ran.out) == (2, "")
    assert "names no issue" in ran.err


async def test_show_and_why_print_what_the_workflow_knows(stack: Stack, issuebox: Run, repository: str) -> None:
    """`show` has state, address and issue; `why` has every decision with its time; JSON is the whole answer."""
    await stack.deliver(stack.event(issue=issue_in(stack, repository)))
    await stack.served()
    [live] = await stack.live()
    card = await issuebox("show", f"{repository}#5")
    assert (card.code, card.err) == (0, "")
    for fact in (stack.name, f"{repository}#5", "A title", "usable", "started", live.id, "created", "running"):
        assert fact in card.out
    status = await issuebox("show", stack.name, "--json")
    assert (status.json["sandbox"]["id"], status.json["deliveries_seen"]) == (live.id, 1)
    told = await issuebox("why", stack.name)
    why = await issuebox("why", stack.name, "--json")
    assert (told.code, why.code) == (0, 0)
    for note in why.json["notes"]:
        assert note["what"] in told.out
        assert note["at"][:19].replace("T", " ") in told.out
    narrow = await issuebox("why", stack.name, COLUMNS="40")
    assert max(len(line) for line in narrow.out.splitlines()) <= 40


async def test_worker_that_does_not_answer_has_its_own_exit_code(temporal: Client, repository: str, read: Run) -> None:
    """Temporal knows the issue but nobody can report its state, which differs from an unknown issue."""
    name = await known(temporal, Published(repository=repository))
    ran = await read("show", name)
    assert (ran.code, ran.out) == (3, "")
    assert "no worker answers" in ran.err


async def test_temporal_that_is_away_has_its_own_exit_code(read: Run, closed_address: str) -> None:
    """The error names the address, and there is no traceback."""
    ran = await read("list", TEMPORAL_ADDRESS=closed_address)
    assert (ran.code, ran.out) == (3, "")
    assert closed_address in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("TEMPORAL_ADDRESS", "nonsense", "host:port"),
        ("ISSUEBOX_API_TOKENS", "a secret!", "ISSUEBOX_API_TOKENS has to be one word"),
        ("ISSUEBOX_NAME_PREFIX", "not this", "ISSUEBOX_NAME_PREFIX='not this' has to be at most 80 letters"),
        ("ISSUEBOX_ALOWED_REPOSITORIES", "a/b", "did you mean ISSUEBOX_ALLOWED_REPOSITORIES?"),
    ],
)
async def test_wrong_setting_is_misuse(read: Run, variable: str, value: str, words: str) -> None:
    """The error names the setting and what fits. It does not repeat a secret."""
    ran = await read("list", **{variable: value})
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert "a secret!" not in ran.err


async def test_running_dev_stack_is_used_when_no_address_is_set(
    temporal: Client, run: Run, temporal_address: str, tmp_path: Path, repository: str
) -> None:
    """Commands find `issuebox dev` in the working directory, or another with --data; TEMPORAL_ADDRESS overrides it."""
    await visible(temporal, await known(temporal, Published(repository=repository, number=5)))
    for directory in (tmp_path / ".issuebox", tmp_path / "other"):
        directory.mkdir()
        DevStack(
            pid=1, is_ready=True, api_url="http://127.0.0.1:1", api_token="t", webhook_secret="s",
            temporal_address=temporal_address, temporal_namespace="default", temporal_ui_url=None,
            daytona_api_url="", daytona_page_url=None, daytona_api_key=None, processes={},
        ).write(directory)  # fmt: skip
    for options in ([], ["--data", "other"]):
        assert f"{repository}#5" in (await run("list", "--repo", repository, *options)).out
    away = await run("list", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert (away.code, "127.0.0.1:1" in away.err) == (3, True)
