"""The routes under /_local: journal, faults, configuration, and manual actions.

They need no key, so they answer loopback clients only, and no pages of other sites.
"""

import ipaddress
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from localdaytona.admin import Admin
from localdaytona.admin_models import (
    ActDetail,
    Added,
    Dropped,
    FileView,
    Health,
    NewSandbox,
    ProcessesView,
    SandboxesPage,
    SandboxView,
)
from localdaytona.calls import ApiError
from localdaytona.config import Config
from localdaytona.fault_model import Plan, Rule
from localdaytona.faults import PlanView
from localdaytona.journal import PAGE_MAX, JournalPage
from localdaytona.world import World

Filter = Literal["sandbox_id", "name", "kind", "operation"]
# A patch is merged and then checked as a whole `Config`, so that its errors name the knob.
Patch = dict[str, Any]
T = TypeVar("T")


def loopback_only(request: Request) -> None:
    """Refuse clients on other machines, and pages that a browser loaded from elsewhere."""
    client = request.client
    if client is None or not ipaddress.ip_address(client.host).is_loopback:
        raise HTTPException(403, "/_local answers this machine only")
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise HTTPException(403, "/_local answers no other site's page")
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname
    if host not in {"127.0.0.1", "localhost", "::1"}:
        raise HTTPException(403, "/_local answers only to a loopback host name")


def admin_router(world: World) -> APIRouter:
    """Return the administration's routes."""
    router = APIRouter(prefix="/_local", dependencies=[Depends(loopback_only)])
    admin = Admin(world)
    _add_state(router, world, admin)
    _add_faults(router, world, admin)
    _add_sandboxes(router, world, admin)
    _add_inside(router, admin)
    return router


def _add_state(router: APIRouter, world: World, admin: Admin) -> None:
    @router.get("/healthz")
    async def healthz() -> Health:
        """Report that the server and its engine run."""
        if world.failure is not None:
            raise HTTPException(500, f"the engine has stopped: {world.failure!r}")
        return Health(pid=os.getpid(), speed=world.config.speed)

    @router.get("/config")
    async def read_config() -> Config:
        """Return every knob."""
        return world.config

    @router.patch("/config")
    async def change_config(patch: Patch) -> Config:
        """Change the given knobs, nested ones included, and return all of them."""
        merged = _merge(world.config.model_dump(mode="json"), patch)
        try:
            config = Config.model_validate(merged)
        except ValidationError as error:
            raise RequestValidationError(error.errors(include_url=False)) from error
        with world.store.transaction():
            world.reconfigure(config)
            admin.note("config", patch)
        return config

    @router.get("/journal")
    async def read_journal(
        request: Request,
        after: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 1000,
    ) -> JournalPage:
        """Return journal entries in order; `sandbox_id`, `name`, `kind`, `operation` filter them."""
        keys: tuple[Filter, ...] = ("sandbox_id", "name", "kind", "operation")
        given = {key: request.query_params[key] for key in keys if key in request.query_params}
        return world.store.journal.page(after, limit, given)

    @router.post("/events/drop")
    async def drop_events() -> Dropped:
        """Reset every connection of the event stream."""
        dropped = world.events.drop_all()
        with world.store.transaction():
            admin.note("drop-events", {"dropped": dropped})
        return Dropped(dropped=dropped)


def _add_faults(router: APIRouter, world: World, admin: Admin) -> None:
    @router.get("/faults")
    async def read_faults() -> PlanView:
        """Return the plan and how often each rule has fired."""
        return world.faults.view()

    @router.put("/faults")
    async def replace_faults(plan: Plan) -> PlanView:
        """Replace the plan and reset its counts."""
        with world.store.transaction():
            _checked(lambda: world.faults.replace(plan))
            admin.note("faults", {"plan": plan.model_dump(mode="json")})
        return world.faults.view()

    @router.post("/faults", status_code=201)
    async def add_fault(rule: Rule) -> Added:
        """Add one rule at the end of the plan."""
        with world.store.transaction():
            added = Added(id=_checked(lambda: world.faults.add(rule)))
            admin.note("faults", {"rule": rule.model_dump(mode="json"), "id": added.id})
        return added

    @router.delete("/faults", status_code=204)
    async def clear_faults() -> Response:
        """Remove all rules and keep the seed."""
        with world.store.transaction():
            world.faults.replace(Plan(seed=world.faults.view().seed))
            admin.note("faults", {"cleared": True})
        return Response(status_code=204)


def _add_sandboxes(router: APIRouter, world: World, admin: Admin) -> None:
    @router.get("/sandboxes")
    async def read_sandboxes(
        after: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> SandboxesPage:
        """Return all rows, destroyed ones included, newest first; `after` is the last ID of the previous page."""
        rows = world.store.newest(after, limit + 1)
        page = [SandboxView.of(row) for row in rows[:limit]]
        return SandboxesPage(sandboxes=page, next=page[-1].id if len(rows) > limit else None)

    @router.get("/sandboxes/{id_or_name}")
    async def read_sandbox(id_or_name: str) -> SandboxView:
        """Return one row, hidden or not."""
        with _answering():
            return SandboxView.of(admin.find(id_or_name))

    @router.post("/sandboxes", status_code=201)
    async def create_sandbox(asked: NewSandbox) -> SandboxView:
        """Create a sandbox by hand."""
        with _answering():
            return SandboxView.of(admin.create(asked))

    @router.post("/sandboxes/{id_or_name}/{act}")
    async def act(id_or_name: str, act: str, detail: ActDetail | None = None) -> SandboxView:
        """Do something to a sandbox: start, stop, archive, delete, recover, pause, break, build-failed, oom, ..."""
        with _answering():
            return SandboxView.of(await admin.act(id_or_name, act, detail or ActDetail()))


def _add_inside(router: APIRouter, admin: Admin) -> None:
    @router.get("/sandboxes/{id_or_name}/file")
    async def read_file(id_or_name: str, path: str) -> FileView:
        """Return a file of a sandbox by its path within the home, in whatever state the sandbox is."""
        with _answering():
            sandbox = admin.find(id_or_name)
            return FileView.of(path, admin.inside(sandbox).read_file(sandbox.id, path))

    @router.get("/sandboxes/{id_or_name}/processes")
    async def read_processes(id_or_name: str, variable: str | None = None) -> ProcessesView:
        """Return the living processes of a sandbox; with `variable`, those that have it in their environment."""
        with _answering():
            sandbox = admin.find(id_or_name)
            return ProcessesView.of(admin.inside(sandbox).processes(sandbox.id, variable))


def _merge(base: Patch, patch: Patch) -> Patch:
    """Return `base` with the patch merged into it, mapping by mapping."""
    merged = dict(base)
    for key, value in patch.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _checked(act: Callable[[], T]) -> T:
    """Return what the act returns; a ValueError becomes a 422."""
    try:
        return act()
    except ValueError as error:
        raise HTTPException(422, str(error)) from error


@contextmanager
def _answering() -> Iterator[None]:
    """Turn an ApiError into the reply."""
    try:
        yield
    except ApiError as error:
        raise HTTPException(error.status, error.message) from error
