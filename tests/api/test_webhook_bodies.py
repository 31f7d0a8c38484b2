"""What of a delivery is read: its body has to be that of its event, and only what its row needs has to be there."""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import quote_from_bytes, urlencode

import pytest
from temporalio.client import Client

from tests.api.conftest import Api, Serve
from tests.api.deliveries import encoded, payload, signed, without
from tests.api.test_webhook_deliveries import stored

COMMENT = {"body": "@claude", "created_at": "2026-02-03T04:05:06Z", "user": {"login": "ann", "type": "User"}}
FORM = "application/x-www-form-urlencoded"


async def send(api: Api, body: bytes, event: str = "issues", **headers: str) -> Any:
    return await api.client.post("/webhooks/github", content=body, headers=signed(body, event, **headers))


REPLAYS: dict[str, tuple[bytes, str, str]] = {
    # a signed body, the event that it is sent again as, words of the reason
    "a deleted comment as a deleted issue": (encoded(payload(action="deleted", comment=COMMENT)), "issues", "comment"),
    "a pinned comment as a pinned issue": (encoded(payload(action="pinned", comment=COMMENT)), "issues", "comment"),
    "a comment as an issue": (encoded(payload(action="created", comment=COMMENT)), "issues", "comment"),
    "a comment that is null": (encoded(payload(action="deleted", comment=None)), "issues", "comment"),
    "a deleted issue as a comment": (encoded(payload(action="deleted")), "issue_comment", "comment"),
    "an action of issues with a comment": (
        encoded(payload(action="transferred", comment=COMMENT)), "issue_comment", "transferred",
    ),
    "an action of comments without one": (encoded(payload(action="created")), "issues", "created"),
    "an issue as a ping": (encoded(payload()), "ping", "hook_id"),
    "a ping as an issue": (encoded({"zen": "x", "hook_id": 1}), "issues", "action"),
    "a ping as a comment": (encoded({"zen": "x", "hook_id": 1}), "issue_comment", "action"),
    "an issue with the marks of a ping": (encoded(payload() | {"zen": "x", "hook_id": 1}), "ping", "issue"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "event", "words"), REPLAYS.values(), ids=REPLAYS)
async def test_signed_body_counts_only_as_its_own_event(
    serve: Serve, closed_address: str, body: bytes, event: str, words: str
) -> None:
    """X-GitHub-Event is not signed: whoever sends a body again under another event gets a 400 with the reason."""
    reply = await send(await serve(closed_address), body, event)
    assert reply.status_code == 400, reply.text
    assert f"not one of the event {event!r}" in reply.json()["detail"]
    assert words in reply.json()["detail"]


async def test_deleted_comment_never_deletes_the_issue(api: Api, temporal: Client, issue_id: int) -> None:
    """As itself it is a snapshot for the workflow, and as `issues` it is nothing."""
    await send(api, encoded(payload(issue_id)))
    body = encoded(payload(issue_id, "deleted", comment=COMMENT))
    assert (await send(api, body, "issues")).status_code == 400
    assert (await send(api, body, "issue_comment")).json()["intention"] == "ignore"
    assert [event["issue"]["state"] for event in await stored(temporal, issue_id)] == ["open", "open"]


BOT = {"user": {"login": "robot", "type": "Bot"}}
READ: dict[str, tuple[bytes, str, str, str]] = {
    # a body, its event, the intention, words of the reason
    "closed without a sender": (without("sender", action="closed"), "issues", "stop", "closed"),
    "closed by a sender that is null": (encoded(payload(action="closed", sender=None)), "issues", "stop", "closed"),
    "closed by a sender that is a word": (encoded(payload(action="closed", sender="x")), "issues", "stop", "closed"),
    "closed with strange labels": (encoded(payload(action="closed", issue={"labels": 7})), "issues", "stop", "closed"),
    "deleted without an author": (encoded(payload(action="deleted", issue={"user": 7})), "issues", "delete", "deleted"),
    "opened without a sender": (without("sender"), "issues", "ensure", "opened"),
    "opened by a bot, without a sender": (
        encoded(payload(sender=None, issue=BOT)), "issues", "ignore", "bots cannot ask",
    ),
    "comment of a bot, without a sender": (
        encoded(payload(action="created", sender=None, comment=COMMENT | BOT)),
        "issue_comment", "ignore", "bots cannot ask",
    ),
    "comment without a text": (
        encoded(payload(action="created", comment=COMMENT | {"body": None})), "issue_comment", "ignore", "does not say",
    ),
    "comment edited, without its time": (
        encoded(payload(action="edited", comment={"body": "x"})), "issue_comment", "ignore", "'edited'",
    ),
    "pinned without a state": (
        without("issue.state", action="pinned"), "issues", "ignore", "its snapshot cannot be read: issue.state",
    ),
    "edited without a time": (
        without("issue.updated_at", action="edited"), "issues", "ignore", "its snapshot cannot be read",
    ),
    "an action with a digit": (encoded(payload(action="frozen_v2")), "issues", "ignore", "'frozen_v2'"),
    "an event with a digit": (encoded({"action": "edited"}), "projects_v2_item", "ignore", "'projects_v2_item'"),
    "an event that is not used, not JSON": (b"[" * 20_000, "push", "ignore", "'push' is not used"),
    "an event that is not used, ambiguous": (b'{"x": NaN, "x": 1}', "push", "ignore", "'push' is not used"),
}  # fmt: skip


