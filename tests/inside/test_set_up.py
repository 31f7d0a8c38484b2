"""Setting a sandbox up: a real clone with a token from a real git server, and real commands."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
from pathlib import Path
from urllib.parse import quote

import pytest
import structlog.testing
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.inside import InsideActivities
from activities.messages import CommandReply
from activities.scripts import command_line
from issuebox.domain.phase import Cause, Phase
from issuebox.domain.sandbox import LABEL_REPOSITORY, LABEL_SET_UP, SET_UP_DONE
from issuebox.domain.set_up import SetUp
from issuebox.domain.unsaved_work import WorkState
from issuebox.providers.daytona import DaytonaProvider
from tests.contract.conftest import options
from tests.waiting import until

from .conftest import Box
from .origin import TOKEN, USER, Origin

SECRETS = (TOKEN, quote(TOKEN, safe=""), base64.b64encode(f"{USER}:{TOKEN}".encode()).decode())


def ordered(origin: Origin, command: str = "", **changes: object) -> SetUp:
    """The set-up as the settings would describe it."""
    given = {"clone_url": f"{origin.url}/{{repository}}.git", "command": command, "timeout_s": 20.0, "token": TOKEN}
    return SetUp(**given | changes)  # type: ignore[arg-type]


async def refusal(box: Box, given: SetUp, repository: str = "octo/repo") -> str:
    """The reason of a refused set-up, which has set no marker."""
    with pytest.raises(ApplicationError) as failure:
        await box.set_up(given, repository)
    assert (failure.value.type, failure.value.details[0]) == ("RefusedError", Cause.SETUP.value)
    assert LABEL_SET_UP not in await box.labels()
    return failure.value.message


async def test_sandbox_is_cloned_commanded_and_marked(box: Box, origin: Origin) -> None:
    """The reply shows the marker, the clone is whole, the command ran in it, and its output stays in the sandbox."""
    reply = await box.set_up(ordered(origin, "pwd; ls; echo oops >&2"))
    assert reply.sandbox is not None
    assert (reply.sandbox.phase, reply.sandbox.labels[LABEL_SET_UP]) == (Phase.USABLE, SET_UP_DONE)
    assert (box.home / "repo" / "file").read_text() == "one"
    assert (box.home / ".issuebox" / "setup.log").read_text() == f"{box.home}/repo\nfile\noops\n"
    assert not (box.home / ".issuebox" / "clone.partial").exists()
    assert (await box.inspect()).state is WorkState.CLEAN


async def test_nothing_configured_is_marked_at_once(box: Box) -> None:
    """Without a configured set-up a sandbox is ready at once, and nothing is left in it."""
    reply = await box.set_up(SetUp())
    assert reply.sandbox is not None
    assert reply.sandbox.labels[LABEL_SET_UP] == SET_UP_DONE
    assert not (box.home / ".issuebox").exists()


async def test_issue_without_repository_has_its_command_run_at_home(box: Box, origin: Origin) -> None:
    """Without a repository there is nothing to clone."""
    await box.set_up(ordered(origin, "pwd >where"), repository="")
    assert (box.home / "where").read_text() == f"{box.home}\n"
    assert origin.fetches == 0


async def test_repository_is_known_from_the_label(box: Box, origin: Origin) -> None:
    """A request without issue data clones the repository on the sandbox's label."""
    await box.provider.label(box.sandbox.id, {LABEL_REPOSITORY: "octo/repo"})
    await box.set_up(ordered(origin), repository="")
    assert (box.home / "repo" / "file").exists()


async def test_marked_sandbox_is_left_alone(box: Box, origin: Origin) -> None:
    """A second set-up touches nothing and sends nothing into the sandbox."""
    given = ordered(origin, "echo run >>../runs")
    await box.set_up(given)
    (box.home / "repo" / "file").write_text("work")
    before = len(await box.server.admin.journal(kind="toolbox"))
    reply = await box.set_up(given)
    assert reply.sandbox is not None
    assert len(await box.server.admin.journal(kind="toolbox")) == before
    assert (box.home / "runs").read_text() == "run\n"


async def test_unmarked_sandbox_with_a_clone_keeps_its_work(box: Box, origin: Origin) -> None:
    """An existing clone is never touched, whatever became of the marker; the command runs again."""
    given = ordered(origin, "echo run >>../runs")
    await box.set_up(given)
    fetches = origin.fetches
    await box.shell("cd repo; echo work >file; git switch -qc mine; git commit -qam work; echo more >file")
    await box.provider._client.send_labels(box.sandbox.id, {"code-toolbox-language": "python"}, 5.0)
    await box.set_up(given)
    assert (
        await box.shell("cd repo; cat file; git log --format=%s; git branch --show-current")
        == "more\nwork\none\nmine\n"
    )
    assert (origin.fetches, (box.home / "runs").read_text()) == (fetches, "run\nrun\n")


