"""What an agent's output says of how its attempt ended. Pure, over bytes.

Whoever works in the sandbox can write all of it, so anything is expected here: wrong types, half lines, lines of
megabytes, lists in lists without end. What cannot be read says nothing. It never decides whether an attempt is over,
which is the supervisor's word; it only says what to make of an end.

1. An outcome comes from a table: the first row that fits what is known of the end. The last row fits everything.
2. *Done* needs the agent's own word for it. Neither its exit code nor the `subtype` of its result is that word: a
   refused key gives `success`, and an interrupted agent exit code 0 (claude 2.1.332).

Shapes are those of claude 2.1.332 and codex 0.171.0, held to the real ones by tests/agents: docs/agents.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from issuebox.domain import agent_events as read
from issuebox.domain.agent_events import Event
from issuebox.domain.run import REASON_BYTES_MAX, SUMMARY_BYTES_MAX, Report, RunOutcome
from issuebox.domain.text import prose

OUT_BYTES_MAX = 1024 * 1024
"""Of a longer output only the end is read."""
RESULT_BYTES_MAX = 64 * 1024
"""A longer `result.json` says nothing."""
WAIT_S = 300.0
"""How long an attempt waits that asks to be continued: long enough for most rate limits, and 12 tries in an hour."""


class ReportedOutcome(StrEnum):
    """What an attempt's own output says of its end."""

    DONE = "done"
    WAITING = "waiting"
    """The model's provider does not serve it now, or the command asks for a pause: continue later."""
    CREDENTIALS = "credentials"
    BUDGET = "budget"
    TURNS = "turns"
    POISONED = "poisoned"
    """The conversation cannot be continued: it is too long, or what is in it is refused."""
    INTERRUPTED = "interrupted"
    FAILED = "failed"


REPORTED: Mapping[ReportedOutcome, RunOutcome | None] = {
    ReportedOutcome.DONE: RunOutcome.DONE,
    ReportedOutcome.WAITING: None,
    ReportedOutcome.CREDENTIALS: RunOutcome.CREDENTIALS,
    ReportedOutcome.BUDGET: RunOutcome.BUDGET,
    ReportedOutcome.TURNS: RunOutcome.TURNS,
    ReportedOutcome.POISONED: RunOutcome.POISONED,
    # Of an attempt that we ended, the workflow knows why. One that somebody else interrupted has failed.
    ReportedOutcome.INTERRUPTED: RunOutcome.FAILED,
    ReportedOutcome.FAILED: RunOutcome.FAILED,
}
"""Each outcome as the workflow reads it. None: another attempt continues it later."""

assert set(REPORTED) == set(ReportedOutcome), "every outcome has its word"  # noqa: S101


@dataclass(frozen=True, slots=True)
class RunReport:
    """What an ended attempt says about itself. ``cost_usd`` is 0 and ``turns`` 0 where nothing was said of them."""

    outcome: ReportedOutcome
    reason: str = ""
    summary: str = ""
    cost_usd: float = 0.0
    session: str = ""
    branch: str = ""
    pull_request: str = ""
    turns: int = 0

    @property
    def is_session_poisoned(self) -> bool:
        """Whether the next attempt needs a conversation of its own."""
        return self.outcome is ReportedOutcome.POISONED

    def as_report(self) -> Report:
        """The same for the workflow."""
        outcome = REPORTED[self.outcome]
        wait_s = WAIT_S if outcome is None else 0.0
        return Report(
            outcome, self.reason, self.summary, self.cost_usd, self.session, self.branch, self.pull_request, wait_s
        )


