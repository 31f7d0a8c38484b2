"""The presets: what is read from an agent's output, and the commands."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import asdict
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from issuebox.domain.agent_output import ROWS, Ending, ReportedOutcome, RunReport
from issuebox.domain.agent_progress import LINE_BYTES_MAX, ProgressState
from issuebox.domain.presets import PRESETS
from issuebox.domain.run import REASON_BYTES_MAX, SUMMARY_BYTES_MAX, RunOutcome
from tests.agents.cases import CASES, CLAUDE, SESSION, Case, recording_of

SPOKEN_LINE = "Grüße 漢字 😀"
SPOKEN = {"type": "assistant", "message": {"content": [{"type": "text", "text": SPOKEN_LINE}]}}
CLAUDE_DONE, CLAUDE_TOOL = CLAUDE[0], CLAUDE[1]
_O = ReportedOutcome


def read(agent: str, case: Case, *, exit_code: int | None = None, why: str | None = None) -> RunReport:
    """What is read from a recorded output."""
    recorded = recording_of(agent, case)
    code = recorded.exit_code if exit_code is None else exit_code
    return PRESETS[agent].read_output(
        recorded.out.encode(), recorded.err.encode(), code, case.why if why is None else why, b""
    )


def lines_of(case: Case) -> list[dict[str, object]]:
    return [json.loads(line) for line in recording_of("claude", case).out.splitlines()]


def written(*events: object) -> bytes:
    return b"".join(json.dumps(event, ensure_ascii=False).encode() + b"\n" for event in events)


def used(tool: str, **given: str) -> dict[str, object]:
    return {"type": "assistant", "message": {"content": [{"type": "tool_use", "name": tool, "input": given}]}}


def claude(*events: object, exit_code: int = 0, why: str = "finished", err: bytes = b"") -> RunReport:
    return PRESETS["claude"].read_output(written(*events), err, exit_code, why, b"")


@pytest.mark.parametrize(("agent", "case"), CASES, ids=[f"{agent}-{case.name}" for agent, case in CASES])
def test_recorded_end_is_read_right(agent: str, case: Case) -> None:
    """Each end of a real agent that was seen leads to its outcome, with its reason and its last words."""
    report = read(agent, case)
    assert report.outcome is case.outcome
    assert report.reason.startswith(case.reason)
    assert report.summary.startswith(case.summary)
    if agent == "claude" and '"session_id"' in recording_of(agent, case).out:
        assert report.session == SESSION


def test_success_says_what_it_cost() -> None:
    """Cost, turns and session come from the result."""
    assert read("claude", CLAUDE_TOOL) == RunReport(
        _O.DONE, summary="I said hi.", cost_usd=0.00028000000000000003, session=SESSION, turns=2
    )


@pytest.mark.parametrize(
    ("changed", "exit_code", "outcome"),
    [
        ({}, 0, _O.DONE),
        ({}, 1, _O.FAILED),
        ({"is_error": True}, 0, _O.FAILED),
        ({"is_error": "false"}, 0, _O.FAILED),
        ({"is_error": None}, 0, _O.FAILED),
        ({"terminal_reason": "hook_stopped"}, 0, _O.FAILED),
        ({"terminal_reason": None}, 0, _O.FAILED),
        ({"subtype": "error_during_execution"}, 0, _O.FAILED),
        ({"type": "results"}, 0, _O.FAILED),
    ],
)
def test_done_needs_all_that_says_so(changed: dict[str, object], exit_code: int, outcome: ReportedOutcome) -> None:
    """A word that is missing or of another type is no success."""
    *before, result = lines_of(CLAUDE_DONE)
    assert claude(*before, {**result, **changed}, exit_code=exit_code).outcome is outcome


def test_result_counts_although_the_process_had_to_be_ended() -> None:
    """An agent that hangs after its result was through."""
    report = read("claude", CLAUDE_DONE, exit_code=137, why="interrupted")
    assert (report.outcome, report.summary) == (_O.DONE, "All done.")


def test_result_counts_although_our_signal_got_one_of_its_own() -> None:
    """The agent hung after its result, and answers our SIGINT with another one."""
    aborted = {
        "type": "result",
        "subtype": "error_during_execution",
        "is_error": True,
        "terminal_reason": "aborted_tools",
    }
    report = claude(*lines_of(CLAUDE_DONE), aborted, exit_code=0, why="interrupted")
    assert (report.outcome, report.summary) == (_O.DONE, "All done.")


def test_result_that_more_of_the_conversation_follows_does_not_count() -> None:
    """A second turn that was cut off is not done because the first was."""
    init, spoken, result = lines_of(CLAUDE_DONE)
    assert claude(init, spoken, result, spoken, exit_code=137, why="interrupted").outcome is _O.INTERRUPTED
    subagent = {**spoken, "parent_tool_use_id": "toolu_1"}
    assert claude(init, spoken, result, subagent, exit_code=137, why="interrupted").outcome is _O.DONE


@pytest.mark.parametrize(
    ("status", "error", "why", "outcome"),
    [
        (401, "authentication_failed", "time_limit", _O.CREDENTIALS),
        (403, "unknown", "interrupted", _O.CREDENTIALS),
        (None, "billing_error", "finished", _O.CREDENTIALS),
        (529, "overloaded", "time_limit", _O.INTERRUPTED),
        (529, "overloaded", "finished", _O.FAILED),
    ],
)
def test_refused_key_is_named_also_when_the_retries_were_cut_off(
    status: int | None, error: str, why: str, outcome: ReportedOutcome
) -> None:
    """With a refused key the agent retries for minutes; who ends it then learns the cause."""
    retry = {"type": "system", "subtype": "api_retry", "attempt": 3, "error_status": status, "error": error}
    assert claude(retry, exit_code=143, why=why).outcome is outcome


def test_retry_that_was_served_in_the_end_is_forgotten() -> None:
    """A key that was refused once and then taken is not why the attempt ended."""
    init, spoken, _ = lines_of(CLAUDE_DONE)
    retry = {"type": "system", "subtype": "api_retry", "error_status": 401, "error": "authentication_failed"}
    assert claude(init, retry, spoken, exit_code=1).outcome is _O.FAILED


def test_words_on_stderr_of_an_agent_that_worked_are_not_about_its_session() -> None:
    """Some server's port, for one, is already in use."""
    *before, result = lines_of(next(case for case in CLAUDE if case.name == "429"))
    assert claude(*before, result, exit_code=1, err=b"port 80 is already in use\n").outcome is _O.WAITING


