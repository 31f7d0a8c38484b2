"""How the API connects: Temporal's environment, a start without Temporal, and what it imports."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from issuebox.dev.temporal_server import ensure_binary
from issuebox.temporal.connect import DEFAULT_ADDRESS, TemporalConfigError, connect
from tests.api.conftest import served, settings_for
from tests.api.deliveries import encoded, payload, signed
from tests.waiting import until

IMPORT_MAX_S = 3.0
"""1.3 s of processor time, the interpreter included; the Daytona SDK alone would take 4 to 6 s."""


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the configuration file and variables of the machine that runs the tests."""
    for name in ("TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "TEMPORAL_PROFILE", "TEMPORAL_API_KEY", "TEMPORAL_TLS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "temporal.toml"))


async def test_address_and_namespace_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of the `temporal` CLI work here, too; without them, the dev server's address is used."""
    client = await connect(lazy=True)
    assert (client.service_client.config.target_host, client.namespace) == (DEFAULT_ADDRESS, "default")
    monkeypatch.setenv("TEMPORAL_ADDRESS", "temporal.example:7233")
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "issues")
    client = await connect(lazy=True)
    assert (client.service_client.config.target_host, client.namespace) == ("temporal.example:7233", "issues")


async def test_api_key_turns_tls_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key is never sent over an unencrypted connection."""
    monkeypatch.setenv("TEMPORAL_API_KEY", "a-key")
    config = (await connect(lazy=True)).service_client.config
    assert config.api_key == "a-key"
    assert config.tls


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("TEMPORAL_ADDRESS", "temporal.example", "host:port"),
        ("TEMPORAL_ADDRESS", "http://temporal.example:7233", "host:port"),
        ("TEMPORAL_ADDRESS", "two words:7233", "host:port"),
        ("TEMPORAL_ADDRESS", ":7233", "host:port"),
        ("TEMPORAL_PROFILE", "nobody", "nobody"),
        ("TEMPORAL_TLS_CLIENT_CERT_PATH", "/no/such/file", "/no/such/file"),
    ],
)
async def test_unusable_configuration_says_what_to_change(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    """A mistake in the configuration is one sentence at start-up, not a failed call later."""
    monkeypatch.setenv(name, value)
    with pytest.raises(TemporalConfigError, match=words):
        await connect(lazy=True)


async def test_api_started_without_temporal_recovers_when_it_comes(closed_address: str, issue_id: int) -> None:
    """No restart is needed: a delivery gets a 503 while Temporal is down, and is stored once it is up."""
    body = encoded(payload(issue_id))
    async with served(closed_address, settings_for(f"queue-{issue_id}")) as api:

        async def delivered() -> int:
            return (await api.client.post("/webhooks/github", content=body, headers=signed(body))).status_code

        assert await delivered() == 503
        async with await WorkflowEnvironment.start_local(
            port=int(closed_address.rpartition(":")[2]),
            dev_server_existing_path=str(await ensure_binary()),
            dev_server_log_level="error",
        ):
            assert await until(delivered, lambda status: status == 202, "the delivery stored") == 202


async def test_broken_configuration_stops_the_start(monkeypatch: pytest.MonkeyPatch, closed_address: str) -> None:
    """The API fails at once, with the sentence, instead of answering every call with a 500."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", "temporal.example")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "issuebox", "api", "--port", closed_address.rpartition(":")[2]),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, output = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode
    assert b"TEMPORAL_ADDRESS must be host:port" in output


async def test_api_is_imported_quickly_and_without_the_daytona_sdk() -> None:
    """The API starts quickly and, even indirectly, does not import the SDK.

    The limit is processor time, so that other load on the machine does not count.
    """
    program = (
        "import sys, time; import api.app; print(time.process_time());"
        "print([name for name in sys.modules if 'daytona' in name or name.startswith('issuebox.providers')])"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    took_s, found = output.decode().splitlines()
    assert found == "[]"
    assert float(took_s) < IMPORT_MAX_S
