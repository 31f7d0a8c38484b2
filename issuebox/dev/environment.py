"""What the processes of a run are started with: the caller's environment without what would lead the run astray."""

from __future__ import annotations

import os

from issuebox.dev.services import NAMESPACE

SERVERS = ("TEMPORAL_", "DAYTONA_")
"""Beginnings of the variables that say which servers are meant."""


def inherited() -> dict[str, str]:
    """The caller's variables, but for those that say which Temporal and which Daytona are meant."""
    return _without(*SERVERS)


def bare() -> dict[str, str]:
    """The same without the caller's settings of issuebox: a run depends on its own and on nobody else's."""
    return _without(*SERVERS, "ISSUEBOX_")


def to_temporal(address: str, namespace: str = NAMESPACE) -> dict[str, str]:
    """What leads a process to this Temporal, whatever the caller's own profiles say."""
    return {"TEMPORAL_ADDRESS": address, "TEMPORAL_NAMESPACE": namespace, "TEMPORAL_CONFIG_FILE": os.devnull}


def _without(*beginnings: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(beginnings)}
