"""The preset `claude` over the whole path, with the fake agent in the sandbox."""

from __future__ import annotations

import pytest

import activities.runs
from issuebox.dev.fake_agent import text_of_fake_agent
from issuebox.domain.run import RunOutcome, RunPhase
from issuebox.providers.daytona import DaytonaProvider
from tests.waiting import until

from .conftest import Stack, Started
from .test_agent_runs import ask, in_the_sandbox, over, runs


async def with_agent(start: Started, **settings: object) -> Stack:
    """A stack whose sandbox is there already, with the agent in it."""
    stack = await start(run_preset="claude", **settings)
    await stack.ensure()
    (row,) = await stack.live()
    await install(stack.provider, row.id)
    return stack


async def install(provider: DaytonaProvider, sandbox_id: str) -> None:
    home = (await provider.execute(sandbox_id, "mkdir -p ~/.local/bin && cd && pwd", 10.0)).output.strip()
    await provider.upload(sandbox_id, {f"{home}/.local/bin/claude": text_of_fake_agent().encode()}, 10.0)
    await provider.execute(sandbox_id, "chmod 700 ~/.local/bin/claude", 10.0)


async def test_follow_up_goes_on_in_the_same_conversation(start: Started) -> None:
    stack = await with_agent(start)
    await ask(stack, 1, "@claude FAKE_AGENT=fast")
    (first,) = await over(stack)
    await ask(stack, 2, "@claude and now FAKE_AGENT=fast")
    first, second = await over(stack, 2)
    assert [run.outcome for run in (first, second)] == [RunOutcome.DONE, RunOutcome.DONE]
    assert first.session == second.session
    assert first.summary
    assert len((await in_the_sandbox(stack, "cat ~/.fake-agent-starts")).splitlines()) == 2


async def test_agent_that_hangs_after_its_result_is_ended_and_its_word_counts(
    start: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities.runs, "THROUGH_S", 1.0)
    stack = await with_agent(start)
    await ask(stack, 1, "@claude FAKE_AGENT=hang-after-result")
    (run,) = await over(stack)
    assert (run.outcome, run.attempt) == (RunOutcome.DONE, 1)


async def test_progress_is_what_the_agent_works_on(start: Started) -> None:
    stack = await with_agent(start)
    await ask(stack, 1, "@claude FAKE_AGENT=slow")
    await until(lambda: runs(stack), lambda seen: bool(seen.runs) and bool(seen.runs[-1].outcome), "over", 90.0)
    (run,) = (await runs(stack)).runs
    assert (run.phase, run.outcome) == (RunPhase.ENDED, RunOutcome.DONE)
    assert run.progress


async def test_poisoned_conversation_is_not_continued(start: Started) -> None:
    stack = await with_agent(start)
    await ask(stack, 1, "@claude FAKE_AGENT=poisoned")
    (first,) = await over(stack)
    assert first.outcome is RunOutcome.POISONED
    await ask(stack, 2, "@claude FAKE_AGENT=fast")
    _, second = await over(stack, 2)
    assert second.outcome is RunOutcome.DONE
    assert second.session != first.session
