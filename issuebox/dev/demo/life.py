"""The life of one issue, each step checked in Daytona, and the two ways out of a delete that unsaved work holds."""

from __future__ import annotations

from issuebox.dev.demo.checks import Check, same, short
from issuebox.dev.demo.stack import Stack, until

ISSUE = 30
HELD = 31

GIT = "git init -q repo && echo draft > repo/notes.txt"


async def _opened(stack: Stack) -> str:
    await stack.send("opened", ISSUE)
    await stack.served(ISSUE)
    sandbox = await stack.one(ISSUE)
    stack.remembered[ISSUE] = sandbox.id
    same("the state", "started", sandbox.state)
    return f"{short(sandbox.id)} is {sandbox.state}"


async def _closed(stack: Stack) -> str:
    await stack.send("closed", ISSUE)
    return await _is(stack, "stopped")


async def _late(stack: Stack) -> str:
    await stack.redeliver_late("opened", ISSUE)
    await stack.served(ISSUE, deliveries=3)
    status = await stack.status(ISSUE)
    same("the goal", True, status["goal"] in {"stopped", "archived"})
    return f"recorded, the goal is still {status['goal']}"


async def _archived(stack: Stack) -> str:
    return await _is(stack, "archived")


async def _reopened(stack: Stack) -> str:
    await stack.send("reopened", ISSUE)
    await stack.served(ISSUE, deliveries=4)
    return await _is(stack, "started")


async def _transferred(stack: Stack) -> str:
    await stack.send("transferred", ISSUE)
    return await _is(stack, "stopped")


async def _deleted(stack: Stack) -> str:
    await stack.send("deleted", ISSUE)
    await until(lambda: stack.live(ISSUE), lambda rows: not rows, f"issue {ISSUE} has no sandbox")
    same("the number of creates", 1, await stack.creates(ISSUE))
    return f"{short(stack.remembered[ISSUE])} is gone, 1 create in its life"


async def _held(stack: Stack) -> str:
    await stack.send("opened", HELD)
    await stack.served(HELD)
    await stack.execute(HELD, GIT)
    await stack.send("deleted", HELD)
    status = await stack.blocked(HELD)
    same("the cause", "unsaved", status["blocked"]["cause"])
    sandbox = await stack.one(HELD)
    same("the state", "stopped", sandbox.state)
    return f"blocked: {'; '.join(status['inspection']['findings'])}; {short(sandbox.id)} kept"


async def _forced(stack: Stack) -> str:
    await stack.delete(HELD, force=True)
    await until(lambda: stack.live(HELD), lambda rows: not rows, f"issue {HELD} has no sandbox")
    return "gone"


async def _is(stack: Stack, state: str) -> str:
    sandbox = await stack.settled(ISSUE, state)
    same("the sandbox", stack.remembered[ISSUE], sandbox.id)
    return f"{short(sandbox.id)} is {state}"


LIFE: tuple[Check, ...] = (
    Check("7a", "Life of one issue: opened", "created", _opened),
    Check("7b", "closed", "the same sandbox is stopped after a delay", _closed),
    Check("7c", "a late `opened` from before the close", "changes nothing", _late),
    Check("7d", "closed for longer", "the same sandbox is archived", _archived),
    Check("7e", "reopened", "the same sandbox is started", _reopened),
    Check("7f", "transferred", "the same sandbox is stopped", _transferred),
    Check("7g", "deleted", "deleted, and no other was ever created", _deleted),
    Check("7h", "deleted, with unsaved work in the sandbox", "stopped and kept, with the reason", _held),
    Check("7i", "delete --force by a person", "deleted", _forced),
)
