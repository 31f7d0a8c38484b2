"""The fields of GitHub's REST API that are used. All others are ignored: GitHub adds fields all the time."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter

from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.issue_source import ListedComment, ListedIssue, is_repository

_REPOSITORY_URL = re.compile(r"/repos/([^/]+/[^/]+)\Z")
_ISSUE_URL = re.compile(r"/issues/([1-9][0-9]{0,17})\Z")

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


class RepositoryBody(_Part):
    """A repository."""

    full_name: str


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
REPOSITORY = TypeAdapter(RepositoryBody)
INSTALLATION = TypeAdapter(InstallationBody)
TOKEN = TypeAdapter(TokenBody)
