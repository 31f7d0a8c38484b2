"""GET of all issues with their sandboxes, from Temporal's index: page by page, filtered by search attributes.

Pages go by when the workflow runs began: `issuebox.temporal.places`. Page tokens are signed, so that only we can make
them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, TypeVar

from fastapi import APIRouter, Path, Query
from itsdangerous import BadData, Signer
from itsdangerous.encoding import base64_decode, base64_encode
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from temporalio.common import SearchAttributeKey

from api.problems import ProblemError, responses
from api.sandboxes import spelled_plainly, status_url
from issuebox.domain.issue import IssueState, time_of
from issuebox.domain.phase import Cause, Goal, Outcome, Phase
from issuebox.domain.unsaved_work import WorkState
from issuebox.settings import ApiSettings
from issuebox.temporal.index import RUNNING, Index, NotIndexedError, Row
from issuebox.temporal.issues import Issues, UnavailableError
from issuebox.temporal.numbers import find
from issuebox.temporal.places import is_place
from workflows import search_attributes
from workflows.run_messages import RunState

Word = TypeVar("Word", bound=StrEnum)


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
    blocked: Cause | Literal["any"] | None = Field(
        None, description="The cause; any for all that are blocked, without those that are queued."
    )
    run: RunState | None = Field(None, description="The state of the agent's newest run.")

    def condition(self) -> str:
        """The condition for the index. No value can end its quotes: it is of an enumeration or of a narrow pattern."""
        blocks = [cause for cause in Cause if cause is not Cause.QUEUED]
        causes = blocks if self.blocked == "any" else [self.blocked] if self.blocked else []
        clauses = [RUNNING]
        clauses += _in(search_attributes.REPOSITORY, self.repository)
        clauses += _in(search_attributes.PHASE, self.phase or "")
        clauses += _in(search_attributes.ISSUE_STATE, self.issue_state or "")
        clauses += _in(search_attributes.BLOCKED, *causes)
        clauses += _in(search_attributes.RUN, self.run or "")
        return " AND ".join(clauses)

    @property
    def is_filtered(self) -> bool:
        """Whether the query goes by search attributes of ours."""
        return bool(self.repository or self.phase or self.issue_state or self.blocked or self.run)


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
    blocked: str = Field("", description="The cause, when the issue is blocked or queued.")
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
    undelivered: str = Field("", description="The last notice, when its receiver did not take it within three days.")
    run: str = Field("", description="The state of the agent's newest run.")


class SandboxRow(BaseModel):
    """One issue: what its workflow published last."""

    issue_id: int
    name: str = Field(examples=["claude-issue-1"])
    status_url: str = Field(examples=["/v1/issues/1/sandbox"])
    started_at: datetime = Field(description="When the workflow run started.")
    phase: Phase | None
    state: str = Field(description="Daytona's word.", examples=["started"])
    sandbox_id: str
    outcome: Outcome | None
    blocked: Cause | None = Field(description="The cause, when the issue is blocked or queued.")
    stuck: str = Field(description="Why the workflow cannot go on, when its workflow task fails again and again.")
    goal: Goal | None = Field(description="What the sandbox should be now.")
    goal_due_at: datetime | None = Field(description="When that changes by itself.")
    timers: str = Field(description="By which times the sandbox of a closed issue is stopped, archived, deleted.")
    work: WorkState | None = Field(description="The last verdict on unsaved work.")
    repository: str
    number: int
    title: str
    issue_state: IssueState | None
    issue_updated_at: datetime | None
    requested_at: datetime | None = Field(description="When somebody asked for the sandbox last; up to a minute late.")
    undelivered: str = Field(
        description="The kind of the last outbound webhook, when its receiver did not take it in time."
    )
    run: RunState | None = Field(description="The state of the agent's newest run; null where none was asked for.")


class SandboxesPage(BaseModel):
    """A page of issues, newest workflow first.

    An issue whose workflow continued as new while the pages were read may come a second time; none is left out.
    """

    sandboxes: list[SandboxRow]
    next_page_token: str | None = Field(description="Send it as page_token to read on; null at the end.")


class FoundIssue(BaseModel):
    """The issue that has this number in this repository."""

    issue_id: int = Field(description="GitHub's global issue.id, by which every other call knows the issue.")
    name: str = Field(description="Of its sandbox and of its workflow.", examples=["claude-issue-1"])
    repository: str = Field(description="In the case in which GitHub writes it.", examples=["octo/repo"])
    number: int
    title: str
    issue_state: IssueState | None
    ended: str = Field(description="How its workflow ended, if it did: the next request starts a new one.")
    status_url: str = Field(examples=["/v1/issues/1/sandbox"])


NamePart = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]{1,100}$", description="As GitHub has it, in any case.")]
NumberPath = Annotated[int, Path(ge=1, le=2**63 - 1, description="Of the issue."), BeforeValidator(spelled_plainly)]


def add(routes: APIRouter, settings: ApiSettings, issues: Issues) -> None:
    """The route of the list."""

    index = Index(issues)

    @routes.get(
        "/sandboxes",
        operation_id="listSandboxes",
        response_model=SandboxesPage,
        summary="All issues with their sandboxes",
        tags=["sandboxes"],
    )
    async def sandboxes(wanted: Annotated[Wanted, Query()]) -> SandboxesPage:
        """From Temporal's visibility store, which lags a moment; each issue's status is exact."""
        return await _page(index, settings, wanted)

    @routes.get(
        "/repos/{owner}/{repo}/issues/{number}",
        operation_id="findIssue",
        tags=["issues"],
        response_model=FoundIssue,
        responses=responses(404, 409, 410),
        summary="The issue with this number",
    )
    async def by_number(owner: NamePart, repo: NamePart, number: NumberPath) -> FoundIssue:
        """Its global ID, from Temporal's visibility store, which lags a moment.

        404 `unknown-issue`: no request or delivery for it has arrived yet. 410 `issue-gone`: it was transferred or
        deleted. 409 `ambiguous-issue`: the repository was created anew under its name.
        """
        return await _found(issues, f"{owner}/{repo}", number)


async def _found(issues: Issues, repository: str, number: int) -> FoundIssue:
    try:
        row = await find(issues, repository, number)
    except NotIndexedError as error:
        raise _unregistered() from error
    known = row.published
    if how := _GONE.get(known.issue_state):
        detail = f"{repository}#{number} was {how} Its ID was {row.issue_id}; what is left: {status_url(row.issue_id)}"
        raise ProblemError(410, "issue-gone", detail)
    return FoundIssue(
        issue_id=row.issue_id,
        name=row.name,
        repository=known.repository,
        number=known.number,
        title=known.title,
        issue_state=_one_of(IssueState, known.issue_state),
        ended=f"the workflow {row.ended}" if row.ended else "",
        status_url=status_url(row.issue_id),
    )


_GONE: Mapping[str, str] = {
    IssueState.TRANSFERRED: "transferred to another repository, where GitHub gave it another ID.",
    IssueState.DELETED: "deleted at GitHub.",
}


async def _page(index: Index, settings: ApiSettings, wanted: Wanted) -> SandboxesPage:
    """One page of running workflows, with what each published last."""
    token = _opened(wanted.page_token, settings)
    try:
        page = await index.page(wanted.condition(), size=wanted.page_size, token=token, is_examined=True)
    except NotIndexedError as error:
        if not wanted.is_filtered:
            raise
        raise _unregistered() from error
    return SandboxesPage(
        sandboxes=[_shown(row) for row in page.rows if row.issue_id],
        next_page_token=signed(page.next_token, settings.api_tokens) if page.next_token else None,
    )


def _shown(row: Row) -> SandboxRow:
    known = row.published
    return SandboxRow(
        issue_id=row.issue_id,
        name=row.name,
        status_url=status_url(row.issue_id),
        started_at=row.started_at,
        phase=_one_of(Phase, known.phase),
        state=known.state,
        sandbox_id=known.sandbox_id,
        outcome=_one_of(Outcome, known.outcome),
        blocked=_one_of(Cause, known.blocked),
        stuck=str(row.stuck or ""),
        goal=_one_of(Goal, known.goal),
        goal_due_at=time_of(known.goal_due_at),
        timers=known.timers,
        work=_one_of(WorkState, known.work),
        repository=known.repository,
        number=known.number,
        title=known.title,
        issue_state=_one_of(IssueState, known.issue_state),
        issue_updated_at=time_of(known.issue_updated_at),
        requested_at=time_of(known.requested_at),
        undelivered=known.undelivered,
        run=_one_of(RunState, known.run),
    )


def _one_of(words: type[Word], text: str) -> Word | None:
    """The word; None for none, and for one that a workflow of another version published."""
    return next((word for word in words if word == text), None)


def listed(row: Row) -> ListedSandbox:
    """One issue of a list."""
    return ListedSandbox(
        issue_id=row.issue_id,
        name=row.name,
        status_url=status_url(row.issue_id),
        started_at=row.started_at,
        stuck=str(row.stuck or ""),
        **asdict(row.published),
    )


def _unregistered() -> UnavailableError:
    names = ", ".join(key.name for key in search_attributes.ALL)
    return UnavailableError(f"Temporal does not know the search attributes {names}: an operator has to register them")


def _in(key: SearchAttributeKey[str], *values: str) -> list[str]:
    wanted = ", ".join(f"'{value}'" for value in values if value)
    return [f"{key.name} IN ({wanted})"] if wanted else []


def _opened(page_token: str, settings: ApiSettings) -> bytes:
    if not page_token:
        return b""
    token = unsigned(page_token, settings.api_tokens)
    if token is None or not is_place(token):
        raise ProblemError(400, "invalid-request", "page_token is none of ours")
    return token


def signed(token: bytes, secrets: Sequence[SecretStr]) -> str:
    """The token for a caller. Every process that has the first of the secrets accepts it."""
    return _signer(secrets).sign(base64_encode(token)).decode()


def unsigned(text: str, secrets: Sequence[SecretStr]) -> bytes | None:
    """What was signed; None when the text is none that was handed out."""
    try:
        return base64_decode(_signer(secrets).unsign(text))
    except (BadData, UnicodeEncodeError):
        return None


def _signer(secrets: Sequence[SecretStr]) -> Signer:
    """A signer that signs with the first secret, which is the last key, and accepts a signature by any of them."""
    keys = [secret.get_secret_value() for secret in reversed(secrets)]
    return Signer(keys, salt="issuebox page token", key_derivation="hmac", digest_method=hashlib.sha256)
