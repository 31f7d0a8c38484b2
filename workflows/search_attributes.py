"""The search attributes of the issues' workflows: names, types, and what each is for.

`issuebox dev`, docker-compose.yml and `issuebox doctor --fix` register them. A workflow that upserts one
that is not registered fails its task until somebody registers it, so workflows set them only when the worker
that looked found all of them.
"""

from __future__ import annotations

from temporalio.common import SearchAttributeKey

REPOSITORY = SearchAttributeKey.for_keyword("IssueRepository")
NUMBER = SearchAttributeKey.for_int("IssueNumber")
ISSUE_STATE = SearchAttributeKey.for_keyword("IssueState")
PHASE = SearchAttributeKey.for_keyword("SandboxPhase")
BLOCKED = SearchAttributeKey.for_keyword("SandboxBlocked")

ALL = (REPOSITORY, NUMBER, ISSUE_STATE, PHASE, BLOCKED)
