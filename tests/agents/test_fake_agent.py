"""The fake agent does what its words say, in the shapes that the preset `claude` reads from the real one."""

from __future__ import annotations

import signal
import uuid
from pathlib import Path

import pytest

from issuebox.dev.fake_agent import text_of_fake_agent
from issuebox.domain.agent_output import ReportedOutcome
from issuebox.domain.agent_progress import ProgressState
from issuebox.domain.presets import PRESETS
from tests.agents.attempt import Place, attempt

SESSION = "0b8a5e0e-6f1d-5a55-8b57-1d6f3c9d8a01"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A home in which the fake agent is installed as `claude`."""
    place = Place(tmp_path / "home", {"FAKE_AGENT_STEP_S": "0.05", "FAKE_AGENT_SILENT_S": "60"})
    binary = tmp_path / "claude"
    binary.write_text(text_of_fake_agent())
    binary.chmod(0o700)
    place.install("claude", binary)
    return place


def starts(place: Place) -> list[str]:
    return (place.home / ".fake-agent-starts").read_text().splitlines()


@pytest.mark.parametrize(
    ("word", "outcome", "exit_code"),
    [
        ("fast", ReportedOutcome.DONE, 0),
        ("slow", ReportedOutcome.DONE, 0),
        ("huge-lines", ReportedOutcome.DONE, 0),
        ("half-character", ReportedOutcome.DONE, 0),
        ("denied", ReportedOutcome.DONE, 0),
        ("seed:7", ReportedOutcome.DONE, 0),
        ("no-result", ReportedOutcome.FAILED, 0),
        ("budget", ReportedOutcome.BUDGET, 1),
        ("turns", ReportedOutcome.TURNS, 1),
        ("credentials", ReportedOutcome.CREDENTIALS, 1),
        ("limited", ReportedOutcome.WAITING, 1),
        ("poisoned", ReportedOutcome.POISONED, 1),
        ("exit75", ReportedOutcome.WAITING, 75),
    ],
)
def test_word_in_the_prompt_leads_to_its_outcome(
    place: Place, word: str, outcome: ReportedOutcome, exit_code: int
) -> None:
    """Each end that an agent can have is there to be tested with."""
    with attempt(place, "claude", SESSION, prompt=f"Mend the bug. FAKE_AGENT={word}\n") as one:
        assert one.end() == exit_code, one.err
        report = one.report()
    assert (report.outcome, report.session) == (outcome, SESSION)
    assert len(starts(place)) == 1
    assert starts(place)[0].split()[:3] == [one.run, "1", SESSION]


def test_conversation_is_continued_by_the_next_attempt(place: Place) -> None:
    """The second attempt resumes what the first began, and a third begins anew when the transcript is gone."""
    for number, is_new in ((1, True), (2, False), (3, True)):
        with attempt(place, "claude", SESSION, is_new=is_new) as one:
            assert one.end() == 0, one.err
            assert f"prompt {number} of the conversation" in one.report().summary
    (transcript,) = place.home.glob(f".claude/projects/*/{SESSION}.jsonl")
    transcript.unlink()
    with attempt(place, "claude", SESSION, is_new=False) as one:
        report = one.report()
        assert "prompt 1 of the conversation" in report.summary
        assert report.reason == "the earlier conversation was not on the disk, so it began a new one"
    assert len(starts(place)) == 4


def test_unknown_conversation_cannot_be_resumed(place: Place) -> None:
    """As with the real one."""
    command = (
        f'exec "$HOME/.local/bin/claude" -p --output-format stream-json --verbose --resume {uuid.uuid4()} </dev/null'
    )
    with attempt(place, "claude", SESSION, command=command) as one:
        assert one.end() == 1
        assert one.report().outcome is ReportedOutcome.POISONED


def test_known_conversation_cannot_be_begun(place: Place) -> None:
    """As with the real one."""
    with attempt(place, "claude", SESSION) as one:
        assert one.end() == 0
    command = (
        f'exec "$HOME/.local/bin/claude" -p --output-format stream-json --verbose --session-id {SESSION} </dev/null'
    )
    with attempt(place, "claude", SESSION, command=command) as one:
        assert (one.end(), one.out) == (1, b"")
        assert one.report().outcome is ReportedOutcome.POISONED


def test_interrupt_ends_it_in_order(place: Place) -> None:
    """It says that it was interrupted, and ends with code 0 as claude 2.1.332 does."""
    with attempt(place, "claude", SESSION, prompt="FAKE_AGENT=silent") as one:
        one.until(lambda: b'"init"' in one.out, "its first line")
        one.process.send_signal(signal.SIGINT)
        assert one.end() == 0
        assert one.report("interrupted").outcome is ReportedOutcome.INTERRUPTED


def test_agent_that_ignores_the_interrupt_is_moved_by_a_terminate(place: Place) -> None:
    """The supervisor has to go further than SIGINT."""
    with attempt(place, "claude", SESSION, prompt="FAKE_AGENT=silent,ignore-int") as one:
        one.until(lambda: b'"init"' in one.out, "its first line")
        one.process.send_signal(signal.SIGINT)
        one.process.send_signal(signal.SIGTERM)
        assert one.end() == 143
        assert one.report("interrupted").outcome is ReportedOutcome.INTERRUPTED


def test_process_in_a_session_of_its_own_is_left_behind_with_the_mark(place: Place) -> None:
    """Killing the process group would not end it; the sweep by the mark does."""
    with attempt(place, "claude", SESSION, prompt="FAKE_AGENT=fork") as one:
        assert one.end() == 0
        assert len(one.marked()) == 1
    assert one.marked() == []


def test_agent_that_hangs_after_its_result_has_said_so(place: Place) -> None:
    """The follower sees it, and the result counts although the process had to be ended."""
    with attempt(place, "claude", SESSION, prompt="FAKE_AGENT=hang-after-result") as one:
        one.until(lambda: one.progress().has_result, "its result")
        assert one.process.poll() is None
        one.process.kill()
        assert one.end() == 137
        assert one.report("interrupted").outcome is ReportedOutcome.DONE


def test_chunk_that_ends_within_a_character_changes_no_progress(place: Place) -> None:
    """What is followed while the agent pauses in the middle of a character ends as the whole."""
    claude = PRESETS["claude"]
    with attempt(place, "claude", SESSION, prompt="FAKE_AGENT=half-character") as one:
        one.until(lambda: one.out.endswith(b"Gr\xc3"), "half a character")
        half = one.out
        state, _ = claude.progress_of(half, ProgressState())
        one.end()
        state, line = claude.progress_of(one.out[len(half) :], state)
    assert (state, line) == (one.progress(), one.progress().line)
    assert line.startswith("Grüße 漢字")
