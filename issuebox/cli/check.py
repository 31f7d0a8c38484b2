"""What a process can say about addresses: whether a worker is ready, and whether the API can listen.

`issuebox worker --check` is the health check of a container.
"""

from __future__ import annotations

import sys

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
        body = json.loads(reply.read())
        status, troubles = body["status"], body["troubles"]
    except (OSError, http.client.HTTPException) as error:
        fail(f"the worker at {address} does not answer: {error}", Exit.AWAY)
    except (ValueError, TypeError, KeyError):
        fail(f"what answers at {address} is no worker", Exit.AWAY)
    if reply.status != http.client.OK:
        fail(f"the worker at {address} is not ready: {status}", Exit.NO)
    for trouble in troubles:
        print(f"issuebox: the worker at {address} is ready, but {trouble}", file=sys.stderr)  # noqa: T201
    return Exit.DONE


def cannot_serve(admin_address: str) -> str:
    """Why nobody can listen at the admin address; '' when it is possible, or when there is none."""
    if not admin_address:
        return ""
    host, _, port = admin_address.rpartition(":")
    reason = cannot_listen(host.strip("[]"), int(port), "Give each process of a machine its own")
    return reason and f"ISSUEBOX_ADMIN_ADDRESS={reason}"


def cannot_listen(host: str, port: int, helps: str) -> str:
    """Why nobody can listen there; '' when it is possible. uvicorn would tell it in a line among others."""
    import socket  # noqa: PLC0415

    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
    except OSError as error:
        return f"{host}:{port} cannot be bound: {str(error.strerror).lower()}. {helps}"
    return ""