def test_interruption_shows_no_diagnostics() -> None:
    """`[ede_diagnostic] result_type=…` helps nobody."""
    assert (
        read("claude", next(case for case in CLAUDE if case.name == "SIGINT in a tool")).reason == "it was interrupted"
    )


def test_number_beyond_all_bounds_counts_as_not_said() -> None:
    """The workflow keeps it, and Temporal's index takes 64 bits."""
    *before, result = lines_of(CLAUDE_DONE)
    report = claude(*before, {**result, "num_turns": 10**12, "total_cost_usd": 1e300, "session_id": "x" * 65})
    assert (report.turns, report.cost_usd, report.session) == (0, 0.0, SESSION)


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        # claude 2.1.197 ended with 1 after a SIGINT, 2.1.332 ends with 0.
        (Ending(1, is_error=True, terminal_reason="aborted_tools", subtype="error_during_execution"), _O.INTERRUPTED),
        (Ending(0, is_error=True, terminal_reason="aborted_streaming"), _O.INTERRUPTED),
        (Ending(1, is_error=True, subtype="error_max_budget_usd"), _O.BUDGET),
        (Ending(1, is_error=True, subtype="error_max_turns"), _O.TURNS),
        (Ending(1, is_error=True, terminal_reason="blocking_limit"), _O.POISONED),
        (Ending(1, is_error=True, terminal_reason="image_error", status=413), _O.POISONED),
        (Ending(1, is_error=True, status=413), _O.POISONED),
        (Ending(1, is_error=True, status=402), _O.CREDENTIALS),
        (Ending(1, is_error=True, error="account_on_hold"), _O.CREDENTIALS),
        (Ending(1, is_error=True, error="overloaded"), _O.WAITING),
        (Ending(1, is_error=True, status=504), _O.WAITING),
        (Ending(75), _O.WAITING),
        (Ending(75, is_ours=True), _O.INTERRUPTED),
        (Ending(0), _O.FAILED),
        (Ending(0, is_ours=True), _O.INTERRUPTED),
        (Ending(137), _O.FAILED),
        (Ending(1, is_error=True, status=404, error="model_not_found"), _O.FAILED),
    ],
)
def test_ending_has_one_outcome(ending: Ending, outcome: ReportedOutcome) -> None:
    """What was not recorded, by the table alone."""
    assert next(row.outcome for row in ROWS if row.fits(ending)) is outcome


