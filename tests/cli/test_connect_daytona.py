"""`issuebox connect daytona` against localdaytona: what is checked, what is stored, and every mistake."""

from __future__ import annotations

import fcntl
import os
import pty
import stat
import subprocess
import sys
import termios
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from issuebox.connections import added_to
from issuebox.environment import load
from issuebox.settings import WorkerSettings
from localdaytona.testing import Server, running_inside
from tests.cli.conftest import REPOSITORY, Ran, Run, environment

KEY = "dtn_a-key-that-must-not-be-shown"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A Daytona of this test's own."""
    async with running_inside(tmp_path / "daytona", api_key=KEY) as found:
        yield found


@pytest.fixture
def connect(run: Run, server: Server) -> Run:
    """`issuebox connect daytona` with the key in the environment."""

    async def ran(*arguments: str, **given: str) -> Ran:
        settings = {"DAYTONA_API_KEY": KEY, "DAYTONA_API_URL": server.api_url}
        found = await run("connect", "daytona", *arguments, **settings | given)
        assert KEY not in found.out + found.err
        assert "Traceback" not in found.err
        return found

    return ran


def stored(directory: Path) -> WorkerSettings:
    """The settings of a worker that has nothing but what is stored."""
    return load(WorkerSettings, added_to({}, directory))


async def test_good_key_is_checked_and_stored_for_this_user_only(connect: Run, server: Server, tmp_path: Path) -> None:
    """The checks are printed, the key is not; a worker finds key, address, region and snapshot."""
    ran = await connect("--target", "eu", "--snapshot", "daytona-small")
    assert ran.code == 0, ran.err
    for seen in ("may create and delete sandboxes", "eu, which Daytona offers", "daytona-small, active"):
        assert seen in ran.out
    directory = tmp_path / ".issuebox/connections"
    [file] = directory.glob("daytona-*.key")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (directory.parent, directory, file)] == [0o700, 0o700, 0o600]
    settings = stored(directory)
    assert settings.daytona_api_key.get_secret_value() == KEY
    assert settings.daytona_api_url == server.api_url
    assert (settings.daytona_target, settings.snapshot) == ("eu", "daytona-small")
    assert KEY not in (directory / "daytona.json").read_text()
    assert "DAYTONA_API_KEY is set in this environment, and comes before what is stored" in ran.out


@pytest.mark.parametrize(
    ("arguments", "given", "told"),
    [
        ((), {"DAYTONA_API_KEY": "dtn_wrong"}, (1, "Daytona's key does not fit: refused")),
        (("--target", "mars"), {}, (1, "Daytona's region does not fit: Daytona offers no region mars, only eu, us")),
        (("--snapshot", "nothing"), {}, (1, "Daytona's snapshot does not fit: nothing does not exist")),
        ((), {"DAYTONA_API_URL": "http://127.0.0.1:9/api"}, (3, "Daytona's API does not fit")),
        (("--api-url", "daytona"), {}, (2, "DAYTONA_API_URL='daytona' has to be an http or https URL")),
        ((), {"DAYTONA_API_KEY": "two words"}, (2, "DAYTONA_API_KEY has to be one word")),
        ((), {"DAYTONA_API_KEY": ""}, (2, "there is no key: set DAYTONA_API_KEY, give --key-file, or run this on a")),
        (("--key-file", "missing"), {}, (2, "missing cannot be read: No such file or directory")),
        (("--key-file", "-"), {}, (2, "standard input holds no key")),
    ],
)
async def test_mistake_is_told_and_nothing_is_stored(
    connect: Run, tmp_path: Path, arguments: tuple[str, ...], given: dict[str, str], told: tuple[int, str]
) -> None:
    """One sentence, an exit code, and no file."""
    ran = await connect(*arguments, **given)
    assert (ran.code, told[1] in ran.err) == (told[0], True), ran.err
    assert [path.name for path in (tmp_path / ".issuebox/connections").iterdir()] == [".gitignore"]


async def test_key_without_a_permission_is_refused(connect: Run, server: Server) -> None:
    """It would pass every read, and be refused at the first create."""
    await server.admin.config(permissions=["delete:sandboxes"])
    ran = await connect()
    assert ran.code == 1
    assert "it lacks write:sandboxes. Nothing was stored." in ran.err


