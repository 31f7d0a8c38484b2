"""Fire and forget: the webhook's handler gets the sandbox, starts the agent in the background, and answers 200."""

from __future__ import annotations

import logging
from typing import ClassVar

from proofs.peers.agents.starter import FAILURES, Request, Starter

log = logging.getLogger(__name__)


class FireAndForget(Starter):
    """Whatever comes of it, the answer is 200, and nobody looks at the agent again."""

    title: ClassVar[str] = "fire and forget"
    notes: ClassVar[str] = (
        "read in PrashamTrivedi/claude-code-containers (GitHub issues on Daytona): a failure is logged and answered "
        "with 200, deliveries are not remembered, a close is not read; open-swe's answer before its work is the same "
        "to the sender; inferred: one command starts the agent in the background, where the project's handler waits "
        "for it, and its process ID is stored afterwards; a cancel is not known to it"
    )

    async def request(self, request: Request) -> None:
        try:
            await self.begin(await self.sandbox_of(request.issue), request)
        except FAILURES as error:
            log.debug("request %s was not started: %s", request.key, error)
