"""What strangers send: deliveries that nobody signed or that cannot be read, REST calls, and malformed signals.

Each kind does harm if it counts: the deliveries report that an issue was deleted, the signals order it. Data and pure
functions only; `proofs.chaos.strangers` sends them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlencode

from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from issuebox.dev.mock_delivery import MockDelivery, MockIssue, build
from proofs.chaos.terms import REPOSITORY

MARK: Final = "hostile-"
"""The beginning of the ID of every hostile delivery: none may be in a history."""

HUGE: Final = 10**30
"""An ID that fits into no column and no signal."""

DECLARED_BYTES: Final = 30 * 1024 * 1024
"""GitHub's limit, which is ours too, is 25 MB."""
NESTED: Final = b"[" * 100_000 + b"]" * 100_000
BUSY: Final = frozenset({None, 408, 503})
"""Right for every call: no answer, from an API that was killed; *busy*; and *too slow*, from one that was frozen, or
without a processor, while the body came."""


class Sending(StrEnum):
    """How a body is sent."""

    WHOLE = "whole"
    DECLARED = "declared"
    """Only the head and a few bytes: the declared length is too large."""
    HUNG_UP = "hung up"
    """Half of the body, and then the connection is closed."""
    HELD = "held"
    """Half of the body, and then nothing more."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call to the API, and the statuses that are right for it."""

    method: str
    path: str
    headers: Mapping[str, str]
    answers: frozenset[int]
    body: bytes = b""
    sending: Sending = Sending.WHOLE

    def is_right(self, status: int | None) -> bool:
        """Whether the API may answer so, be it under load or down."""
        return status in BUSY or status in self.answers


@dataclass(frozen=True, slots=True)
class Knock:
    """One hostile signal: its name and its arguments."""

    signal: str
    arguments: Sequence[Any] = field(default_factory=tuple)