@dataclass(frozen=True, slots=True)
class Ending:
    """What is known of an attempt's end: what the table is asked with.

    ``is_ours``: issuebox ended it, or the sandbox did. ``is_error`` is None without a result that counts. ``status``
    is the provider's last answer, 0 for none, and ``error`` the agent's word for it.
    """

    exit_code: int
    is_ours: bool = False
    is_error: bool | None = None
    terminal_reason: str = ""
    subtype: str = ""
    status: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """An outcome, the words for its reason, and what an ending must be for it; None fits everything."""

    outcome: ReportedOutcome
    reason: str
    exits: frozenset[int] | None = None
    is_ours: bool | None = None
    is_error: bool | None = None
    terminal_reasons: frozenset[str] | None = None
    subtypes: frozenset[str] | None = None
    statuses: frozenset[int] | None = None
    errors: frozenset[str] | None = None

    def fits(self, ending: Ending) -> bool:
        """Whether the row is about such an ending."""
        pairs: tuple[tuple[object, frozenset[object] | None], ...] = (
            (ending.exit_code, self.exits),
            (ending.is_ours, None if self.is_ours is None else frozenset({self.is_ours})),
            (ending.is_error, None if self.is_error is None else frozenset({self.is_error})),
            (ending.terminal_reason, self.terminal_reasons),
            (ending.subtype, self.subtypes),
            (ending.status, self.statuses),
            (ending.error, self.errors),
        )
        return all(wanted is None or value in wanted for value, wanted in pairs)


def _of(*values: str) -> frozenset[str]:
    return frozenset(values)


AUTH = frozenset({401, 402, 403})
BUSY = frozenset({408, 429, 500, 502, 503, 504, 529})
REFUSED_INPUT = frozenset({400, 413})
PAUSE_EXIT = 75
"""EX_TEMPFAIL of sysexits.h."""

_CREDENTIALS = _of(
    *("authentication_failed", "oauth_org_not_allowed", "account_on_hold", "verification_required", "billing_error"),
    "cloud_credential_error",
)
_BUSY = _of("rate_limit", "overloaded", "server_error")
_FULL = _of("prompt_too_long", "blocking_limit", "rapid_refill_breaker", "image_error", "malformed_tool_use_exhausted")
_O = ReportedOutcome

ROWS: tuple[Row, ...] = (
    # A result counts although the process did not end by itself after it: then the exit code is that of our signal.
    Row(_O.DONE, "", is_ours=True, is_error=False, terminal_reasons=_of("completed"), subtypes=_of("success")),
    Row(_O.DONE, "", exits=frozenset({0}), is_error=False, terminal_reasons=_of("completed"), subtypes=_of("success")),
    Row(_O.BUDGET, "it used up its budget", terminal_reasons=_of("budget_exhausted")),
    Row(_O.BUDGET, "it used up its budget", subtypes=_of("error_max_budget_usd")),
    Row(_O.TURNS, "it used up its turns", terminal_reasons=_of("max_turns")),
    Row(_O.TURNS, "it used up its turns", subtypes=_of("error_max_turns")),
    Row(_O.POISONED, "the conversation has grown too long", terminal_reasons=_FULL),
    Row(_O.POISONED, "the agent cannot continue its conversation", errors=_of("session_lost")),
    Row(_O.CREDENTIALS, "the model's provider refuses the key or the account", errors=_CREDENTIALS),
    Row(_O.CREDENTIALS, "the model's provider refuses the key or the account", statuses=AUTH),
    Row(_O.POISONED, "the model's provider refuses what is in the conversation", is_error=True, statuses=REFUSED_INPUT),
    Row(_O.WAITING, "the model's provider does not serve it now", is_error=True, errors=_BUSY),
    Row(_O.WAITING, "the model's provider does not serve it now", is_error=True, statuses=BUSY),
    Row(_O.INTERRUPTED, "it was interrupted", is_ours=True),
    Row(_O.INTERRUPTED, "it was interrupted", terminal_reasons=_of("aborted_tools", "aborted_streaming")),
    Row(_O.WAITING, "it asks to be continued later", exits=frozenset({PAUSE_EXIT})),
    Row(_O.FAILED, ""),
)
"""The outcomes of `claude` and `codex`. The first row that fits counts."""

COMMAND_ROWS: tuple[Row, ...] = (
    Row(_O.INTERRUPTED, "it was interrupted", is_ours=True),
    Row(_O.DONE, "", exits=frozenset({0})),
    Row(_O.WAITING, "it asks to be continued later", exits=frozenset({PAUSE_EXIT})),
    Row(_O.FAILED, ""),
)
"""The outcomes of a command that has nothing but its exit code."""

FINISHED = frozenset({"", "finished"})
"""The supervisor's words for an attempt that ended by itself. Its other words say who ended it."""

SIGNALS: Mapping[int, str] = {1: "SIGHUP", 2: "SIGINT", 6: "SIGABRT", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}

NEW_CONVERSATION = "issuebox: the earlier conversation is not on this disk, so a new one begins"
"""What the commands of the presets write to stderr when they had to begin anew."""

