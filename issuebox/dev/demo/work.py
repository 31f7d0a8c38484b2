"""An agent's work on one issue: run once for each request, through a kill -9, and ended with its issue.

The agent is a stand-in that asks no model: `issuebox.dev.fake_agent`.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from issuebox.dev.demo.checks import Check, same
from issuebox.dev.demo.stack import Stack, until
from issuebox.dev.fake_agent import text_of_fake_agent

ISSUE = 40
AT_WORK = "working"


async def _worked(stack: Stack) -> str:
    await stack.send("opened", ISSUE)
    await stack.served(ISSUE)
    agent = b64encode(text_of_fake_agent().encode()).decode()
    await stack.execute(
        ISSUE, f"mkdir -p ~/.local/bin && cd ~/.local/bin && echo {agent} | base64 -d >claude && chmod 700 claude"
    )
    await stack.comment(ISSUE, "@claude please, FAKE_AGENT=fast", copies=3)
    (run,) = await _over(stack, 1)
    same("the executions of the agent", 1, await _starts(stack))
    return f"{run['id']} is {run['outcome']}: {run['summary'][:40]}"


async def _burst(stack: Stack) -> str:
    await stack.comment(ISSUE, "@claude and now FAKE_AGENT=slow")
    await _working(stack, 2)
    for number in range(5):
        await stack.comment(ISSUE, f"@claude one more thing, {number}, FAKE_AGENT=fast")
    *_, last = await _over(stack, 3)
    same("the requests that the next run serves", 5, len(last["keys"]))
    same("the executions of the agent", 3, await _starts(stack))
    return f"{last['id']} took all five, in order"


async def _killed(stack: Stack) -> str:
    await stack.comment(ISSUE, "@claude go on, FAKE_AGENT=slow")
    run = await _working(stack, 4)
    stack.kill("worker")
    *_, run = await _over(stack, 4)
    same("the outcome", "done", run["outcome"])
    same("the attempts", 1, run["attempt"])
    same("the executions of the agent", 4, await _starts(stack))
    return f"{run['id']} is done, in one attempt"


async def _closed(stack: Stack) -> str:
    await stack.comment(ISSUE, "@claude take your time, FAKE_AGENT=silent,fork")
    await _working(stack, 5)
    sandbox = await stack.one(ISSUE)
    same("whether the agent is alive", True, bool(await stack.admin.processes(sandbox.id, "ISSUEBOX_RUN")))
    await stack.send("closed", ISSUE)
    *_, run = await _over(stack, 5)
    same("the outcome", "cancelled", run["outcome"])
    same("what is alive of it", [], list(await stack.admin.processes(sandbox.id, "ISSUEBOX_RUN")))
    await stack.settled(ISSUE, "stopped")
    return f"{run['id']} is {run['outcome']}, nothing is left, then the sandbox stops"


async def _continued(stack: Stack) -> str:
    await stack.send("reopened", ISSUE)
    await stack.comment(ISSUE, "@claude good morning, FAKE_AGENT=fast")
    first, *_, last = await _over(stack, 6)
    same("the outcome", "done", last["outcome"])
    same("the conversation", first["session"], last["session"])
    same("the number of creates", 1, await stack.creates(ISSUE))
    return f"{last['id']} in the same conversation and sandbox"


async def _working(stack: Stack, count: int) -> dict[str, Any]:
    runs = await until(
        lambda: stack.runs(ISSUE),
        lambda runs: len(runs) == count and runs[-1]["state"] == AT_WORK,
        f"run {count} works",
    )
    return runs[-1]


async def _over(stack: Stack, count: int) -> list[dict[str, Any]]:
    return await until(
        lambda: stack.runs(ISSUE),
        lambda runs: len(runs) == count and all(run["outcome"] for run in runs),
        f"{count} runs are over",
    )


async def _starts(stack: Stack) -> int:
    """How often the agent was executed, by its own account."""
    sandbox = await stack.one(ISSUE)
    noted = await stack.admin.file(sandbox.id, ".fake-agent-starts")
    return len((noted or b"").splitlines())


ALONGSIDE: tuple[Check, ...] = (
    Check("8a", "An agent's work: a comment, delivered three times", "one run", _worked),
    Check("8b", "five comments while it works", "one more run, for all of them", _burst),
)
"""Beside the other checks: nothing is killed in them."""

WORK: tuple[Check, ...] = (
    Check("8c", "kill -9 of the worker while it works", "the agent does not notice", _killed),
    Check("8d", "closed while it works", "ended, and nothing of it is left alive", _closed),
    Check("8e", "reopened, and a comment", "continued in the same conversation", _continued),
)
