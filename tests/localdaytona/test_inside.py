"""Acts and reads inside a sandbox that only the administration has."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest
from daytona import AsyncDaytona, AsyncSandbox

from localdaytona.testing import Server
from tests.localdaytona.clients import create
from tests.localdaytona.test_toolbox import alive, child_of, dead

MEMORY_EVENTS = "/sys/fs/cgroup/memory.events"
LARGE = 'python3 -c \'import time; x = b"x" * 60_000_000; open("ready", "w").close(); time.sleep(1000)\''


@pytest.fixture
async def sandbox(sdk: AsyncDaytona) -> AsyncSandbox:
    """A started sandbox."""
    return await create(sdk, "inside")


async def oom_kills(sandbox: AsyncSandbox) -> list[str]:
    """Return the counter as a command and as the file API read it."""
    command = await sandbox.process.exec('cat "$LOCALDAYTONA_CGROUP/memory.events"')
    texts = (command.result, (await sandbox.fs.download_file(MEMORY_EVENTS)).decode())
    return [found[1] for text in texts if (found := re.search(r"^oom_kill (\d+)$", text, re.MULTILINE))]


async def test_oom_kills_the_largest_process_and_is_counted(server: Server, sandbox: AsyncSandbox) -> None:
    """The largest by resident memory gets SIGKILL; the counter rises, and begins anew with the next start."""
    assert await oom_kills(sandbox) == ["0", "0"]
    small, large = await child_of(sandbox, "setsid sleep 1000"), await child_of(sandbox, f"exec setsid {LARGE}")
    async with asyncio.timeout(10):
        while (await sandbox.process.exec("test -e ready")).exit_code:
            pass
    await server.admin.act(sandbox.id, "oom")
    await dead(large)
    assert alive(small)
    assert await oom_kills(sandbox) == ["1", "1"]
    await sandbox.stop()
    await sandbox.start()
    assert await oom_kills(sandbox) == ["0", "0"]


async def test_old_disk_comes_back_while_stopped(server: Server, sandbox: AsyncSandbox) -> None:
    """All files are as they were when the copy was made: later ones are gone, lost ones are back, modes are kept."""
    await sandbox.process.exec("mkdir -m 700 d; echo old > d/file; ln -s d/file link; mkfifo pipe; echo x > /tmp/none")
    await server.admin.act(sandbox.id, "keep-disk")
    await sandbox.process.exec("echo new > d/file; rm link; echo later > later; chmod 755 d")
    await sandbox.stop()
    for _ in range(2):  # The copy is kept.
        await server.admin.act(sandbox.id, "restore-old-disk")
    await sandbox.start()
    seen = await sandbox.process.exec("cat link; stat -c %a d; test -p pipe && test ! -e later && ls")
    assert seen.result == "old\n700\nd\nlink\npipe\n"


async def test_act_that_the_sandbox_does_not_admit_is_refused(server: Server, sandbox: AsyncSandbox) -> None:
    """An old disk needs a copy and a stopped sandbox; memory and daemon need a started one. No refusal is journaled."""

    async def refused(act: str) -> tuple[int, str]:
        with pytest.raises(httpx.HTTPStatusError) as refusal:
            await server.admin.act(sandbox.id, act)
        return refusal.value.response.status_code, refusal.value.response.json()["detail"]

    assert await refused("oom") == (409, "No process runs in it")
    assert await refused("restore-old-disk") == (409, "The sandbox is started: stop it first")
    await sandbox.stop()
    assert await refused("restore-old-disk") == (409, "No disk was kept: keep-disk comes first")
    for act in ("oom", "daemon-restart"):
        assert await refused(act) == (409, "The sandbox is stopped: start it first")
    assert await server.admin.journal(kind="admin") == []


async def test_acts_inside_are_journaled(server: Server, sandbox: AsyncSandbox) -> None:
    """The journal says which act hit which sandbox, and which process an `oom` killed."""
    pid = await child_of(sandbox, "sleep 1000")
    for act in ("keep-disk", "oom", "daemon-restart"):
        await server.admin.act("inside", act)
    found = await server.admin.journal(kind="admin")
    assert [(each.sandbox_id, each.detail["act"]) for each in found] == [
        (sandbox.id, "keep-disk"), (sandbox.id, "oom"), (sandbox.id, "daemon-restart"),
    ]  # fmt: skip
    assert found[1].detail["pid"] == pid


async def test_file_is_read_from_the_home_in_every_state(server: Server, sandbox: AsyncSandbox, tmp_path: Path) -> None:
    """That needs no running sandbox, and no path leads out of it; a missing file is None, a missing sandbox a 404."""
    outside = tmp_path / "outside"
    outside.write_text("not of the sandbox", "utf-8")
    await sandbox.process.exec(
        f"mkdir .box; printf 'a\\0b' > .box/ledger; ln -s {outside} link; mkfifo pipe; ln -s a b; ln -s b a"
    )
    assert await server.admin.file(sandbox.id, ".box/ledger") == b"a\0b"
    await sandbox.stop()
    assert await server.admin.file(sandbox.id, ".box/ledger") == b"a\0b"
    assert await server.admin.file("inside", "none") is None
    for path in ("link", "../../../outside", str(outside), ".box", "pipe", "a"):
        with pytest.raises(httpx.HTTPStatusError) as refusal:
            await server.admin.file(sandbox.id, path)
        assert refusal.value.response.status_code in {400, 403}
    with pytest.raises(httpx.HTTPStatusError):
        await server.admin.file("nobody", "x")


async def test_processes_are_found_by_a_variable(server: Server, sandbox: AsyncSandbox, sdk: AsyncDaytona) -> None:
    """Only this sandbox's processes that carry it, also detached ones; without a variable, all and no value."""
    other = await create(sdk, "other")
    for each, run in ((sandbox, "r-1"), (sandbox, "r-2"), (other, "r-3")):
        await each.process.exec("setsid sleep 1000 >/dev/null 2>&1 </dev/null &", env={"ISSUEBOX_RUN": run})
    plain = await child_of(sandbox, "setsid sleep 1000")

    async def runs() -> list[str | None]:
        return sorted(str(each.value) for each in await server.admin.processes(sandbox.id, "ISSUEBOX_RUN"))

    assert await runs() == ["r-1", "r-2"]
    everything = await server.admin.processes("inside")
    assert plain in {each.pid for each in everything}
    assert len(everything) == 3
    assert all(each.value is None and each.rss_bytes > 0 for each in everything)
    await sandbox.stop()
    assert await server.admin.processes(sandbox.id) == []
