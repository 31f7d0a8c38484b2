"""The fields of GitHub's REST API that are used. All others are ignored: GitHub adds fields all the time."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.issue_source import Act, ActKind, ListedComment, ListedIssue, is_repository

_REPOSITORY_URL = re.compile(r"/repos/([^/]+/[^/]+)\Z")
_ISSUE_URL = re.compile(r"/issues/([1-9][0-9]{0,17})\Z")

_ACT_KINDS = {kind.value: kind for kind in ActKind}
_GHOST = "ghost"
"""GitHub's account in whose name it shows what deleted accounts did."""

Id = Annotated[int, Field(gt=0, lt=2**63)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Account(_Part):
    """An account; a deleted one is null."""

    login: str
    type: str = "User"


class Label(_Part):
    """A label of an issue."""

    name: str = ""


class IssueBody(_Part):
    """An issue, or a pull request, which has `pull_request`."""

    id: Id
    number: Id
    title: str = ""
    state: Literal["open", "closed"]
    state_reason: str | None = None
    body: str | None = None
    html_url: str = ""
    repository_url: str = ""
    created_at: AwareDatetime
    updated_at: AwareDatetime
    closed_at: AwareDatetime | None = None
    user: Account | None = None
    author_association: str | None = None
    labels: tuple[Label | str, ...] = ()
    assignees: tuple[Account, ...] | None = None
    pull_request: object | None = None

    def listed(self, repository: str) -> ListedIssue:
        """The issue. `repository` is the requested one, for a reply that does not name its own."""
        issue = Issue(
            id=self.id,
            repository=self._repository() or repository,
            number=self.number,
            title=self.title,
            url=self.html_url,
            state=IssueState(self.state),
            updated_at=self.updated_at,
            closed_at=self.closed_at,
            author=self.user.login if self.user else "",
        )
        return ListedIssue(
            issue=issue,
            created_at=self.created_at,
            author=self.user.login if self.user else "",
            association=self.author_association or "",
            is_bot=self.user is not None and self.user.type == "Bot",
            labels=tuple(label if isinstance(label, str) else label.name for label in self.labels),
            assignees=tuple(account.login for account in self.assignees or ()),
            is_pull_request=self.pull_request is not None,
            is_reopened=self.state_reason == "reopened",
            body=self.body or "",
        )

    def _repository(self) -> str:
        """The repository's current name, which after a rename differs from the requested one."""
        found = _REPOSITORY_URL.search(self.repository_url)
        return found[1] if found and is_repository(found[1]) else ""


class CommentBody(_Part):
    """A comment of an issue or of a pull request."""

    id: Id
    body: str | None = None
    issue_url: str
    html_url: str = ""
    created_at: AwareDatetime
    updated_at: AwareDatetime
    user: Account | None = None
    author_association: str | None = None

    def listed(self) -> ListedComment | None:
        """The comment; None when it does not name its issue."""
        number = _ISSUE_URL.search(self.issue_url)
        if number is None:
            return None
        return ListedComment(
            id=self.id,
            number=int(number[1]),
            body=self.body or "",
            created_at=self.created_at,
            updated_at=self.updated_at,
            author=self.user.login if self.user else "",
            association=self.author_association or "",
            is_bot=self.user is not None and self.user.type == "Bot",
            is_pull_request="/pull/" in self.html_url,
        )


class EventBody(_Part):
    """What somebody did to an issue ("Issue event types" in GitHub's documentation)."""

    id: Id
    event: str
    created_at: AwareDatetime
    actor: Account | None = None
    label: Label | None = None
    assignee: Account | None = None
    assigner: Account | None = None

    def act(self) -> Act | None:
        """The act; None when it is of a kind that nobody asks by."""
        kind = _ACT_KINDS.get(self.event)
        if kind is None:
            return None
        by = self._by(kind)
        return Act(
            id=self.id,
            kind=kind,
            at=self.created_at,
            actor=by.login if by else "",
            is_bot=by is not None and by.type == "Bot",
            label=self.label.name if self.label else "",
            assignee=self.assignee.login if self.assignee else "",
        )

    def _by(self, kind: ActKind) -> Account | None:
        """Who did it; None when GitHub does not tell. An assignment's ``actor`` is the assignee (github/docs#20795)."""
        by = self.assigner if kind is ActKind.ASSIGNED else self.actor
        return None if by is None or by.login == _GHOST else by


class RepositoryBody(_Part):
    """A repository."""

    full_name: str


class AppBody(_Part):
    """A GitHub App as it sees itself. Its account is named after its slug."""

    slug: str = Field(min_length=1)


class MadeBody(_Part):
    """Something that was just made."""

    id: Id


class InstallationBody(_Part):
    """Where a GitHub App is installed."""

    id: Id


class TokenBody(_Part):
    """An installation's access token. Never in a log or an error."""

    token: str = Field(min_length=1, repr=False)
    expires_at: AwareDatetime


ISSUE = TypeAdapter(IssueBody)
ISSUES = TypeAdapter(tuple[IssueBody, ...])
COMMENTS = TypeAdapter(tuple[CommentBody, ...])
EVENTS = TypeAdapter(tuple[EventBody, ...])
REPOSITORY = TypeAdapter(RepositoryBody)
ACCOUNT = TypeAdapter(Account)
APP = TypeAdapter(AppBody)
MADE = TypeAdapter(MadeBody)
INSTALLATION = TypeAdapter(InstallationBody)
TOKEN = TypeAdapter(TokenBody)
