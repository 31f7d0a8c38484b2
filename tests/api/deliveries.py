"""Deliveries for the tests, each made by changing one thing in a good one."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from typing import Any

from tests.api.conftest import SECRET

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
        "updated_at": "2026-02-03T04:05:06Z",
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
