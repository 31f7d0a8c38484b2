"""The actions of the decision table as activities and as words. Tables only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from activities.messages import CommandInput, CommandReply
from activities.sandboxes import SandboxActivities
from issuebox.domain.phase import Action, Goal, Outcome

Command = Callable[[SandboxActivities, CommandInput], Awaitable[CommandReply]]

COMMANDS: dict[Action, Command] = {
    Action.START: SandboxActivities.start_sandbox,
    Action.RECOVER: SandboxActivities.recover_sandbox,
    Action.STOP: SandboxActivities.stop_sandbox,
    Action.ARCHIVE: SandboxActivities.archive_sandbox,
    Action.DELETE: SandboxActivities.delete_sandbox,
}
"""The activity for each action that addresses a known sandbox."""

HANDED_OVER: dict[Action | None, Outcome] = {
    None: Outcome.REUSED,
    Action.CREATE: Outcome.CREATED,
    Action.START: Outcome.STARTED,
    Action.RECOVER: Outcome.RECOVERED,
}
"""What a handover is called, by the last command that brought the sandbox up."""

REACHED: dict[Goal, Outcome] = {
    Goal.STOPPED: Outcome.STOPPED,
    Goal.ARCHIVED: Outcome.ARCHIVED,
    Goal.DELETED: Outcome.DELETED,
}
"""What it is called when any other goal is reached."""

DOING: dict[Action, str] = {
    Action.CREATE: "creating the sandbox",
    Action.START: "starting the sandbox",
    Action.RECOVER: "recovering the sandbox",
    Action.SET_UP: "setting the sandbox up",
    Action.INSPECT: "looking for unsaved work in the sandbox",
    Action.STOP: "stopping the sandbox",
    Action.ARCHIVE: "archiving the sandbox",
    Action.DELETE: "deleting the sandbox",
    Action.WAIT: "waiting for Daytona to finish a state change",
    Action.USE: "handing the sandbox over",
}
