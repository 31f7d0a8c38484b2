"""The search attributes of the issues' workflows: names, types, and what each is for.

`issuebox dev`, docker-compose.yml and `issuebox doctor --fix` register them. Upserting an unregistered one fails the
workflow task until somebody registers it. So workflows set them only when their worker has found all of them
registered.
"""

from __future__ import annotations

from temporalio.common import SearchAttributeKey

REPOSITORY = SearchAttributeKey.for_keyword("IssueRepository")
NUMBER = SearchAttributeKey.for_int("IssueNumber")
ISSUE_STATE = SearchAttributeKey.for_keyword("IssueState")
PHASE = SearchAttributeKey.for_keyword("SandboxPhase")
BLOCKED = SearchAttributeKey.for_keyword("SandboxBlocked")
RUN = SearchAttributeKey.for_keyword("RunState")

ALL = (REPOSITORY, NUMBER, ISSUE_STATE, PHASE, BLOCKED, RUN)