@pytest.mark.parametrize(
    ("sentence", "outcome"),
    [
        (
            "Codex ran out of room in the model's context window. Start a new thread or clear earlier history",
            _O.POISONED,
        ),
        ('{"type": "error", "error": {"type": "context_length_exceeded"}}', _O.POISONED),
        ("Quota exceeded. Check your plan and billing details.", _O.CREDENTIALS),
        ("rate limit exceeded: Rate limit reached", _O.WAITING),
        ("Selected model is at capacity. Please try a different model.", _O.WAITING),
        ("stream disconnected before completion: x", _O.WAITING),
        ("error sending request for url (http://127.0.0.1:9/)", _O.WAITING),
        ("unexpected status 400 Bad Request: {}", _O.POISONED),
        ("unexpected status 404 Not Found", _O.FAILED),
        ("something else", _O.FAILED),
    ],
)
def test_failed_turn_of_codex_is_read_from_its_sentence(sentence: str, outcome: ReportedOutcome) -> None:
    """It has no other word for the cause. Each but the last three was seen with codex 0.171.0."""
    out = written({"type": "thread.started", "thread_id": SESSION}, {"type": "turn.started"})
    failed = written({"type": "error", "message": sentence}, {"type": "turn.failed", "error": {"message": sentence}})
    report = PRESETS["codex"].read_output(out + failed, b"", 1, "finished", b"")
    assert (report.outcome, report.session) == (outcome, SESSION)
    assert report.reason.endswith(sentence)


