"""Deliveries for the tests, each made by changing one thing in a good one."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tests.api.conftest import SECRET

UPDATED_AT = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
"""Of today: a snapshot from before the time in which GitHub redelivers starts no workflow."""

MARKER = "hide-this-from-every-log"
"""Stands in the body of every test delivery: no reason, reply or log line may quote a body."""


def payload(issue_id: int = 1, action: str = "opened", **changes: Any) -> dict[str, Any]:
    """What GitHub sends; `changes` are top-level, and those of ``issue`` are merged into it."""
    issue = {
        "id": issue_id,
        "number": 12,
        "title": f"A title {MARKER}",
        "body": MARKER,
        "state": "open",
        "html_url": "https://github.com/octo/repo/issues/12",
        "updated_at": UPDATED_AT,
    } | changes.pop("issue", {})
    given = {
        "action": action,
        "issue": issue,
        "repository": {"full_name": "octo/repo"},
        "sender": {"login": "octocat", "type": "User"},
    }
    return given | changes


def without(field: str, **changes: Any) -> bytes:
    """A good body that lacks one field, named as ``issue.id``."""
    whole = payload(**changes)
    *parents, last = field.split(".")
    part = whole
    for parent in parents:
        part = part[parent]
    del part[last]
    return encoded(whole)


def encoded(content: object) -> bytes:
    return json.dumps(content).encode()


def signed(body: bytes, event: str = "issues", secret: str = SECRET, **changes: str | bytes | None) -> dict[str, Any]:
    """The headers of a delivery; None removes one."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers: Mapping[str, str | bytes | None] = {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": str(uuid.uuid4()),
        "X-Hub-Signature-256": f"sha256={digest}",
    }
    merged = dict(headers) | {name.replace("_", "-"): value for name, value in changes.items()}
    return {name: value for name, value in merged.items() if value is not None}
