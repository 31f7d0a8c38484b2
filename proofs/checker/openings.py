"""Whether an open issue's sandbox was ended by a close that no longer counts (rule c).

The issue was opened or reopened, perhaps by somebody who may not ask for its sandbox: nothing has to be started then,
but nothing may be stopped, archived or deleted either. One command of the earlier close may still be under way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from localdaytona.journal import Entry
from proofs.checker.cases import Case, Message
from proofs.checker.evidence import Expectation
from proofs.checker.expectations import DOWN
from proofs.checker.lives import SandboxLife

RUNGS: Mapping[str, int] = {"stop": 0, "archive": 1, "delete": 2}
"""The commands by which a close ends a sandbox, in their order."""

IN_FLIGHT_S = 30.0
"""How long after the opening was handled a command may still arrive that was sent before: its worker was frozen."""


def undue(case: Case) -> Iterator[tuple[SandboxLife, Entry, Message]]:
    """The service's commands that ended an open issue's sandbox, each with the opening that it disregards."""
    first: dict[str, Entry] = {}
    for life, command in _ends(case):
        opening = opening_at(case, command.at)
        if opening is None:
            continue
        under_way = first.setdefault(opening.key, command)
        is_late = command.at > opening.handled_at + IN_FLIGHT_S
        if is_late or _rung(command) > _rung(under_way):
            yield life, command, opening


def opening_at(case: Case, at: float) -> Message | None:
    """The message by which the issue is open for the service at that time; None: it may not be, or a person ordered."""
    known = [message for message in case.messages if message.lo <= at]
    if any(message.is_order and (message.is_forced or message.expects in DOWN) for message in known):
        return None
    showing = [message for message in known if _shows_state(message)]
    if any(message.expects is Expectation.GONE or message.action == "transferred" for message in showing):
        return None
    newest = max((message.second for message in showing if message.is_certain), default=-1)
    newest_ones = [message for message in showing if message.second >= newest]
    if any(message.expects in DOWN for message in newest_ones):
        return None
    # A workflow that begins anew may know less than the one that ended.
    openings = [each for each in newest_ones if each.handled_at <= at and not case.has_end(each.handled_at, at)]
    return min(openings, key=lambda message: message.handled_at, default=None)


def _ends(case: Case) -> list[tuple[SandboxLife, Entry]]:
    """The commands that end a sandbox which ever started, in order. The others are failed builds."""
    found = [(life, command) for life in case.lives for command in life.commands if command.operation in RUNGS]
    return sorted((each for each in found if _may_be_in_use(*each)), key=lambda each: each[1].seq)


def _may_be_in_use(life: SandboxLife, command: Entry) -> bool:
    state = life.before(command.seq)
    return state is not None and state.ever_started


def _rung(command: Entry) -> int:
    return RUNGS[str(command.operation)]


def _shows_state(message: Message) -> bool:
    """Whether it says that the issue was opened, closed, or is gone."""
    return not (message.is_order or message.is_persons_own or message.expects is Expectation.NOTHING)