@pytest.mark.parametrize(
    ("exit_code", "why", "outcome", "reason"),
    [
        (0, "finished", _O.DONE, ""),
        (75, "finished", _O.WAITING, "it asks to be continued later"),
        (1, "finished", _O.FAILED, "it ended with exit code 1: make: *** [all] Error 2"),
        (127, "finished", _O.FAILED, "it ended with exit code 127: make: *** [all] Error 2"),
        (137, "finished", _O.FAILED, "SIGKILL ended it: make: *** [all] Error 2"),
        (0, "interrupted", _O.INTERRUPTED, "it was interrupted"),
        (75, "stopped", _O.INTERRUPTED, "it was interrupted"),
        (143, "time_limit", _O.INTERRUPTED, "it was interrupted"),
    ],
)
def test_command_is_judged_by_its_exit_code(exit_code: int, why: str, outcome: ReportedOutcome, reason: str) -> None:
    """0: done, 75: later, else failed; what we ended was interrupted."""
    err = b"warning\nmake: *** [all] Error 2\n\n"
    report = PRESETS["command"].read_output(b"built\n", err, exit_code, why, b"")
    assert (report.outcome, report.reason, report.summary) == (outcome, reason, "built")


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (
            {"summary": "Fixed it.", "branch": "fix/12", "pull_request": 13, "cost_usd": 0.5},
            ("Fixed it.", "fix/12", "13", 0.5),
        ),
        ({"pull_request": "#13"}, ("printed", "", "13", 0.0)),
        (
            {"pull_request": "https://github.com/octo/repo/pull/13"},
            ("printed", "", "https://github.com/octo/repo/pull/13", 0.0),
        ),
        ({"pull_request": "https://github.com/octo/repo/pull/13?x=<b>"}, ("printed", "", "", 0.0)),
        ({"pull_request": "javascript:alert(1)"}, ("printed", "", "", 0.0)),
        ({"pull_request": True}, ("printed", "", "", 0.0)),
        ({"pull_request": -1}, ("printed", "", "", 0.0)),
        ({"pull_request": 10**400}, ("printed", "", "", 0.0)),
        ({"branch": "-f"}, ("printed", "", "", 0.0)),
        ({"branch": "a b"}, ("printed", "", "", 0.0)),
        ({"branch": "a\n"}, ("printed", "", "", 0.0)),
        ({"branch": "a\u202eb"}, ("printed", "", "", 0.0)),
        ({"branch": "a..b"}, ("printed", "", "", 0.0)),
        ({"branch": "x" * 201}, ("printed", "", "", 0.0)),
        ({"branch": ["main"]}, ("printed", "", "", 0.0)),
        ({"cost_usd": float("nan")}, ("printed", "", "", 0.0)),
        ({"cost_usd": float("inf")}, ("printed", "", "", 0.0)),
        ({"cost_usd": -1}, ("printed", "", "", 0.0)),
        ({"cost_usd": 10**400}, ("printed", "", "", 0.0)),
        ({"cost_usd": True}, ("printed", "", "", 0.0)),
        ({"summary": {"a": 1}}, ("printed", "", "", 0.0)),
        ({"summary": "\x1b[31ma\n\nb\u202e\ud800"}, ("a b", "", "", 0.0)),
        ([], ("printed", "", "", 0.0)),
        (None, ("printed", "", "", 0.0)),
        ({"summary": "x" * 70_000, "branch": "main"}, ("printed", "", "", 0.0)),
    ],
)
def test_result_of_a_command_is_believed_as_far_as_it_can_be_one(
    result: object, said: tuple[str, str, str, float]
) -> None:
    """`result.json` is written in the sandbox: what is of a wrong type or shape counts as not said."""
    report = PRESETS["command"].read_output(b"printed\n", b"", 0, "finished", json.dumps(result).encode())
    assert (report.summary, report.branch, report.pull_request, report.cost_usd) == said


@pytest.mark.parametrize("result", [b"", b"{", b'{"a":' * 10_000, b'{"a":' + b"[" * 60_000, b"\xff\xfe{", b"\0" * 100])
def test_unreadable_result_says_nothing(result: bytes) -> None:
    """Half a file, another encoding, or lists in lists without end."""
    assert PRESETS["command"].read_output(b"printed", b"", 0, "finished", result).summary == "printed"


@pytest.mark.parametrize(
    ("out", "summary"),
    [
        (b"", ""),
        ("Grüße\n\n\x1b[32mok\x1b[0m\n".encode(), "Grüße ok"),
        (b"x" * 600 + b"end", "…" + "x" * 494 + "end"),
        (("漢" * 5000).encode()[1:], "…" + "漢" * 165),
    ],
)
def test_summary_of_a_command_is_the_end_of_its_output(out: bytes, summary: str) -> None:
    """Printable, on one line, within its bytes, and in whole characters."""
    report = PRESETS["command"].read_output(out, b"", 0, "finished", b"")
    assert report.summary == summary


