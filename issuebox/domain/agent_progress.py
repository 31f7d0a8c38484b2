"""What an agent works on now, from its output as it comes in. Pure.

The progress is the same wherever the output was cut into chunks, and takes a bounded memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from issuebox.domain import agent_events as read
from issuebox.domain.agent_events import Event
from issuebox.domain.text import prose

LINE_BYTES_MAX = 32 * 1024
"""A longer line is no progress. So much is kept between two chunks at most: it stands in a follower's heartbeat."""
PROGRESS_BYTES_MAX = 200


@dataclass(frozen=True, slots=True)
class ProgressState:
    """What is kept from one chunk of output to the next. It is small, and can be written as JSON.

    ``line`` is the newest progress. ``rest`` is the half line at the end of the last chunk, each byte as one character.
    ``is_skipping``: that line is too long to be read. ``has_result``: the agent said that it is through; a process that
    still lives a minute later hangs.
    """

    line: str = ""
    rest: str = ""
    is_skipping: bool = False
    has_result: bool = False


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What one line of output shows: progress, '' for none, and whether the agent is through, None for neither."""

    line: str = ""
    has_result: bool | None = None


Watcher = Callable[[bytes], Glimpse]


def progress_after(watch: Watcher, chunk: bytes, state: ProgressState) -> tuple[ProgressState, str]:
    """The state after a further chunk of output, and the newest progress, '' for none yet.

    A chunk may end anywhere. A line counts once it is whole.
    """
    *ended, rest = (state.rest.encode("latin-1") + chunk).split(b"\n")
    line, has_result, is_skipping = state.line, state.has_result, state.is_skipping
    for each in ended:
        if not is_skipping and len(each) <= LINE_BYTES_MAX:
            seen = watch(each)
            line = prose(seen.line, PROGRESS_BYTES_MAX) or line
            has_result = has_result if seen.has_result is None else seen.has_result
        is_skipping = False
    if is_skipping or len(rest) > LINE_BYTES_MAX:
        rest, is_skipping = b"", True
    return ProgressState(line, rest.decode("latin-1"), is_skipping, has_result), line


_SHOWN: Mapping[str, str] = {
    # The part of a tool's input that is shown. Never a command: it may hold what was meant for the shell alone.
    **dict.fromkeys(("Read", "Edit", "Write"), "file_path"),
    "NotebookEdit": "notebook_path",
    **dict.fromkeys(("Bash", "Task", "Agent", "Monitor"), "description"),
    "Skill": "skill",
}


def watch_claude(line: bytes) -> Glimpse:
    """The tool that it uses or the text that it says; or that the provider makes it wait."""
    event = read.json_object(line)
    kind, subtype = read.text(event, "type"), read.text(event, "subtype")
    if kind == "result":
        return Glimpse(has_result=True)
    if kind == "system" and subtype == "api_retry":
        return Glimpse(_retrying(event))
    if kind != "assistant":
        return Glimpse()
    blocks = [read.event_of(each) for each in read.items(read.event_of(event.get("message")), "content")]
    shown = next((text for block in reversed(blocks) if (text := _block(block))), "")
    return Glimpse(shown, has_result=None if event.get("parent_tool_use_id") else False)


def _block(block: Event) -> str:
    if read.text(block, "type") != "tool_use":
        return read.text(block, "text")
    tool = read.name(block, "name")
    detail = read.text(read.event_of(block.get("input")), _SHOWN.get(tool, ""))
    return f"{tool}: {detail}" if detail else tool


def _retrying(event: Event) -> str:
    status = read.count(event, "error_status")
    answer = f"answers {status}" if status else "cannot be reached"
    return f"the model's provider {answer}: retry {read.count(event, 'attempt')} of {read.count(event, 'max_retries')}"


_CODEX_ITEMS: Mapping[str, str] = {
    "command_execution": "runs a command",
    "file_change": "changes files",
    "web_search": "searches the web",
    "mcp_tool_call": "calls a tool",
    "todo_list": "plans",
}


def watch_codex(line: bytes) -> Glimpse:
    """What kind of thing it does, or the text that it says."""
    event = read.json_object(line)
    kind, item = read.text(event, "type"), read.event_of(event.get("item"))
    if kind in {"turn.completed", "turn.failed"}:
        return Glimpse(has_result=True)
    if kind == "turn.started":
        return Glimpse(has_result=False)
    if kind == "error":
        return Glimpse(read.text(event, "message"))
    if kind in {"item.started", "item.completed"}:
        shown = _CODEX_ITEMS.get(read.text(item, "type"), "")
        return Glimpse(read.text(item, "text") if read.text(item, "type") == "agent_message" else shown)
    return Glimpse()


def watch_command(line: bytes) -> Glimpse:
    """The line itself."""
    return Glimpse(line.decode(errors="replace"))
