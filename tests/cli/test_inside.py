"""`issuebox exec` and `issuebox ssh`: what runs in the sandbox, what comes back, and what is said when nothing runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from issuebox.cli.ssh_client import Gateway
from issuebox.dev.dev_stack import DevStack
from issuebox.providers.daytona import DaytonaOptions, DaytonaProvider, SshAccess
from issuebox.providers.daytona_attached import Typed
from issuebox.providers.daytona_toolbox import ToolboxClient
from tests.cli.conftest import Run, environment
from tests.waiting import until
from tests.workflow.conftest import Stack

STAND_IN = """#!/bin/sh
printf '%s\\n' "$@" > "$TOLD/arguments"
cat "$2" > "$TOLD/configuration"
stat -c %a "$2" > "$TOLD/mode"
exit 5
"""


@pytest.fixture
def inside(issuebox: Run, stack: Stack) -> Run:
    """A command with the key of the stack's Daytona in its environment."""

    async def ran(*arguments: str, **given: str) -> object:
        own = {"DAYTONA_API_KEY": stack.daytona.api_key, "DAYTONA_API_URL": stack.daytona.api_url}
        return await issuebox(*arguments, **own | given)

    return ran  # type: ignore[return-value]


async def test_exec_passes_on_both_streams_and_the_exit_code(stack: Stack, inside: Run) -> None:
    """As if the command had run here."""
    await stack.ensure()
    ran = await inside("exec", str(stack.issue_id), "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (ran.code, ran.out, ran.err) == (7, "out\n", "err\n")


async def test_exec_passes_the_words_on_as_they_are(stack: Stack, inside: Run) -> None:
    """No shell changes them on the way, and what looks like an option of ours is the command's after the `--`."""
    await stack.ensure()
    words = ["a b", "$HOME", "it's", "*", "--timeout", "--", "`id`", ""]
    ran = await inside("exec", stack.name, "--cwd", "/", "--", "printf", "[%s]", *words)
    assert (ran.code, ran.out) == (0, "".join(f"[{word}]" for word in words))
    assert (await inside("exec", stack.name, "--cwd", "/usr/bin", "--", "pwd")).out == "/usr/bin\n"
    gone = await inside("exec", stack.name, "--cwd", "/no/such", "--", "pwd")
    assert (gone.code > 0, "/no/such" in gone.err) == (True, True)


async def test_command_that_a_proxy_sends_twice_runs_once(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Daytona's proxies may replay a request. Nothing is done twice, and no output is lost."""
    sandbox = (await stack.ensure()).sandbox
    assert sandbox is not None
    send = ToolboxClient.send_begin

    async def replayed(self: ToolboxClient, *arguments: Any) -> str:
        await send(self, *arguments)
        return await send(self, *arguments)

    monkeypatch.setattr(ToolboxClient, "send_begin", replayed)
    out: list[str] = []
    typed = Typed(("sh", "-c", "cat; echo ran; mkdir here && exit 4"))
    async with DaytonaProvider(DaytonaOptions(stack.daytona.api_key, stack.daytona.api_url)) as provider:
        assert await provider.run_attached(sandbox.id, typed, out.append, out.append) == 4
    assert out == ["ran\n"]


async def test_exec_ends_what_takes_too_long(stack: Stack, inside: Run) -> None:
    """What had been said by then was passed on, the exit code is 124, and nothing runs on in the sandbox."""
    await stack.ensure()
    sleep = f"sleep {stack.issue_id}.25"
    ran = await inside("exec", str(stack.issue_id), "--timeout", "1", "--", "sh", "-c", f"echo begun; {sleep}; true")
    assert (ran.code, ran.out, ran.err) == (124, "begun\n", "issuebox: not done after 1 s, and ended\n")
    await until(lambda: running(sleep), lambda found: not found, "the command ended")


async def test_signal_ends_the_command_in_the_sandbox_too(stack: Stack, temporal_address: str, tmp_path: Path) -> None:
    """Without a word. Output is passed on while the command runs."""
    await stack.ensure()
    given = {
        "TEMPORAL_ADDRESS": temporal_address,
        "DAYTONA_API_KEY": stack.daytona.api_key,
        "DAYTONA_API_URL": stack.daytona.api_url,
    }

    async def ended(number: int) -> tuple[int | None, bytes, bytes]:
        sleep = f"sleep {stack.issue_id}.{number}"
        words = ["exec", stack.name, "--", "sh", "-c", f"echo begun; {sleep}; true"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "issuebox", *words),
            env=environment(tmp_path, given),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"begun\n"
        process.send_signal(number)
        out, err = await asyncio.wait_for(process.communicate(), 60)
        await until(lambda: running(sleep), lambda found: not found, "the command ended")
        return process.returncode, out, err

    ends = await asyncio.gather(*map(ended, (signal.SIGINT, signal.SIGTERM)))
    assert ends == [(130, b"", b""), (143, b"", b"")]


async def running(command: str) -> bool:
    """Whether such a process runs: localdaytona runs commands on this machine."""
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if command in (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                return True
    return False


async def test_exec_says_that_the_sandbox_is_stopped_and_does_not_start_it(stack: Stack, inside: Run) -> None:
    """Nothing is sent that could change the sandbox."""
    await stack.ensure()
    await stack.order("stop")
    await until(stack.state, lambda state: state == "stopped", "the sandbox stopped")
    sent = await stack.journal_end()
    ran = await inside("exec", str(stack.issue_id), "--", "true")
    assert (ran.code, ran.out) == (125, "")
    assert ran.err == (
        f"issuebox: the sandbox of {stack.name} is stopped, not running. `issuebox ensure {stack.issue_id}` asks for "
        "it to run\n"
    )
    assert await stack.requests(sent) == ["get"]


async def test_exec_says_that_the_sandbox_stopped_under_the_command(stack: Stack, inside: Run) -> None:
    """The exit code of the command is not known, and none is made up."""
    await stack.ensure()
    sleep = f"sleep {stack.issue_id}.75"
    asking = asyncio.create_task(inside("exec", stack.name, "--", *sleep.split()))
    await until(lambda: running(sleep), bool, "the command runs")
    await stack.daytona.admin.act(stack.name, "stop")
    ran = await asking
    assert (ran.code, ran.out) == (125, "")
    assert f"{stack.name} is stop" in ran.err


async def test_exec_for_an_issue_that_nobody_knows_asks_for_nothing(stack: Stack, inside: Run) -> None:
    """It says which command would."""
    ran = await inside("exec", str(stack.issue_id), "--", "true")
    assert (ran.code, ran.out) == (125, "")
    assert ran.err.startswith(
        f"issuebox: nobody has asked for a sandbox of issue {stack.issue_id} yet. `issuebox ensure`"
    )
    assert await stack.live() == []


async def test_exec_without_a_sandbox_says_why_there_is_none(stack: Stack, inside: Run) -> None:
    """A blocked issue has none; the sentence names the cause."""
    await stack.daytona.admin.add_fault(
        "create", {"kind": "status", "status": 400, "message": "Total CPU limit exceeded."}
    )
    await stack.ensure()
    ran = await inside("exec", str(stack.issue_id), "--", "true")
    assert ran.code == 125
    assert f"{stack.name} has no sandbox now, and is blocked: quota" in ran.err


async def test_exec_without_a_key_asks_for_the_callers_own(stack: Stack, issuebox: Run) -> None:
    """The token of the REST API is none."""
    await stack.ensure()
    ran = await issuebox("exec", str(stack.issue_id), "--", "true", ISSUEBOX_API_TOKENS="token")
    assert (ran.code, ran.out) == (125, "")
    assert ran.err.startswith("issuebox: DAYTONA_API_KEY is not set: ")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"DAYTONA_API_KEY": "wrong"}, "Daytona refuses the key: DAYTONA_API_KEY has to be one of the organization"),
        ({"DAYTONA_API_URL": "http://127.0.0.1:9/api"}, "Daytona at http://127.0.0.1:9/api does not help: "),
    ],
    ids=["key", "address"],
)
async def test_exec_says_what_daytona_refuses(stack: Stack, inside: Run, given: dict[str, str], sentence: str) -> None:
    """One sentence, without the key."""
    await stack.ensure()
    ran = await inside("exec", str(stack.issue_id), "--", "true", **given)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (125, "", 1), ran
    assert sentence in ran.err
    assert stack.daytona.api_key not in ran.err


