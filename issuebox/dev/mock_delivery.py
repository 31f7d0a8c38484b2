"""Deliveries as GitHub would send them, for manual trials and for the demo.

They hold only fields that GitHub always sends and issuebox reads. The global issue ID defaults to the
issue number, so that issue #1 has the sandbox ``claude-issue-1``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from issuebox.domain.triggers import Association

ACTIONS: Mapping[str, tuple[str, str]] = {
    # what a person types: GitHub's event and action
    "ping": ("ping", ""),
    "opened": ("issues", "opened"),
    "reopened": ("issues", "reopened"),
    "edited": ("issues", "edited"),
    "labeled": ("issues", "labeled"),
    "assigned": ("issues", "assigned"),
    "closed": ("issues", "closed"),
    "transferred": ("issues", "transferred"),
    "deleted": ("issues", "deleted"),
    "comment": ("issue_comment", "created"),
}


AUTHOR = "octocat"
"""The author of every mock issue."""


@dataclass(frozen=True, slots=True)
class MockIssue:
    """The issue that the delivery is about, with its labels.

    ``closed_at`` marks it as closed, for events on a closed issue.
    """

    number: int
    repository: str
    id: int = 0
    title: str = "An issue"
    updated_at: datetime | None = None
    labels: tuple[str, ...] = ()
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class MockSender:
    """The sender. ``association`` is that of the author of issue and comment with the repository."""

    login: str = AUTHOR
    association: Association = Association.OWNER
    is_bot: bool = False


OWNER = MockSender()


@dataclass(frozen=True, slots=True)
class MockDelivery:
    """A signed request: what to POST."""

    delivery: str
    body: bytes
    headers: Mapping[str, str]


def build(
    action: str,
    issue: MockIssue,
    secret: str,
    *,
    comment: str = "@claude",
    comment_id: int = 0,
    detail: str = "claude",
    delivery: str = "",
    sender: MockSender = OWNER,
) -> MockDelivery:
    """A delivery for one of `ACTIONS`. `detail` is the label of ``labeled`` or the login of ``assigned``.

    `comment_id` is GitHub's; 0: one for each delivery.
    """
    event, github_action = ACTIONS[action]
    delivery = delivery or str(uuid.uuid4())
    content = _payload(github_action, issue, sender, comment, detail)
    if isinstance(made := content.get("comment"), dict):
        # As GitHub's, the same for each copy of the delivery, and for no other one.
        made["id"] = comment_id or int.from_bytes(hashlib.sha256(delivery.encode()).digest()[:6]) + 1
    body = json.dumps(content, separators=(",", ":")).encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/mock",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": f"sha256={signature}",
    }
    return MockDelivery(delivery, body, headers)


async def post(client: httpx.AsyncClient, api_url: str, delivery: MockDelivery) -> httpx.Response:
    """POST the delivery to the API's webhook path."""
    return await client.post(f"{api_url}/webhooks/github", content=delivery.body, headers=dict(delivery.headers))


def _payload(action: str, issue: MockIssue, sender: MockSender, comment: str, detail: str) -> dict[str, object]:
    now = _written(issue.updated_at or datetime.now(UTC))
    payload: dict[str, object] = {
        "repository": {"full_name": issue.repository},
        "sender": _account(sender.login, is_bot=sender.is_bot),
    }
    if not action:
        return payload | {"zen": "Keep it logically awesome.", "hook_id": 1}
    said = {"body": comment, "created_at": now, "author_association": sender.association.value}
    extras: dict[str, dict[str, object]] = {
        "labeled": {"label": {"name": detail}},
        "assigned": {"assignee": _account(detail)},
        "created": {"comment": said},
    }
    # GitHub sends the issue as it is after the action: with the label that was just added.
    labels = (*issue.labels, detail) if action == "labeled" and detail not in issue.labels else issue.labels
    closed_at = _written(issue.closed_at) if issue.closed_at else now if action == "closed" else None
    about = _issue(issue, now, closed_at) | {
        "author_association": sender.association.value,
        "labels": [{"name": name} for name in labels],
    }
    return payload | {"action": action, "issue": about} | extras.get(action, {})


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _issue(issue: MockIssue, now: str, closed_at: str | None) -> dict[str, object]:
    return {
        "id": issue.id or issue.number,
        "number": issue.number,
        "title": issue.title,
        "state": "closed" if closed_at else "open",
        "updated_at": now,
        "closed_at": closed_at,
        "html_url": f"https://github.com/{issue.repository}/issues/{issue.number}",
        "user": _account(AUTHOR),
    }


def _account(login: str, *, is_bot: bool = False) -> dict[str, object]:
    return {"login": login, "type": "Bot" if is_bot else "User"}