@pytest.mark.parametrize(
    ("outcome", "read_as", "wait_s"),
    [
        (_O.DONE, RunOutcome.DONE, 0.0),
        (_O.WAITING, None, 300.0),
        (_O.POISONED, RunOutcome.POISONED, 0.0),
        (_O.INTERRUPTED, RunOutcome.FAILED, 0.0),
    ],
)
def test_report_for_the_workflow(outcome: ReportedOutcome, read_as: RunOutcome | None, wait_s: float) -> None:
    """Waiting is no end: another attempt goes on after a pause."""
    report = RunReport(outcome, "because", "did it", 0.5, SESSION, "main", "13", 2)
    told = report.as_report()
    assert (told.outcome, told.wait_s) == (read_as, wait_s)
    assert (told.reason, told.summary, told.cost_usd) == ("because", "did it", 0.5)
    assert (told.session, told.branch, told.pull_request) == (SESSION, "main", "13")
    assert report.is_session_poisoned is (outcome is _O.POISONED)


# ---- anything at all

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = (
    *("type", "subtype", "session_id", "message", "content", "is_error", "terminal_reason", "result", "errors", "item"),
    *("error", "error_status", "api_error_status", "num_turns", "total_cost_usd", "permission_denials", "thread_id"),
    *("summary", "branch", "pull_request", "cost_usd", "name", "input", "text", "tool_name", "parent_tool_use_id"),
)
_WORDS = st.sampled_from(
    ["assistant", "system", "result", "api_retry", "success", "completed", "turn.failed", "item.completed", "error"]
)
_EVENTS = st.dictionaries(st.sampled_from(_FIELDS), _WORDS | _VALUES, max_size=8)
_LINES = st.lists(st.binary(max_size=60) | _EVENTS.map(lambda event: json.dumps(event).encode()), max_size=5).map(
    b"\n".join
)


@pytest.mark.parametrize("name", PRESETS)
@settings(max_examples=50, deadline=None)
@given(bytes_of=st.tuples(_LINES, st.binary(max_size=60), _LINES), code=st.integers(-9, 300), why=st.text(max_size=9))
def test_no_output_breaks_the_reader(name: str, bytes_of: tuple[bytes, bytes, bytes], code: int, why: str) -> None:
    """Whatever stands there, there is a report, and it is clean, short and typed."""
    out, err, result = bytes_of
    report = PRESETS[name].read_output(out, err, code, why, result)
    assert isinstance(report.outcome, ReportedOutcome)
    assert (report.reason + report.summary + report.branch + report.pull_request).isprintable()
    assert len(report.reason.encode()) <= REASON_BYTES_MAX
    assert len(report.summary.encode()) <= SUMMARY_BYTES_MAX
    assert 0 <= report.cost_usd <= 1_000_000
    assert 0 <= report.turns < 1_000_000_000
    assert len(report.session) <= 64


# Lines of all kinds, some longer than what is read, whole or not, with characters of several bytes.
_OUTPUTS = st.lists(
    st.sampled_from([(case.name, agent) for agent, case in CASES if agent == "claude"]).map(
        lambda key: recording_of("claude", next(case for case in CLAUDE if case.name == key[0])).out.encode()[-3000:]
    )
    | st.sampled_from([b"x" * (LINE_BYTES_MAX + extra) for extra in (-1, 0, 1, 9)])
    | st.binary(max_size=20)
    | st.just(written(SPOKEN)),
    max_size=5,
).map(b"\n".join)


@pytest.mark.parametrize("name", PRESETS)
@settings(max_examples=50, deadline=None)
@given(data=st.data(), out=_OUTPUTS)
def test_progress_is_the_same_wherever_the_output_is_cut(name: str, data: st.DataObject, out: bytes) -> None:
    """A slice may end in half a line and in half a character. What is kept between two is bounded, and is JSON."""
    preset = PRESETS[name]
    whole, line = preset.progress_of(out, ProgressState())
    cuts = sorted(data.draw(st.lists(st.integers(0, len(out)), max_size=4)))
    state = ProgressState()
    for begin, end in pairwise([0, *cuts, len(out)]):
        state, shown = preset.progress_of(out[begin:end], ProgressState(**json.loads(json.dumps(asdict(state)))))
        assert len(state.rest) <= LINE_BYTES_MAX
    assert (state, shown) == (whole, line)
    assert line.isprintable()


