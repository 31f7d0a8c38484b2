"""`issuebox resync` as a person runs it: its output, and its exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from activities.github_messages import Counts
from issuebox.cli.resync import report_lines
from issuebox.connections import directory_of
from issuebox.domain.issue import IssueState
from issuebox.domain.resync import Mark
from issuebox.settings import WorkerSettings
from issuebox.temporal.schedules import resync_interval_s, resync_request
from tests.resync.conftest import Stack, at
from workflows.resync_messages import RepositoryReport, ResyncReport


async def resync(stack: Stack | None, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    address = stack.temporal.service_client.config.target_host if stack else "127.0.0.1:9"
    own = {"TEMPORAL_ADDRESS": address, "ISSUEBOX_TASK_QUEUE": stack.task_queue if stack else "none", "COLUMNS": "150"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "issuebox", "resync", *arguments, env=os.environ | own | environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


def test_report_names_the_repository_and_each_count_in_words() -> None:
    """A table of eight columns has no room for a repository's name on a terminal of 80 columns."""
    counts = Counts(listed=4, sent=1, known=3, requests=2, unchanged=1)
    first, *_ = report_lines(ResyncReport((RepositoryReport("octo-organization/website", Mark.at(at(0)), counts),)))
    assert str(first) == (
        "octo-organization/website: 4 listed, 1 sent, 3 known, 0 unasked, 0 refused, 0 unreadable, 0 left out; "
        "2 requests, 1 of them without news (304)"
    )


async def test_output_names_what_was_sent(stack: Stack, issue_id: int) -> None:
    """The configured repositories are read; exit code 0 means that all of them could be."""
    stack.github.issue(issue_id, 7, at=at(5))
    code, output, _ = await resync(stack, "--since", "2026-01-01T00:00:00", ISSUEBOX_RESYNC_REPOSITORIES="octo/repo")
    assert code == 0
    assert "sent octo/repo#7 opened: the issue was opened" in output
    assert len(await stack.missed(issue_id)) == 1


async def test_json_is_for_programs(stack: Stack, issue_id: int) -> None:
    """Standard output is the report and nothing else; an unreadable repository makes the exit code 1."""
    stack.github.issue(issue_id, 7, at=at(5), state="closed")
    await stack.deliver(issue_id, 7, IssueState.OPEN)
    code, output, _ = await resync(stack, "octo/repo", "octo/hidden", "--json", "--since", "2026-01-01T00:00:00Z")
    read, hidden = json.loads(output)["repositories"]
    assert code == 1
    assert (read["counts"]["sent"], read["sent"][0]["action"]) == (1, "closed")
    assert (hidden["error"], "octo/hidden" in hidden["reason"]) == ("RefusedError", True)


async def test_full_reaches_old_issues(stack: Stack, issue_id: int) -> None:
    """`--full` treats every open issue as just opened."""
    stack.github.issue(issue_id, 7, at=at(-9000))
    code, output, _ = await resync(stack, "octo/repo", "--full")
    assert code == 0
    assert "octo/repo#7" in output


@pytest.mark.parametrize(
    "arguments", [(), ("octo",), ("octo/repo", "--since", "yesterday"), ("octo/repo", "--nonsense")]
)
async def test_misuse_exits_with_2(arguments: tuple[str, ...]) -> None:
    """Wrong options are reported before any request."""
    code, output, errors = await resync(None, *arguments, ISSUEBOX_RESYNC_REPOSITORIES="")
    assert (code, output) == (2, "")
    assert errors.strip()


async def test_wrong_setting_exits_with_2() -> None:
    """The message names an invalid repository; no request is sent for it."""
    code, _, errors = await resync(None, ISSUEBOX_RESYNC_REPOSITORIES="octo/repo, nonsense")
    assert code == 2
    assert "ISSUEBOX_RESYNC_REPOSITORIES" in errors


async def test_temporal_that_is_not_reached_exits_with_3() -> None:
    """A script can tell an outage from an unreadable repository."""
    code, _, errors = await resync(None, "octo/repo")
    assert code == 3
    assert "no connection to Temporal" in errors


async def test_repositories_that_were_connected_are_read(tmp_path: Path) -> None:
    """`issuebox connect github` stored where the App is installed: nobody has to name the repositories again."""
    directory = directory_of(tmp_path)
    directory.mkdir(mode=0o700)
    stored = {"settings": {"ISSUEBOX_RESYNC_REPOSITORIES": "octo/repo"}, "files": {}}
    (directory / "github.json").write_text(json.dumps(stored))
    code, _, errors = await resync(None, "--data", str(tmp_path))
    assert (code, "no connection to Temporal" in errors) == (3, True)


def test_schedule_is_made_of_the_settings() -> None:
    """Interval 0 or no repositories give no schedule; a repository that is listed twice is read once."""
    assert resync_interval_s(WorkerSettings()) == 0.0
    settings = WorkerSettings.model_validate({"resync_repositories": "octo/repo, Octo/Repo,octo/b"})
    assert resync_interval_s(settings) == 900.0
    assert resync_interval_s(settings.model_copy(update={"resync_interval_s": 0.0})) == 0.0
    assert [name.lower() for name in resync_request(settings).repositories] == ["octo/repo", "octo/b"]


def test_allowed_repositories_are_read_when_there_are_credentials() -> None:
    """Only names, no globs; without credentials GitHub would answer too few requests."""
    given = {"allowed_repositories": "acme/*,octo/c,octo/?"}
    assert resync_interval_s(WorkerSettings.model_validate(given)) == 0.0
    for credential in ({"github_token": "t"}, {"github_app_id": "1"}):
        settings = WorkerSettings.model_validate(given | credential)
        assert (resync_request(settings).repositories, resync_interval_s(settings)) == (("octo/c",), 900.0)


@pytest.mark.parametrize(
    ("url", "is_taken"),
    [
        ("https://api.github.com", True),
        ("https://ghe.example/api/v3/", True),
        ("http://127.0.0.1:8000", True),
        ("http://localhost", True),
        ("http://ghe.example/api/v3", False),
        ("https://token@ghe.example", False),
        ("ftp://ghe.example", False),
    ],
)
def test_token_is_sent_in_the_clear_to_nobody(url: str, is_taken: bool) -> None:
    """Without TLS anyone on the way could read the token, so plain HTTP goes only to this machine."""
    if is_taken:
        assert WorkerSettings.model_validate({"github_api_url": url}).github_api_url == url.rstrip("/")
    else:
        with pytest.raises(ValidationError):
            WorkerSettings.model_validate({"github_api_url": url})
