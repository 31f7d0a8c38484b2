"""The command line of `issuebox send`: a signed mock delivery, so that nobody computes an HMAC by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from issuebox.domain.triggers import Association

EXIT_MISUSE = 2


def send(
    action: Annotated[
        str,
        typer.Argument(
            help="ping, opened, reopened, edited, labeled, assigned, closed, transferred, deleted or comment."
        ),
    ],
    *,
    issue: Annotated[int, typer.Option(min=1, help="Issue number.")] = 1,
    repo: Annotated[str, typer.Option(help="Repository, owner/name.")] = "octo/repo",
    issue_id: Annotated[int, typer.Option("--id", min=0, help="Global issue ID. Default: the issue number.")] = 0,
    title: Annotated[str, typer.Option(help="Title of the issue.")] = "An issue",
    comment: Annotated[str, typer.Option(help="Text of the comment, for `comment`.")] = "@claude please",
    detail: Annotated[str, typer.Option(help="The label for `labeled`, the login for `assigned`.")] = "claude",
    delivery: Annotated[str, typer.Option(help="Delivery ID. Default: a new one. Repeat one to redeliver.")] = "",
    label: Annotated[list[str] | None, typer.Option(help="Label on the issue; repeat it for more.")] = None,
    sender: Annotated[str, typer.Option(help="Login of the sender. The issue's author is octocat.")] = "octocat",
    association: Annotated[
        Association,
        typer.Option(case_sensitive=False, help="Association of the author of issue and comment with the repository."),
    ] = Association.OWNER,
    bot: Annotated[bool, typer.Option("--bot", help="The sender is a bot.")] = False,
    data: Annotated[Path, typer.Option(help="Data directory of the running `issuebox dev`.")] = Path(".issuebox"),
    url: Annotated[str, typer.Option(help="URL of the API, instead of that of `issuebox dev`.")] = "",
    secret: Annotated[
        str, typer.Option(envvar="ISSUEBOX_WEBHOOK_SECRETS", help="Webhook secret; the first of several is used.")
    ] = "",
) -> None:
    """Send a signed mock delivery to the API, as GitHub would."""
    import asyncio  # noqa: PLC0415

    from issuebox.dev.mock_delivery import ACTIONS, MockIssue, MockSender, build  # noqa: PLC0415

    if action not in ACTIONS:
        _fail(f"{action!r} is not an action; use one of: {', '.join(ACTIONS)}")
    target, signing = _target(data, url, secret)
    mock = build(
        action,
        MockIssue(issue, repo, issue_id, title, labels=tuple(label or ())),
        signing,
        comment=comment,
        detail=detail,
        delivery=delivery,
        sender=MockSender(sender, association, bot),
    )
    asyncio.run(_send(target, mock.body, dict(mock.headers)))


def _target(data: Path, url: str, secret: str) -> tuple[str, str]:
    """The API's URL and the webhook secret: as given, else those of the running `issuebox dev`."""
    from issuebox.dev.dev_stack import DevStack  # noqa: PLC0415

    secret = secret.partition(",")[0].strip()
    if url:
        if not secret:
            _fail("with --url also give --secret (or set ISSUEBOX_WEBHOOK_SECRETS)")
        return url.rstrip("/"), secret
    stack = DevStack.lookup(data)
    if stack is None:
        _fail(f"no `issuebox dev` runs on {data}: start it, name its --data, or give --url and --secret")
    return stack.api_url, stack.webhook_secret


async def _send(url: str, body: bytes, headers: dict[str, str]) -> None:
    import httpx  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    try:
        async with httpx.AsyncClient(timeout=15.0, trust_env=False) as client:
            reply = await client.post(f"{url}/webhooks/github", content=body, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = (str(error) or type(error).__name__).rstrip(".")
        _fail(f"{url} cannot be reached: {reason}. Give the URL of the API, such as http://127.0.0.1:8787")
    console = Console()
    console.print(
        f"{reply.status_code} {reply.reason_phrase}  delivery {headers['X-GitHub-Delivery']}", highlight=False
    )
    console.print_json(reply.text)
    if reply.is_error:
        raise typer.Exit(1)


def _fail(reason: str) -> NoReturn:
    print(f"issuebox: {reason}", file=sys.stderr)  # noqa: T201
    raise typer.Exit(EXIT_MISUSE)
