"""Which call is accepted in which state, over HTTP: status and text of every cell of the table."""

import itertools
from dataclasses import replace

import httpx

from localdaytona.admission import ADMITTED, TABLES, Admission, Refuse, judge
from localdaytona.model import Intervals, Sandbox, Spec
from localdaytona.testing import Server

SCIP = (409, "Sandbox state change in progress")
ERRORED = (400, "Sandbox is in an errored state")
OK = (200, None)
NOT_STOPPABLE = (400, "Sandbox is not in a stoppable state")
NOT_STOPPED = (400, "Sandbox is not stopped")
NOT_RECOVERABLE = (400, "Sandbox is not in a recoverable state")
NOT_STARTED = (400, "Sandbox must be in started state to pause")
NO_PAUSE = (422, "Pausing is not supported for this sandbox")
NO_RESUME = (422, "Sandbox cannot be resumed")

# (state, desired state) -> what a container answers to start, stop, archive, delete, recover, pause.
CELLS: dict[tuple[str, str], tuple[tuple[int, str | None], ...]] = {
    ("unknown", "started"): (SCIP, SCIP, SCIP, SCIP, NOT_RECOVERABLE, NOT_STARTED),
    ("creating", "started"): (SCIP, SCIP, SCIP, SCIP, NOT_RECOVERABLE, NOT_STARTED),
    ("pending_build", "started"): (SCIP, SCIP, SCIP, OK, NOT_RECOVERABLE, NOT_STARTED),
    ("building_snapshot", "started"): (SCIP, SCIP, SCIP, SCIP, NOT_RECOVERABLE, NOT_STARTED),
    ("pulling_snapshot", "started"): (SCIP, SCIP, SCIP, SCIP, NOT_RECOVERABLE, NOT_STARTED),
    ("starting", "started"): (SCIP, SCIP, SCIP, SCIP, NOT_RECOVERABLE, NOT_STARTED),
    ("restoring", "started"): (SCIP, SCIP, SCIP, SCIP, NOT_RECOVERABLE, NOT_STARTED),
    ("started", "started"): (OK, OK, NOT_STOPPED, OK, NOT_RECOVERABLE, NO_PAUSE),
    ("started", "stopped"): (SCIP, SCIP, SCIP, SCIP, NOT_RECOVERABLE, SCIP),
    ("stopping", "stopped"): (SCIP, SCIP, SCIP, SCIP, NOT_RECOVERABLE, NOT_STARTED),
    ("stopped", "stopped"): (OK, NOT_STOPPABLE, OK, OK, NOT_RECOVERABLE, NOT_STARTED),
    ("stopped", "started"): (SCIP, SCIP, SCIP, SCIP, NOT_RECOVERABLE, NOT_STARTED),
    ("stopped", "archived"): (OK, SCIP, SCIP, OK, NOT_RECOVERABLE, NOT_STARTED),
    ("archiving", "archived"): (OK, SCIP, SCIP, OK, NOT_RECOVERABLE, NOT_STARTED),
    ("archived", "archived"): (OK, NOT_STOPPABLE, NOT_STOPPED, OK, NOT_RECOVERABLE, NOT_STARTED),
    ("archived", "started"): (SCIP, SCIP, SCIP, SCIP, NOT_RECOVERABLE, NOT_STARTED),
    ("paused", "paused"): (NO_RESUME, OK, NOT_STOPPED, OK, NOT_RECOVERABLE, NOT_STARTED),
    ("snapshotting", "started"): (SCIP, SCIP, SCIP, SCIP, NOT_RECOVERABLE, NOT_STARTED),
    ("destroying", "destroyed"): (SCIP, SCIP, SCIP, SCIP, NOT_RECOVERABLE, NOT_STARTED),
    ("error", "started"): (ERRORED, ERRORED, ERRORED, OK, NOT_RECOVERABLE, NOT_STARTED),
    ("build_failed", "started"): (ERRORED, ERRORED, ERRORED, OK, NOT_RECOVERABLE, NOT_STARTED),
    ("hibernating", "started"): (SCIP, SCIP, SCIP, SCIP, NOT_RECOVERABLE, NOT_STARTED),
}
OPERATIONS = ("start", "stop", "archive", "delete", "recover", "pause")


async def ask(rest: httpx.AsyncClient, operation: str, sandbox_id: str) -> httpx.Response:
    """Make one lifecycle call."""
    if operation == "delete":
        return await rest.delete(f"/sandbox/{sandbox_id}")
    return await rest.post(f"/sandbox/{sandbox_id}/{operation}")


