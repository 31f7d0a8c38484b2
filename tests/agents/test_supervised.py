"""The preset `claude` under the scripts that run a job inside a sandbox: the fake agent always, the real one opt-in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from activities.scripts import command_line
from issuebox.dev.fake_agent import text_of_fake_agent
from issuebox.domain.agent_output import ReportedOutcome, RunReport
from issuebox.domain.presets import PRESETS
from issuebox.domain.probe import Probe
from tests.agents.cases import SESSION
from tests.agents.messages_api import Answer, served
from tests.agents.test_real_agents import BINARIES, versions  # noqa: F401 -- the fixture that installs them
from tests.inside.run_home import RunHome, run_home

CLAUDE = PRESETS["claude"]
CONTRACT = {"ISSUEBOX_SESSION": SESSION, "ISSUEBOX_SESSION_IS_NEW": "1"}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[RunHome]:
    with run_home(tmp_path, "dash") as home:
        yield home


def install(home: RunHome, *, real: bool = False) -> None:
    """The agent, where the preset looks first."""
    binary = home.path / ".local" / "bin" / "claude"
    binary.parent.mkdir(parents=True)
    if real:
        binary.symlink_to(BINARIES["claude"])
    else:
        binary.write_text(text_of_fake_agent())
        binary.chmod(0o700)


def begin(home: RunHome, prompt: str, **environment: str) -> None:
    """Prepare an attempt with the preset's command, and begin it."""
    home.prepare(CLAUDE.command_line(), interrupt_signal=CLAUDE.interrupt_signal)
    (home.directory() / "prompt.md").write_text(prompt)
    assert home("begin", **CONTRACT, **environment).exit_code == 0


def report(home: RunHome) -> tuple[Probe, RunReport]:
    """What COLLECT reads, as the activity does."""
    probe = home("collect", 128 * 1024).probe
    assert probe.exit_code is not None
    return probe, CLAUDE.read_output(probe.tail, probe.err_tail, probe.exit_code, probe.why, probe.result)


@pytest.mark.parametrize(
    ("word", "outcome", "exit_code"),
    [("fast", ReportedOutcome.DONE, 0), ("fork", ReportedOutcome.DONE, 0), ("exit75", ReportedOutcome.WAITING, 75)],
)
def test_end_of_the_agent_is_read_from_what_its_supervisor_kept(
    home: RunHome, word: str, outcome: ReportedOutcome, exit_code: int
) -> None:
    """And nothing that it left behind lives on."""
    install(home)
    begin(home, f"FAKE_AGENT={word}")
    home.ended()
    probe, read = report(home)
    assert (probe.exit_code, probe.why, read.outcome) == (exit_code, "finished", outcome)
    assert home.job() == []
    assert len((home.path / ".fake-agent-starts").read_text().splitlines()) == 1


@pytest.mark.parametrize(("word", "exit_code"), [("silent", 0), ("silent,ignore-int", 143)])
def test_interrupted_agent_ends_in_order_or_at_all(home: RunHome, word: str, exit_code: int) -> None:
    """SIGINT reaches the agent itself; where it does not help, SIGTERM does."""
    install(home)
    begin(home, f"FAKE_AGENT={word},fork")
    home.says('"init"')
    assert home("interrupt", "interrupted", 20).probe.phase == "ended"
    probe, read = report(home)
    assert (probe.exit_code, probe.why, read.outcome) == (exit_code, "interrupted", ReportedOutcome.INTERRUPTED)
    assert home.job() == []


def test_agent_that_hangs_after_its_result_is_done(home: RunHome) -> None:
    """It has to be ended, and its result counts."""
    install(home)
    begin(home, "FAKE_AGENT=hang-after-result")
    home.says('"result"')
    home("interrupt", "interrupted", 20)
    assert report(home)[1].outcome is ReportedOutcome.DONE


@pytest.mark.agents
@pytest.mark.usefixtures("versions")
def test_real_agent_is_interrupted_in_order(home: RunHome) -> None:
    """The signal of the preset, sent as the supervisor sends it, lets claude close its conversation."""
    install(home, real=True)
    with served(Answer("word ", pause_s=0.3, pieces=100)) as api:
        begin(home, "Work.", ANTHROPIC_BASE_URL=api.url, ANTHROPIC_API_KEY="a-key-of-the-tests")
        home.until(lambda _: bool(api.requests))
        assert home("interrupt", "interrupted", 20).probe.phase == "ended"
    probe, read = report(home)
    assert (probe.exit_code, read.outcome, read.session) == (0, ReportedOutcome.INTERRUPTED, SESSION)
    assert b"aborted_streaming" in probe.tail
    assert home.job() == []


def test_no_text_of_a_person_is_in_a_command(home: RunHome) -> None:
    """The command is the same whatever the prompt says, and the requests that prepare and begin do not have it."""
    prompt = "'; touch stolen; echo '$(touch stolen)`touch stolen`"
    install(home)
    begin(home, prompt)
    home.ended()
    assert prompt[:40] in report(home)[1].summary
    assert not list(home.path.rglob("stolen"))
    assert prompt not in command_line("run_begin", home.run, "1")
