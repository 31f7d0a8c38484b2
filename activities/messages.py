"""The inputs and outputs of the activities: one object each. Histories hold these shapes."""

from __future__ import annotations

from dataclasses import dataclass

from issuebox.domain.issue import Issue
from issuebox.domain.memory import Notice
from issuebox.domain.phase import Goal
from issuebox.domain.policy import Policy
from issuebox.domain.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class LookupInput:
    """Which sandbox to look up: by ID when one is known, else by name.

    ``is_doubted``: it was not found before, and an outage must be ruled out. ``policy_hash`` identifies the policy
    that the workflow has. The rest is for the log.
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
    """What a lookup found (None: not found, once), and the settings of its worker.

    ``policy`` is None when the workflow already has it, by ``policy_hash``: it would double the size of each
    lookup in the history.
    """

    sandbox: Sandbox | None
    policy: Policy | None = None
    policy_hash: str = ""


@dataclass(frozen=True, slots=True)
class CreateInput:
    """What to create, and for which issue. The labels come from ``issue``."""

    issue_id: int
    name: str
    issue: Issue | None = None
    delivery: str = ""


@dataclass(frozen=True, slots=True)
class CommandInput:
    """A command for one known sandbox. ``issue`` is set for commands that label it.

    ``only_at_rest``: the command is not sent when somebody has started the sandbox since. ``is_ours``: the sandbox had
    this installation's labels when it was seen; any other sandbox is read once more before the command is sent.
    ``toolbox_url`` and ``work`` are what was seen, for an inspection: the address of its toolbox, and the verdict with
    which it is labelled. Without the first it is read. ``is_quiet``: it runs only to be inspected before a delete, so
    that a clean verdict needs no label.
    """

    issue_id: int
    name: str
    sandbox_id: str
    issue: Issue | None = None
    delivery: str = ""
    only_at_rest: bool = False
    is_ours: bool = False
    toolbox_url: str = ""
    work: str = ""
    is_quiet: bool = False


@dataclass(frozen=True, slots=True)
class CommandReply:
    """The sandbox after the command and the wait for its effect; None when it is gone.

    ``is_sent`` is False when the command changed nothing: an ``only_at_rest`` command found the sandbox not at rest, or
    a create found its name held by this sandbox.
    """

    sandbox: Sandbox | None
    is_sent: bool = True


@dataclass(frozen=True, slots=True)
class NoticeInput:
    """A notice, and the issue that it is about: '' and 0 where the repository and the number are not known."""

    issue_id: int
    name: str
    repository: str
    number: int
    notice: Notice
