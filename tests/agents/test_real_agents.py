"""The presets held to the real agents, of the versions in tests/agents/npm, against a stand-in for their models.

Opt-in: `make test ARGS="-m agents"` installs the binaries first, some 800 MB. With ISSUEBOX_RECORD=1 the
cases also write what they saw, for the tests of the readers.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest

from issuebox.domain.agent_output import ReportedOutcome
from issuebox.domain.agent_progress import ProgressState
from issuebox.domain.presets import PRESETS
from tests.agents.attempt import Attempt, Place, attempt
from tests.agents.cases import CASES, CLAUDE, SESSION, Case, Recording, path_of, recording_of
from tests.agents.messages_api import Answer, Api, Refusal, ToolUse, served

pytestmark = [pytest.mark.agents, pytest.mark.timeout(180)]

REPOSITORY = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "issuebox"
PACKAGES = CACHE / "agents" / "node_modules"
BINARIES = {
    "claude": PACKAGES / "@anthropic-ai" / "claude-code-linux-x64" / "claude",
    "codex": PACKAGES / "@openai" / "codex-linux-x64" / "vendor" / "x86_64-unknown-linux-musl" / "bin" / "codex",
}


@pytest.fixture(scope="session")
def versions() -> dict[str, str]:
    """The installed agents, by name. One process installs, the others wait for it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "agents.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([REPOSITORY / "scripts" / "agents"], check=True)
    said = {name: subprocess.check_output([path, "--version"], text=True) for name, path in BINARIES.items()}
    return {"claude": said["claude"].split()[0], "codex": said["codex"].split()[-1]}


@pytest.fixture
def place(tmp_path: Path, versions: dict[str, str]) -> Place:
    """A home in which both are installed."""
    place = Place(tmp_path / "home")
    for name in versions:
        place.install(name, BINARIES[name])
    return place


def connect(place: Place, api: Api, case: Case | None = None) -> None:
    """Tell the agents where their models are."""
    place.environment = {
        "ANTHROPIC_BASE_URL": api.url,
        "ANTHROPIC_API_KEY": "a-key-of-the-tests",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "OPENAI_API_KEY": "a-key-of-the-tests",
        **(case.environment if case else {}),
    }
    place.arguments = case.arguments if case else ""


CODEX_CONFIG = """model_provider = "stand-in"
[model_providers.stand-in]
name = "stand-in"
base_url = "{url}/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
request_max_retries = 1
stream_max_retries = 1
"""


def prepare(place: Place, api: Api, agent: str, case: Case) -> None:
    """The home as the case wants it."""
    connect(place, api, case)
    config = place.home / ".codex" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(CODEX_CONFIG.format(url=api.url))
    if case.has_broken_transcript and agent == "claude":
        transcript = place.home / ".claude" / "projects" / "-repo" / f"{SESSION}.jsonl"
        transcript.parent.mkdir(parents=True)
        transcript.touch()
    elif case.has_broken_transcript:
        out = place.home / "out"
        out.write_text(f'{{"type":"thread.started","thread_id":"{SESSION}"}}\n')
        (place.home / ".issuebox").mkdir()
        (place.home / ".issuebox" / f"session-{SESSION}").write_text(f"{out}\n")


@pytest.mark.parametrize(("agent", "case"), CASES, ids=[f"{agent}-{case.name}" for agent, case in CASES])
def test_real_agent_is_read_right(place: Place, versions: dict[str, str], agent: str, case: Case) -> None:
    """Each end that an agent can have against the stand-in: its exit code, and what the preset makes of its output."""
    with served(*case.replies) as api:
        prepare(place, api, agent, case)
        with attempt(place, agent, SESSION) as one:
            if case.signal:
                began = place.clone / "began"
                is_tool = case.replies and isinstance(case.replies[0], ToolUse)
                one.until(began.exists if is_tool else lambda: bool(api.requests), "its work")
                one.process.send_signal(case.signal)
            exit_code = one.end()
            report = one.report(case.why)
    assert exit_code == case.exit_code, (one.out, one.err)
    assert report.outcome is case.outcome, (report, one.out, one.err)
    assert report.reason.startswith(case.reason), report.reason
    assert report.summary.startswith(case.summary), report.summary
    seen = Recording(versions[agent], exit_code, *(clean(text, place, api) for text in (one.out, one.err)))
    if os.environ.get("ISSUEBOX_RECORD"):
        path_of(agent, case).parent.mkdir(parents=True, exist_ok=True)
        path_of(agent, case).write_text(json.dumps(asdict(seen), ensure_ascii=False, indent=1) + "\n", "utf-8")
    assert recording_of(agent, case).version == seen.version, "record anew: ISSUEBOX_RECORD=1"


def clean(written: bytes, place: Place, api: Api) -> str:
    """What was written, without what is of this machine."""
    text = written.decode()
    for found, said in (
        (str(place.home), "/home/daytona"),
        (str(place.home).replace("/", "-").replace("_", "-"), "-home-daytona"),
        (api.url.rpartition("/")[2], "127.0.0.1:9999"),
    ):
        text = text.replace(found, said)
    return text


