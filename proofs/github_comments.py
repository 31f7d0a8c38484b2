"""GitHub's stand-in with comments that are written, and their reactions: what tells issues of runs is tried against it.

Each write may be refused, or its reply lost: before it was done, after it, or with the deed coming later. It may also
be done twice, as a proxy in between does that sends a request again. What became of each comment is kept.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from proofs.github_api import Asked, Cut, GitHub, Mishap, Repository, account, as_json
from proofs.loopback import POLL_INTERVAL_S

OK = 200


class Fate(StrEnum):
    """What becomes of a write instead of being done and answered."""

    REFUSED = "refused"
    LOST_BEFORE = "lost before"
    """It is not done, and there is no answer."""
    LOST_AFTER = "lost after"
    """It is done, and there is no answer."""
    AWAY = "away"
    """It is done, and there is no answer, nor one to the next look at these comments."""
    LATE = "late"
    """There is no answer, and it is done later."""
    SLOW = "slow"
    """It is done, and answered later."""
    OVERTAKEN = "overtaken"
    """There is no answer, and it is done after the next write of this kind."""
    HELD = "held"
    """It is done, and the answer does not come while the caller waits and `mischiefs` has any."""
    TWICE = "twice"
    """It is done twice, and answered once."""


TIMES = dict.fromkeys(Fate, 0) | dict.fromkeys((Fate.LOST_AFTER, Fate.AWAY, Fate.SLOW, Fate.HELD), 1) | {Fate.TWICE: 2}
"""How often it is done at once, whatever becomes of the answer."""

ANSWERED = frozenset({Fate.SLOW, Fate.TWICE})
"""Where there is an answer once it was done."""


@dataclass
class Mischief:
    """The fate of the next writes of a method to a place that ends like this."""

    method: str
    ending: str
    fate: Fate
    times: int = 1
    status: int = 403
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.5
    met: int = 0


@dataclass
class Kept:
    """A comment that was written with our credentials, with its last text. Times are epoch seconds.

    `asked_at`: when the request for it came, which may have made another one. `looked_at`: when its issue's comments
    had last been listed before that; None for never.
    """

    number: int
    body: str
    asked_at: float
    looked_at: float | None
    at: float
    deleted_at: float | None = None


class GitHubWithComments(GitHub):
    """The stand-in's state, and what tests read of it."""

    def __init__(self) -> None:
        super().__init__()
        self.login = "the-bot"
        self.mischiefs: list[Mischief] = []
        self.reactions: dict[int, set[tuple[str, str]]] = {}
        self.revisions: dict[int, list[tuple[datetime, str]]] = {}
        self.kept: dict[int, Kept] = {}
        self.looked_at: dict[int, float] = {}
        self.last_comment_id = 1000
        self.late: set[asyncio.Task[Any]] = set()
        self.overtaken: list[Callable[[], object]] = []

    def app(self) -> Starlette:
        """The routes that write, before those that read."""
        ours = [
            Route("/user", self._with_token(lambda _request: as_json(account(self.login)))),
            Route("/app", self._with_token(lambda _request: as_json({"id": 12, "slug": "the-app"}), is_app=True)),
        ]
        for place in ("/repos/{owner}/{repo}", "/repositories/{id:int}"):
            one, many = place + "/issues/comments/{comment:int}", place + "/issues/{number:int}/comments"
            ours += [
                Route(many, self._with_token(self._listed)),
                Route(many, self._written(self._create), methods=["POST"]),
                Route(one, self._written(self._edit), methods=["PATCH"]),
                Route(one, self._written(self._delete), methods=["DELETE"]),
                Route(one + "/reactions", self._written(self._react), methods=["POST"]),
            ]
        return Starlette(routes=[*ours, *super().app().routes])

    def do(self, method: str, ending: str, fate: Fate, **given: Any) -> Mischief:
        """Let this become of the next such writes."""
        self.mischiefs.append(Mischief(method, ending, fate, **given))
        return self.mischiefs[-1]

    def say(self, number: int, text: str, login: str = "ann") -> int:
        """Somebody comments now; the comment's ID."""
        return self._say(self.repository(), number, text, login)

    def written(self, login: str = "") -> list[dict[str, Any]]:
        """The comments that were written with our credentials and are there."""
        return [body for body in self.repository().comments if body["user"]["login"] == (login or self.login)]

    def writes(self, method: str = "") -> list[Asked]:
        """The requests that would change something, in order."""
        return [asked for asked in self.asked if asked.method == method or (not method and asked.method != "GET")]

    def _say(self, place: Repository, number: int, text: str, login: str) -> int:
        self.last_comment_id += 1
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        place.comments.append(
            {
                "id": self.last_comment_id, "body": text, "created_at": now, "updated_at": now, "user": account(login),
                "author_association": "NONE", "issue_url": f"{self.url}/repos/{place.name}/issues/{number}",
                "html_url": f"https://github.com/{place.name}/issues/{number}#issuecomment-{self.last_comment_id}",
            }
        )  # fmt: skip
        return self.last_comment_id

    def _written(self, act: Callable[[Request, Any], Response]) -> Callable[..., Any]:
        async def handle(request: Request) -> Response:
            body = await request.body()
            given = json.loads(body) if body else {}
            asked = Asked(request.method, request.url.path, dict(request.query_params), dict(request.headers))
            self.asked.append(asked)
            request.state.asked_at = time.time()
            request.state.looked_at = self.looked_at.get(request.path_params.get("number", 0))
            response, found = self._authorized(request, lambda _request: as_json({}), is_app=False), None
            if response.status_code == OK:
                found = self._mischief(request)
                response = self._as_fated(request, given, act, found)
            if found is not None:
                await self._answered(request, found)
            asked.status = -1 if isinstance(response, Cut) else response.status_code
            return response

        return handle

    def _mischief(self, request: Request) -> Mischief | None:
        """What becomes of this write; None when it is done and answered."""
        found = next((one for one in self.mischiefs if one.times > 0 and _is_about(one, request)), None)
        if found is not None:
            found.times, found.met = found.times - 1, found.met + 1
        return found

    def _as_fated(
        self, request: Request, given: Any, act: Callable[[Request, Any], Response], found: Mischief | None
    ) -> Response:
        if found is None:
            response, overtaken = act(request, given), self.overtaken
            self.overtaken = []
            for deed in overtaken:
                deed()
            return response
        if found.fate is Fate.REFUSED:
            return as_json({"message": "Resource not accessible by integration"}, found.status, found.headers)
        if found.fate is Fate.LATE:
            later = asyncio.create_task(_later(found.seconds, lambda: act(request, given)))
            self.late.add(later)
            later.add_done_callback(self.late.discard)
        elif found.fate is Fate.OVERTAKEN:
            self.overtaken.append(lambda: act(request, given))
        elif found.fate is Fate.AWAY:
            self.mishaps.append(Mishap(self._looked_up(request), status=502))
        done = [act(request, given) for _ in range(TIMES[found.fate])]
        return done[-1] if found.fate in ANSWERED else Cut(b"{")

    async def _answered(self, request: Request, found: Mischief) -> None:
        """Wait until it is answered."""
        if found.fate is Fate.SLOW:
            await asyncio.sleep(found.seconds)
        while found.fate is Fate.HELD and self.mischiefs and not await request.is_disconnected():  # noqa: ASYNC110
            await asyncio.sleep(POLL_INTERVAL_S)

    def _listed(self, request: Request) -> Response:
        """The comments of one issue, in the order of their IDs."""
        found = self._located(request, "/comments")
        if isinstance(found, Response):
            return found
        place, number = found[0], request.path_params["number"]
        since = request.query_params.get("since", "")
        rows = [
            body for body in place.comments
            if body["issue_url"].endswith(f"/issues/{number}") and body["updated_at"] >= since
        ]  # fmt: skip
        self.looked_at[number] = time.time()
        return self._paged(request, place, f"/issues/{number}/comments", sorted(rows, key=lambda body: body["id"]))

    def _create(self, request: Request, given: Any) -> Response:
        found = self._located(request, "/comments")
        if isinstance(found, Response):
            return found
        is_app = request.headers.get("authorization", "").partition(" ")[2].startswith("ghs_")
        login, number = "the-app[bot]" if is_app else self.login, request.path_params["number"]
        comment_id = self._say(found[0], number, given["body"], login)
        self.revisions[comment_id] = [(datetime.now(UTC), given["body"])]
        asked = request.state
        self.kept[comment_id] = Kept(number, given["body"], asked.asked_at, asked.looked_at, time.time())
        return as_json(found[0].comments[-1], 201)

    def _edit(self, request: Request, given: Any) -> Response:
        place, body = self._comment(request)
        if body is None:
            return place
        body.update(body=given["body"], updated_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")
        self.revisions.setdefault(body["id"], []).append((datetime.now(UTC), given["body"]))
        if body["id"] in self.kept:
            self.kept[body["id"]].body = given["body"]
        return as_json(body)

    def _delete(self, request: Request, _given: Any) -> Response:
        place, body = self._comment(request)
        if body is None:
            return place
        self._at(request).comments.remove(body)
        if body["id"] in self.kept:
            self.kept[body["id"]].deleted_at = time.time()
        return Response(status_code=204)

    def _react(self, request: Request, given: Any) -> Response:
        place, body = self._comment(request)
        if body is None:
            return place
        known = self.reactions.setdefault(body["id"], set())
        reaction = (self.login, given["content"])
        status = 200 if reaction in known else 201
        known.add(reaction)
        return as_json({"id": 1, "content": given["content"]}, status)

    def _comment(self, request: Request) -> tuple[Response, dict[str, Any] | None]:
        wanted = request.path_params["comment"]
        found = next((body for body in self._at(request).comments if body["id"] == wanted), None)
        return as_json({"message": "Not Found"}, 404), found

    def _looked_up(self, request: Request) -> str:
        """Where the comments are listed that the write is about."""
        number = request.path_params.get("number", 0)
        if "comment" in request.path_params and (body := self._comment(request)[1]) is not None:
            number = body["issue_url"].rpartition("/")[2]
        return f"/issues/{number}/comments"

    def _at(self, request: Request) -> Repository:
        place = self._place(request)
        if isinstance(place, Response):
            raise TypeError("a comment is written where it is")
        return place


def _is_about(mischief: Mischief, request: Request) -> bool:
    return mischief.method == request.method and request.url.path.endswith(mischief.ending)


async def _later(seconds: float, act: Callable[[], object]) -> None:
    await asyncio.sleep(seconds)
    act()