@pytest.mark.parametrize("size", [1000, LINE_BYTES_MAX, LINE_BYTES_MAX + 1, 10**6])
@pytest.mark.parametrize(("length", "is_shown"), [(LINE_BYTES_MAX, True), (LINE_BYTES_MAX + 1, False), (10**5, False)])
def test_line_that_is_too_long_is_no_progress(size: int, length: int, is_shown: bool) -> None:
    """However it comes in; and the line after it is read again."""
    long_line = b"first\n" + b"y" * length + b"\n"
    for out, line in ((long_line, "y" * 197 + "…" if is_shown else "first"), (long_line + b"after\n", "after")):
        state = ProgressState()
        for at in range(0, len(out), size):
            state, _ = PRESETS["command"].progress_of(out[at : at + size], state)
        assert state == ProgressState(line)
    state, _ = PRESETS["command"].progress_of(
        b"y" * 10, PRESETS["command"].progress_of(b"y" * 10**5, ProgressState())[0]
    )
    assert state == ProgressState(is_skipping=True)


def test_progress_is_the_same_with_each_byte_alone() -> None:
    """The smallest slices there are."""
    out = "".join(recording_of("claude", case).out for case in CLAUDE[:3]).encode() + written(SPOKEN)
    state = ProgressState()
    for at in range(len(out)):
        state, _ = PRESETS["claude"].progress_of(out[at : at + 1], state)
    assert state == PRESETS["claude"].progress_of(out, ProgressState())[0]
    assert state.line == SPOKEN_LINE


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (SPOKEN, SPOKEN_LINE),
        (used("Bash", command="curl -H 'token: x'", description="Ask the server"), "Bash: Ask the server"),
        (used("Bash", command="curl -H 'token: x'"), "Bash"),
        (used("Edit", file_path="src/a.py", new_string="x"), "Edit: src/a.py"),
        (used("mcp__github__comment", body="x"), "mcp__github__comment"),
        (used("x" * 100), ""),
        ({"type": "system", "subtype": "api_retry", "error_status": 429, "attempt": 2, "max_retries": 10},
         "the model's provider answers 429: retry 2 of 10"),
        ({"type": "system", "subtype": "api_retry", "error_status": None, "attempt": 1, "max_retries": 10},
         "the model's provider cannot be reached: retry 1 of 10"),
        ({"type": "user", "message": {"content": [{"type": "text", "text": "x"}]}}, ""),
        ({"type": "assistant", "message": "x"}, ""),
    ],
)  # fmt: skip
def test_progress_of_claude_says_what_it_does(event: object, line: str) -> None:
    """The tool and what it is for, and never a command, which may hold a secret."""
    assert PRESETS["claude"].progress_of(written(event), ProgressState())[1] == line


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"type": "item.started", "item": {"type": "command_execution", "command": "curl -u x:y"}}, "runs a command"),
        ({"type": "item.completed", "item": {"type": "agent_message", "text": "I see."}}, "I see."),
        ({"type": "error", "message": "Reconnecting... 1/5"}, "Reconnecting... 1/5"),
        ({"type": "item.started", "item": {"type": "reasoning"}}, ""),
        ({"type": "turn.started"}, ""),
    ],
)
def test_progress_of_codex_says_what_it_does(event: object, line: str) -> None:
    """As for claude."""
    assert PRESETS["codex"].progress_of(written(event), ProgressState())[1] == line


def test_progress_of_a_command_is_its_last_whole_line() -> None:
    """Without the colours of a terminal; an empty line is no progress."""
    state, line = PRESETS["command"].progress_of(b"a\n\x1b[1mtest 3 of 9\x1b[0m\r\n\nhal", ProgressState())
    assert (line, state.rest) == ("test 3 of 9", "hal")


