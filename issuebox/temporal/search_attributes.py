"""Registering the search attributes of `workflows.search_attributes` with a Temporal namespace.

The worker checks that they exist; `issuebox dev` and `issuebox doctor --fix` register them. Names are compared
with their types: a server silently ignores a second registration of a name with another type (dev server 1.29.1).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError

from workflows.search_attributes import ALL

TIMEOUT_S = 10.0
"""Timeout of one check: a worker's start should not hang on a silent server."""

_log = structlog.get_logger("issuebox.worker")


@dataclass(frozen=True, slots=True)
class Registered:
    """How the namespace differs from what is needed: missing names, and names with another type."""

    missing: tuple[str, ...] = ()
    wrong: dict[str, str] = field(default_factory=dict)
    """The type found for each name whose type is not ours, such as ``{"IssueNumber": "Keyword"}``."""

    @property
    def is_complete(self) -> bool:
        """Whether workflows may set all of them."""
        return not self.missing and not self.wrong


def needed() -> dict[str, str]:
    """The type of each search attribute, as the `temporal` and `tcld` commands spell it."""
    return {key.name: _spelled(key.indexed_value_type) for key in ALL}


async def registered(client: Client) -> Registered:
    """What is missing or wrong in the client's namespace. Raises RPCError, for one when listing is not permitted."""
    request = ListSearchAttributesRequest(namespace=client.namespace)
    reply = await client.operator_service.list_search_attributes(request)
    found = {name: _spelled(kind) for name, kind in reply.custom_attributes.items()}
    ours = needed()
    return Registered(
        missing=tuple(name for name in ours if name not in found),
        wrong={name: found[name] for name, kind in ours.items() if name in found and found[name] != kind},
    )


async def register(client: Client) -> Registered:
    """Add what is missing, and return what still differs. Safe to repeat; never changes what exists.

    Raises RPCError: Temporal Cloud, for one, permits this only to its own tools.
    """
    missing = (await registered(client)).missing
    if missing:
        kinds = {key.name: key.indexed_value_type for key in ALL if key.name in missing}
        request = AddSearchAttributesRequest(namespace=client.namespace)
        for name, kind in kinds.items():
            request.search_attributes[name] = IndexedValueType.ValueType(int(kind))
        await client.operator_service.add_search_attributes(request)
    return await registered(client)


async def register_or_say(client: Client, say: Callable[[str], None]) -> None:
    """Register what is missing, or report that it failed: without them only some searches do not work."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            found = await register(client)
    except (RPCError, RuntimeError, TimeoutError) as error:
        say(f"The search attributes cannot be registered ({_why(error)}); `issuebox doctor` says what to do.")
        return
    if not found.is_complete:
        say("Some search attributes have the wrong type; `issuebox doctor` says what to do.")


async def has_search_attributes(client: Client) -> bool:
    """Whether workflows may set all of them. False, with a line in the log, when not or when it is not known."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            found = await registered(client)
    except (RPCError, RuntimeError, TimeoutError) as error:
        _log.warning("search_attributes_missing", reason=_why(error), advice="run `issuebox doctor --fix`")
        return False
    if not found.is_complete:
        _log.warning(
            "search_attributes_missing",
            missing=list(found.missing),
            wrong=found.wrong,
            advice="run `issuebox doctor --fix`",
        )
    return found.is_complete


def _why(error: RPCError | RuntimeError | TimeoutError) -> str:
    if isinstance(error, RPCError):
        return f"{error.status.name}: {error.message}"
    # The SDK raises RuntimeError, with the cause in the text, when it cannot connect.
    return "no answer in time" if isinstance(error, TimeoutError) else str(error)


def _spelled(kind: int) -> str:
    """The name people use: ``INDEXED_VALUE_TYPE_KEYWORD_LIST`` becomes ``KeywordList``."""
    try:
        name = IndexedValueType.Name(IndexedValueType.ValueType(kind))
    except ValueError:  # A newer server's type.
        return f"type {kind}"
    return name.removeprefix("INDEXED_VALUE_TYPE_").title().replace("_", "")