def deliveries(issue: int, secret: str, number: int) -> dict[str, Call]:
    """Every kind of hostile delivery about an issue. `number` makes their IDs unique."""
    good = build("deleted", MockIssue(issue, REPOSITORY), secret, delivery=f"{MARK}{number}")
    comment = build("comment", MockIssue(issue, REPOSITORY), secret, delivery=f"{MARK}{number}")
    said = json.loads(good.body)

    def signed(body: bytes, answers: int = 400, headers: Mapping[str, str] = MappingProxyType({})) -> Call:
        return _call(_signed(good, body, secret), answers, headers)

    def about(issue_id: object) -> Call:
        return signed(_json(said | {"issue": said["issue"] | {"id": issue_id}}))

    whole = signed(good.body)
    half_sent = replace(whole, body=good.body[: len(good.body) // 2])
    return {
        "unsigned": _call(good, 401, {"X-Hub-Signature-256": ""}),
        "wrongly signed": _call(_signed(good, good.body, "not-the-secret"), 401),
        "signature of another body": _call(replace(good, body=good.body + b" "), 401),
        "signature that is none": _call(good, 401, {"X-Hub-Signature-256": "sha256=" + "z" * 64}),
        "truncated": signed(good.body[: len(good.body) // 2]),
        "no JSON": signed(b"\x00\xff\xfe" * 20),
        "no object": signed(b"[1, 2, 3]"),
        "nested too deep": signed(NESTED),
        "repeated keys": signed(good.body[:-1] + b',"action":"closed"}'),
        "not a number": signed(good.body[:-1] + b',"size":NaN}'),
        "of another event": signed(_json(json.loads(comment.body) | {"action": "deleted"})),
        "without its issue": signed(_json({key: value for key, value in said.items() if key != "issue"})),
        "huge ID": about(HUGE),
        "negative ID": about(-issue),
        "ID as text": about("one"),
        "wrong content type": signed(good.body, 415, {"Content-Type": "text/plain"}),
        "form without a payload": signed(
            urlencode({"body": good.body}).encode(), headers={"Content-Type": "application/x-www-form-urlencoded"}
        ),
        "no event": signed(good.body, headers={"X-GitHub-Event": ""}),
        "strange delivery ID": signed(good.body, headers={"X-GitHub-Delivery": f"{MARK}{number}\t{{}}"}),
        "too large": replace(whole, sending=Sending.DECLARED, answers=frozenset({413})),
        "hung up": replace(half_sent, sending=Sending.HUNG_UP, answers=frozenset()),
        "held": replace(half_sent, sending=Sending.HELD, answers=frozenset()),
    }


def rest_calls(issue: int, token: str) -> dict[str, Call]:
    """Every kind of hostile REST call about an issue: each would delete its sandbox with all work in it."""

    def call(issue_id: object, answers: set[int], authorization: str = "", query: str = "force=true") -> Call:
        headers = {"Authorization": authorization} if authorization else {}
        return Call("DELETE", f"/v1/issues/{issue_id}/sandbox?{query}", headers, frozenset(answers))

    bearer = f"Bearer {token}"
    return {
        "without a token": call(issue, {401}),
        "wrong token": call(issue, {401}, f"Bearer {token[:-1]}"),
        "token of another scheme": call(issue, {401}, f"Basic {token}"),
        "huge ID": call(HUGE, {400}, bearer),
        "negative ID": call(-issue, {400}, bearer),
        "ID with zeros": call(f"00{issue}", {400}, bearer),
        "force that is no yes": call(issue, {400}, bearer, "force=perhaps"),
    }


def knocks(issue: int) -> dict[str, Knock]:
    """Every kind of malformed signal. One that counts would stop, delete or replace the sandbox, or fail each task."""
    return {
        "event without arguments": Knock("issue_event"),
        "event without fields": Knock("issue_event", ({},)),
        "event that is a number": Knock("issue_event", (HUGE,)),
        "event that is null": Knock("issue_event", (None,)),
        "event of a huge issue": Knock("issue_event", ({"issue": {"id": HUGE}, "intention": "delete"},)),
        "event of another intention": Knock("issue_event", ({"issue": {"id": issue}, "intention": "obey"},)),
        "event and one more": Knock("issue_event", ({"issue": {"id": issue}, "intention": "delete"}, 1)),
        "broken JSON": Knock("issue_event", (_raw(b'{"issue": {', b"json/plain"),)),
        "nested too deep": Knock("issue_event", (_raw(NESTED, b"json/plain"),)),
        "unknown encoding": Knock("issue_event", (_raw(b"x", b"json/strange"),)),
        "bytes": Knock("issue_event", (_raw(b"\x00\xff", b"binary/plain"),)),
        "delete with text": Knock("delete", ("now",)),
        "delete with a list": Knock("delete", ({"force": ["yes"]},)),
        "delete and one more": Knock("delete", ({"force": True}, 1)),
        "stop with text": Knock("stop", ("now",)),
        "replace with an argument": Knock("replace", ({"force": True},)),
        "retry with an argument": Knock("retry", (1,)),
        "look with an argument": Knock("look", (1,)),
        "unknown signal": Knock("obey", ({"force": True},)),
    }


def _json(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _signed(delivery: MockDelivery, body: bytes, secret: str) -> MockDelivery:
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return replace(delivery, body=body, headers={**delivery.headers, "X-Hub-Signature-256": f"sha256={signature}"})


def _call(delivery: MockDelivery, answers: int, headers: Mapping[str, str] = MappingProxyType({})) -> Call:
    """POST it with these headers; an empty one is left out."""
    all_headers = {name: value for name, value in {**delivery.headers, **headers}.items() if value}
    return Call("POST", "/webhooks/github", all_headers, frozenset({answers}), delivery.body)


def _raw(data: bytes, encoding: bytes) -> RawValue:
    return RawValue(Payload(metadata={"encoding": encoding}, data=data))


KINDS: Final[Mapping[str, Callable[[], Sequence[str]]]] = {
    "webhook": lambda: tuple(deliveries(1, "s", 1)),
    "REST": lambda: tuple(rest_calls(1, "s")),
    "signal": lambda: tuple(knocks(1)),
}
"""The kinds of calls of each door, for the report and for tests."""
