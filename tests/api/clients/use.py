"""What a consumer does with the generated client. Prints what it got, as JSON; the test compares it with the stack."""

from __future__ import annotations

import json
import os
import sys

from client import AuthenticatedClient
from client.api.issues import find_issue
from client.api.sandboxes import delete_sandbox, ensure_sandbox, get_sandbox, list_sandboxes, stop_sandbox
from client.models.issue_body import IssueBody
from client.models.phase import Phase
from client.types import UNSET

ISSUE, OWNER, REPO, NUMBER = (os.environ[name] for name in ("ISSUE_ID", "OWNER", "REPO", "NUMBER"))
issue_id = int(ISSUE)

with AuthenticatedClient(base_url=os.environ["API"], token=os.environ["TOKEN"], timeout=60) as api:
    body = IssueBody(repository=f"{OWNER}/{REPO}", number=int(NUMBER))
    ensure_sandbox.sync_detailed(issue_id, client=api, body=body, wait_s=0, idempotency_key="a-key")
    waited = get_sandbox.sync_detailed(issue_id, client=api, wait_for="usable", timeout_s=30)
    again = ensure_sandbox.sync_detailed(issue_id, client=api, body=UNSET, idempotency_key="a-key")
    refused = stop_sandbox.sync_detailed(issue_id, client=api, idempotency_key="a-key")
    found = find_issue.sync_detailed(OWNER, REPO, int(NUMBER), client=api)
    listed = list_sandboxes.sync_detailed(client=api, phase=Phase.USABLE, page_size=200)
    unknown = get_sandbox.sync_detailed(issue_id + 1, client=api)
    deleted = delete_sandbox.sync_detailed(issue_id, client=api, force=True)

replies = (waited, again, refused, found, listed, unknown, deleted)
sys.stdout.write(
    json.dumps(
        {
            "statuses": [int(reply.status_code) for reply in replies],
            "waited": waited.parsed.waited,
            "sandbox_id": waited.parsed.sandbox.id,
            "toolbox_url": waited.parsed.sandbox.toolbox_url,
            "outcome": again.parsed.outcome,
            "refused": refused.parsed.type_,
            "found": found.parsed.issue_id,
            "listed": any(row.issue_id == issue_id and row.phase == "usable" for row in listed.parsed.sandboxes),
            "unknown": unknown.parsed.detail,
        }
    )
)