async def test_inactive_snapshot_is_refused(connect: Run, server: Server) -> None:
    """Creates from it answer 400."""
    await server.admin.config(snapshots=[{"glob": "mine", "state": "inactive"}, {"glob": "daytonaio/*"}])
    ran = await connect("--snapshot", "mine")
    assert ran.code == 1
    assert "mine is inactive: creates are refused. Nothing was stored." in ran.err


async def test_second_run_checks_what_is_stored_and_keeps_the_key(
    connect: Run, run: Run, server: Server, tmp_path: Path
) -> None:
    """Another key needs --replace; region and snapshot may change, if they fit."""
    assert (await connect(DAYTONA_API_KEY="", DAYTONA_API_KEY_FILE=_file(tmp_path, KEY))).code == 0
    directory = tmp_path / ".issuebox/connections"
    [before] = directory.glob("daytona-*.key")
    again = await run("connect", "daytona", "--target", "us")
    assert (again.code, "is stored in" in again.out, "--replace" in again.out) == (0, True, True), again.err
    assert stored(directory).daytona_target == "us"
    refused = await run("connect", "daytona", "--target", "mars")
    assert (refused.code, "is as it was" in refused.err) == (1, True)
    assert stored(directory).daytona_target == "us"
    other = _file(tmp_path, "dtn_another")
    refused = await run("connect", "daytona", "--key-file", other)
    assert (refused.code, "add --replace" in refused.err) == (2, True)
    refused = await connect("--replace", "--key-file", other)
    assert refused.code == 1
    assert list(directory.glob("daytona-*.key")) == [before]
    replaced = await connect("--replace", "--key-file", _file(tmp_path, KEY))
    assert replaced.code == 0
    [after] = directory.glob("daytona-*.key")
    assert after != before


async def test_production_directory_gets_the_key_and_the_settings_are_printed(connect: Run, tmp_path: Path) -> None:
    """Each printed line is a setting that a worker understands."""
    out = tmp_path / "secrets"
    ran = await connect("--out", str(out), "--target", "us")
    lines = [line for line in ran.out.splitlines() if line.startswith(("DAYTONA_", "ISSUEBOX_")) and "=" in line]
    settings = load(WorkerSettings, dict(line.split("=", 1) for line in lines))
    assert (settings.daytona_api_key.get_secret_value(), settings.daytona_target) == (KEY, "us")
    assert not (tmp_path / ".issuebox").exists()


async def test_environment_with_a_key_of_its_own_is_not_mixed_with_what_is_stored(connect: Run, tmp_path: Path) -> None:
    """A stored address would get a key that belongs to another."""
    assert (await connect("--target", "us")).code == 0
    directory = tmp_path / ".issuebox/connections"
    own = {"DAYTONA_API_KEY": "mine"}
    assert added_to(own, directory) == own
    assert added_to({"DAYTONA_TARGET": "eu"}, directory)["DAYTONA_TARGET"] == "eu"


def test_prompt_shows_nothing_and_interrupt_stores_nothing(tmp_path: Path) -> None:
    """On a terminal the key is asked for; Ctrl-C there ends with 130 and a sentence."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "issuebox", "connect", "daytona"]
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, cwd=tmp_path, start_new_session=True,
        env=environment(tmp_path, {"PYTHONPATH": str(REPOSITORY)}),
        preexec_fn=_control_terminal,  # noqa: PLW1509 -- nothing else runs in this child
    )  # fmt: skip
    os.close(slave)
    printed = ""
    try:
        while "(not shown)" not in printed:
            printed += os.read(master, 1024).decode()
        os.write(master, b"typed\x03")
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()
    try:
        while chunk := os.read(master, 1024):
            printed += chunk.decode()
    except OSError:  # The other end is closed.
        pass
    os.close(master)
    assert "typed" not in printed
    assert "Interrupted. Nothing was stored." in printed
    assert "Traceback" not in printed


def _control_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _file(directory: Path, key: str) -> str:
    path = directory / "key"
    path.write_text(f"{key}\n")
    return str(path)
