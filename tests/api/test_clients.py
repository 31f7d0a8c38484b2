"""Two public generators make clients from our OpenAPI document, and these work against the running API."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.api.conftest import BEARER, TOKEN, Api, Serve
from tests.api.test_rest import document
from tests.waiting import until
from tests.workflow.conftest import Stack, Started, daytona, start  # noqa: F401 -- fixtures

SOURCES = Path(__file__).parent / "clients"
TOOLS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "issuebox" / "client-tools"
BIN = TOOLS / "python" / "bin"


@pytest.fixture(autouse=True)
def _tools() -> None:
    """The generators in their locked versions; without them there is nothing to test."""
    locked = [(SOURCES / name).read_bytes() for name in ("requirements.txt", "typescript/package-lock.json")]
    stamp = TOOLS / "installed"
    if not stamp.exists() or stamp.read_text().strip() != hashlib.sha256(b"".join(locked)).hexdigest():
        pytest.skip("the generators are not installed in their locked versions: run scripts/client-tools")


@pytest.fixture
async def stack(start: Started, issue_id: int) -> Stack:  # noqa: F811 -- the fixture of that name
    return await start(name_prefix=f"clients{issue_id}-")


@pytest.fixture
async def api(serve: Serve, stack: Stack) -> Api:
    """The API on the task queue that the stack's worker serves."""
    return await serve(task_queue=stack.settings.task_queue, name_prefix=stack.settings.name_prefix)


async def run(*command: str | Path, at: Path, **environment: str) -> str:
    """What the command prints; it has to succeed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=at,
        env=os.environ | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, output.decode() + errors.decode()
    return output.decode()


async def python_client(at: Path) -> list[str | Path]:
    """The command that runs `use.py` with what openapi-python-client made."""
    options = ("--path", "openapi.json", "--output-path", "client", "--meta", "none")
    said = await run(BIN / "openapi-python-client", "generate", *options, at=at, PATH=f"{BIN}:{os.environ['PATH']}")
    assert "Warning" not in said, said
    shutil.copy(SOURCES / "use.py", at)
    return [sys.executable, "use.py"]


async def typescript_client(at: Path) -> list[str | Path]:
    """The command that runs `use.ts` with what @hey-api/openapi-ts made, after the compiler has checked both."""
    for name in ("tsconfig.json", "use.ts"):
        shutil.copy(SOURCES / "typescript" / name, at)
    modules = TOOLS / "node_modules"
    generate = modules / "@hey-api" / "openapi-ts" / "bin" / "run.js"
    plugins = ("@hey-api/client-fetch", "@hey-api/typescript", "@hey-api/sdk")
    await run(BIN / "node", generate, "-i", "openapi.json", "-o", "client", "--no-log-file", "-p", *plugins, at=at)
    await run(BIN / "node", modules / "typescript" / "bin" / "tsc", "-p", ".", at=at)
    return [BIN / "node", "js/use.js"]


async def known(api: Api, issue_id: int) -> None:
    """Have the issue's sandbox running, and wait until it is in Temporal's index, which lags a moment."""
    place = {"repository": f"octo/repo-{issue_id}", "number": 7}
    reply = await api.client.put(f"/v1/issues/{issue_id}/sandbox?wait_s=20", headers=BEARER, json=place)
    assert reply.status_code == 200, reply.text

    async def rows() -> list[object]:
        page = await api.client.get("/v1/sandboxes?phase=usable&page_size=200", headers=BEARER)
        return [row for row in page.json()["sandboxes"] if row["issue_id"] == issue_id and row["number"]]

    await until(rows, bool, "the issue listed")


@pytest.mark.parametrize("make", [python_client, typescript_client])
async def test_generated_client_works(api: Api, stack: Stack, tmp_path: Path, make: object) -> None:
    """It asks, waits, repeats, is refused, finds, lists and deletes; statuses, words and problems arrive typed."""
    assert callable(make)
    issue_id = 2**40 + stack.issue_id  # GitHub's IDs have outgrown 32 bits.
    await known(api, issue_id)
    (tmp_path / "openapi.json").write_text(json.dumps(await document(api)))
    command = await make(tmp_path)
    place = {"OWNER": "octo", "REPO": f"repo-{issue_id}", "NUMBER": "7"}
    url = str(api.client.base_url)
    got = json.loads(
        await run(*command, at=tmp_path, API=url, TOKEN=TOKEN, ISSUE_ID=str(issue_id), no_proxy="*", **place)
    )
    [row] = [row for row in await stack.daytona.admin.sandboxes() if str(issue_id) in row.name]
    assert "nobody has asked" in got.pop("unknown")
    assert got == {
        "statuses": [200, 200, 422, 200, 200, 404, 202],
        "waited": "usable",
        "sandbox_id": row.id,
        "toolbox_url": f"{stack.daytona.base_url}/toolbox/{row.id}",
        "outcome": "reused",
        "refused": "urn:issuebox:problem:idempotency-key-reused",
        "found": issue_id,
        "listed": True,
    }
