"""Processes kept alive, in order, with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from issuebox.dev import supervisor as module
from issuebox.dev.supervisor import Reporter, Service, ServiceFailedError, Supervisor

# Creates a file when it is ready and another one when SIGTERM ends it.
PROGRAM = """
import pathlib, signal, sys, time
ready, ended = map(pathlib.Path, sys.argv[1:3])
def end(*_):
    ended.write_text(str(time.monotonic_ns()))
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
ready.touch()
print("up", flush=True)
while True:
    signal.pause()
"""


@dataclass
class Stage:
    """A supervisor with what it reported, in its own directory."""

    directory: Path
    said: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        reporter = Reporter(
            say=self.said.append,
            show=lambda name, line: self.shown.append(f"{name}: {line}"),
            changed=lambda: None,
        )
        self.supervisor = Supervisor(self.directory, reporter)

    def service(self, name: str, program: str = PROGRAM, **options: float) -> Service:
        ready, ended = self.directory / f"{name}.ready", self.directory / f"{name}.ended"

        async def is_ready() -> bool:
            return ready.exists()

        return Service(
            name=name,
            command=[sys.executable, "-c", program, str(ready), str(ended)],
            environment=dict(os.environ),
            is_ready=is_ready,
            before_start=lambda: ready.unlink(missing_ok=True),
            **options,
        )


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    """A stage whose processes end with the test; pauses before restarts are short."""
    monkeypatch.setattr(module, "RESTART_PAUSE_FIRST_S", 0.01)
    made = Stage(tmp_path)
    yield made
    made.supervisor.hurry()
    await made.supervisor.stop()


async def eventually(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_true():
            await asyncio.sleep(0.01)


async def test_killed_service_is_restarted_and_reported(stage: Stage) -> None:
    """After kill -9 a new process is started, and both are reported."""
    await stage.supervisor.start(stage.service("one"))
    first = stage.supervisor.pids["one"]
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: "one is ready again." in stage.said)
    assert stage.supervisor.pids["one"] != first
    assert stage.said[0].startswith("one was killed by SIGKILL; restarting it")


async def test_service_that_keeps_dying_ends_everything(stage: Stage) -> None:
    """Five deaths in a row are reported with the reason that the service itself printed."""
    dying = stage.service("dying", "import sys; sys.exit('no such database')")
    with pytest.raises(ServiceFailedError, match=r"(?s)5th time.*no such database"):
        await stage.supervisor.start(dying)


async def test_service_that_never_gets_ready_is_reported(stage: Stage) -> None:
    """A start has a deadline."""
    silent = stage.service(
        "silent", "import signal; print('thinking', flush=True); signal.pause()", ready_timeout_s=0.5
    )
    with pytest.raises(ServiceFailedError, match=r"(?s)silent was not ready after 0\.5 s.*thinking"):
        await stage.supervisor.start(silent)


async def test_watch_reports_the_service_that_gave_up(stage: Stage) -> None:
    """A failure long after start-up is raised where the caller waits."""
    await stage.supervisor.start(stage.service("steady"))
    watching = asyncio.create_task(stage.supervisor.watch())
    for _ in range(module.DEATHS_MAX):
        await eventually(lambda: "steady" in stage.supervisor.pids or watching.done())
        os.kill(stage.supervisor.pids["steady"], signal.SIGKILL)
        await eventually(lambda: "steady" not in stage.supervisor.pids or watching.done())
    with pytest.raises(ServiceFailedError, match="steady was killed by SIGKILL"):
        await watching


async def test_stop_ends_services_in_reverse_order(stage: Stage) -> None:
    """The service started last is stopped first, and each is stopped by SIGTERM."""
    for name in ("first", "second"):
        await stage.supervisor.start(stage.service(name))
    await stage.supervisor.stop()
    ended_ns = {name: int((stage.directory / f"{name}.ended").read_text()) for name in ("first", "second")}
    assert ended_ns["second"] < ended_ns["first"]
    assert stage.supervisor.pids == {}


async def test_service_that_ignores_sigterm_is_killed(stage: Stage) -> None:
    """A stop has a deadline."""
    deaf = PROGRAM.replace("signal.SIGTERM, end", "signal.SIGTERM, signal.SIG_IGN")
    await stage.supervisor.start(stage.service("deaf", deaf, stop_timeout_s=0.2))
    pid = stage.supervisor.pids["deaf"]
    await stage.supervisor.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_output_is_logged_and_shown_line_by_line(stage: Stage) -> None:
    """Both streams reach the log file and the reporter; overlong lines arrive in pieces, and nothing is lost."""
    program = PROGRAM.replace('print("up"', 'print("x" * 200_000); print("err", file=sys.stderr); print("up"')
    await stage.supervisor.start(stage.service("loud", program))
    await eventually(lambda: stage.shown[-1:] == ["loud: up"])
    log = (stage.directory / "loud.log").read_text()
    assert log.count("x") == 200_000
    assert "err\n" in log


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
async def test_services_do_not_outlive_a_killed_supervisor(tmp_path: Path) -> None:
    """kill -9 of the supervising process takes its services with it."""
    script = f"""
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_supervisor import Stage
async def main():
    stage = Stage(Path({str(tmp_path)!r}))
    await stage.supervisor.start(stage.service("one"))
    print(stage.supervisor.pids["one"], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    pid = int(await process.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    process.kill()
    await process.communicate()
    await eventually(lambda: not Path(f"/proc/{pid}").exists())