@pytest.mark.parametrize(
    ("agent", "events", "has_result"),
    [
        ("claude", [SPOKEN], False),
        ("claude", [SPOKEN, {"type": "result"}], True),
        ("claude", [SPOKEN, {"type": "result"}, SPOKEN], False),
        ("claude", [SPOKEN, {"type": "result"}, {**SPOKEN, "parent_tool_use_id": "toolu_1"}], True),
        ("codex", [{"type": "turn.started"}, {"type": "turn.completed"}], True),
        ("codex", [{"type": "turn.failed"}], True),
        ("codex", [{"type": "turn.completed"}, {"type": "turn.started"}], False),
        ("command", [{"type": "result"}], False),
    ],
)
def test_follower_sees_that_the_agent_is_through(agent: str, events: list[object], has_result: bool) -> None:
    """What lives for long after that hangs."""
    state, _ = PRESETS[agent].progress_of(written(*events), ProgressState())
    assert state.has_result is has_result


def test_output_of_megabytes_is_read_at_once() -> None:
    """An activity that collects may not hold up a worker's event loop."""
    outputs = (b"x" * 5_000_000, b'{"a":' * 1_000_000, b"\n" * 5_000_000, b'{"type":"assistant"}\n' * 200_000)
    began = time.process_time()
    for out in outputs:
        for preset in PRESETS.values():
            preset.read_output(out, out, 0, "finished", out)
    assert time.process_time() - began < 3.0


# ---- commands


@pytest.mark.parametrize("name", ["claude", "codex"])
def test_arguments_of_the_operator_stay_words(name: str) -> None:
    """Quotes group, and nothing in an argument is run or replaced by the sandbox's shell."""
    command = PRESETS[name].command_line(arguments="--model 'a b' --x=$HOME --y '$(id)' \";\"")
    assert " --model 'a b' '--x=$HOME' --y '$(id)' ';'" in command
    assert "{arguments}" not in command


@pytest.mark.parametrize("name", ["claude", "codex"])
def test_no_preset_bypasses_permissions_by_itself(name: str) -> None:
    """The mode is explicit. Only the operator's own arguments, which come later, can widen it."""
    command = PRESETS[name].command_line()
    assert not any(word in command for word in ("bypass", "dangerously", "danger-full-access"))
    mode = {"claude": "--permission-mode acceptEdits", "codex": 'sandbox_mode="workspace-write"'}[name]
    widened = PRESETS[name].command_line(arguments="--anything-else")
    assert 0 < widened.index(mode) < widened.index("--anything-else")


@pytest.mark.parametrize("name", ["claude", "codex"])
def test_command_is_read_by_a_shell_as_a_whole(name: str) -> None:
    """What people wrote comes by a file, and the agent takes the shell's place."""
    last = PRESETS[name].command_line().replace("\\\n", " ").strip().splitlines()[-1]
    assert shlex.split(last)[:2] == ["exec", name]
    assert last.endswith('<"$ISSUEBOX_RUN_DIR/prompt.md"')


@pytest.mark.parametrize(
    ("name", "own", "arguments", "says"),
    [
        ("command", "", "", "needs ISSUEBOX_RUN_COMMAND"),
        ("command", "  ", "", "needs ISSUEBOX_RUN_COMMAND"),
        ("command", "make", "--fast", "put them into ISSUEBOX_RUN_COMMAND"),
        ("claude", "make", "", "leave ISSUEBOX_RUN_COMMAND out"),
        ("claude", "", "--model 'a", "cannot be split"),
    ],
)
def test_settings_that_do_not_fit_the_preset_are_refused(name: str, own: str, arguments: str, says: str) -> None:
    """With what to change."""
    with pytest.raises(ValueError, match=says):
        PRESETS[name].command_line(own, arguments)


def test_own_command_stays_as_it_is() -> None:
    """It is the operator's text, which the sandbox's shell reads."""
    assert PRESETS["command"].command_line("make agent && echo $?") == "make agent && echo $?"
    assert {name: preset.interrupt_signal for name, preset in PRESETS.items()} == {
        "command": "TERM",
        "claude": "INT",
        "codex": "INT",
    }