async def test_directory_that_is_no_clone_is_left_alone_and_reported(box: Box, origin: Origin) -> None:
    """Another directory with the repository's name is not touched and not used as the clone."""
    await box.shell("mkdir repo; echo mine >repo/notes")
    assert "~/repo exists and is no git repository" in await refusal(box, ordered(origin))
    assert await box.shell("cat repo/notes") == "mine\n"
    assert origin.fetches == 0


async def test_half_done_clone_is_done_again(box: Box, origin: Origin) -> None:
    """A worker that dies in the middle of a clone leaves nothing that could pass for one."""
    origin.gate.clear()
    async with DaytonaProvider(options(box.server)) as dying:
        activities = InsideActivities(dying, set_up=ordered(origin))
        first = asyncio.create_task(ActivityEnvironment().run(activities.set_up_sandbox, box.request()))
        await asyncio.to_thread(origin.is_fetching.wait, 10)
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
    assert not (box.home / "repo").exists()
    # The half-done clone of an earlier worker.
    await box.shell("mkdir -p .issuebox/clone.partial/old; echo half >.issuebox/clone.partial/old/file")
    origin.gate.set()
    await box.set_up(ordered(origin))
    assert await box.shell("cat repo/file; git -C repo status --porcelain") == "one"
    assert LABEL_SET_UP in await box.labels()


async def test_clone_that_appears_meanwhile_is_not_moved_into(box: Box) -> None:
    """A clone that finishes after another took its place is dropped, and the place stays as it is."""
    await box.shell("git init -q repo; echo mine >repo/file; mkdir -p .issuebox/clone.partial/late/.git")
    await box.shell(command_line("clone_finish", "repo", "late"))
    assert await box.shell("ls -A repo; cat repo/file; ls -A .issuebox") == ".git\nfile\nmine\n"


async def test_dying_worker_leaves_its_command_to_the_next(box: Box, origin: Origin) -> None:
    """The next worker follows the running command, so it runs only once."""
    given = ordered(origin, "echo run >>../runs; while [ ! -e ../go ]; do sleep 0.05; done; echo done >>../runs")
    async with DaytonaProvider(options(box.server)) as dying:
        activities = InsideActivities(dying, set_up=given)
        first = asyncio.create_task(ActivityEnvironment().run(activities.set_up_sandbox, box.request()))
        await until(_exists(box.home / "runs"), bool, "the command running")
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
    second = asyncio.create_task(box.set_up(given))
    await box.shell("touch go")
    reply = await second
    assert reply.sandbox is not None
    assert reply.sandbox.labels[LABEL_SET_UP] == SET_UP_DONE
    assert (box.home / "runs").read_text() == "run\ndone\n"


async def test_failing_command_is_refused_with_the_place_of_its_log(box: Box, origin: Origin) -> None:
    """The reason names the exit code and the log; the command's output stays in the sandbox."""
    reason = await refusal(box, ordered(origin, "echo from-the-command; exit 3"))
    assert reason == "the set-up command ended with exit code 3: see ~/.issuebox/setup.log in the sandbox"
    assert (box.home / ".issuebox" / "setup.log").read_text() == "from-the-command\n"
    # Once fixed in the sandbox or in the settings, the next try succeeds.
    reply = await box.set_up(ordered(origin, "true"))
    assert reply.sandbox is not None
    assert LABEL_SET_UP in reply.sandbox.labels


async def test_command_that_fails_twice_runs_twice(box: Box, origin: Origin) -> None:
    """A failure is not remembered: each try runs the command anew."""
    given = ordered(origin, "echo run >>../runs; exit 3")
    await refusal(box, given)
    await refusal(box, given)
    assert (box.home / "runs").read_text() == "run\nrun\n"


async def test_command_that_takes_too_long_is_killed(box: Box, origin: Origin) -> None:
    """At its deadline the command is killed, and the reason names it."""
    given = ordered(origin, "echo run >>../runs; sleep 2; echo late >>../runs", timeout_s=1.0)
    assert "was killed after 1 s: see ~/.issuebox/setup.log" in await refusal(box, given)
    await box.shell("sleep 2")
    assert (box.home / "runs").read_text() == "run\n"


async def test_command_with_quotes_and_lines_arrives_as_it_is(box: Box, origin: Origin) -> None:
    """The command is one argument of sh: nothing in it is parsed twice."""
    await box.set_up(ordered(origin, "printf '%s\\n' \"a'b\" '$HOME `x`' >../said\ncat >>../said # no input\nexit 0"))
    assert (box.home / "said").read_text() == "a'b\n$HOME `x`\n"


@pytest.mark.parametrize("repository", ["octo/..", "octo/.issuebox", "octo/-x", "octo", "octo/a/b", "octo/a b"])
async def test_name_that_is_no_directory_of_its_own_is_refused(box: Box, origin: Origin, repository: str) -> None:
    """A repository's name comes from outside; one that would leave the home directory is refused."""
    assert "not the name of a repository" in await refusal(box, ordered(origin), repository)
    assert origin.fetches == 0


