"""Webhooks as GitHub would send them, for trying things out by hand.

Only the fields that GitHub always sends and that a reader of issue webhooks may rely on. The issue
ID is computed from repository and number, so that the same issue is the same issue every time.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import zlib
from datetime import UTC, datetime

REAL_ISSUE_IDS_MAX = 10**12  # GitHub's own are far below, so that a sample never names a real issue.


def issue_id(repository: str, number: int) -> int:
    """A stable, made-up global ID of this issue."""
    return REAL_ISSUE_IDS_MAX + zlib.crc32(f"{repository}#{number}".encode())


def issues_body(action: str, repository: str, number: int, at: datetime | None = None) -> bytes:
    """The body of one `issues` delivery, compact, as bytes to sign and to send."""
    moment = (at or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")
    owner, _, name = repository.partition("/")
    user = {"login": owner, "id": zlib.crc32(owner.encode()), "type": "User"}
    is_closed = action == "closed"
    issue = {
        "id": issue_id(repository, number),
        "number": number,
        "title": f"Sample issue {number}",
        "state": "closed" if is_closed else "open",
        "html_url": f"https://github.com/{repository}/issues/{number}",
        "user": user,
        "author_association": "OWNER",
        "labels": [],
        "assignees": [],
        "created_at": moment,
        "updated_at": moment,
        "closed_at": moment if is_closed else None,
    }
    place = {
        "id": zlib.crc32(repository.encode()),
        "name": name,
        "full_name": repository,
        "owner": user,
        "private": False,
        "html_url": f"https://github.com/{repository}",
    }
    payload = {"action": action, "issue": issue, "repository": place, "sender": user}
    return json.dumps(payload, separators=(",", ":")).encode()


def headers(event: str, delivery: str, body: bytes, secret: str) -> dict[str, str]:
    """The headers GitHub sends with a body, signed with the webhook's secret."""
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": f"sha256={digest}",
        "Content-Type": "application/json",
    }
