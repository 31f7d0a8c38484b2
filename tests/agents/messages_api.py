"""A stand-in for the two APIs that the real agents speak: Anthropic's Messages API, which `claude` asks, and OpenAI's
Responses API, which `codex` asks. It listens on loopback and answers from a list of replies that a test hands in.

The last reply of the list repeats. A request for messages that offers the model no tools is one of the agent's side
requests, such as for a session's name: it gets a word, and takes no reply from the list.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Event = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """The model says something and ends its turn. `pause_s` stands between its pieces, for a slow stream."""

    text: str = "All done."
    pause_s: float = 0
    pieces: int = 1


@dataclass(frozen=True)
class ToolUse:
    """The model asks for one tool, and waits for what it gives."""

    name: str
    input: dict[str, Any]


@dataclass(frozen=True)
class Refusal:
    """The API refuses: 401, 403, 429, 529 and the like."""

    status: int
    kind: str
    message: str = "refused by the stand-in"


Reply = Answer | ToolUse | Refusal


@dataclass
class Api:
    """What the agent is told (`url`), what it will be answered, and what it asked."""

    url: str
    replies: Sequence[Reply]
    requests: list[Event] = field(default_factory=list)
    is_closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reply_to(self, request: Event) -> Reply:
        """The next reply; requests are counted across threads."""
        if "messages" in request and not request.get("tools"):
            return Answer("ok")
        with self.lock:
            self.requests.append(request)
            return self.replies[min(len(self.requests), len(self.replies)) - 1]


def messages(reply: Answer | ToolUse, number: int) -> Iterator[Event]:
    """A reply as the stream of the Messages API."""
    usage = {"input_tokens": 10, "output_tokens": 5}
    message = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5"}
    yield {
        "type": "message_start",
        "message": {**message, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage},
    }
    block: Event
    if isinstance(reply, ToolUse):
        block = {"type": "tool_use", "id": f"toolu_{number}", "name": reply.name, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": json.dumps(reply.input)}]
    else:
        block = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": reply.text}] * reply.pieces
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    yield from ({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas)
    yield {"type": "content_block_stop", "index": 0}
    reason = "tool_use" if isinstance(reply, ToolUse) else "end_turn"
    yield {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}
    yield {"type": "message_stop"}


def responses(reply: Answer, number: int) -> Iterator[Event]:
    """An answer as the stream of the Responses API. (Codex runs tools in a language of its own: none here.)"""
    head = {"id": f"resp_{number}", "object": "response"}
    yield {"type": "response.created", "response": {**head, "status": "in_progress"}}
    yield from ({"type": "response.in_progress", "response": head} for _ in range(reply.pieces))
    content = [{"type": "output_text", "text": reply.text}]
    item = {"type": "message", "role": "assistant", "id": f"msg_{number}", "content": content}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    yield {"type": "response.completed", "response": {**head, "status": "completed", "usage": usage}}


class Handler(BaseHTTPRequestHandler):
    """One connection of an agent."""

    api: Api

    def do_POST(self) -> None:
        """Messages or Responses, by the path; nothing else is known here."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or b"{}")
        streams: dict[str, Any] = {"/v1/messages": messages, "/v1/responses": responses}
        stream = streams.get(self.path.partition("?")[0])
        if stream is None:
            self.say(404, {"error": {"type": "not_found_error", "message": self.path}})
            return
        reply = self.api.reply_to(request)
        if isinstance(reply, Refusal):
            self.say(reply.status, {"type": "error", "error": {"type": reply.kind, "message": reply.message}})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            for event in stream(reply, len(self.api.requests)):
                self.wfile.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
                self.wfile.flush()
                self.api.is_closing.wait(getattr(reply, "pause_s", 0))
        except OSError:
            self.close_connection = True  # the agent was interrupted

    def say(self, status: int, body: Event) -> None:
        """A whole answer in JSON."""
        encoded = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr: the tests read `Api.requests`."""


@contextmanager
def served(*replies: Reply) -> Iterator[Api]:
    """The stand-in on a free port of loopback, until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api = Api(f"http://127.0.0.1:{server.server_address[1]}", replies)
    server.RequestHandlerClass = type("Handler", (Handler,), {"api": api})
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        api.is_closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
