"""Turning the metrics on: ours, and those of Temporal's SDK, which Prometheus reads at one address.

The core of the SDK serves its metrics itself, from threads of its own and without Python. It does so at a port of
loopback that nobody else needs to know, and the admin address passes them on behind ours. A buffer in Python, which
the SDK also offers, would cost the event loop work for each of them (temporalio 1.35.0, `MetricBuffer`).
"""

from __future__ import annotations

import socket
from typing import Final

from temporalio.runtime import PrometheusConfig

from issuebox import metrics
from issuebox.temporal.connect import forward_core_log

LOOPBACK: Final = "127.0.0.1"

TRIES_MAX: Final = 10
"""Ports that are tried: between the choice of one and its use, somebody else may take it."""

_core: list[str] = []
"""Where the core of this process shows its metrics, once it does."""


def begin(process: metrics.Process) -> None:
    """Forward the core's log, and count from now on. Call it once per process, before anything connects."""
    metrics.turn_on(process)
    for left in reversed(range(TRIES_MAX)):
        address = f"{LOOPBACK}:{_free_port()}"
        try:
            # Seconds, as all of ours; the SDK adds no second suffix to those that have one.
            forward_core_log(PrometheusConfig(address, durations_as_seconds=True, unit_suffix=True))
        except ValueError:  # The SDK's only word for a port that is taken.
            if not left:
                raise
        else:
            _core[:] = [f"http://{address}/metrics"]
            return


def core_url() -> str:
    """The URL of the core's metrics; '' when it shows none."""
    return "".join(_core)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
