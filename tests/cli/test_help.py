"""The help of the command, what it costs, completion, and the end of the process."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from issuebox.cli.app import app
from issuebox.cli.command_line import EPILOG, Exit
from issuebox.cli.help import Panel
from issuebox.temporal.search_attributes import needed
from tests.cli.conftest import environment

GROUP = get_command(app)
assert isinstance(GROUP, TyperGroup)
COMMANDS = sorted(GROUP.commands)
HEAVY = ("temporalio", "daytona", "fastapi", "httpx", "asyncio", "structlog")


def test_help_lists_every_command_and_the_exit_codes() -> None:
    """--help shows all commands, and the exit codes that scripts may rely on."""
    help_text = CliRunner().invoke(app, ["--help"]).output
    assert {"ensure", "list", "show", "why", "stop", "start", "delete", "replace", "retry", "doctor"} <= set(COMMANDS)
    assert all(command in help_text for command in COMMANDS)
    words = " ".join(help_text.split())
    assert EPILOG in words
    assert all(f"{int(code)} " in EPILOG for code in Exit)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_explains_itself_without_heavy_imports(command: str) -> None:
    """Help and completion load neither Temporal's SDK nor the web framework."""
    code = (
        "import sys; from issuebox.cli.app import app\n"
        f"try: app([{command!r}, '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert f"issuebox {command}" in done.stdout or f"{command} [OPTIONS]" in done.stdout
    assert done.stderr.strip() == "[]"


def test_help_speaks_of_values_as_people_do() -> None:
    """No `<bool>` for what takes no value, and no type of Python for what does. Nothing is wider than the terminal."""
    for command in ([], *([name] for name in COMMANDS), ["connect", "github"], ["connect", "daytona"]):
        text = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}).output
        options = text.partition("─ Options ─")[2]
        assert options
        assert not re.findall(r"<(?:bool|str|int|float|path|list)\b[^>]*>", options), command
        assert max(map(len, text.splitlines())) <= 80


def test_help_has_every_command_in_a_group() -> None:
    """Whoever has never seen it finds what to begin with at the top."""
    assert [name for name, command in GROUP.commands.items() if command.rich_help_panel not in set(Panel)] == []
    help_text = CliRunner().invoke(app, ["--help"]).output
    places = [help_text.index(f"─ {panel} ─") for panel in Panel]
    assert places == sorted(places)


@pytest.mark.parametrize("words", [["exec", "1", "ls", "-la"], ["exec", "1"], ["ssh", "1", "-L", "8080:localhost:80"]])
def test_words_for_another_command_are_told_their_place(words: list[str]) -> None:
    """Whoever leaves the two dashes out learns of them, instead of an option that we do not have."""
    told = CliRunner().invoke(app, words)
    assert (told.exit_code, "come after --" in " ".join(told.stderr.split())) == (2, True), told.stderr


def test_version_is_that_of_the_package() -> None:
    """One line, for reports and scripts."""
    told = CliRunner().invoke(app, ["--version"])
    assert (told.exit_code, told.output) == (0, f"issuebox {version('issuebox')}\n")


def test_documentation_has_every_command_exit_code_and_search_attribute() -> None:
    """docs/cli.md is complete."""
    text = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    assert [name for name in COMMANDS if not re.search(rf"`(issuebox )?{name}\b", text)] == []
    assert [code for code in Exit if f"\n| {int(code)} |" not in text] == []
    assert dict(re.findall(r"\| `(\w+)` \| (Keyword|Int) \|", text)) == needed()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_shown_for_each_shell(shell: str, tmp_path: Path) -> None:
    """The command prints a script for the shell, which calls the command itself."""
    given = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "issuebox", "--show-completion", shell],
        capture_output=True, text=True, check=True, env=environment(tmp_path, given),
    )  # fmt: skip
    assert f"complete_{shell}" in done.stdout


def test_completion_completes_commands_and_values(tmp_path: Path) -> None:
    """The command answers the printed script with commands, and with the values of a filter."""

    def completed(*words: str) -> list[str]:
        given = {
            "_ISSUEBOX_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(["issuebox", *words]),
            "COMP_CWORD": str(len(words)),
        }
        code = "from issuebox.cli.app import app; app(prog_name='issuebox')"
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            capture_output=True, text=True, check=False, env=environment(tmp_path, given),
        )  # fmt: skip
        return done.stdout.split()

    assert completed("repl") == ["replace"]
    assert completed("list", "--phase", "st") == ["stopping", "stopped"]


def test_every_process_ends_with_our_exit_code(temporal_address: str, issue_id: int, tmp_path: Path) -> None:
    """The SDK's threads, which may still run then, would otherwise abort every second process."""
    command = [sys.executable, "-P", "-m", "issuebox", "show", str(issue_id)]
    given = environment(tmp_path, {"TEMPORAL_ADDRESS": temporal_address})
    codes = [subprocess.run(command, env=given, capture_output=True, check=False).returncode for _ in range(6)]
    assert codes == [4] * 6


@pytest.mark.parametrize("command", ["dev", "demo"])
def test_command_that_needs_localdaytona_says_so_where_it_was_left_out(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image for production has none: a sentence, and no traceback."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delenv("DAYTONA_API_KEY", raising=False)
    monkeypatch.delenv("DAYTONA_API_KEY_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [command])
    assert result.exit_code == Exit.MISUSE
    assert "localdaytona is not installed here" in result.output
    assert list(tmp_path.iterdir()) == []
