"""`issuebox api`: how it runs the server."""

from __future__ import annotations

from typing import Any

import pytest
import uvicorn
from typer.testing import CliRunner

from api import sandboxes, webhooks
from issuebox import logs
from issuebox.cli.app import app
from issuebox.temporal import connect


def test_api_keeps_idle_connections_for_longer_than_proxies_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that keeps connections for 60 s never sends a delivery into one that the API is closing.

    The connections are bounded, and none becomes a web socket. A stop lets every delivery end, and no long wait.
    """
    given: dict[str, Any] = {}

    class Config(uvicorn.Config):
        def __init__(self, app: Any, **options: Any) -> None:
            given.update(options)
            raise SystemExit(0)

    monkeypatch.setattr(uvicorn, "Config", Config)
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    monkeypatch.setattr(connect, "forward_core_log", lambda: None)
    assert CliRunner().invoke(app, ["api", "--port", "8899"]).exit_code == 0
    assert given["port"] == 8899
    assert given["timeout_keep_alive"] > 60
    assert webhooks.ANSWER_WITHIN_S < given["timeout_graceful_shutdown"] < sandboxes.WAIT_MAX_S
    assert (given["http"], given["ws"]) == ("api.connections:BoundedHttp", "none")


def test_api_says_in_one_line_that_temporals_address_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for every wrong setting: no traceback of the framework, and exit code 2."""
    monkeypatch.setattr(logs, "configure", lambda *_: None)
    ran = CliRunner().invoke(app, ["api", "--port", "8899"], env={"TEMPORAL_ADDRESS": "nowhere"})
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr == "issuebox: TEMPORAL_ADDRESS must be host:port, such as 127.0.0.1:7233, not 'nowhere'\n"