_SESSION_LOST = ("No conversation found with session ID", "is already in use", "no rollout found for thread id")

_CODEX_ERRORS: Mapping[str, tuple[str, str]] = {
    # what the message of a failed turn says: terminal reason, error
    "context window": ("prompt_too_long", ""),
    "context_length_exceeded": ("prompt_too_long", ""),
    "Quota exceeded": ("", "billing_error"),
    "usage limit": ("", "rate_limit"),
    "rate limit": ("", "rate_limit"),
    "at capacity": ("", "overloaded"),
    "high demand": ("", "overloaded"),
    "stream disconnected": ("", "server_error"),
    "error sending request": ("", "server_error"),
}
_CODEX_STATUS = re.compile(r"\bstatus:? (\d{3})\b")


@dataclass(frozen=True, slots=True)
class Said:
    """What one agent's output says, before the table is asked.

    ``error_text`` is the agent's own sentence for what went wrong, and ``denied`` the tools that it was not allowed.
    """

    ending: Ending
    summary: str = ""
    error_text: str = ""
    cost_usd: float = 0.0
    session: str = ""
    turns: int = 0
    denied: tuple[str, ...] = ()


Listener = Callable[[bytes, bytes, Ending], Said]
"""Reads an output and the end of stderr; the ending has what the supervisor knows."""


def report_of(
    listen: Listener,
    rows: tuple[Row, ...],
    out: bytes,
    err_tail: bytes,
    *,
    exit_code: int,
    why: str,
    result_json: bytes,
) -> RunReport:
    """What an attempt that ended says about itself. Anything may stand in the bytes; nothing raises."""
    out, err_tail = out[-OUT_BYTES_MAX:], err_tail[-RESULT_BYTES_MAX:]
    said = listen(out, err_tail, Ending(exit_code, is_ours=why not in FINISHED))
    row = next(row for row in rows if row.fits(said.ending))
    own = read.json_object(result_json) if len(result_json) <= RESULT_BYTES_MAX else {}
    return RunReport(
        row.outcome,
        prose(_reason(row, said, err_tail), REASON_BYTES_MAX),
        prose(read.text(own, "summary"), SUMMARY_BYTES_MAX) or prose(said.summary, SUMMARY_BYTES_MAX),
        said.cost_usd or read.amount(own, "cost_usd"),
        said.session,
        read.branch(own, "branch"),
        read.pull_request(own, "pull_request"),
        said.turns,
    )