@pytest.mark.parametrize("agent", ["claude", "codex"])
def test_conversation_goes_on_in_the_next_attempt(place: Place, agent: str) -> None:
    """The model is asked with what was said before, also when the attempt before was killed. Only the prompt of that
    attempt may be missing, which the next attempt is given again."""
    case = Case("slow", (Answer("The word is pomegranate."),), ReportedOutcome.DONE)
    with served(*case.replies) as api:
        prepare(place, api, agent, case)
        with attempt(place, agent, SESSION, prompt="First.") as one:
            assert one.end() == 0, one.err
        with attempt(place, agent, SESSION, is_new=False, prompt="Second.") as one:
            assert one.end() == 0, one.err
            first = one.report()
        api.replies = (Answer("slowly ", pause_s=0.5, pieces=60),)
        asked = len(api.requests)
        with attempt(place, agent, SESSION, is_new=False, prompt="Third.") as one:
            one.until(lambda: len(api.requests) > asked, "its request")
            one.process.kill()
            assert one.end() == 137
        api.replies = case.replies
        with attempt(place, agent, SESSION, is_new=False, prompt="Fourth.") as one:
            assert one.end() == 0, one.err
            assert one.report().session == first.session
    last = json.dumps(api.requests[-1])
    assert [word for word in ("First.", "Second.", "Fourth.", "pomegranate") if word not in last] == []
    assert b"issuebox:" not in one.err


@pytest.mark.parametrize("agent", ["claude", "codex"])
def test_conversation_that_is_gone_is_begun_anew_and_told(place: Place, agent: str) -> None:
    """An older disk, or a transcript that the agent tidied away after 30 days, costs no run."""
    case = Case("gone", (Answer("All done."),), ReportedOutcome.DONE)
    with served(*case.replies) as api:
        prepare(place, api, agent, case)
        (place.home / ".issuebox").mkdir()
        with attempt(place, agent, SESSION, is_new=False) as one:
            report = one.report()
    assert report.outcome is ReportedOutcome.DONE, one.err
    assert report.reason == "the earlier conversation was not on the disk, so it began a new one"


def test_claude_refuses_to_begin_a_known_session(place: Place) -> None:
    """Without the preset's look for the transcript, an attempt that was cut off could not be continued."""
    with served(Answer()) as api:
        connect(place, api)
        with attempt(place, "claude", SESSION) as one:
            assert one.end() == 0
        command = PRESETS["claude"].command_line().replace("session=--resume", ":")
        with attempt(place, "claude", SESSION, command=command) as one:
            assert one.end() == 1
            assert b"is already in use" in one.err
            assert one.report().outcome is ReportedOutcome.POISONED


def test_claude_shows_its_progress(place: Place) -> None:
    """The line of progress says what the agent does while it does it."""
    with served(*CLAUDE[1].replies) as api:
        connect(place, api)
        with attempt(place, "claude", SESSION) as one:
            one.end()
            lines = lines_of(one)
    assert lines == ["Bash: Say hi", "I said hi."]
    assert one.progress().has_result


def test_claude_says_that_it_has_to_wait(place: Place) -> None:
    """An agent whose provider does not answer is not silent."""
    with served(Refusal(529, "overloaded_error"), Answer("At last.")) as api:
        connect(place, api)
        with attempt(place, "claude", SESSION) as one:
            one.end()
            lines = lines_of(one)
    assert lines == ["the model's provider answers 529: retry 1 of 10", "At last."]
    assert one.report().outcome is ReportedOutcome.DONE


def lines_of(one: Attempt) -> list[str]:
    """The lines of progress, one after the other."""
    state, lines = ProgressState(), [""]
    for line in one.out.splitlines(keepends=True):
        state, shown = one.preset.progress_of(line, state)
        if shown != lines[-1]:
            lines.append(shown)
    return lines[1:]


def test_signal_for_the_job_reaches_the_agent_itself(place: Place) -> None:
    """The preset's command ends in `exec`: the process of the job is the agent."""
    with served(Answer("slow ", pause_s=0.2, pieces=50)) as api:
        connect(place, api)
        with attempt(place, "claude", SESSION) as one:
            one.until(lambda: bool(api.requests), "its request")
            executable = Path(f"/proc/{one.process.pid}/exe").resolve()
            assert executable == BINARIES["claude"].resolve()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("", "tools it was not allowed: Bash"),
        ("--allowedTools 'Bash(git *)'", ""),
        ("--permission-mode bypassPermissions", ""),
    ],
)
def test_claude_commits_only_where_the_operator_allows_it(place: Place, arguments: str, reason: str) -> None:
    """The preset's own mode edits files. The operator's arguments come after it and widen it."""
    commit = ToolUse("Bash", {"command": "git commit --allow-empty -m hi", "description": "Commit"})
    with served(commit, Answer()) as api:
        connect(place, api)
        place.environment = {**place.environment, "IS_SANDBOX": "1"}
        place.arguments = arguments
        with attempt(place, "claude", SESSION) as one:
            report = one.report()
    assert (report.outcome, report.reason) == (ReportedOutcome.DONE, reason)