async def test_exec_does_not_enter_a_sandbox_that_is_anothers(stack: Stack, inside: Run) -> None:
    """The labels decide, as for the workers."""
    await stack.ensure()
    ran = await inside("exec", str(stack.issue_id), "--", "true", ISSUEBOX_INSTANCE="other")
    assert (ran.code, "is another's: its label issuebox-instance is 'default'" in ran.err) == (125, True), ran


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """Where the stand-in for `ssh` writes what it was told."""
    directory = tmp_path / "told"
    directory.mkdir()
    (directory / "bin").mkdir()
    program = directory / "bin" / "ssh"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    return directory


def with_ssh(told: Path) -> dict[str, str]:
    """The environment in which `ssh` is the stand-in."""
    return {"PATH": f"{told / 'bin'}:{os.environ['PATH']}", "TOLD": str(told)}


async def test_ssh_starts_the_client_with_the_access_in_a_private_file(stack: Stack, inside: Run, told: Path) -> None:
    """The token is not among the arguments, which others on the machine can read, and ends with the client."""
    await stack.daytona.admin.config(ssh_gateway="ssh.example.org:2222")
    await stack.ensure()
    ran = await inside("ssh", str(stack.issue_id), "--", "-L", "8080:localhost:8080", **with_ssh(told))
    assert (ran.code, ran.out, ran.err) == (5, "", "")
    flag, path, *rest = (told / "arguments").read_text().splitlines()
    assert (flag, rest) == ("-F", [stack.name, "-L", "8080:localhost:8080"])
    assert ((told / "mode").read_text().strip(), Path(path).exists()) == ("600", False)
    lines = [line.split() for line in (told / "configuration").read_text().splitlines()]
    assert lines[:3] == [["Host", stack.name], ["HostName", "ssh.example.org"], ["Port", "2222"]]
    [token] = [words[1] for words in lines if words[0] == "User"]
    async with httpx.AsyncClient(
        headers={"Authorization": f"Bearer {stack.daytona.api_key}"}, trust_env=False
    ) as client:
        check = await client.get(f"{stack.daytona.api_url}/sandbox/ssh-access/validate", params={"token": token})
    assert check.json() == {"valid": False, "sandboxId": None}


