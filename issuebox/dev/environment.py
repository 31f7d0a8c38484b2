"""The environment of the processes that a demo, a test or a benchmark starts: the caller's, cleaned."""

from __future__ import annotations

import os

from issuebox.dev.services import NAMESPACE

SERVERS = ("TEMPORAL_", "DAYTONA_")
"""Prefixes of the variables that select the servers."""


def inherited() -> dict[str, str]:
    """The caller's variables without those that select a Temporal or a Daytona."""
    return _without(*SERVERS)


def bare() -> dict[str, str]:
    """The same without the caller's settings of issuebox, so that only the run's own settings count."""
    return _without(*SERVERS, "ISSUEBOX_")


def to_temporal(address: str, namespace: str = NAMESPACE) -> dict[str, str]:
    """Variables that point a process to this Temporal, whatever the caller's own profiles say."""
    return {"TEMPORAL_ADDRESS": address, "TEMPORAL_NAMESPACE": namespace, "TEMPORAL_CONFIG_FILE": os.devnull}


def _without(*beginnings: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(beginnings)}
