"""What goes into and comes out of the activities: one object each. Histories hold these shapes."""

from __future__ import annotations

from dataclasses import dataclass

from issuebox.domain.issue import Issue
from issuebox.domain.phase import Goal
from issuebox.domain.policy import Policy
from issuebox.domain.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class LookupInput:
    """Which sandbox to look for: by ID when one is known, else by name.

    ``is_doubted``: it was not found before, which is not to be believed in an outage. ``policy_hash`` names
    the policy which the workflow knows. The rest is for the log.
    """

    issue_id: int
    name: str
    sandbox_id: str = ""
    goal: Goal = Goal.RUNNING
    delivery: str = ""
    is_doubted: bool = False
    policy_hash: str = ""


@dataclass(frozen=True, slots=True)
class LookupResult:
    """What a lookup found (None: not found, once), and the settings of the worker that looked.

    ``policy`` is None where the workflow knows it, which ``policy_hash`` tells: they are half of a look, and every
    look is kept in a history.
    """

    sandbox: Sandbox | None
    policy: Policy | None = None
    policy_hash: str = ""


@dataclass(frozen=True, slots=True)
class CreateInput:
    """What to create, and for which issue. ``issue`` gives the labels."""

    issue_id: int
    name: str
    issue: Issue | None = None
    delivery: str = ""


@dataclass(frozen=True, slots=True)
class CommandInput:
    """A command for one known sandbox; ``issue`` where it needs to know whose.

    ``only_at_rest``: it is not sent when somebody has woken the sandbox since. ``is_ours``: the sandbox was labelled
    as this installation's when it was seen; any other is read once more before the command is sent.
    """

    issue_id: int
    name: str
    sandbox_id: str
    issue: Issue | None = None
    delivery: str = ""
    only_at_rest: bool = False
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class CommandReply:
    """The sandbox after the command and the wait for its effect; None when it is gone.

    ``is_sent`` is False for a command that was to be sent only to a sandbox at rest, and met one that was not.
    """

    sandbox: Sandbox | None
    is_sent: bool = True