@pytest.mark.parametrize("case", READ.values(), ids=READ)
async def test_only_what_the_row_needs_is_read(serve: Serve, issue_id: int, case: tuple[bytes, str, str, str]) -> None:
    """What a row does not need may be missing or strange; the delivery counts, or is ignored with a reason."""
    body, event, intention, words = case
    api = await serve(name_prefix=f"read{issue_id}-")
    reply = await send(api, body, event)
    assert reply.status_code == 202, reply.text
    assert reply.json()["intention"] == intention
    assert words in reply.json()["reason"]


async def test_missing_sender_opens_no_way_around_the_association(
    serve: Serve, closed_address: str, issue_id: int
) -> None:
    """Without a sender the author's association counts, although a stranger's would not be needed for a label."""
    api = await serve(min_association="MEMBER", name_prefix=f"read{issue_id}-")
    issue = {"user": {"login": "ann"}, "author_association": "NONE"}
    labeled = payload(action="labeled", label={"name": "claude"}, issue=issue)
    assert (await send(api, encoded(labeled))).json()["intention"] == "ensure"
    reply = await send(api, encoded(labeled | {"sender": None}))
    assert reply.json()["intention"] == "ignore"
    assert "ISSUEBOX_MIN_ASSOCIATION" in reply.json()["reason"]


@pytest.mark.parametrize("encode", [quote_from_bytes, lambda body: urlencode({"": body})[1:]], ids=["%20", "+"])
async def test_form_is_read_like_json(api: Api, temporal: Client, issue_id: int, encode: Any) -> None:
    """GitHub's own default content type is taken, and the same payload under both counts as one."""
    body = encoded(payload(issue_id, issue={"title": "100 % + & = ü"}))
    form = b"payload=" + encode(body).encode()
    for sent, media_type in ((form, FORM), (form, f"{FORM}; charset=utf-8"), (body, "application/json")):
        reply = await send(api, sent, Content_Type=media_type)
        assert reply.status_code == 202, reply.text
    events = await stored(temporal, issue_id)
    assert {event["digest"] for event in events} == {hashlib.sha256(body).hexdigest()}
    assert {event["issue"]["title"] for event in events} == {"100 % + & = ü"}


SMUGGLED = quote_from_bytes(encoded(payload(2, "deleted")))
FORMS = {
    "JSON with a form in a title": encoded(payload(issue={"title": f"x&payload={SMUGGLED}&y"})),
    "JSON": encoded(payload()),
    "two fields": f"payload={SMUGGLED}&x=1".encode(),
    "the field twice": f"payload={SMUGGLED}&payload={SMUGGLED}".encode(),
    "another field": f"x={SMUGGLED}".encode(),
    "a field without a value": b"payload",
    "an empty value": b"payload=",
    "empty": b"",
    "not ASCII": 'payload={"x": "ü"}'.encode(),
}


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
async def test_form_has_one_field(serve: Serve, closed_address: str, body: bytes) -> None:
    """The content type is not signed: what a stranger writes into an issue is never taken for the payload."""
    reply = await send(await serve(closed_address), body, Content_Type=FORM)
    assert reply.status_code == 400, reply.text


async def test_form_is_no_json(serve: Serve, closed_address: str) -> None:
    """A form that is sent as JSON is refused."""
    body = b"payload=" + quote_from_bytes(encoded(payload())).encode()
    assert (await send(await serve(closed_address), body)).status_code == 400
