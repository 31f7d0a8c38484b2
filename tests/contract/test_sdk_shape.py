"""The protected members of the SDK that the provider relies on exist and behave as it expects.

pyproject.toml pins one minor version of the SDK. After raising it, these tests show what to check again.
"""

from __future__ import annotations

import inspect

import pytest
from daytona import AsyncDaytona
from daytona._utils.env import DaytonaEnvReader
from daytona.internal import shared_session

from issuebox.providers.daytona import DaytonaProvider

MEMBERS = (
    "_sandbox_api",
    "_api_client",
    "_shared_session",
    "_subscription_manager",
    "_event_dispatcher",
)


@pytest.mark.parametrize("name", MEMBERS)
def test_client_has_the_member_that_the_provider_uses(provider: DaytonaProvider, name: str) -> None:
    """The test uses a real client, not a mock."""
    assert hasattr(provider._client, name), f"AsyncDaytona lost {name}: see issuebox/providers/daytona_client.py"


def test_hidden_resends_are_switched_off_where_the_sdk_reads_it() -> None:
    """The count is a module constant that the SDK reads at each request."""
    assert shared_session._MAX_CONN_RETRIES == 0
    assert "_MAX_CONN_RETRIES" in inspect.getsource(shared_session)


def test_dotenv_is_read_in_one_place() -> None:
    """Construction reads `.env` only through this method, which the provider replaces."""
    assert isinstance(DaytonaEnvReader.__dict__["_load"], staticmethod)


def test_commands_of_the_generated_client_take_a_deadline(provider: DaytonaProvider) -> None:
    """Without one a call may hang forever."""
    api = provider._client._sandbox_api
    for name in ("get_sandbox", "create_sandbox", "start_sandbox", "stop_sandbox", "delete_sandbox", "replace_labels"):
        assert "_request_timeout" in inspect.signature(getattr(api, name)).parameters


def test_provider_is_the_sdks_own_client(provider: DaytonaProvider) -> None:
    """The provider uses the real SDK, without its waits."""
    assert isinstance(provider._client, AsyncDaytona)
