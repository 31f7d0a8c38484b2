"""Manual actions: what the page and `/_local/` can do to sandboxes, each journaled as `admin`.

Actions that the API also has go through its admission tables; the others do what no API call can.
"""

from collections.abc import Callable
from dataclasses import replace

from localdaytona import creation
from localdaytona.admin_models import ActDetail, NewSandbox
from localdaytona.admission import Accept, Lifecycle, Refuse, judge
from localdaytona.calls import ApiError, refuse
from localdaytona.flights import Cause, break_down, depart, release
from localdaytona.journal import NewEntry
from localdaytona.model import ERRORED, Sandbox, now_s
from localdaytona.store import NameTakenError
from localdaytona.types import JSONObject
from localdaytona.world import World

Act = Callable[[Sandbox, ActDetail, float], Sandbox]


class Admin:
    """The manual actions on a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._acts: dict[str, Act] = {
            "start": self._as_api("start"),
            "stop": self._as_api("stop"),
            "archive": self._as_api("archive"),
            "delete": self._as_api("delete"),
            "recover": self._as_api("recover"),
            "pause": self._as_api("pause"),
            "break": _break,
            "build-failed": _fail_build,
            "release": lambda sandbox, _, at: release(sandbox, at),
            "set-state": _set_state,
            "idle": _idle,
        }

    def act(self, id_or_name: str, act: str, detail: ActDetail) -> Sandbox:
        """Carry out an action and return the row after it.

        Raises ApiError: 404 for an unknown sandbox or action, else what the API would answer.
        """
        carry_out = self._acts.get(act)
        sandbox = self._world.store.by_id(id_or_name) or self._world.store.by_name(id_or_name)
        if carry_out is None or sandbox is None:
            refuse(f"There is no action {act} on {id_or_name}; actions: {', '.join(self._acts)}", 404)
        told = detail.model_dump(mode="json", exclude_unset=True)
        with self._world.engine.changing() as change:
            change.note(_entry(act, sandbox.id, sandbox.name, told))
            return change.put(sandbox, carry_out(sandbox, detail, change.at), Cause(f"admin:{act}"))

    def create(self, asked: NewSandbox) -> Sandbox:
        """Create a sandbox by hand and return its row at once.

        Raises ApiError, as a create over the API would.
        """
        config = self._world.config
        body: JSONObject = {
            "name": asked.name,
            "labels": dict(asked.labels),
            "env": dict(asked.env),
            "snapshot": asked.snapshot,
        }
        wanted = creation.parse(body, config)
        cause = Cause("admin:create")
        try:
            with self._world.engine.changing() as change:
                sandbox = depart(wanted.sandbox(change.at, config), "create", cause, change.at, config)
                change.note(_entry("create", sandbox.id, sandbox.name, {"labels": dict(asked.labels)}))
                return change.put(None, sandbox, cause)
        except NameTakenError as error:
            raise ApiError(409, f"Sandbox with name {asked.name} already exists") from error

    def note(self, act: str, detail: JSONObject) -> None:
        """Journal an action on the server itself, within the caller's transaction."""
        self._world.store.journal.append(now_s(), _entry(act, None, None, detail))

    def _as_api(self, operation: Lifecycle) -> Act:
        def carry_out(sandbox: Sandbox, _: ActDetail, at: float) -> Sandbox:
            if sandbox.hidden:
                refuse(f"Sandbox with ID or name {sandbox.id} not found", 404)
            verdict = judge(operation, sandbox)
            if isinstance(verdict, Refuse):
                refuse(verdict.message, verdict.status or self._world.config.scip_status)
            if not isinstance(verdict, Accept):
                return sandbox
            cause = Cause(f"admin:{operation}")
            return depart(sandbox, verdict.transition, cause, at, self._world.config)

        return carry_out


def _break(sandbox: Sandbox, detail: ActDetail, at: float) -> Sandbox:
    return break_down(sandbox, "error", detail.reason, at, recoverable=detail.recoverable)


def _fail_build(sandbox: Sandbox, detail: ActDetail, at: float) -> Sandbox:
    return break_down(sandbox, "build_failed", detail.reason, at, recoverable=False)


def _set_state(sandbox: Sandbox, detail: ActDetail, at: float) -> Sandbox:
    state = detail.state or sandbox.state
    return replace(
        sandbox,
        state=state,
        desired=detail.desired_state or sandbox.desired,
        error_reason=detail.reason if state in ERRORED else None,
        recoverable=detail.recoverable,
        flight=None,
        updated_at=at,
        state_since=at,
        ever_started=sandbox.ever_started or state == "started",
    )


def _idle(sandbox: Sandbox, detail: ActDetail, at: float) -> Sandbox:
    return replace(sandbox, last_activity_at=at - detail.seconds)


def _entry(act: str, sandbox_id: str | None, name: str | None, detail: JSONObject) -> NewEntry:
    return NewEntry("admin", sandbox_id, name, f"admin:{act}", {"act": act, **detail})
