"""How a sandbox gets from one state to another, and how long each step takes. Data only.

A transition is a list of steps. In each step the sandbox stays in a state for a duration (named
after a field of `config.Durations`); the last step has none and ends the transition. A step with
state None keeps the previous state: the call was accepted, and no runner has taken it yet.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """Stay in `state` for `duration`, a field of `Durations`; None ends the transition."""

    state: str | None
    duration: str | None


@dataclass(frozen=True, slots=True)
class Timeout:
    """After `limit`, a field of `Timeouts`, the sandbox is in error for this reason."""

    limit: str
    reason: str


_NO_UPDATE = "Job timed out - no update received for 10 minutes"

TIMEOUTS: dict[str, Timeout] = {
    "creating": Timeout("create_s", "Timeout while creating sandbox"),
    "building_snapshot": Timeout("build_s", "Timeout while building snapshot on runner"),
    "starting": Timeout("start_s", "Timeout while starting sandbox"),
    "restoring": Timeout("restore_s", "Timeout while starting sandbox"),
    "stopping": Timeout("stop_s", _NO_UPDATE),
    "destroying": Timeout("destroy_s", _NO_UPDATE),
}


@dataclass(frozen=True, slots=True)
class Transition:
    """A list of steps. `main` is the index of the step that faults slow down, block or fail."""

    desired: str
    steps: tuple[Step, ...]
    main: int = 1


def _passing(desired: str, state: str, duration: str, end: str) -> Transition:
    return Transition(desired, (Step(None, "pickup_s"), Step(state, duration), Step(end, None)))


TRANSITIONS: dict[str, Transition] = {
    "create": _passing("started", "creating", "create_s", "started"),
    "build": Transition(
        "started",
        (
            Step("pending_build", "pending_build_s"),
            Step("building_snapshot", "build_s"),
            Step("creating", "create_s"),
            Step("started", None),
        ),
    ),
    "start": _passing("started", "starting", "start_s", "started"),
    "stop": _passing("stopped", "stopping", "stop_s", "stopped"),
    "archive": Transition("archived", (Step("archiving", "archive_s"), Step("archived", None)), main=0),
    "restore": Transition(
        "started",
        (Step(None, "restore_wait_s"), Step("restoring", "restore_s"), Step("started", None)),
    ),
    "pause": Transition("paused", (Step("pausing", "pause_s"), Step("paused", None)), main=0),
    "resume": _passing("started", "resuming", "resume_s", "started"),
    # In-place repair: the state stays `error` until it is done.
    "recover": Transition(
        "started",
        (Step(None, "recover_s"), Step("stopped", "pickup_s"), Step("starting", "start_s"), Step("started", None)),
        main=0,
    ),
    # The same with `skipStart=true`.
    "repair": Transition("stopped", (Step(None, "recover_s"), Step("stopped", None)), main=0),
    "destroy": _passing("destroyed", "destroying", "destroy_s", "destroyed"),
    "discard_archived": Transition("destroyed", (Step(None, "discard_s"), Step("destroyed", None)), main=0),
    # Hidden at once, and never cleaned up.
    "discard_errored": Transition("destroyed", (Step(None, None),), main=0),
}
