"""The routes of files: upload, download, list, describe, make, remove."""

import asyncio
import json
import os
import re
import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, BinaryIO
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel
from starlette.datastructures import FormData, UploadFile

from localdaytona.toolbox import files
from localdaytona.toolbox.errors import ToolboxError
from localdaytona.toolbox.workspaces import Workspace, Workspaces
from localdaytona.types import JSON, JSONObject

FILES_MAX = 10_000
DEPTH_MAX = 32
CHUNK = 256 * 1024
FIELD = re.compile(r"files\[(\d+)\]\.path")
PLAIN = re.compile(r"[ !#-\[\]-~]+")


class DownloadRequest(BaseModel):
    """What `fs.download_files` sends."""

    paths: list[str]


def add_file_routes(router: APIRouter, workspaces: Workspaces) -> None:
    """Add the routes to the toolbox's router."""
    _add_transfer(router, workspaces)
    _add_directory(router, workspaces)


def _add_transfer(router: APIRouter, workspaces: Workspaces) -> None:
    @router.post("/files/bulk-upload")
    async def upload(sandbox_id: str, request: Request) -> Response:
        """Write the files that can be written; errors of the others make the reply a 400."""
        workspace = workspaces.open(sandbox_id)
        async with request.form(max_files=FILES_MAX, max_fields=FILES_MAX) as form:
            written: list[JSON] = []
            errors: list[JSON] = []
            for path, file in _uploads(form):
                try:
                    written.append({"path": path, "bytes": await _write(workspace, path, file.file)})
                except ToolboxError as error:
                    errors.append(error.message)
        if not written and not errors:
            raise ToolboxError(400, "bad request: no files")
        return JSONResponse({"files": written, "errors": errors}, 400 if errors else 200)

    @router.post("/files/bulk-download")
    async def download(sandbox_id: str, asked: DownloadRequest) -> StreamingResponse:
        boundary = uuid.uuid4().hex
        parts = _parts(workspaces.open(sandbox_id), asked.paths, boundary)
        return StreamingResponse(parts, media_type=f"multipart/form-data; boundary={boundary}")


def _add_directory(router: APIRouter, workspaces: Workspaces) -> None:
    @router.post("/files/folder", status_code=201)
    async def make_folder(sandbox_id: str, path: str, mode: str = "") -> Response:
        with files.refusing(path):
            files.make_directory(workspaces.open(sandbox_id).follow(path), mode or "755")
        return Response(status_code=201)

    @router.get("/files")
    async def list_files(
        sandbox_id: str, path: str = ".", depth: Annotated[int, Query(ge=1, le=DEPTH_MAX)] = 1
    ) -> list[JSONObject]:
        with files.refusing(path):
            return list(files.listing(workspaces.open(sandbox_id).follow(path), depth))

    @router.get("/files/info")
    async def describe(sandbox_id: str, path: str) -> JSONObject:
        with files.refusing(path):
            return files.describe(workspaces.open(sandbox_id).locate(path))

    @router.delete("/files", status_code=204)
    async def remove(sandbox_id: str, path: str, recursive: bool = False) -> Response:
        workspace = workspaces.open(sandbox_id)
        place = workspace.locate(path)
        if place in {workspace.home, workspace.root, workspace.directory}:
            raise ToolboxError(400, f"bad request: cannot delete {path}", "INVALID_FILE_PATH")
        with files.refusing(path):
            await asyncio.to_thread(files.remove, place, recursive=recursive)
        return Response(status_code=204)


def _uploads(form: FormData) -> list[tuple[str, UploadFile]]:
    """Return paths with their files, matched by number; the file's own name does not count."""
    found: list[tuple[str, UploadFile]] = []
    for key, path in form.multi_items():
        match = FIELD.fullmatch(key)
        if match is None or not isinstance(path, str):
            continue
        file = form.get(f"files[{match[1]}].file")
        if not isinstance(file, UploadFile):
            raise ToolboxError(400, f"bad request: no file for {path}")
        found.append((path, file))
    return found


async def _write(workspace: Workspace, asked: str, source: BinaryIO) -> int:
    """Write a file with its parent directories and return its size. Raises ToolboxError."""
    path = workspace.follow(asked)
    with files.refusing(asked):
        return await asyncio.to_thread(_copy, source, path)


def _copy(source: BinaryIO, path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    with files.open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as target:
        shutil.copyfileobj(source, target, CHUNK)
        return target.tell()


async def _parts(workspace: Workspace, asked: list[str], boundary: str) -> AsyncIterator[bytes]:
    """Yield one part per path, a file or an error, and the closing boundary."""
    for path in asked:
        try:
            with files.refusing(path), files.open_regular(workspace.follow(path), os.O_RDONLY) as source:
                yield _head(boundary, "file", path, "application/octet-stream")
                while chunk := await asyncio.to_thread(source.read, CHUNK):
                    yield chunk
        except ToolboxError as error:
            yield _error_part(boundary, path, error)
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def _error_part(boundary: str, path: str, error: ToolboxError) -> bytes:
    body = {"message": error.message, "statusCode": error.status, "code": error.code, "source": "DAYTONA_DAEMON"}
    return _head(boundary, "error", path, "application/json") + json.dumps(body).encode()


def _head(boundary: str, name: str, path: str, media_type: str) -> bytes:
    """Return the beginning of a part; a path that is not plain ASCII is encoded by RFC 5987."""
    filename = f'filename="{path}"' if PLAIN.fullmatch(path) else f"filename*=UTF-8''{quote(path, safe='')}"
    disposition = f'Content-Disposition: form-data; name="{name}"; {filename}'
    return f"--{boundary}\r\n{disposition}\r\nContent-Type: {media_type}\r\n\r\n".encode()
