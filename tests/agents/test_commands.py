"""The presets' commands in a real `sh`, with agents that only say how they were called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from issuebox.domain.presets import PRESETS
from tests.agents.attempt import PROMPT, Attempt, Place, attempt
from tests.agents.cases import SESSION

THREAD = "01a22a62-fa55-7923-a9cd-4e246afb5d95"
TOLD = b"issuebox: the earlier conversation is not on this disk, so a new one begins\n"

STUB = f"""#!/bin/sh
printf '%s\\n' '{{"type":"thread.started","thread_id":"{THREAD}"}}'
for word; do printf '%s\\n' "$word"; done >"$HOME/called"
cat >"$HOME/prompt"
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A home in which both agents are stubs."""
    place = Place(tmp_path / "home")
    for name in ("claude", "codex"):
        stub = tmp_path / name
        stub.write_text(STUB)
        stub.chmod(0o700)
        place.install(name, stub)
    (place.home / ".issuebox").mkdir()
    return place


def called(place: Place, preset: str, *, is_new: bool, exit_code: int = 0) -> tuple[list[str], Attempt]:
    """The words with which the agent was called."""
    (place.home / "called").unlink(missing_ok=True)
    with attempt(place, preset, SESSION, is_new=is_new) as one:
        assert one.end() == exit_code, one.err
    said = place.home / "called"
    return said.read_text().splitlines() if said.exists() else [], one


@pytest.mark.parametrize("preset", ["claude", "codex"])
def test_prompt_is_the_standard_input_and_no_word(place: Place, preset: str) -> None:
    """What people wrote is in no command line, which anybody in the sandbox can list."""
    words, _ = called(place, preset, is_new=True)
    assert (place.home / "prompt").read_text() == PROMPT
    assert PROMPT.strip() not in " ".join(words)


def test_codex_resumes_the_thread_that_it_began(place: Place) -> None:
    """Its ID cannot be chosen, so it is read from the output of the attempt that began it."""
    words, first = called(place, "codex", is_new=True)
    assert words[0] == "exec"
    assert "resume" not in words
    assert words[-1] == "-"
    for _ in range(2):
        words, one = called(place, "codex", is_new=False)
        assert words[words.index("resume") :] == ["resume", "--json", "-o", f"{one.directory}/last.md", THREAD, "-"]
        assert one.err == b""
    (record,) = (place.home / ".issuebox").glob("session-*")
    assert record.read_text() == f"{first.directory}/out\n"


@pytest.mark.parametrize("out", ["", '{"type":"turn.started"}\n', '{"type":"thread.started","thread_id":"$(id)"}\n'])
def test_codex_begins_anew_when_the_first_attempt_began_no_thread(place: Place, out: str) -> None:
    """It was cut off before its first line, or somebody wrote there what is no ID."""
    kept = place.home / "out"
    kept.write_text(out)
    record = place.home / ".issuebox" / f"session-{SESSION}"
    record.write_text(f"{kept}\n")
    words, one = called(place, "codex", is_new=False)
    assert "resume" not in words
    assert one.err == TOLD
    assert record.read_text() == f"{one.directory}/out\n"


def test_codex_does_not_begin_what_could_not_be_resumed(place: Place) -> None:
    """Where the record cannot be written, the next run would forget this one."""
    (place.home / ".issuebox" / f"session-{SESSION}").mkdir()
    words, one = called(place, "codex", is_new=True, exit_code=1)
    assert words == []
    assert b"session-" in one.err


@pytest.mark.parametrize(
    ("has_transcript", "is_new", "flag", "told"),
    [
        (False, True, "--session-id", b""),
        (False, False, "--session-id", TOLD),
        (True, True, "--resume", b""),
        (True, False, "--resume", b""),
    ],
)
def test_claude_is_resumed_where_its_transcript_is(
    place: Place, has_transcript: bool, is_new: bool, flag: str, told: bytes
) -> None:
    """An attempt that was cut off may have begun the conversation; and an older disk may not have it."""
    if has_transcript:
        transcript = place.home / ".claude" / "projects" / "-home-daytona-repo" / f"{SESSION}.jsonl"
        transcript.parent.mkdir(parents=True)
        transcript.touch()
    words, one = called(place, "claude", is_new=is_new)
    assert words[words.index(flag) + 1] == SESSION
    assert len({"--session-id", "--resume"} & set(words)) == 1
    assert one.err == told


def test_claude_keeps_its_transcripts_where_it_was_told(place: Place) -> None:
    """CLAUDE_CONFIG_DIR moves them."""
    place.environment = {"CLAUDE_CONFIG_DIR": str(place.home / "else where")}
    transcript = place.home / "else where" / "projects" / "-repo" / f"{SESSION}.jsonl"
    transcript.parent.mkdir(parents=True)
    transcript.touch()
    words, _ = called(place, "claude", is_new=False)
    assert "--resume" in words


@pytest.mark.parametrize("preset", ["claude", "codex"])
def test_arguments_arrive_as_words(place: Place, preset: str) -> None:
    """Between the preset's own mode, which they may widen, and what follows."""
    place.arguments = "--model 'a b' '$HOME' \"it's\" '*'"
    words, _ = called(place, preset, is_new=True)
    begin = words.index("--model")
    assert words[begin : begin + 5] == ["--model", "a b", "$HOME", "it's", "*"]


def test_agent_takes_the_place_of_the_shell(place: Place) -> None:
    """A signal for the job reaches the agent, as no process stands between."""
    stub = place.home.parent / "claude"
    stub.write_text("#!/bin/sh\necho $$\n")
    with attempt(place, "claude", SESSION) as one:
        assert one.end() == 0
    assert int(one.out) == one.process.pid


def test_own_command_sees_the_job_contract(place: Place) -> None:
    """The marks, the directory and the session are in its environment; `result.json` is read from the directory."""
    result = json.dumps({"summary": "Done by hand.", "branch": "fix"})
    command = PRESETS["command"].command_line(
        f"""test "$(pwd)" = "$HOME/repo" && cat "$ISSUEBOX_RUN_DIR/prompt.md" &&
        echo '{result}' >"$ISSUEBOX_RUN_DIR/result.json" && echo "$ISSUEBOX_RUN $ISSUEBOX_RUN_ATTEMPT $ISSUEBOX_SESSION"
        exit 75"""
    )
    with attempt(place, "command", SESSION, command=command) as one:
        assert one.end() == 75
        assert one.out.decode() == f"{PROMPT}{one.run} 1 {SESSION}\n"
        report = one.report()
    assert (report.outcome, report.summary, report.branch) == ("waiting", "Done by hand.", "fix")
