"""The activity that sends a notice to the program that uses the sandbox, after the convention of Standard Webhooks.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md says what is signed, and
what an answer means. Each try carries the same ID. Nothing but the status and ``Retry-After`` is read of the answer.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import httpx
import structlog
from standardwebhooks import Webhook
from temporalio import activity

from activities.failures import typed_failures
from activities.messages import NoticeInput
from activities.reporting import ms
from issuebox.domain.errors import ProviderError, RateLimitedError, RefusedError, TransientError
from issuebox.domain.phase import Cause
from issuebox.domain.text import number_of

ANSWER_TIMEOUT_S: Final = 10.0
"""How long a receiver may take for its whole answer."""

RETRY_AFTER_MAX_S: Final = 3600.0
"""The longest pause that a receiver may ask for."""

GONE, BUSY = 410, frozenset({429, 503})

_log = structlog.get_logger("issuebox.activities")


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where notices go, and what signs them. No URL: nobody is told."""

    url: str = ""
    secret: str = field(default="", repr=False)


class NoticeActivities:
    """Telling the receiver."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def all(self) -> list[Callable[..., Any]]:
        """Every activity, for the worker."""
        return [self.send_notice]

    @activity.defn
    async def send_notice(self, request: NoticeInput) -> None:
        """Send the notice once. A retry of Temporal's sends the same again, with the time and signature of then.

        It is done when nobody is to be told any more. Raises the failure of a `TransientError`, or of a
        `RefusedError` where the receiver is gone for good.
        """
        if not self._receiver.url:
            return
        began = time.monotonic()
        known = {"issue_id": request.issue_id, "notice": request.notice.kind, "notice_id": request.notice.id}
        async with typed_failures():
            try:
                await self._send(request)
            except ProviderError as error:
                _log.warning("notice_failed", **known, reason=str(error), attempt=activity.info().attempt)
                raise
        _log.info("notice_sent", **known, duration_ms=ms(began))

    async def _send(self, request: NoticeInput) -> None:
        text, now = body(request), datetime.now(UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": request.notice.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(self._receiver.secret).sign(request.notice.id, now, text),
        }
        try:
            async with (
                httpx.AsyncClient(timeout=ANSWER_TIMEOUT_S, trust_env=False, verify=_certificates()) as client,
                client.stream("POST", self._receiver.url, content=text.encode(), headers=headers) as answer,
            ):
                status, retry_after_s = answer.status_code, number_of(answer.headers.get("retry-after"))
        except httpx.TransportError as error:
            raise TransientError(f"the receiver of notices was not reached: {type(error).__name__}") from error
        if httpx.codes.is_success(status):
            return
        raise _refused(status, retry_after_s)


@cache
def _certificates() -> ssl.SSLContext:
    """Whose certificates count. They are read once, which takes 14 ms of the event loop, and not at each try."""
    return httpx.create_ssl_context(trust_env=False)


def body(request: NoticeInput) -> str:
    """The notice as the receiver reads it: JSON with ``type``, ``timestamp`` and ``data``."""
    notice = request.notice
    blocked = notice.blocked
    return json.dumps(
        {
            "type": notice.kind,
            "timestamp": notice.at.isoformat(),
            "data": {
                "issue_id": request.issue_id,
                "repository": request.repository or None,
                "number": request.number or None,
                "name": request.name,
                "sandbox_id": notice.sandbox_id or None,
                "state": notice.state or None,
                "outcome": notice.outcome or None,
                "blocked": None
                if blocked is None
                else {
                    "cause": str(blocked.cause),
                    "reason": blocked.reason,
                    "advice": blocked.advice,
                    "next_try_at": blocked.next_try_at.isoformat() if blocked.next_try_at else None,
                },
            },
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )


def _refused(status: int, retry_after_s: float | None) -> ProviderError:
    said = f"the receiver of notices answered {status}"
    if status == GONE:
        return RefusedError(f"{said}: it wants no more of them", cause=Cause.INTERNAL, status=status)
    if status in BUSY and retry_after_s is not None:
        return RateLimitedError(said, status=status, retry_after_s=min(retry_after_s, RETRY_AFTER_MAX_S))
    return TransientError(said, status=status)