async def test_ssh_without_a_client_asks_for_no_access(stack: Stack, inside: Run, tmp_path: Path) -> None:
    """The sentence says what is missing."""
    await stack.ensure()
    sent = await stack.journal_end()
    ran = await inside("ssh", str(stack.issue_id), PATH=str(tmp_path))
    assert (ran.code, ran.err) == (125, "issuebox: no `ssh` is on the PATH of this machine: install OpenSSH's client\n")
    assert await stack.requests(sent) == []


async def test_dev_has_no_ssh_gateway_and_exec_takes_its_key(
    stack: Stack, run: Run, temporal_address: str, told: Path, tmp_path: Path
) -> None:
    """In the sandboxes of `issuebox dev` the command needs no key of the caller, and sends it none."""
    await stack.ensure()
    data = tmp_path / "data"
    data.mkdir()
    DevStack(
        pid=os.getpid(), is_ready=True, api_url="http://127.0.0.1:9", api_token="token", webhook_secret="secret",
        temporal_address=temporal_address, temporal_namespace="default", temporal_ui_url=None,
        daytona_api_url=stack.daytona.api_url, daytona_page_url=None, daytona_api_key=stack.daytona.api_key,
        processes={},
    ).write(data)  # fmt: skip
    own = {"DAYTONA_API_KEY": "of-the-caller", "DAYTONA_API_URL": "http://127.0.0.1:9/api"}
    ran = await run("exec", stack.name, "--data", str(data), "--", "echo", "there", **own)
    assert (ran.code, ran.out) == (0, "there\n"), ran
    ran = await run("ssh", stack.name, "--data", str(data), **own, **with_ssh(told))
    assert ran.code == 125
    assert ran.err == f"issuebox: localdaytona has no SSH gateway: use `issuebox exec {stack.issue_id} -- COMMAND`\n"


@pytest.mark.parametrize(
    ("command", "host", "port"),
    [
        ("ssh tok@ssh.app.daytona.io", "ssh.app.daytona.io", 22),
        ("ssh -p 2222 tok@10.0.0.1", "10.0.0.1", 2222),
        ("ssh -p 2222 other@10.0.0.1", None, 0),
        ("ssh -p 0 tok@10.0.0.1", None, 0),
        ("ssh -o ProxyCommand=x tok@host", None, 0),
        ("ssh tok@-oProxyCommand=x", None, 0),
        ("ssh 'tok@host\nProxyCommand x'", None, 0),
        ("sh -c true", None, 0),
    ],
)
def test_gateway_is_read_from_daytonas_command_and_nothing_else_is(command: str, host: str | None, port: int) -> None:
    """The command comes over the network and becomes a configuration: only what is understood gets there."""
    gateway = Gateway.of(SshAccess("tok", command))
    assert gateway == (None if host is None else Gateway(host, port, "tok"))


@pytest.mark.skipif(shutil.which("ssh") is None, reason="this machine has no OpenSSH")
def test_configuration_means_to_openssh_what_we_mean(tmp_path: Path) -> None:
    """OpenSSH itself says whom it would call."""
    file = tmp_path / "config"
    file.write_text(Gateway("ssh.example.org", 2222, "tok").configuration("claude-issue-1"))
    done = subprocess.run(["ssh", "-G", "-F", str(file), "claude-issue-1"], capture_output=True, text=True, check=True)
    assert {"hostname ssh.example.org", "port 2222", "user tok"} <= set(done.stdout.splitlines())
