"""What the real agents are asked to do, and what has to be read from it: one table for two tests. tests/agents runs the
agents themselves (`-m agents`); tests/unit reads what they wrote then, which is in `recorded`."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from issuebox.domain.agent_output import ReportedOutcome
from tests.agents.messages_api import Answer, Refusal, Reply, ToolUse

RECORDED = Path(__file__).parent / "recorded"
SESSION = "0b8a5e0e-6f1d-5a55-8b57-1d6f3c9d8a01"

_O = ReportedOutcome

_WAITS = "open('began', 'w').close(); import time; time.sleep(60)"


@dataclass(frozen=True)
class Case:
    """``signal`` is sent once the tool or the stream has begun. ``exit_code`` is as a shell has it.

    ``reason`` and ``summary`` are the beginnings of what is reported. ``has_broken_transcript``: the file of the
    conversation is there, and there is no conversation in it.
    """

    name: str
    replies: tuple[Reply, ...]
    outcome: ReportedOutcome
    exit_code: int = 0
    reason: str = ""
    summary: str = ""
    arguments: str = ""
    signal: signal.Signals | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    has_broken_transcript: bool = False

    @property
    def why(self) -> str:
        """The supervisor's word for such an end."""
        return "interrupted" if self.signal else "finished"


_BASH = "--allowedTools Bash"
_TOOL = ToolUse("Bash", {"command": "echo hi", "description": "Say hi"})
_LONG_TOOL = ToolUse("Bash", {"command": f'python3 -c "{_WAITS}"', "description": "Wait"})
_NO_RETRY = {"CLAUDE_CODE_MAX_RETRIES": "1"}
_KEY = "the model's provider refuses the key or the account: "
_AWAY = "the model's provider does not serve it now: "
_SLOW = Answer("word ", pause_s=0.5, pieces=60)

CLAUDE = (
    Case("done", (Answer("All done."),), _O.DONE, summary="All done."),
    Case("tool", (_TOOL, Answer("I said hi.")), _O.DONE, summary="I said hi."),
    Case(
        "tool denied",
        (ToolUse("Bash", {"command": "curl http://127.0.0.1:9/"}), Answer("I may not.")),
        *(_O.DONE, 0, "tools it was not allowed: Bash", "I may not."),
    ),
    Case("max turns", (_TOOL,), _O.TURNS, 1, "it used up its turns: Reached maximum", arguments="--max-turns 1"),
    Case("budget", (_TOOL,), _O.BUDGET, 1, "it used up its budget: Reached", arguments="--max-budget-usd 0.0001"),
    Case("401", (Refusal(401, "authentication_error"),), _O.CREDENTIALS, 1, _KEY + "Failed", environment=_NO_RETRY),
    Case("403", (Refusal(403, "permission_error"),), _O.CREDENTIALS, 1, _KEY + "Failed", environment=_NO_RETRY),
    Case("no key", (), _O.CREDENTIALS, 1, _KEY + "Not logged in", environment={"ANTHROPIC_API_KEY": ""}),
    Case(
        "no credit",
        (Refusal(400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),),
        *(_O.CREDENTIALS, 1, _KEY + "Credit balance is too low"),
    ),
    Case("429", (Refusal(429, "rate_limit_error"),), _O.WAITING, 1, _AWAY + "API Error", environment=_NO_RETRY),
    Case("529", (Refusal(529, "overloaded_error"),), _O.WAITING, 1, _AWAY + "API Error", environment=_NO_RETRY),
    Case("500", (Refusal(500, "api_error"),), _O.WAITING, 1, _AWAY + "API Error", environment=_NO_RETRY),
    Case(
        "unreachable",
        (),
        *(_O.WAITING, 1, _AWAY + "API Error: Connection refused"),
        environment={**_NO_RETRY, "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"},
    ),
    Case(
        "too long",
        (Refusal(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),),
        *(_O.POISONED, 1, "the conversation has grown too long: Prompt is too long"),
    ),
    Case(
        "refused content",
        (Refusal(400, "invalid_request_error", "messages.3.content.0: tool_use ids without tool_result"),),
        *(_O.POISONED, 1, "the model's provider refuses what is in the conversation: API Error: 400"),
    ),
    Case(
        "no such model", (Refusal(404, "not_found_error"),), _O.FAILED, 1, "it ended with exit code 1: There's an issue"
    ),
    Case(
        "broken transcript",
        (Answer(),),
        *(_O.POISONED, 1, "the agent cannot continue its conversation: No conversation found"),
        has_broken_transcript=True,
    ),
    Case(
        "wrong argument", (), _O.FAILED, 1, "it ended with exit code 1: error: unknown option", arguments="--nonsense"
    ),
    Case("SIGINT in a tool", (_LONG_TOOL,), _O.INTERRUPTED, 0, arguments=_BASH, signal=signal.SIGINT),
    Case("SIGINT in a stream", (_SLOW,), _O.INTERRUPTED, 0, signal=signal.SIGINT),
    Case("SIGTERM in a tool", (_LONG_TOOL,), _O.INTERRUPTED, 143, arguments=_BASH, signal=signal.SIGTERM),
    Case("SIGKILL in a tool", (_LONG_TOOL,), _O.INTERRUPTED, 137, arguments=_BASH, signal=signal.SIGKILL),
)

CODEX = (
    Case("done", (Answer("All done."),), _O.DONE, summary="All done."),
    Case("401", (Refusal(401, "invalid_api_key"),), _O.CREDENTIALS, 1, _KEY + "unexpected status 401"),
    Case("403", (Refusal(403, "forbidden"),), _O.CREDENTIALS, 1, _KEY + "unexpected status 403"),
    Case("429", (Refusal(429, "rate_limit_exceeded"),), _O.WAITING, 1, _AWAY + "exceeded retry limit"),
    Case(
        "usage limit", (Refusal(429, "usage_limit_reached"),), _O.WAITING, 1, _AWAY + "You\u2019ve hit your usage limit"
    ),
    Case(
        "500", (Refusal(500, "server_error"),), _O.WAITING, 1, _AWAY + "We\u2019re currently experiencing high demand"
    ),
    Case("503", (Refusal(503, "server_error"),), _O.WAITING, 1, _AWAY + "unexpected status 503"),
    Case(
        "too long",
        (Refusal(400, "context_length_exceeded", "Your input exceeds the context window of this model."),),
        *(_O.POISONED, 1, "the conversation has grown too long"),
    ),
    Case(
        "broken transcript",
        (Answer(),),
        *(_O.POISONED, 1, "the agent cannot continue its conversation: Error: thread/resume"),
        has_broken_transcript=True,
    ),
    Case("SIGINT in a stream", (_SLOW,), _O.INTERRUPTED, 1, signal=signal.SIGINT),
    Case("SIGTERM in a stream", (_SLOW,), _O.INTERRUPTED, 143, signal=signal.SIGTERM),
)

CASES = [("claude", case) for case in CLAUDE] + [("codex", case) for case in CODEX]


@dataclass(frozen=True)
class Recording:
    """What an agent wrote in a case, and its version."""

    version: str
    exit_code: int
    out: str
    err: str


def path_of(agent: str, case: Case) -> Path:
    """Where it is recorded."""
    return RECORDED / agent / f"{case.name.replace(' ', '_')}.json"


def recording_of(agent: str, case: Case) -> Recording:
    """What the agent wrote when it was recorded."""
    return Recording(**json.loads(path_of(agent, case).read_text("utf-8")))