async def test_failing_clone_is_refused_with_its_reason(box: Box, origin: Origin) -> None:
    """The failure has git's reason, no half-done clone is left, and the next try works."""
    reason = await refusal(box, ordered(origin, token="wrong-token"))
    assert reason.startswith("the clone failed: ")
    assert "wrong-token" not in reason
    assert "not found" in await refusal(box, ordered(origin), "octo/nothing")
    assert not (box.home / "repo").exists()
    await box.set_up(ordered(origin))
    assert (box.home / "repo" / "file").exists()


@pytest.mark.parametrize(
    ("operation", "effect", "kind"),
    [
        ("get", {"kind": "status", "status": 500}, "TransientError"),
        ("toolbox", {"kind": "status", "status": 502}, "AmbiguousError"),
        ("toolbox", {"kind": "status", "status": 401, "message": "unauthorized: x"}, "TransientError"),
        ("labels", {"kind": "status", "status": 500}, "AmbiguousError"),
    ],
)
async def test_trouble_on_the_way_is_no_verdict_on_the_set_up(
    box: Box, origin: Origin, operation: str, effect: dict[str, object], kind: str
) -> None:
    """Network and server failures have their own types, and the next try completes the set-up."""
    await box.server.admin.add_fault(operation, effect)
    with pytest.raises(ApplicationError) as failure:
        await box.set_up(ordered(origin, "true"))
    assert failure.value.type == kind
    await box.set_up(ordered(origin, "true"))
    assert LABEL_SET_UP in await box.labels()


@pytest.mark.parametrize("skip", range(8))
@pytest.mark.parametrize("effect", ["drop", "drop_after"])
async def test_set_up_survives_the_loss_of_any_request(box: Box, origin: Origin, skip: int, effect: str) -> None:
    """Each request into the sandbox may be lost before or after its effect: a repeated set-up completes."""
    await box.server.admin.add_fault("toolbox", {"kind": effect}, skip=skip)
    for _ in range(2):
        with contextlib.suppress(ApplicationError):
            await box.set_up(ordered(origin, "echo run >>../runs"))
    assert LABEL_SET_UP in await box.labels()
    assert (box.home / "repo" / "file").read_text() == "one"
    assert (box.home / "runs").read_text() == "run\n"


async def test_sandbox_that_does_not_run_is_returned_as_it_is(box: Box, origin: Origin) -> None:
    """The workflow decides about a stopped sandbox: it is neither set up nor marked."""
    await box.provider.stop(box.sandbox.id)
    reply = await box.set_up(ordered(origin))
    assert reply.sandbox is not None
    assert reply.sandbox.phase is Phase.STOPPED
    assert LABEL_SET_UP not in reply.sandbox.labels
    await box.provider.delete(box.sandbox.id)
    with pytest.raises(ApplicationError) as failure:
        await box.set_up(ordered(origin))
    assert failure.value.type == "GoneError"


async def test_another_sandbox_under_the_name_is_not_set_up(box: Box, origin: Origin) -> None:
    """A set-up is for one sandbox ID. A new sandbox with the name is left to the workflow."""
    request = box.request()
    await box.provider.delete(box.sandbox.id)
    other = await box.server.admin.create(name=request.name)
    await box.provider.settle(other.id, 5.0)
    with pytest.raises(ApplicationError) as failure:
        await box.set_up(ordered(origin, "true"))
    assert failure.value.type == "GoneError"
    assert LABEL_SET_UP not in (await box.server.admin.sandbox(other.id)).labels


async def test_token_is_nowhere(
    box: Box, origin: Origin, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """No clone, label, journal, log, failure or repr contains the token."""
    caplog.set_level(logging.DEBUG)
    given = ordered(origin, "env; cat .git/config")
    shown: list[object] = [given, repr(given)]
    with structlog.testing.capture_logs() as logs:
        shown.append(await refusal(box, given, "octo/nothing"))
        await box.server.admin.add_fault("toolbox", {"kind": "status_after", "status": 502}, skip=1)
        with pytest.raises(ApplicationError) as failure:
            await box.set_up(given)
        shown.append([repr(failure.value), failure.value.message, failure.value.details, repr(failure.value.__cause__)])
        reply = await box.set_up(given)
    assert isinstance(reply, CommandReply)
    shown += [repr(reply), await box.labels(), logs, caplog.text, capsys.readouterr()]
    shown += [repr(await box.server.admin.journal())]
    assert (await box.shell("git -C repo remote get-url origin")).strip() == f"{origin.url}/octo/repo.git"
    everything = [json.dumps(each, default=repr) for each in shown]
    everything += [path.read_bytes().decode("latin-1") for path in (tmp_path / "daytona").rglob("*") if path.is_file()]
    assert len(everything) > 30
    assert [text for text in everything if any(secret in text for secret in SECRETS)] == []


def _exists(path: Path):
    async def read() -> bool:
        return path.exists()

    return read