async def test_each_call_in_each_state_answers_as_daytona_does(server: Server, rest: httpx.AsyncClient) -> None:
    """Every lifecycle call gives the status and the text of the real server in every state."""
    await server.admin.config(speed=1000)
    answers: dict[tuple[str, str], list[tuple[int, str | None]]] = {cell: [] for cell in CELLS}
    for (state, desired), operation in itertools.product(CELLS, OPERATIONS):
        made = await server.admin.create()
        await server.admin.act(made.id, "set-state", state=state, desired_state=desired)
        reply = await ask(rest, operation, made.id)
        answers[state, desired].append((reply.status_code, reply.json().get("message")))
    assert {cell: tuple(found) for cell, found in answers.items()} == CELLS


def test_tables_admit_what_the_table_of_states_says() -> None:
    """The tables by call and the table by state say the same, so that each can be read by itself."""
    for row in ADMITTED:
        sandbox = made(row)
        admitted = {operation for operation in TABLES if not isinstance(judge(operation, sandbox), Refuse)}
        assert admitted == row.admits, row


def test_table_of_states_agrees_with_what_http_answers() -> None:
    """What a container admits is what the table above was answered with 200."""
    admits = {(row.state, row.desired): row.admits for row in ADMITTED if row == made_plain(row)}
    for cell, answers in CELLS.items():
        admitted = {operation for operation, answer in zip(OPERATIONS, answers, strict=True) if answer == OK}
        assert admits.get(cell, admitted) == admitted, cell


def made_plain(row: Admission) -> Admission:
    """The row of a container whose error cannot be repaired."""
    return replace(row, sandbox_class="container", recoverable=False)


def made(row: Admission) -> Sandbox:
    """A sandbox in the states of the row, with nothing in flight."""
    return Sandbox(
        id="s1", name="n1", state=row.state, desired=row.desired, spec=Spec(sandbox_class=row.sandbox_class),
        labels={}, intervals=Intervals(), created_at=0.0, updated_at=0.0, last_activity_at=0.0, state_since=0.0,
        recoverable=row.recoverable,
    )  # fmt: skip


async def test_older_servers_say_bad_request_for_a_change_in_progress(server: Server, rest: httpx.AsyncClient) -> None:
    """Configured like servers before 2026-04, the same text comes with 400."""
    await server.admin.config(scip_status=400)
    made = await server.admin.create(name="old")
    await server.admin.act(made.id, "set-state", state="stopping", desired_state="stopped")
    reply = await ask(rest, "start", made.id)
    assert (reply.status_code, reply.json()["message"]) == (400, SCIP[1])


async def test_second_recover_is_told_that_one_is_running(server: Server, rest: httpx.AsyncClient) -> None:
    """While a repair runs, another recover gets the third of the 409 texts, and a delete is accepted."""
    await server.admin.config(speed=1)
    made = await server.admin.create(name="twice")
    await server.admin.act(made.id, "break", recoverable=True, reason="disk full")
    reply = await rest.post(f"/sandbox/{made.id}/recover?skipStart=true")
    assert (reply.status_code, reply.json()["state"]) == (200, "error")
    second = await rest.post(f"/sandbox/{made.id}/recover")
    assert (second.status_code, second.json()["message"]) == (
        409,
        "An operation is already in progress for this resource",
    )
    assert (await rest.delete(f"/sandbox/{made.id}")).status_code == 200


async def test_machine_can_be_paused_and_resumed(server: Server, rest: httpx.AsyncClient) -> None:
    """A virtual machine pauses, is `pausing` when the call returns, and is resumed by start."""
    made = (await rest.post("/sandbox", json={"snapshot": "linux-vm-1"})).json()
    assert made["sandboxClass"] == "linux-vm"
    paused = await rest.post(f"/sandbox/{made['id']}/pause")
    assert paused.json()["state"] == "pausing"
    await server.admin.config(speed=1000)
    await server.admin.act(made["id"], "release")
    resumed = None
    while resumed is None or resumed.status_code == 409:
        resumed = await rest.post(f"/sandbox/{made['id']}/start")
    assert (resumed.status_code, resumed.json()["state"]) == (200, "started")


async def test_ephemeral_sandbox_is_deleted_by_stopping(server: Server, rest: httpx.AsyncClient) -> None:
    """Stopping an ephemeral sandbox is deleting it, and it cannot be archived."""
    made = (await rest.post("/sandbox", json={"name": "brief", "autoDeleteInterval": 0})).json()
    refused = await rest.post(f"/sandbox/{made['id']}/archive")
    assert (refused.status_code, refused.json()["message"]) == NOT_STOPPED
    stopped = (await rest.post(f"/sandbox/{made['id']}/stop")).json()
    assert stopped["name"].startswith("DESTROYED_brief_")
    assert (stopped["state"], stopped["desiredState"]) == ("destroying", "destroyed")
