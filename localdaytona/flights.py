"""Transitions in flight, as pure functions from a sandbox to the next: no clock, no I/O."""

from dataclasses import dataclass, replace

from localdaytona.config import Config
from localdaytona.fault_model import BuildFailed, FailTransition, Slow, Stuck, TransitionEffect
from localdaytona.model import ERRORED, Flight, Sandbox, dying_name
from localdaytona.transitions import TIMEOUTS, TRANSITIONS, Step

# The state of the backup once the sandbox reaches a state.
BACKUP_AFTER = {"started": "None", "stopped": "Pending", "archived": "Completed"}


@dataclass(frozen=True, slots=True)
class Cause:
    """The cause of a change: an operation, and its request if there was one."""

    operation: str
    request_id: str | None = None


def depart(
    sandbox: Sandbox,
    transition: str,
    cause: Cause,
    at: float,
    config: Config,
    *,
    effect: TransitionEffect | None = None,
) -> Sandbox:
    """Return the sandbox after a call was accepted: in the first step."""
    plan = TRANSITIONS[transition]
    flight = with_effect(
        Flight(transition, step=0, due_at=None, operation=cause.operation, request_id=cause.request_id), effect
    )
    dying = plan.desired == "destroyed" and sandbox.desired != "destroyed"
    departed = replace(
        sandbox,
        desired=plan.desired,
        name=dying_name(sandbox.name, at) if dying else sandbox.name,
        flight=flight,
        last_activity_at=at,
    )
    return _enter(departed, flight, at, config)


def with_effect(flight: Flight, effect: TransitionEffect | None) -> Flight:
    """Return the flight with the effect of an injected fault."""
    match effect:
        case None:
            return flight
        case FailTransition(recoverable=recoverable, reason=reason, seconds=seconds):
            failing = replace(flight, fail_state="error", fail_reason=reason, slow_s=seconds)
            return replace(failing, fail_recoverable=recoverable)
        case BuildFailed(reason=reason):
            return replace(flight, fail_state="build_failed", fail_reason=reason)
        case Stuck():
            return replace(flight, stuck=True)
        case Slow(seconds=seconds):
            return replace(flight, slow_s=seconds)


def advance(sandbox: Sandbox, at: float, config: Config) -> Sandbox:
    """Return the sandbox after its current step: in the next one, at the end, or failed."""
    flight = sandbox.flight
    if flight is None:
        return sandbox
    if flight.fail_state is not None and flight.step == TRANSITIONS[flight.transition].main:
        return break_down(sandbox, flight.fail_state, flight.fail_reason, at, recoverable=flight.fail_recoverable)
    return _enter(sandbox, replace(flight, step=flight.step + 1), at, config)


def back_up(sandbox: Sandbox, at: float, config: Config) -> Sandbox:
    """Return the sandbox after its backup was made: an archive that waited for it goes on."""
    backed_up = replace(sandbox, backup_state="Completed", backup_at=at)
    flight = sandbox.flight
    if flight is None or flight.due_at is not None:
        return backed_up
    step = TRANSITIONS[flight.transition].steps[flight.step]
    return replace(backed_up, flight=_timed(flight, step, at, config))


def time_out(sandbox: Sandbox, at: float) -> Sandbox:
    """Return the sandbox in error, after too long in its transitional state. A backup makes it recoverable."""
    reason = TIMEOUTS[sandbox.state].reason
    return break_down(sandbox, "error", reason, at, recoverable=sandbox.backup_state == "Completed")


def break_down(sandbox: Sandbox, state: str, reason: str | None, at: float, *, recoverable: bool) -> Sandbox:
    """Return the sandbox in an errored state, with nothing in flight."""
    return replace(
        sandbox,
        state=state,
        error_reason=reason,
        recoverable=recoverable,
        flight=None,
        updated_at=at,
        state_since=at,
    )


def release(sandbox: Sandbox, at: float) -> Sandbox:
    """Return the sandbox with its flight due now, stuck or not."""
    if sandbox.flight is None:
        return sandbox
    return replace(sandbox, flight=replace(sandbox.flight, stuck=False, slow_s=None, due_at=at))


def _enter(sandbox: Sandbox, flight: Flight, at: float, config: Config) -> Sandbox:
    step = TRANSITIONS[flight.transition].steps[flight.step]
    state = sandbox.state if step.state is None else step.state
    timed = _timed(flight, step, at, config)
    if step.state == "archiving" and config.backup_every_s > 0 and sandbox.backup_state != "Completed":
        # The real server queues this backup behind those of other sandboxes; `back_up` lets the archive go on.
        sandbox = replace(sandbox, backup_state="Pending")
        timed = replace(timed, due_at=None) if timed is not None and timed.slow_s is None else timed
    entered = replace(sandbox, state=state, updated_at=at, flight=timed)
    if state == sandbox.state:
        return entered
    entered = replace(
        entered,
        state_since=at,
        last_activity_at=at,
        backup_state=BACKUP_AFTER.get(state, sandbox.backup_state),
        ever_started=sandbox.ever_started or state == "started",
    )
    return entered if state in ERRORED else replace(entered, error_reason=None, recoverable=False)


def _timed(flight: Flight, step: Step, at: float, config: Config) -> Flight | None:
    if step.duration is None:
        return None
    if flight.step != TRANSITIONS[flight.transition].main:
        return replace(flight, due_at=at + config.scaled(getattr(config.durations, step.duration)))
    if flight.stuck:
        return replace(flight, due_at=None)
    if flight.slow_s is not None:
        return replace(flight, due_at=at + flight.slow_s)
    return replace(flight, due_at=at + config.scaled(getattr(config.durations, step.duration)))
