"""The commands on a running `issuebox dev`, typed by somebody who is in another directory."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from issuebox.dev.dev_stack import DevStack
from issuebox.dev.temporal_server import cached_binary
from localdaytona.testing import free_port
from tests.cli.conftest import environment

READY_S = 60.0
PASTED_S = 60.0
HEADING = re.compile(r"[A-Z].*:$")


@dataclass(frozen=True)
class Dev:
    """A running `issuebox dev`, and what it printed."""

    data: Path
    stack: DevStack
    printed: str

    @property
    def commands(self) -> list[str]:
        """The lines that are meant to be pasted."""
        lines = self.printed.split("╯\n", 1)[1].splitlines()
        return [line for line in lines if line and not HEADING.fullmatch(line) and not line.startswith("http")]


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """One stack for all tests here, in a directory whose name has a blank. It ends with its standard input."""
    directory = tmp_path_factory.mktemp("dev")
    data, output = directory / "my data", directory / "output"
    ports = [word for part in ("api", "temporal", "ui", "daytona") for word in (f"--{part}-port", str(free_port()))]
    command = [sys.executable, "-m", "issuebox", "dev", "--data", "my data", "--quiet", "--speed", "20", "--attached"]
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*command, *ports],
            cwd=directory, env=environment(directory, {}), stdin=subprocess.PIPE, stdout=file, stderr=file,
        )  # fmt: skip
    deadline = time.monotonic() + READY_S
    while "/v1/issues/1/sandbox" not in output.read_text():
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.1)
    stack = DevStack.lookup(data)
    assert stack is not None
    yield Dev(data, stack, output.read_text())
    assert process.stdin is not None
    process.stdin.close()
    process.wait(READY_S)


async def shell(command: str, interrupted_after: str = "", **given: str) -> tuple[int, str]:
    """Paste the command into a shell that knows nothing of this checkout. Returns the exit code and all output.

    With `interrupted_after`, Ctrl-C comes when this has been shown.
    """
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", command), cwd="/", env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"} | given,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    shown = b""
    if interrupted_after:
        assert process.stdout is not None
        while interrupted_after.encode() not in shown:
            line = await asyncio.wait_for(process.stdout.readline(), PASTED_S)
            assert line, shown
            shown += line
        process.send_signal(signal.SIGINT)
    out, _ = await asyncio.wait_for(process.communicate(), PASTED_S)
    assert process.returncode is not None
    return process.returncode, (shown + out).decode()


async def test_commands_that_dev_prints_work_when_pasted_elsewhere(dev: Dev) -> None:
    """In their order: an issue is opened, its sandbox comes, something runs in it, and the API tells of it."""
    opened, waited, ran, watched, by_hand, asked, *connects = dev.commands
    code, out = await shell(opened)
    assert (code, out.startswith("202 ")) == (0, True), out
    code, out = await shell(waited)
    assert (code, "claude-issue-1 can be used." in out) == (0, True), out
    code, out = await shell(ran)
    assert (code, out) == (0, subprocess.run(["uname", "-a"], capture_output=True, text=True, check=True).stdout)
    code, out = await shell(f"exec {watched}", interrupted_after="o/r#1")
    assert (code, "Traceback" in out) == (130, False), out
    assert (await shell(by_hand))[0] == 0
    code, out = await shell(asked)
    assert (code, '"state":"started"' in out.replace(" ", "")) == (0, True), out
    assert [re.sub(r".* (connect \w+) --data .*", r"\1", command) for command in connects] == [
        "connect github", "connect daytona",
    ]  # fmt: skip
    code, out = await shell(connects[1])
    assert (code, "there is no key: set DAYTONA_API_KEY" in out) == (2, True), out


async def test_output_of_a_command_goes_as_it_comes_and_wherever_it_goes(dev: Dev) -> None:
    """Letters are what the sandbox wrote, whatever the terminal here has, and a reader may leave."""
    exec_ = dev.commands[2].removesuffix("uname -a")
    assert await shell(f"{exec_} printf 'grün\\n'", LC_ALL="C", PYTHONUTF8="0") == (0, "grün\n")
    code, out = await shell(f"{{ {exec_} yes; echo $? >&2; }} | head -n 1")
    assert (code, sorted(out.split())) == (0, ["141", "y"])


async def test_temporal_is_that_of_dev(dev: Dev) -> None:
    """Its command line shows the issues' workflows, from another directory and with no address typed."""
    temporal = dev.commands[0].partition(" send ")[0] + f" temporal --data '{dev.data}'"
    binary = shutil.which("temporal") or str(cached_binary())
    code, out = await shell(f"{temporal} operator namespace list", ISSUEBOX_TEMPORAL_BINARY=binary)
    assert (code, "temporal-system" in out) == (0, True), out
    code, _ = await shell(f"{temporal} no-such-command", ISSUEBOX_TEMPORAL_BINARY=binary)
    assert code == 1
