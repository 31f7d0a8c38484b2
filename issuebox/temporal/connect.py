"""The connection to Temporal, as Temporal's own environment configuration describes it.

``TEMPORAL_ADDRESS``, ``TEMPORAL_NAMESPACE``, ``TEMPORAL_API_KEY``, ``TEMPORAL_TLS*`` and profiles are read
by the SDK (`temporalio.envconfig`), so that the `temporal` CLI and issuebox mean the same cluster.

Values become payloads by pydantic's JSON, with the type adapters shared by the process: the SDK makes a payload
converter for each workflow that a worker holds, and `PydanticPayloadConverter` (temporalio 1.35.0,
`contrib/pydantic.py`) caches its type adapters in the instance. So each issue's workflow would build, and keep for
as long as it stays cached, a validator of its own for each message type.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import replace

from temporalio.client import Client
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import CompositePayloadConverter, DataConverter
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig

_SHARED = PydanticPayloadConverter()


class SharedPydanticPayloadConverter(CompositePayloadConverter):
    """`PydanticPayloadConverter` on the wire; all instances in a process share what they have learned of types."""

    def __init__(self) -> None:
        super().__init__(*_SHARED.converters.values())


DATA_CONVERTER = DataConverter(payload_converter_class=SharedPydanticPayloadConverter)
"""For every client and worker of ours."""


DEFAULT_ADDRESS = "127.0.0.1:7233"
# The SDK takes more (1.35.0): a host without a port silently means port 80, a URL draws a warning, and
# with a lazy connection neither shows before the first call.
_ADDRESS = re.compile(r"([^\s/:]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


class TemporalConfigError(ValueError):
    """Temporal's environment configuration cannot be used; the text says what to change."""


async def connect(*, lazy: bool = False, environment: Mapping[str, str] | None = None) -> Client:
    """Connect to ``TEMPORAL_ADDRESS`` and its companions; with `lazy`, at the first call only.

    They are read from `environment` when one is given, else from that of the process. A lazy client tries
    again with each call, so that the API starts although Temporal is down. Raises `TemporalConfigError`, and
    without `lazy` the SDK's RuntimeError when Temporal is not reached.
    """
    return await Client.connect(**configuration(environment), lazy=lazy, data_converter=DATA_CONVERTER)


def forward_core_log() -> None:
    """Have what the SDK's core says go through Python's logging. Once per process, before anything connects.

    Left alone it writes to standard output from its own threads, in colours, and waits for whoever reads that.
    Forwarded, a line is dropped where 2,048 wait, and its fields come as `temporal_log`, which `issuebox.logs`
    unpacks (temporalio 1.35.0, bridge/src/runtime.rs).
    """
    forwarding = LogForwardingConfig(
        logging.getLogger("temporalio.core"),
        append_target_to_name=False,
        prepend_target_on_message=False,
        append_log_fields_to_message=False,
    )
    telemetry = TelemetryConfig(logging=replace(LoggingConfig.default, forwarding=forwarding))
    Runtime.set_default(Runtime(telemetry=telemetry))


def configuration(environment: Mapping[str, str] | None = None) -> ClientConnectConfig:
    """What the SDK is connected with: address, namespace, TLS, key. Raises `TemporalConfigError`."""
    given = None if environment is None else dict(environment)
    try:
        config = ClientConfig.load_client_connect_config(override_env_vars=given)
    except (OSError, RuntimeError, ValueError) as error:  # A file, a profile, a value: the SDK has no class for them.
        raise TemporalConfigError(f"Temporal's configuration (TEMPORAL_*) cannot be loaded: {error}") from error
    address = config.setdefault("target_host", DEFAULT_ADDRESS)
    if not _ADDRESS.fullmatch(str(address)):
        raise TemporalConfigError(f"TEMPORAL_ADDRESS must be host:port, such as {DEFAULT_ADDRESS}, not {address!r}")
    return config
