"""The process: it recovers from SIGKILL, ends on request, and keeps a journal that proofs can rely on."""

import asyncio
import json
import sys
import time
from pathlib import Path

import httpx
import pytest

from localdaytona.journal import Entry
from localdaytona.testing import NO_TLS, Server, running
from tests.localdaytona.clients import eventually, reaches, rest_of


async def test_killed_in_the_middle_of_a_create_it_goes_on(process: Server) -> None:
    """An accepted create survives SIGKILL: after the restart the sandbox becomes started."""
    await process.admin.config(speed=1, durations={"create_s": 3})
    async with rest_of(process) as rest:
        call = asyncio.create_task(rest.post("/sandbox", json={"name": "survivor"}))
        await eventually(lambda: _exists(process, "survivor"))
        await reaches(process, "survivor", "creating")
        await process.kill()
        with pytest.raises(httpx.TransportError):
            await call
    await process.start()
    await reaches(process, "survivor", "started")
    entries = await process.admin.journal()
    assert [entry.seq for entry in entries] == sorted({entry.seq for entry in entries})
    replied = {entry.detail["request_id"] for entry in entries if entry.kind == "reply"}
    request = next(entry for entry in entries if entry.kind == "request")
    created = next(entry for entry in entries if entry.kind == "created")
    assert request.detail["request_id"] == created.detail["request_id"]
    assert request.detail["request_id"] not in replied
    assert sum(entry.kind == "server_started" for entry in entries) == 2


async def _exists(process: Server, name: str) -> bool:
    return any(row.name == name for row in await process.admin.sandboxes())


async def test_killed_it_remembers_knobs_faults_and_timers(process: Server) -> None:
    """Configuration, the fault plan with its counts, and intervals survive SIGKILL."""
    async with rest_of(process) as rest:
        await rest.post("/sandbox", json={"name": "timed", "autoStopInterval": 7})
        await process.admin.config(list_lag_s=3, durations={"stop_s": 9})
        await process.admin.set_faults(
            {"match": {"operation": "get"}, "effect": {"kind": "not_found"}, "times": 2}, seed=5
        )
        await rest.get("/sandbox/timed")
        await process.restart()
        plan = await process.admin.faults()
        config = await process.admin.config()
        assert (plan.seed, plan.rules[0].fired, plan.rules[0].remaining) == (5, 1, 1)
        assert (config["list_lag_s"], config["speed"]) == (3, 10)
        assert (await process.admin.sandbox("timed")).auto_stop_interval == 7
        assert (await rest.get("/sandbox/timed")).status_code == 404
        assert (await rest.get("/sandbox/timed")).status_code == 200


async def test_acknowledged_creates_survive_a_kill(process: Server) -> None:
    """Every create that was answered before SIGKILL exists afterwards."""
    async with rest_of(process) as rest:
        replies = await asyncio.gather(*(rest.post("/sandbox", json={"name": f"n{i}"}) for i in range(20)))
        await process.restart()
        kept = {row.id for row in await process.admin.sandboxes()}
        assert {reply.json()["id"] for reply in replies} <= kept


async def test_asked_to_end_it_ends_at_once_and_cleanly(process: Server) -> None:
    """SIGTERM ends it with code 0 within seconds, even while a create is held."""
    await process.admin.config(speed=1, durations={"create_s": 60})
    async with rest_of(process) as rest:
        held = asyncio.create_task(rest.post("/sandbox", json={"name": "held"}))
        await eventually(lambda: _exists(process, "held"))
        began = time.monotonic()
        code = await process.stop()
        assert time.monotonic() - began < 5
        assert (await held).status_code == 200
    assert code == 0


async def test_options_of_the_command_line_are_taken(tmp_path: Path) -> None:
    """Fault plan, seed, speed and key come from the command line."""
    plan = {"rules": [{"match": {"operation": "list"}, "effect": {"kind": "status", "status": 500}}]}
    file = tmp_path / "faults.json"
    file.write_text(json.dumps(plan))
    async with running(tmp_path / "data", faults=file, seed=9, speed=3, api_key="k") as server:
        view = await server.admin.faults()
        assert (view.seed, len(view.rules)) == (9, 1)
        assert (await server.admin.config())["speed"] == 3
        async with rest_of(server) as rest:
            assert (await rest.get("/sandbox")).status_code == 500


async def test_strangers_are_kept_out_of_the_administration(server: Server) -> None:
    """`/_local`, which needs no key, refuses pages of other sites and other host names."""
    async with httpx.AsyncClient(base_url=server.base_url, trust_env=False, verify=NO_TLS) as client:
        assert (await client.get("/_local/config")).status_code == 200
        assert (await client.get("/_local/config", headers={"Origin": "https://evil.example"})).status_code == 403
        assert (await client.get("/_local/config", headers={"Host": "evil.example"})).status_code == 403


