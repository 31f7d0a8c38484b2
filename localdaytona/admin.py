"""Manual actions: what the page and `/_local/` can do to sandboxes, each journaled as `admin`.

Actions that the API also has go through its admission tables; the others do what no API call can.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from localdaytona import creation
from localdaytona.admin_models import ActDetail, NewSandbox
from localdaytona.admission import Accept, Lifecycle, Refuse, judge
from localdaytona.calls import ApiError, refuse
from localdaytona.flights import Cause, break_down, depart, release
from localdaytona.journal import NewEntry
from localdaytona.model import ERRORED, Sandbox, now_s
from localdaytona.store import NameTakenError
from localdaytona.toolbox_host import ToolboxInside
from localdaytona.types import JSONObject
from localdaytona.world import World

Act = Callable[[Sandbox, ActDetail, float], Sandbox]
# Does something inside a sandbox, and returns what the journal says about it.
InsideAct = Callable[[ToolboxInside, str], Awaitable[JSONObject]]


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
        self._inside_acts: dict[str, InsideAct] = {
            "oom": _kill_largest,
            "daemon-restart": _restart_daemon,
            "keep-disk": _keep_disk,
            "restore-old-disk": _restore_disk,
        }

    async def act(self, id_or_name: str, act: str, detail: ActDetail) -> Sandbox:
        """Carry out an action and return the row after it.

        Raises ApiError: 404 for an unknown sandbox or action, else what the API would answer.
        """
        carry_out, carry_out_inside = self._acts.get(act), self._inside_acts.get(act)
        sandbox = self._world.store.by_id(id_or_name) or self._world.store.by_name(id_or_name)
        if sandbox is None or (carry_out is None and carry_out_inside is None):
            known = ", ".join([*self._acts, *self._inside_acts])
            refuse(f"There is no action {act} on {id_or_name}; actions: {known}", 404)
        if carry_out is None:
            return await self._act_inside(sandbox, act)
        told = detail.model_dump(mode="json", exclude_unset=True)
        with self._world.engine.changing() as change:
            change.note(_entry(act, sandbox.id, sandbox.name, told))
            return change.put(sandbox, carry_out(sandbox, detail, change.at), Cause(f"admin:{act}"))

    async def _act_inside(self, sandbox: Sandbox, act: str) -> Sandbox:
        told = await self._inside_acts[act](self.inside(sandbox), sandbox.id)
        with self._world.store.transaction():
            self._world.store.journal.append(now_s(), _entry(act, sandbox.id, sandbox.name, told))
        return sandbox

    def inside(self, sandbox: Sandbox) -> ToolboxInside:
        """Return what reaches into a sandbox. Raises ApiError 404 for one that is gone."""
        if self._world.inside is None or sandbox.hidden:
            refuse(f"There is nothing inside {sandbox.name}", 404)
        return self._world.inside

    def find(self, id_or_name: str) -> Sandbox:
        """Return a row, hidden or not. Raises ApiError 404."""
        sandbox = self._world.store.by_id(id_or_name) or self._world.store.by_name(id_or_name)
        if sandbox is None:
            refuse(f"There is no sandbox {id_or_name}", 404)
        return sandbox

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


async def _kill_largest(inside: ToolboxInside, sandbox_id: str) -> JSONObject:
    return {"pid": inside.kill_largest(sandbox_id)}


async def _restart_daemon(inside: ToolboxInside, sandbox_id: str) -> JSONObject:
    inside.restart_daemon(sandbox_id)
    return {}


async def _keep_disk(inside: ToolboxInside, sandbox_id: str) -> JSONObject:
    await inside.keep_disk(sandbox_id)
    return {}


async def _restore_disk(inside: ToolboxInside, sandbox_id: str) -> JSONObject:
    await inside.restore_disk(sandbox_id)
    return {}


def _entry(act: str, sandbox_id: str | None, name: str | None, detail: JSONObject) -> NewEntry:
    return NewEntry("admin", sandbox_id, name, f"admin:{act}", {"act": act, **detail})
