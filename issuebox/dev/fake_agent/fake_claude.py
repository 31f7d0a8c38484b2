#!/usr/bin/env python3
"""A stand-in for `claude -p --output-format stream-json`, as of claude 2.1.332. It asks no model.

It is one file that imports nothing of issuebox, because it runs inside a sandbox. What it does is said by words: in
FAKE_AGENT, else after `FAKE_AGENT=` in the prompt, separated by commas. `seed:7` draws them, the same for each
attempt with that seed.

fast            two tools and an answer, at once (the default)
slow            FAKE_AGENT_STEPS tools (5), FAKE_AGENT_STEP_S seconds (1) apart
silent          says nothing for FAKE_AGENT_SILENT_S seconds (3600)
fork            leaves a process behind, in a session of its own, twice removed
ignore-int      is not moved by SIGINT
huge-lines      writes lines of FAKE_AGENT_LINE_BYTES (3 MB)
half-character  pauses for 0.3 s in the middle of a character
no-result       ends with code 0 and no result
hang-after-result  says that it is through, and stays
denied          is not allowed a tool, and is done all the same
budget, turns   used up what it was given
credentials     its key is refused, after two retries
limited         the provider does not serve it now
poisoned        its conversation is too long
exit75          asks to be continued later
write           writes a file into its directory

Each start appends a line to ~/.fake-agent-starts. A conversation is kept where the real one keeps it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import sys
import time
import uuid
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

HOME = Path(os.environ.get("HOME") or "/")
VERSION = "2.1.332-fake"
DRAWN = ("fast", "slow", "fork", "slow,ignore-int", "huge-lines", "half-character", "slow,fork", "denied")
"""What a seed draws from: words with which an attempt comes to its end by itself and has a result."""
FAILURES = {
    # word: subtype, terminal reason, provider's status, the word for it, its sentence
    "budget": ("error_max_budget_usd", "budget_exhausted", None, None, "Reached maximum budget ($1)"),
    "turns": ("error_max_turns", "max_turns", None, None, "Reached maximum number of turns (10)"),
    "credentials": ("success", "api_error", 401, "authentication_failed", "Failed to authenticate. API Error: 401"),
    "limited": ("success", "api_error", 429, "rate_limit", "API Error: Request rejected (429)"),
    "poisoned": ("success", "prompt_too_long", 400, "invalid_request", "Prompt is too long"),
}


class InterruptedBySignalError(Exception):
    """SIGINT: the agent ends in order."""


def main() -> None:
    """One execution of the agent."""
    options = read_options(sys.argv[1:])
    session = options.resume or options.session_id or str(uuid.uuid4())
    record_start(session)
    transcript = open_transcript(session, is_resumed=bool(options.resume))
    prompt = sys.stdin.read()
    words = words_of(prompt)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    signal.signal(signal.SIGINT, signal.SIG_IGN if "ignore-int" in words else interrupt)
    agent = Agent(session, transcript, words)
    try:
        agent.work(prompt, options.permission_mode)
    except InterruptedBySignalError:
        agent.say("user", message={"role": "user", "content": [{"type": "text", "text": "[Request interrupted]"}]})
        agent.result("error_during_execution", "aborted_tools", errors=["[ede_diagnostic] interrupted"])


def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """Leave what is being done."""
    raise InterruptedBySignalError


def read_options(arguments: list[str]) -> argparse.Namespace:
    """The flags that the preset uses, and those that an operator may add."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-p", "--print", action="store_true", required=True)
    parser.add_argument("--output-format", choices=["stream-json"], required=True)
    parser.add_argument("--verbose", action="store_true", required=True)
    parser.add_argument("--permission-mode", default="default")
    parser.add_argument("--session-id")
    parser.add_argument("-r", "--resume")
    for name in ("--model", "--max-turns", "--max-budget-usd", "--append-system-prompt", "--effort"):
        parser.add_argument(name)
    for name in ("--allowedTools", "--disallowedTools", "--add-dir", "--mcp-config"):
        parser.add_argument(name, nargs="+")
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        fail(f"error: unknown option '{unknown[0]}'")
    return options