def _reason(row: Row, said: Said, err_tail: bytes) -> str:
    parts = [row.reason]
    if row.outcome is ReportedOutcome.FAILED:
        parts = [_exit_text(said.ending.exit_code)]
    if row.outcome is not ReportedOutcome.DONE:
        detail = said.error_text
        if not detail and row.outcome in {ReportedOutcome.FAILED, ReportedOutcome.POISONED}:
            detail = _last_line(err_tail)
        parts.append(prose(detail, REASON_BYTES_MAX // 2))
    reasons = [": ".join(filter(None, parts))]
    if said.denied:
        reasons.append(f"tools it was not allowed: {', '.join(dict.fromkeys(said.denied))}")
    if NEW_CONVERSATION.encode() in err_tail:
        reasons.append("the earlier conversation was not on the disk, so it began a new one")
    return "; ".join(filter(None, reasons))


def _exit_text(code: int) -> str:
    signal = SIGNALS.get(code - 128)
    if signal:
        return f"{signal} ended it"
    return f"it ended with exit code {code}" if code else "it ended without a result"


def _last_line(data: bytes) -> str:
    lines = data.decode(errors="replace").strip().splitlines()
    return next((line for line in reversed(lines) if line.strip() and NEW_CONVERSATION not in line), "")


# ---- claude


def listen_to_claude(out: bytes, err_tail: bytes, ending: Ending) -> Said:
    """What stream-json says: the result after its last words."""
    result: Event = {}
    retry: Event = {}
    text = error = session = ""
    is_spoken = False
    for event in read.events(out):
        session = read.name(event, "session_id") or session
        match read.text(event, "type"), read.text(event, "subtype"):
            case "assistant", _ if not event.get("parent_tool_use_id"):
                result, retry, is_spoken = {}, {}, True
                error = read.text(event, "error")
                text = _said(event) or text
            case "system", "api_retry":
                retry = event
            case "result", _ if not result:
                # A second one, with nothing said in between, is about our signal and not about the work.
                result = event
            case _:
                pass
    said = Said(ending, text, "", read.amount(result, "total_cost_usd"), session, read.count(result, "num_turns"))
    if result:
        return _with_result(said, result, error, err_tail)
    if not is_spoken and _is_session_lost(err_tail):
        return replace(said, ending=replace(ending, error="session_lost"))
    # Without a result only a refused key says why: of anything else the next retry might have been served.
    return replace(
        said, ending=replace(ending, status=read.count(retry, "error_status"), error=read.text(retry, "error"))
    )


def _with_result(said: Said, result: Event, error: str, err_tail: bytes) -> Said:
    is_error = result.get("is_error") is not False
    sentences = (read.text(result, "result"), *(each for each in read.items(result, "errors") if isinstance(each, str)))
    sentence = next(filter(None, sentences), "")
    lost = "No conversation found" in sentence or (not said.turns and _is_session_lost(err_tail))
    denials = (read.event_of(each) for each in read.items(result, "permission_denials"))
    return replace(
        said,
        ending=replace(
            said.ending,
            is_error=is_error,
            terminal_reason=read.text(result, "terminal_reason"),
            subtype=read.text(result, "subtype"),
            status=read.count(result, "api_error_status"),
            error="session_lost" if lost else error,
        ),
        summary=said.summary if is_error else read.text(result, "result") or said.summary,
        error_text="" if not is_error or sentence.startswith("[ede_diagnostic]") else sentence,
        denied=tuple(filter(None, (read.name(each, "tool_name") for each in denials))),
    )


def _said(event: Event) -> str:
    """The last text of a message."""
    blocks = [read.event_of(each) for each in read.items(read.event_of(event.get("message")), "content")]
    return next((text for block in reversed(blocks) if (text := read.text(block, "text"))), "")


def _is_session_lost(err_tail: bytes) -> bool:
    text = err_tail.decode(errors="replace")
    return any(words in text for words in _SESSION_LOST)


# ---- codex


def listen_to_codex(out: bytes, err_tail: bytes, ending: Ending) -> Said:
    """What `codex exec --json` says: how its last turn ended."""
    text = session = failure = ""
    last, turns = "", 0
    for event in read.events(out):
        kind = read.text(event, "type")
        item = read.event_of(event.get("item"))
        if kind == "thread.started":
            session = read.name(event, "thread_id")
        elif kind.startswith("turn."):
            last, turns = kind, turns + (kind == "turn.completed")
            failure = read.text(read.event_of(event.get("error")), "message")
        elif kind == "error":
            failure = read.text(event, "message")
        elif kind == "item.completed" and read.text(item, "type") == "agent_message":
            text = read.text(item, "text") or text
    said = Said(ending, text, failure if last != "turn.completed" else "", session=session, turns=turns)
    if last == "turn.completed":
        return replace(said, ending=replace(ending, is_error=False, terminal_reason="completed", subtype="success"))
    match = _CODEX_STATUS.search(failure)
    status = int(match[1]) if match else 0
    if last == "turn.failed":
        terminal, error = next((said for words, said in _CODEX_ERRORS.items() if words in failure), ("", ""))
        ended = replace(ending, is_error=True, terminal_reason=terminal, error=error, status=status)
        return replace(said, ending=ended)
    if not session and _is_session_lost(err_tail):
        return replace(said, ending=replace(ending, error="session_lost"))
    return replace(said, ending=replace(ending, status=status))


# ---- any command


def listen_to_command(out: bytes, _err_tail: bytes, ending: Ending) -> Said:
    """A command says nothing by itself: its summary is the end of what it printed."""
    return Said(ending, _end(out))


def _end(out: bytes) -> str:
    """The last printable text, within the bytes of a summary."""
    head = out[-8 * SUMMARY_BYTES_MAX :]
    line = prose(head.decode(errors="replace").lstrip("\ufffd"), len(head) * 4 + 4)
    encoded = line.encode()
    if len(encoded) <= SUMMARY_BYTES_MAX:
        return line
    return "…" + encoded[-(SUMMARY_BYTES_MAX - len("…".encode())) :].decode(errors="ignore").lstrip()
