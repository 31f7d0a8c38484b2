"""The routes of sessions and their commands, and the web socket that follows a command's output."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Response, WebSocket
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from localdaytona.fault_model import CutLog, Fault
from localdaytona.interruption import until_gone
from localdaytona.toolbox.errors import ToolboxError, unreachable
from localdaytona.toolbox.gate import Gate
from localdaytona.toolbox.output_log import OutputLog, Stream
from localdaytona.toolbox.sessions import Command, Session, Wanted
from localdaytona.toolbox.workspaces import Workspace, Workspaces
from localdaytona.types import JSONObject

RESERVED = "entrypoint"
# How a followed log ends: the command has ended, or its sandbox has stopped.
NORMAL, GONE = 1000, 1011
COMMAND = "/process/session/{session_id}/command/{command_id}"


class _Asked(BaseModel):
    model_config = ConfigDict(populate_by_name=True)


class CreateSession(_Asked):
    """What `process.create_session` sends."""

    session_id: Annotated[str, Field(alias="sessionId", min_length=1, max_length=256)]


class RunInSession(_Asked):
    """What `process.execute_session_command` sends; `async` is the older word."""

    command: str = ""
    run_async: bool = Field(default=False, alias="runAsync")
    older_async: bool = Field(default=False, alias="async")
    suppress_input_echo: bool = Field(default=False, alias="suppressInputEcho")


class SendInput(_Asked):
    """What `process.send_session_command_input` sends."""

    data: str


def add_session_routes(router: APIRouter, workspaces: Workspaces, gate: Gate) -> None:
    """Add the routes to the toolbox's router."""
    _add_sessions(router, workspaces)
    _add_commands(router, workspaces)
    _add_follow(router, workspaces, gate)


def _add_sessions(router: APIRouter, workspaces: Workspaces) -> None:
    @router.post("/process/session", status_code=201)
    async def create_session(sandbox_id: str, asked: CreateSession) -> Response:
        await _create(workspaces.open(sandbox_id), asked.session_id)
        return Response(status_code=201)

    @router.get("/process/session")
    async def list_sessions(sandbox_id: str) -> list[JSONObject]:
        return [_shown(session) for session in workspaces.open(sandbox_id).sessions.values()]

    @router.get("/process/session/{session_id}")
    async def get_session(sandbox_id: str, session_id: str) -> JSONObject:
        return _shown(_session(workspaces, sandbox_id, session_id))

    @router.delete("/process/session/{session_id}", status_code=204)
    async def delete_session(sandbox_id: str, session_id: str) -> Response:
        session = _session(workspaces, sandbox_id, session_id)
        del workspaces.open(sandbox_id).sessions[session_id]
        session.kill()
        return Response(status_code=204)


def _add_commands(router: APIRouter, workspaces: Workspaces) -> None:
    @router.post("/process/session/{session_id}/exec")
    async def run_command(sandbox_id: str, session_id: str, asked: RunInSession) -> Response:
        """Run a command; a synchronous one has no time limit."""
        if not asked.command.strip():
            raise ToolboxError(400, "bad request: empty command")
        workspace = workspaces.open(sandbox_id)
        run = workspace.run
        session = _session(workspaces, sandbox_id, session_id)
        is_async = asked.run_async or asked.older_async
        wanted = Wanted(
            asked.command,
            takes_input=is_async,
            echoes_input=not asked.suppress_input_echo,
            waits_for_output=workspaces.exit_code_waits_for_output,
        )
        command = await session.begin(wanted)
        if is_async:
            return JSONResponse({"cmdId": command.id}, 202)
        await command.log.ended()
        if run.over:
            raise unreachable()
        if workspace.sessions.get(session_id) is not session:
            raise ToolboxError(400, "bad request: session cancelled")
        return JSONResponse({"cmdId": command.id, "exitCode": command.exit_code, **_logs(command)})

    @router.get(COMMAND)
    async def get_command(sandbox_id: str, session_id: str, command_id: str) -> JSONObject:
        return _shown_command(_session(workspaces, sandbox_id, session_id).command(command_id))

    @router.post(f"{COMMAND}/input", status_code=204)
    async def send_input(sandbox_id: str, session_id: str, command_id: str, asked: SendInput) -> Response:
        if session_id == RESERVED:
            raise ToolboxError(400, "bad request: can't send input to entrypoint session")
        _session(workspaces, sandbox_id, session_id).send(command_id, asked.data)
        return Response(status_code=204)

    @router.get(f"{COMMAND}/logs")
    async def get_logs(sandbox_id: str, session_id: str, command_id: str) -> JSONObject:
        return _logs(_session(workspaces, sandbox_id, session_id).command(command_id))


def _add_follow(router: APIRouter, workspaces: Workspaces, gate: Gate) -> None:
    @router.websocket(f"{COMMAND}/logs")
    async def follow_logs(socket: WebSocket, sandbox_id: str, session_id: str, command_id: str) -> None:
        """Send the output from its beginning, piece by piece, and close when the command ends or is killed."""
        admitted = await gate.admit_socket(socket)
        if admitted is None:
            return
        try:
            gate.refuse_unless_started(sandbox_id)
            run = workspaces.open(sandbox_id).run
            command = _session(workspaces, sandbox_id, session_id).command(command_id)
        except ToolboxError as error:
            await gate.refuse_socket(socket, error.response(socket))
            return
        await socket.accept()
        async with gate.active(sandbox_id):
            if await _sent(socket, command.log, admitted.fault):
                await socket.close(GONE if run.over else NORMAL)


async def _sent(socket: WebSocket, log: OutputLog, fault: Fault | None) -> bool:
    """Send all output of a command, or what a fault leaves of it, and return whether the client stayed until then."""
    sending = asyncio.create_task(_send(socket, log, fault))
    leaving = asyncio.create_task(until_gone(socket.receive))
    try:
        await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        return not leaving.done()
    finally:
        sending.cancel()
        leaving.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)


async def _send(socket: WebSocket, log: OutputLog, fault: Fault | None) -> None:
    match fault:
        case Fault(effect=CutLog(after=after), draw=draw):
            for piece in log.beginning(draw if after == "prefix" else 0.0):
                await socket.send_bytes(piece)
        case _:
            async for piece in log.follow():
                await socket.send_bytes(piece)


async def _create(workspace: Workspace, session_id: str) -> None:
    if session_id == RESERVED:
        raise ToolboxError(400, f"bad request: session id {RESERVED} is reserved")
    if session_id in workspace.sessions:
        raise ToolboxError(409, "conflict: session already exists")
    session = Session(session_id, workspace.run, workspace.new_session_directory())
    # Reserved before the shell is started, so that a concurrent request is refused.
    workspace.sessions[session_id] = session
    try:
        await session.start(workspace.home, workspace.environment())
    except ToolboxError:
        workspace.sessions.pop(session_id, None)
        raise


def _session(workspaces: Workspaces, sandbox_id: str, session_id: str) -> Session:
    session = workspaces.open(sandbox_id).sessions.get(session_id)
    if session is None:
        raise ToolboxError(404, "not found: session not found")
    return session


def _shown(session: Session) -> JSONObject:
    return {"sessionId": session.id, "commands": [_shown_command(each) for each in session.commands.values()]}


def _shown_command(command: Command) -> JSONObject:
    shown: JSONObject = {"id": command.id, "command": command.wanted.text}
    return shown if command.exit_code is None else {**shown, "exitCode": command.exit_code}


def _logs(command: Command) -> JSONObject:
    return {
        "output": command.log.text(*Stream),
        "stdout": command.log.text(Stream.STDOUT),
        "stderr": command.log.text(Stream.STDERR),
    }
