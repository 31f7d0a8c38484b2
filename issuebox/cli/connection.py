"""The Temporal that a command talks to: as the environment says, else that of a running `issuebox dev`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from issuebox.dev.dev_stack import temporal_environment
from issuebox.settings import ApiSettings
from issuebox.temporal.connect import configuration, connect
from issuebox.temporal.issues import Temporal

TIMEOUT_S = 8.0
"""Most that a call to Temporal takes, a worker gets half of it: a person waits longer than GitHub does."""


@dataclass(frozen=True, slots=True)
class Connection:
    """An open way to Temporal; `place` says for people where it leads."""

    temporal: Temporal
    settings: ApiSettings
    place: str


def open_connection(data_dir: Path) -> Connection:
    """A connection that is made with the first call. Raises ValidationError and TemporalConfigError."""
    environment = temporal_environment(data_dir)
    config = configuration(environment)
    settings = ApiSettings().model_copy(update={"temporal_timeout_s": TIMEOUT_S})
    return Connection(
        Temporal(lambda: connect(lazy=True, environment=environment), settings),
        settings,
        place=f"{config['target_host']}, namespace {config.get('namespace', 'default')}",
    )
