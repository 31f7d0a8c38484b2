"""``-m live`` against an organization, with a localdaytona in place of the real Daytona."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from localdaytona.testing import running

SUITE = [str(Path(__file__).with_name(name)) for name in ("test_provider.py", "test_admission.py")]
KEY = "dtn_a_key_of_an_organization"


@pytest.mark.timeout(300)
async def test_live_contract_holds_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """With a key the suite runs on that organization, under its own names, and deletes only what it created."""
    async with running(tmp_path / "daytona", api_key=KEY, speed=5) as organization:
        theirs = await organization.admin.create(name="claude-issue-1", labels={"managed-by": "issuebox"})
        code, said = await _suite(organization.api_url, KEY)
        assert code == 0, said
        assert " skipped" not in said
        rows = await organization.admin.sandboxes()
        assert [row.id for row in rows if row.state != "destroyed"] == [theirs.id]
        assert len(rows) >= 8, "each test that creates made its own"
        sent = await organization.admin.journal(kind="request")
        assert {entry.operation for entry in sent if entry.sandbox_id == theirs.id} <= {"list"}
        created = {entry.name or "" for entry in sent if entry.operation == "create"}
        assert created
        assert all(name.startswith("issuebox-contract-") for name in created)


async def test_live_contract_without_a_key_says_what_it_needs() -> None:
    """No request is sent, and each test says why it did not run."""
    code, said = await _suite("http://127.0.0.1:9/api", "")
    assert code == 0, said
    assert " passed" not in said
    assert "needs DAYTONA_API_KEY" in said


async def _suite(api_url: str, key: str) -> tuple[int | None, str]:
    """Run the live suite as a person would. Returns the exit code and the output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DAYTONA_")}
    arguments = ("-m", "pytest", "-m", "live", "-q", "-rs", "-p", "no:cacheprovider", *SUITE)
    suite = await asyncio.create_subprocess_exec(
        sys.executable, *arguments,
        env=environment | {"DAYTONA_API_URL": api_url, "DAYTONA_API_KEY": key, "DAYTONA_TARGET": "us"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await suite.communicate()
    return suite.returncode, said.decode()