def fail(sentence: str) -> NoReturn:
    """End as the real one does when it cannot begin."""
    sys.stderr.write(f"{sentence}\n")
    raise SystemExit(1)


def record_start(session: str) -> None:
    """One line for each execution, in one write: run, attempt, session, process, time."""
    marks = (os.environ.get(name) or "-" for name in ("ISSUEBOX_RUN", "ISSUEBOX_RUN_ATTEMPT"))
    line = f"{' '.join(marks)} {session} {os.getpid()} {int(time.time())}\n"
    file = os.open(HOME / ".fake-agent-starts", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(file, line.encode())
    os.close(file)


def open_transcript(session: str, *, is_resumed: bool) -> Path:
    """The conversation's file. A known conversation cannot be begun, nor an unknown one be resumed."""
    projects = Path(os.environ.get("CLAUDE_CONFIG_DIR") or HOME / ".claude") / "projects"
    known = sorted(projects.glob(f"*/{session}.jsonl"))
    if is_resumed and not known:
        sentence = f"No conversation found with session ID: {session}"
        Agent(session, projects, frozenset()).result("error_during_execution", None, errors=[sentence], turns=0)
        fail(sentence)
    if known and not is_resumed:
        fail(f"Error: Session ID {session} is already in use.")
    path = known[0] if known else projects / re.sub(r"[^A-Za-z0-9]", "-", str(Path.cwd())) / f"{session}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def words_of(prompt: str) -> frozenset[str]:
    """What it is to do."""
    said = re.findall(r"FAKE_AGENT=([a-z0-9,:-]+)", prompt)
    text = os.environ.get("FAKE_AGENT") or (said[-1] if said else "fast")
    seed = re.fullmatch(r"seed:(\d+)", text)
    if seed:
        text = random.Random(int(seed[1])).choice(DRAWN)  # noqa: S311 -- a choice to repeat, no secret
    return frozenset(text.split(","))


class Agent:
    """What it says, in the shapes of the real one."""

    def __init__(self, session: str, transcript: Path, words: frozenset[str]) -> None:
        self.session = session
        self.transcript = transcript
        self.words = words
        self.turns = 0

    def work(self, prompt: str, permission_mode: str) -> None:
        """Do what the words say."""
        number = self.remember("user", prompt)
        self.say(
            "system",
            subtype="init",
            cwd=str(Path.cwd()),
            tools=["Bash", "Edit", "Read", "Write"],
            model="none",
            permissionMode=permission_mode,
            apiKeySource="none",
            claude_code_version=VERSION,
        )
        if "exit75" in self.words:
            raise SystemExit(75)
        if "silent" in self.words:
            time.sleep(float(os.environ.get("FAKE_AGENT_SILENT_S") or 3600))
        if "fork" in self.words:
            leave_process()
        self.use_tools()
        failure = next((FAILURES[word] for word in FAILURES if word in self.words), None)
        if failure:
            self.fail(*failure)
        if "no-result" in self.words:
            return
        self.answer(prompt, number)
        if "hang-after-result" in self.words:
            time.sleep(3600)

    def use_tools(self) -> None:
        """Pretend to work."""
        is_slow = "slow" in self.words
        steps = int(os.environ.get("FAKE_AGENT_STEPS") or 5) if is_slow else 2
        pause_s = float(os.environ.get("FAKE_AGENT_STEP_S") or 1) if is_slow else 0.0
        size = int(os.environ.get("FAKE_AGENT_LINE_BYTES") or 3_000_000)
        for number in range(1, steps + 1):
            self.use_tool(number, f"Step {number} of {steps}", "x" * size if "huge-lines" in self.words else "done")
            time.sleep(pause_s)
        if "write" in self.words:
            Path("fake-agent.md").write_text(f"{self.session}\n", "utf-8")

    def use_tool(self, number: int, description: str, output: str) -> None:
        """One tool, and what it gave."""
        self.turns += 1
        tool = {"type": "tool_use", "id": f"toolu_{number}", "name": "Bash"}
        self.message([{**tool, "input": {"command": "true", "description": description}}])
        given = {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": output, "is_error": False}
        self.say("user", message={"role": "user", "content": [given]}, parent_tool_use_id=None)

    def answer(self, prompt: str, number: int) -> None:
        """The last words, and the result."""
        about = re.sub(r"\s+", " ", prompt).strip()[:80]
        text = f"Grüße 漢字: this was prompt {number} of the conversation: {about}"
        self.turns += 1
        self.message([{"type": "text", "text": text}])
        self.remember("assistant", text)
        denied = [{"tool_name": "Bash", "tool_use_id": "toolu_0", "tool_input": {"command": "curl"}}]
        self.result(
            "success", "completed", is_error=False, result=text, denials=denied if "denied" in self.words else []
        )

    def fail(self, subtype: str, terminal: str, status: int | None, error: str | None, sentence: str) -> NoReturn:
        """End as the real one does when it cannot go on."""
        if status in {401, 429}:
            for attempt in (1, 2):
                counters = {"attempt": attempt, "max_retries": 2, "retry_delay_ms": 100}
                self.say("system", subtype="api_retry", **counters, error_status=status, error=error)
                time.sleep(0.1)
        if error:
            self.message([{"type": "text", "text": sentence}], error=error)
            self.result(subtype, terminal, result=sentence, status=status)
        else:
            self.result(subtype, terminal, errors=[sentence])
        raise SystemExit(1)

    def message(self, content: list[dict[str, Any]], **more: object) -> None:
        """What the model would have said."""
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "none", "content": content}
        self.say("assistant", message=message, parent_tool_use_id=None, **more)

    def result(
        self,
        subtype: str,
        terminal: str | None,
        *,
        is_error: bool = True,
        result: str | None = None,
        errors: list[str] | None = None,
        denials: list[dict[str, Any]] | None = None,
        status: int | None = None,
        turns: int | None = None,
    ) -> None:
        """The last line."""
        told = {"result": result} if errors is None else {"errors": errors}
        turns = self.turns if turns is None else turns
        cost = {"total_cost_usd": 0.001 * turns, "permission_denials": denials or [], "api_error_status": status}
        ending = {"terminal_reason": terminal} if terminal else {}
        self.say("result", subtype=subtype, is_error=is_error, num_turns=turns, **cost, **ending, **told)

    def say(self, kind: str, **fields: object) -> None:
        """One line on stdout, whole, or in two halves that part a character."""
        event = {"type": kind, **fields, "session_id": self.session, "uuid": str(uuid.uuid4())}
        line = json.dumps(event, ensure_ascii=False).encode() + b"\n"
        middle = next((at for at, byte in enumerate(line) if byte > 0x7F), -1) + 1  # noqa: PLR2004 -- not ASCII
        if middle and "half-character" in self.words:
            write(line[:middle])
            time.sleep(0.3)
            line = line[middle:]
        write(line)

    def remember(self, role: str, text: str) -> int:
        """Keep it in the conversation. Returns which prompt of the conversation this is."""
        with self.transcript.open("a+", encoding="utf-8") as file:
            file.write(json.dumps({"type": role, "text": text}) + "\n")
            file.seek(0)
            return sum(json.loads(line)["type"] == "user" for line in file)


def write(data: bytes) -> None:
    """All of it, whatever the pipe takes at once."""
    while data:
        data = data[os.write(1, data) :]


def leave_process() -> None:
    """A process that outlives this one, out of its process group and its session, as a server that a tool began."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    os.setsid()
    empty = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(empty, stream)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(3600)
    os._exit(0)


if __name__ == "__main__":
    main()
