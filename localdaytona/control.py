"""The control plane's operations: what each call does and answers. No HTTP, no fault effects.

An operation reads, judges by the tables, and commits, with no await in between, so nothing else
runs between the check and the commit. The one exception is the create, which awaits between its
quota check and its INSERT, because there the real server lets two creates of one name race.
"""

import asyncio
from dataclasses import replace

from localdaytona import admission, creation
from localdaytona.admission import Lifecycle, NoOp, Refuse
from localdaytona.caches import as_of
from localdaytona.calls import ApiError, Call, Reply, refuse
from localdaytona.fault_model import Stale
from localdaytona.flights import depart
from localdaytona.model import ERRORED, ORGANIZATION_ID, Intervals, Sandbox, as_built, full, iso, now_s
from localdaytona.ssh import MINUTES
from localdaytona.store import NameTakenError
from localdaytona.types import JSON
from localdaytona.world import World

# Calls that need an organisation that is not suspended, and CPUs.
NEEDS_CPU: frozenset[str] = frozenset({"start", "recover"})
# Accepted transitions whose reply is held until the sandbox is started.
HELD = frozenset({"start", "resume", "recover"})


class Control:
    """The operations, each from a call to its reply."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def create(self, call: Call) -> Reply:
        """Insert a sandbox and, unless an image has to be built, wait until it is started."""
        config = self._world.config
        wanted = creation.parse(call.body, config)
        self._refuse_suspended()
        with self._world.quota.reserving(wanted.spec.cpu, config):
            if not config.runner_available:
                refuse("No available runners")
            await asyncio.sleep(config.scaled(config.insert_delay_s))
            built = self._insert(call, wanted)
        reply = Reply(200, as_built(built, self._world.toolbox_url))
        if built.spec.build_info is None and call.holds:
            await self._hold(built.id)
        return reply

    async def get(self, call: Call) -> Reply:
        """Return a sandbox by ID or name."""
        call.as_of = self._past(call)
        sandbox = self._visible(call) if call.as_of is None else self._as_of(call, call.as_of)
        return self._shown(sandbox)

    async def list(self, call: Call) -> Reply:
        """Return a page of sandboxes."""
        return Reply(200, self._world.listing.page(call.query, self._world.config, self._world.toolbox_url))

    async def start(self, call: Call) -> Reply:
        """Start, hold the request until started, and return the state by then."""
        return await self._lifecycle(call, "start")

    async def stop(self, call: Call) -> Reply:
        """Stop, and return at once."""
        return await self._lifecycle(call, "stop")

    async def archive(self, call: Call) -> Reply:
        """Archive, and return at once."""
        return await self._lifecycle(call, "archive")

    async def pause(self, call: Call) -> Reply:
        """Pause, and return at once with `pausing`."""
        return await self._lifecycle(call, "pause")

    async def delete(self, call: Call) -> Reply:
        """Rename, mark as to be destroyed, and return at once."""
        return await self._lifecycle(call, "delete")

    async def recover(self, call: Call) -> Reply:
        """Repair in place and hold until started, or leave it stopped with `skipStart=true`."""
        return await self._lifecycle(call, "recover")

    async def labels(self, call: Call) -> Reply:
        """Replace all labels; a body without labels changes nothing."""
        sandbox = self._visible(call)
        asked = call.body.get("labels") if isinstance(call.body, dict) else None
        if isinstance(asked, dict):
            self._put(call, sandbox, replace(sandbox, labels=dict(asked), updated_at=now_s()))
        return Reply(200, {"labels": dict(asked) if isinstance(asked, dict) else dict(sandbox.labels)})

    async def interval(self, call: Call) -> Reply:
        """Set one timer: `argument` is `<which>/<minutes>`."""
        sandbox = self._visible(call)
        which, _, text = call.argument.partition("/")
        try:
            minutes = int(text)
        except ValueError as error:
            raise ApiError(500, "An unexpected error occurred.") from error
        changed = self._with_interval(sandbox, which, minutes)
        self._put(call, sandbox, replace(changed, updated_at=now_s()))
        return Reply(201, full(changed, self._world.toolbox_url))

    async def last_activity(self, call: Call) -> Reply:
        """Count activity, throttled."""
        sandbox, config = self._visible(call), self._world.config
        if now_s() - sandbox.last_activity_at >= config.scaled(config.activity_throttle_s):
            with self._world.store.transaction():
                self._world.store.update(replace(sandbox, last_activity_at=now_s()))
            call.committed = True
        return Reply(201)

    async def toolbox_url(self, call: Call) -> Reply:
        """Return the URL of the toolbox; by ID only."""
        sandbox = self._world.store.by_id(call.target or "")
        if sandbox is None or sandbox.hidden:
            refuse(f"Sandbox with ID {call.target} not found", 404)
        return Reply(200, {"url": self._world.toolbox_url})

    async def grant_ssh_access(self, call: Call) -> Reply:
        """Grant an access by SSH in whatever state. Without a gateway it answers 500, as an incomplete server does."""
        sandbox = self._visible(call)
        try:
            minutes = int(call.query.get("expiresInMinutes", MINUTES))
        except ValueError as error:
            raise ApiError(500, "An unexpected error occurred.") from error
        access = self._world.ssh.grant(sandbox.id, minutes)
        if not self._world.config.ssh_gateway:
            refuse("An unexpected error occurred.", 500)
        return Reply(200, access.shown(self._world.config.ssh_gateway))

    async def revoke_ssh_access(self, call: Call) -> Reply:
        """End an access by its token; without a token, any of the sandbox."""
        sandbox = self._visible(call)
        self._world.ssh.revoke(sandbox.id, call.query.get("token"))
        return self._shown(sandbox)

    async def check_ssh_access(self, call: Call) -> Reply:
        """Say to which sandbox a token leads. It is the gateway that asks this."""
        sandbox_id = self._world.ssh.sandbox_of(call.query.get("token", ""))
        return Reply(200, {"valid": sandbox_id is not None, "sandboxId": sandbox_id})

    async def api_key(self, _call: Call) -> Reply:
        """Return the key of the call, with its permissions."""
        return Reply(
            200,
            {
                "name": "localdaytona",
                "value": "dtn_********",
                "createdAt": iso(0.0),
                "permissions": list(self._world.config.permissions),
                "lastUsedAt": iso(now_s()),
                "expiresAt": None,
                "userId": "localdaytona",
                "organizationId": ORGANIZATION_ID,
            },
        )

    async def regions(self, _call: Call) -> Reply:
        """Return the regions in which the organization may create sandboxes."""
        listed: list[JSON] = [
            {
                "id": name, "name": name, "organizationId": None, "regionType": "shared", "createdAt": iso(0.0),
                "updatedAt": iso(0.0), "proxyUrl": None, "sshGatewayUrl": None, "snapshotManagerUrl": None,
                "otelEndpoint": None,
            }
            for name in self._world.config.regions
        ]  # fmt: skip
        return Reply(200, listed)

    async def snapshot(self, call: Call) -> Reply:
        """Return the snapshot from which a create with this name would be made."""
        found = creation.snapshot_named(call.target or "", self._world.config)
        if found is None:
            refuse(f"Snapshot {call.target} not found", 404)
        return Reply(
            200,
            {
                "id": f"snapshot-{call.target}", "organizationId": ORGANIZATION_ID, "general": True,
                "name": call.target, "state": found.state, "size": None, "entrypoint": None, "cpu": found.cpu,
                "gpu": 0, "mem": found.memory, "disk": found.disk, "errorReason": None, "createdAt": iso(0.0),
                "updatedAt": iso(0.0), "lastUsedAt": None, "sandboxClass": found.sandbox_class,
                "regionIds": list(self._world.config.regions),
            },
        )  # fmt: skip

    def resolve(self, id_or_name: str) -> Sandbox | None:
        """Return the row that a path names, hidden or not; an ID takes precedence over a name."""
        store = self._world.store
        return store.by_id(id_or_name) or store.by_name(id_or_name)

    async def _lifecycle(self, call: Call, operation: Lifecycle) -> Reply:
        sandbox = self._visible(call)
        verdict = admission.judge(operation, sandbox)
        if isinstance(verdict, Refuse):
            refuse(verdict.message, verdict.status or self._world.config.scip_status)
        if isinstance(verdict, NoOp):
            return self._shown(sandbox)
        return await self._carry_out(call, operation, sandbox, verdict.transition)

    async def _carry_out(self, call: Call, operation: str, sandbox: Sandbox, transition: str) -> Reply:
        if operation in NEEDS_CPU:
            self._refuse_suspended()
            self._world.quota.check(sandbox.spec.cpu, self._world.config)
        skip_start = transition == "recover" and call.query.get("skipStart") == "true"
        chosen = "repair" if skip_start else transition
        departed = depart(sandbox, chosen, call.cause, now_s(), self._world.config, effect=call.transition_effect)
        self._put(call, sandbox, departed)
        if chosen in HELD and call.holds:
            return self._shown(await self._hold(sandbox.id))
        return self._shown(departed)

    async def _hold(self, sandbox_id: str) -> Sandbox:
        """Wait until the sandbox is started or the hold is over.

        Raises ApiError 400 when the start failed; the row stays.
        """
        config = self._world.config
        sandbox = await self._world.engine.settled(sandbox_id, config.scaled(config.hold_s))
        if sandbox is None:
            refuse(f"Sandbox with ID or name {sandbox_id} not found", 404)
        if sandbox.state in ERRORED and (sandbox.flight is None or sandbox.desired == "destroyed"):
            refuse(f"Sandbox failed to start: {sandbox.error_reason}")
        return sandbox

    def _insert(self, call: Call, wanted: creation.Wanted) -> Sandbox:
        config = self._world.config
        transition = "create" if wanted.spec.build_info is None else "build"
        try:
            with self._world.engine.changing() as change:
                fresh = wanted.sandbox(change.at, config)
                built = depart(fresh, transition, call.cause, change.at, config, effect=call.transition_effect)
                change.put(None, built, call.cause)
        except NameTakenError as error:
            raise ApiError(409, f"Sandbox with name {wanted.name} already exists") from error
        call.committed = True
        call.sandbox_id, call.name = built.id, built.name
        self._world.names.created(built.name, config)
        return built

    def _put(self, call: Call, old: Sandbox, new: Sandbox) -> None:
        with self._world.engine.changing() as change:
            change.put(old, new, call.cause)
        call.committed = True

    def _visible(self, call: Call) -> Sandbox:
        """Return the sandbox that the path names, or answer 404."""
        target = call.target or ""
        sandbox = self.resolve(target)
        if sandbox is None or sandbox.id != target:
            self._world.names.ask(target)
        if sandbox is None or sandbox.hidden:
            raise not_found(target)
        if sandbox.id == target:
            self._world.reads.remember(sandbox)
            return sandbox
        if self._world.names.blind(target):
            raise not_found(target)
        self._world.names.remember(target, sandbox.id, self._world.config)
        return sandbox

    def _past(self, call: Call) -> float | None:
        """Return the moment that a read must show, in epoch seconds; None: now."""
        effect = call.fault.effect if call.fault is not None else None
        if isinstance(effect, Stale):
            return effect.moment(now_s())
        config = self._world.config
        if config.stale_read_s > 0 and self._world.chance(config.stale_read_probability):
            return now_s() - config.scaled(config.stale_read_s)
        return None

    def _as_of(self, call: Call, at: float) -> Sandbox:
        """Return the sandbox as it was then, even if it is gone now."""
        target, journal = call.target or "", self._world.store.journal
        sandbox_id = journal.owner(target, at) or target
        sandbox = self._world.store.by_id(sandbox_id)
        then = None if sandbox is None else as_of(journal, sandbox, at)
        if then is None or then.hidden:
            raise not_found(target)
        return then

    def _with_interval(self, sandbox: Sandbox, which: str, minutes: int) -> Sandbox:
        if minutes < 0 and which != "auto_delete":
            refuse(f"{which.replace('_', '-').capitalize()} interval must be non-negative")
        if which == "ttl":
            ttl_s = self._world.config.scaled(60.0 * minutes)
            return replace(sandbox, destroy_at=now_s() + ttl_s if minutes else None)
        changes: dict[str, int] = {which: minutes}
        intervals: Intervals = replace(sandbox.intervals, **changes)
        return replace(sandbox, intervals=intervals)

    def _refuse_suspended(self) -> None:
        reason = self._world.config.suspended
        if reason is not None:
            refuse(f"Organization is suspended: {reason}" if reason else "Organization is suspended", 403)

    def _shown(self, sandbox: Sandbox) -> Reply:
        body: JSON = full(sandbox, self._world.toolbox_url)
        return Reply(200, body)


def not_found(target: str) -> ApiError:
    """Return the 404 that the real server gives for every failure to look something up."""
    return ApiError(404, f"Sandbox with ID or name {target} not found")
