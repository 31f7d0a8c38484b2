"""One API call and its reply, and the error envelope. No routing, no state."""

import json
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import NoReturn

from starlette.datastructures import QueryParams
from starlette.responses import Response

from localdaytona.fault_model import Fault, TransitionEffect
from localdaytona.flights import Cause
from localdaytona.interruption import DroppedReply, HangingReply
from localdaytona.model import iso, now_s
from localdaytona.types import JSON, JSONObject

VERSION_HEADER = {"X-Daytona-Api-Version": "v0.190.0"}


class Fate(Enum):
    """Whether and how a reply is sent."""

    SEND = "send"
    DROP = "drop"
    HANG = "hang"


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply. A body of None is empty."""

    status: int = 200
    body: JSON = None
    headers: dict[str, str] = field(default_factory=dict)
    fate: Fate = Fate.SEND

    def response(self) -> Response:
        """Return the ASGI response that sends it, or loses it."""
        if self.fate is Fate.DROP:
            return DroppedReply()
        if self.fate is Fate.HANG:
            return HangingReply()
        headers = {**VERSION_HEADER, **self.headers}
        if self.body is None:
            return Response(status_code=self.status, headers=headers)
        return Response(json.dumps(self.body), self.status, headers, media_type="application/json")


class ApiError(Exception):
    """An error that answers the call."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


@dataclass(slots=True)
class Call:
    """One request in progress.

    `committed` becomes true with the first effect that is written. `as_of` is the moment in epoch seconds that the
    reply shows; None: now.
    """

    request_id: str
    operation: str
    target: str | None  # the {idOrName} of the path
    url: str  # path and query, as the envelope repeats them
    query: QueryParams
    body: JSON
    argument: str = ""  # the rest of the path, such as minutes
    sandbox_id: str | None = None
    name: str | None = None
    fault: Fault | None = None
    committed: bool = False
    as_of: float | None = None

    @property
    def cause(self) -> Cause:
        """The cause of changes, for the journal."""
        return Cause(self.operation, self.request_id)

    @property
    def transition_effect(self) -> TransitionEffect | None:
        """The injected effect on the transition, if there is one."""
        effect = self.fault.effect if self.fault is not None else None
        return effect if isinstance(effect, TransitionEffect) else None

    @property
    def holds(self) -> bool:
        """Whether the reply may be held."""
        return self.fault is None or self.fault.effect.kind != "no_hold"


def envelope(url: str, status: int, message: str) -> JSONObject:
    """Return Daytona's error body."""
    return {
        "path": url,
        "timestamp": iso(now_s()),
        "statusCode": status,
        "error": HTTPStatus(status).phrase if status in set(HTTPStatus) else "Error",
        "message": message,
    }


def error_reply(url: str, error: ApiError) -> Reply:
    """Return the reply for an error."""
    return Reply(error.status, envelope(url, error.status, error.message), error.headers)


def refuse(message: str, status: int = 400) -> NoReturn:
    """Answer the call with an error."""
    raise ApiError(status, message)
