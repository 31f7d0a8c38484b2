"""`issuebox wait` and `issuebox open`: until an issue's sandbox can be used, and the pages about an issue."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from issuebox.cli.command_line import DATA, AsJson, Data, Exit, IssueName, fail, interruptible, run

if TYPE_CHECKING:
    from issuebox.temporal.issues import Issues

TIMEOUT_MAX_S = 86400.0
LOOK_AGAIN_S = 2.0
"""How often an issue is looked for that nobody knows by its number yet: this reads all that is published."""


def wait(
    issue: IssueName,
    *,
    timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0, max=TIMEOUT_MAX_S, help="Wait at most this long; 0 looks only once."),
    ] = 300.0,
    as_json: AsJson = False,
    data: Data = DATA,
) -> None:
    """Wait until the issue's sandbox can be used, without asking for it.

    It ends with 0 when the sandbox can be used, with 1 when the issue is blocked or the time is over, and with 4 when
    nobody knows the issue by then. `ensure` asks for the sandbox and waits.
    """

    async def work(issues: Issues) -> Exit:
        import asyncio  # noqa: PLC0415

        from issuebox.cli import screen  # noqa: PLC0415
        from issuebox.cli.cards import wait_card  # noqa: PLC0415
        from issuebox.temporal.waits import WaitEnd, Waits  # noqa: PLC0415
        from workflows.messages import Status  # noqa: PLC0415

        deadline = asyncio.get_running_loop().time() + timeout
        with screen.waiting(f"Waiting for {issue}"):
            issue_id = await _known(issues, issue, deadline)
            left_s = max(0.0, deadline - asyncio.get_running_loop().time())
            end, status = await Waits(issues).until_usable(issue_id, left_s)
        if as_json:
            screen.show_json(Status, status)
        else:
            screen.show(wait_card(end, status, timeout))
        return Exit.DONE if end is WaitEnd.USABLE else Exit.NO

    with interruptible():
        run(data, work)


async def _known(issues: Issues, text: str, deadline: float) -> int:
    """The issue's ID. By its number it is known only when its first delivery has arrived, which is waited for."""
    import asyncio  # noqa: PLC0415

    from issuebox.cli.issue_names import resolve  # noqa: PLC0415
    from issuebox.temporal.numbers import UnknownNumberError  # noqa: PLC0415

    while True:
        try:
            return await resolve(issues, text)
        except UnknownNumberError:
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0:
                raise
            await asyncio.sleep(min(LOOK_AGAIN_S, left_s))


def open_page(
    issue: IssueName,
    *,
    web_ui: Annotated[bool, typer.Option("--web-ui", help="Open its workflow in Temporal's Web UI instead.")] = False,
    url: Annotated[
        str, typer.Option(envvar="ISSUEBOX_API_URL", help="URL of the API. Default: that of the `issuebox dev`.")
    ] = "",
    data: Data = DATA,
) -> None:
    """Open the issue's page in the browser.

    Its address is printed, too. Where there is no browser, and in a pipe, it is only printed.
    """

    async def work(issues: Issues) -> Exit:
        from issuebox.cli.issue_names import resolve  # noqa: PLC0415

        issue_id = await resolve(issues, issue)
        client = await issues.client()
        if web_ui:
            _open(_workflow_page(data, client.namespace, issues.name(issue_id)))
        else:
            _open(*_own_page(data, url, issue_id))
        return Exit.DONE

    run(data, work)


def _open(page: str, token: str = "") -> None:
    """Print the address, alone on its line, and open it where there is a browser.

    On a terminal it is printed with the token, if there is one. Others on the machine can read the arguments of a
    browser, so these have none.
    """
    from issuebox.cli.screen import has_browser  # noqa: PLC0415

    is_terminal = sys.stdout.isatty()
    print(f"{page}#token={quote(token, safe='')}" if token and is_terminal else page)  # noqa: T201
    if is_terminal and has_browser(os.environ):
        import webbrowser  # noqa: PLC0415

        webbrowser.open(page)


def _own_page(data: Path, url: str, issue_id: int) -> tuple[str, str]:
    """The address of the issue's page, and the token of the `issuebox dev` that serves it."""
    from issuebox.dev.dev_stack import DevStack  # noqa: PLC0415

    stack = None if url else DevStack.lookup(data)
    if stack is not None:
        return f"{stack.api_url}/status/issues/{issue_id}", stack.api_token
    if not url:
        fail(f"no `issuebox dev` runs on {data}: name its data directory with --data, or the API with --url")
    return f"{url.rstrip('/')}/status/issues/{issue_id}", ""


def _workflow_page(data: Path, namespace: str, name: str) -> str:
    from issuebox.cli.command_line import load_or_fail  # noqa: PLC0415
    from issuebox.dev.dev_stack import DevStack  # noqa: PLC0415
    from issuebox.settings import ApiSettings  # noqa: PLC0415
    from issuebox.temporal.web_ui import workflow_url  # noqa: PLC0415

    stack = None if os.environ.get("TEMPORAL_ADDRESS") else DevStack.lookup(data)
    base = (stack.temporal_ui_url if stack else None) or load_or_fail(ApiSettings).temporal_ui_url
    if not base:
        fail("where Temporal's Web UI is, is not known: set ISSUEBOX_TEMPORAL_UI_URL")
    return workflow_url(base, namespace, name)
