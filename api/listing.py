"""GET of all issues with their sandboxes, from Temporal's index: page by page, filtered by search attributes.

Page tokens are signed, so that only we can make them. Temporal's own are opaque bytes that it trusts: a forged one
makes it fail inside, and the SDK retries that until the time is up (server 1.29.1: `Unknown`, "invalid character
looking for beginning of value").
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from itsdangerous import BadData, Signer
from itsdangerous.encoding import base64_decode, base64_encode
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from temporalio.common import SearchAttributeKey

from api.problems import ProblemError
from api.sandboxes import status_url
from issuebox.domain.issue import IssueState
from issuebox.domain.phase import Cause, Phase
from issuebox.settings import ApiSettings
from issuebox.temporal.index import RUNNING, Index, NotIndexedError, Row
from issuebox.temporal.issues import Issues, UnavailableError
from workflows import search_attributes


class Wanted(BaseModel):
    """The query: which issues, and which page of them. A misspelt filter is an error and not all issues."""

    model_config = ConfigDict(extra="forbid")

    page_size: int = Field(50, ge=1, le=200)
    page_token: str = Field("", max_length=4096, description="next_page_token of the page before, same filters.")
    repository: str = Field(
        "",
        pattern=r"^([A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100})?$",
        description="owner/name, in the case in which GitHub writes it.",
    )
    phase: Phase | None = Field(None, description="What the sandbox is doing.")
    issue_state: IssueState | None = Field(None, description="What GitHub said last of the issue.")
    blocked: Cause | Literal["any"] | None = Field(None, description="The cause; any for all that are blocked.")

    def condition(self) -> str:
        """The condition for the index. No value can end its quotes: it is of an enumeration or of a narrow pattern."""
        causes = [*Cause] if self.blocked == "any" else [self.blocked] if self.blocked else []
        clauses = [RUNNING]
        clauses += _in(search_attributes.REPOSITORY, self.repository)
        clauses += _in(search_attributes.PHASE, self.phase or "")
        clauses += _in(search_attributes.ISSUE_STATE, self.issue_state or "")
        clauses += _in(search_attributes.BLOCKED, *causes)
        return " AND ".join(clauses)

    @property
    def is_filtered(self) -> bool:
        """Whether the query goes by search attributes of ours."""
        return bool(self.repository or self.phase or self.issue_state or self.blocked)


class ListedSandbox(BaseModel):
    """One issue of the list: what its workflow published last. Times are in ISO 8601; '' is for what is not known."""

    issue_id: int
    name: str
    status_url: str
    started_at: datetime
    phase: str = ""
    state: str = Field("", description="Daytona's word.")
    sandbox_id: str = ""
    outcome: str = ""
    blocked: str = Field("", description="The cause, when the issue is blocked.")
    stuck: str = Field("", description="Why the workflow cannot go on, when its workflow task fails again and again.")
    goal: str = Field("", description="What the sandbox should be now.")
    goal_due_at: str = Field("", description="When that changes by itself.")
    timers: str = Field("", description="By which times the sandbox of a closed issue is stopped, archived, deleted.")
    work: str = Field("", description="The last verdict on unsaved work: clean, unsaved or unchecked.")
    repository: str = ""
    number: int = 0
    title: str = ""
    issue_state: str = ""
    issue_updated_at: str = ""
    requested_at: str = Field("", description="When somebody asked for the sandbox last; up to a minute late.")


class SandboxesPage(BaseModel):
    """A page of issues, newest workflow first."""

    sandboxes: list[ListedSandbox]
    next_page_token: str | None = Field(description="Send it as page_token to read on; null at the end.")


def add(routes: APIRouter, settings: ApiSettings, issues: Issues) -> None:
    """The route of the list."""

    index = Index(issues)

    @routes.get("/sandboxes", response_model=SandboxesPage, summary="All issues with their sandboxes")
    async def sandboxes(wanted: Annotated[Wanted, Query()]) -> SandboxesPage:
        """From Temporal's visibility store, which lags a moment; each issue's status is exact."""
        return await _page(index, settings, wanted)


async def _page(index: Index, settings: ApiSettings, wanted: Wanted) -> SandboxesPage:
    """One page of running workflows, with what each published last."""
    token = _opened(wanted.page_token, settings)
    try:
        page = await index.page(wanted.condition(), size=wanted.page_size, token=token, is_examined=True)
    except NotIndexedError as error:
        if not wanted.is_filtered:
            raise
        names = ", ".join(key.name for key in search_attributes.ALL)
        reason = f"Temporal does not know the search attributes {names}: an operator has to register them"
        raise UnavailableError(reason) from error
    return SandboxesPage(
        sandboxes=[_item(row) for row in page.rows if row.issue_id],
        next_page_token=signed(page.next_token, settings.api_tokens) if page.next_token else None,
    )


def _item(row: Row) -> ListedSandbox:
    return ListedSandbox(
        issue_id=row.issue_id,
        name=row.name,
        status_url=status_url(row.issue_id),
        started_at=row.started_at,
        stuck=str(row.stuck or ""),
        **asdict(row.published),
    )


def _in(key: SearchAttributeKey[str], *values: str) -> list[str]:
    wanted = ", ".join(f"'{value}'" for value in values if value)
    return [f"{key.name} IN ({wanted})"] if wanted else []


def _opened(page_token: str, settings: ApiSettings) -> bytes:
    if not page_token:
        return b""
    token = unsigned(page_token, settings.api_tokens)
    if token is None:
        raise ProblemError(400, "invalid-request", "page_token is none of ours")
    return token


def signed(token: bytes, secrets: Sequence[SecretStr]) -> str:
    """The token for a caller. Every process that has the first of the secrets accepts it."""
    return _signer(secrets).sign(base64_encode(token)).decode()


def unsigned(text: str, secrets: Sequence[SecretStr]) -> bytes | None:
    """Temporal's token; None when the text is none that was handed out."""
    try:
        return base64_decode(_signer(secrets).unsign(text))
    except (BadData, UnicodeEncodeError):
        return None


def _signer(secrets: Sequence[SecretStr]) -> Signer:
    """A signer that signs with the first secret, which is the last key, and accepts a signature by any of them."""
    keys = [secret.get_secret_value() for secret in reversed(secrets)]
    return Signer(keys, salt="issuebox page token", key_derivation="hmac", digest_method=hashlib.sha256)
