"""`issuebox worker --check`: asks a running worker whether it is ready, for the health check of a container."""

from __future__ import annotations

from issuebox.cli.command_line import Exit, fail, load_or_fail

TIMEOUT_S = 4.0
"""Longer than the worker waits for Temporal, and shorter than a container engine waits for the check."""


def check_worker() -> Exit:
    """0 when the worker at the admin address is ready; otherwise a line on standard error says why it is not."""
    import http.client  # noqa: PLC0415
    import json  # noqa: PLC0415

    from issuebox.settings import WorkerSettings  # noqa: PLC0415

    address = load_or_fail(WorkerSettings).admin_address
    if not address:
        fail("ISSUEBOX_ADMIN_ADDRESS is not set: the worker answers no checks")
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        reply = connection.getresponse()
        status = json.loads(reply.read())["status"]
    except (OSError, http.client.HTTPException) as error:
        fail(f"the worker at {address} does not answer: {error}", Exit.AWAY)
    except (ValueError, TypeError, KeyError):
        fail(f"what answers at {address} is no worker", Exit.AWAY)
    if reply.status != http.client.OK:
        fail(f"the worker at {address} is not ready: {status}", Exit.NO)
    return Exit.DONE