async def test_unknown_knob_or_act_is_refused(server: Server) -> None:
    """A misspelt knob is a 422 and an unknown action a 404; neither changes anything."""
    async with httpx.AsyncClient(base_url=f"{server.base_url}/_local", trust_env=False, verify=NO_TLS) as client:
        assert (await client.patch("/config", json={"sped": 2})).status_code == 422
        assert (await client.patch("/config", json={"durations": {"stop_s": -1}})).status_code == 422
        await server.admin.create(name="x")
        assert (await client.post("/sandboxes/x/dance")).status_code == 404


def live_by_name(entries: list[Entry]) -> dict[str, str]:
    """Return name -> ID of the live sandboxes after these entries, only from the journal."""
    names: dict[str, str] = {}
    for entry in entries:
        if entry.kind == "created":
            names[str(entry.name)] = str(entry.sandbox_id)
        elif entry.kind == "renamed":
            names[str(entry.detail["new"])] = names.pop(str(entry.detail["old"]))
        elif entry.kind == "destroyed":
            del names[str(entry.name)]
    return names


async def test_journal_alone_tells_what_lives_and_who_caused_it(server: Server, rest: httpx.AsyncClient) -> None:
    """The journal has the live sandboxes by name, the request behind each change, and all manual actions."""
    made = (await rest.post("/sandbox", json={"name": "one", "env": {"TOKEN": "hush"}})).json()
    await server.admin.create(name="two")
    await server.admin.act("two", "break", reason="by hand")
    await rest.delete("/sandbox/one", headers={"X-Daytona-Source": "test"})
    await reaches(server, made["id"], "destroyed")
    await rest.post("/sandbox", json={"name": "one"})
    entries = await server.admin.journal()
    rows = {row.name: row.id for row in await server.admin.sandboxes() if not row.hidden}
    assert live_by_name(entries) == rows
    delete = next(entry for entry in entries if entry.kind == "request" and entry.operation == "delete")
    caused = [entry.kind for entry in entries if entry.detail.get("request_id") == delete.detail["request_id"]]
    # The sandbox is being destroyed beside the reply, which may be sent after the first state.
    assert 2 < caused.index("reply") < 5
    assert [kind for kind in caused if kind != "reply"] == [
        "request", "desired", "renamed", "state", "state", "destroyed",
    ]  # fmt: skip
    assert caused.count("reply") == 1
    assert delete.detail["source"] == "test"
    assert [entry.detail["act"] for entry in entries if entry.kind == "admin"] == ["create", "break"]
    assert "hush" not in "".join(entry.model_dump_json() for entry in entries)


async def test_journal_pages_and_filters(server: Server, rest: httpx.AsyncClient) -> None:
    """Pages continue where they ended, without gaps, and filters combine."""
    for _ in range(3):
        await rest.get("/sandbox/none")
    async with httpx.AsyncClient(base_url=f"{server.base_url}/_local", trust_env=False, verify=NO_TLS) as client:
        first = (await client.get("/journal", params={"limit": 2})).json()
        second = (await client.get("/journal", params={"after": first["next"]})).json()
        gets = (await client.get("/journal", params={"kind": "reply", "operation": "get", "name": "none"})).json()
    seqs = [entry["seq"] for entry in first["entries"] + second["entries"]]
    assert seqs == list(range(1, len(seqs) + 1))
    assert second["next"] is None
    assert len(gets["entries"]) == 3


async def test_address_in_use_is_reported_at_once(server: Server, tmp_path: Path) -> None:
    """On a taken port the command ends with a sentence, not a traceback."""
    port = server.base_url.rpartition(":")[2]
    command = [sys.executable, "-m", "localdaytona", "--port", port, "--data", str(tmp_path / "other")]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, stderr = await process.communicate()
    assert process.returncode == 2
    assert b"cannot bind" in stderr
    assert b"Traceback" not in stderr


async def test_clients_get_the_public_url(tmp_path: Path) -> None:
    """Behind another address, as in a container, the URLs of toolboxes have the address that clients know."""
    async with running(tmp_path / "data", public_url="http://daytona.example:80/") as server:
        made = await server.admin.create(name="one")
        headers = {"Authorization": f"Bearer {server.api_key}"}
        async with httpx.AsyncClient(trust_env=False, headers=headers) as http:
            body = (await http.get(f"{server.api_url}/sandbox/{made.id}")).json()
    assert body["toolboxProxyUrl"] == "http://daytona.example:80/toolbox"
