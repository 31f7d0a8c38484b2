"""The connection to Temporal, as Temporal's own environment configuration describes it.

The SDK reads ``TEMPORAL_ADDRESS``, ``TEMPORAL_NAMESPACE``, ``TEMPORAL_API_KEY``, ``TEMPORAL_TLS*`` and profiles
(`temporalio.envconfig`), so that the `temporal` CLI and issuebox use the same cluster.

Values become payloads by pydantic's JSON, and the whole process shares the type adapters. The SDK makes a payload
converter for each workflow that a worker holds, and `PydanticPayloadConverter` (temporalio 1.35.0,
`contrib/pydantic.py`) caches its type adapters in the instance: each issue's workflow would build its own validator
for each message type, and keep it for as long as the workflow is cached.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.client import Client, Interceptor
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import CompositePayloadConverter, DataConverter
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.runtime import LogForwardingConfig, LoggingConfig, PrometheusConfig, Runtime, TelemetryConfig
from temporalio.service import RPCError

from issuebox.domain.text import one_line
from workflows.messages import SIGNALS, Unreadable

_SHARED = PydanticPayloadConverter()
_SIGNALLED = [hint for kind in (Unreadable, *itertools.chain(*SIGNALS.values())) for hint in (kind, kind | None)]
"""The types of what signals carry, as the SDK takes them from the handlers."""


class SharedPydanticPayloadConverter(CompositePayloadConverter):
    """`PydanticPayloadConverter` on the wire; all instances in a process share their type adapters."""

    def __init__(self) -> None:
        super().__init__(*_SHARED.converters.values())

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        """The values. A signal's arguments that cannot be read are `Unreadable`, for `workflows.signal_guard`.

        So is what has no type: the SDK asks for none where the number of arguments does not match.
        """
        try:
            return super().from_payloads(payloads, type_hints)
        except (ValueError, KeyError, RuntimeError):
            if all(hint in _SIGNALLED for hint in type_hints or ()):
                return [Unreadable()] * len(payloads)
            raise


DATA_CONVERTER = DataConverter(payload_converter_class=SharedPydanticPayloadConverter)
"""The data converter of every client and worker of ours."""


REASON_MAX = 300
DEFAULT_ADDRESS = "127.0.0.1:7233"
# The SDK accepts more (1.35.0): a host without a port silently means port 80, a URL draws a warning, and
# with a lazy connection neither shows before the first call.
_ADDRESS = re.compile(r"([^\s/:]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")


_PEMS = {
    "server_root_ca_cert": ("TEMPORAL_TLS_SERVER_CA_CERT_", "CERTIFICATE"),
    "client_cert": ("TEMPORAL_TLS_CLIENT_CERT_", "CERTIFICATE"),
    "client_private_key": ("TEMPORAL_TLS_CLIENT_KEY_", "PRIVATE KEY"),
}
"""What the SDK sends on unread, by its field: the beginning of the variable, and what the PEM text has to hold.

The SDK reports another text as a failed connection, or not at all (1.35.0).
"""


class TemporalConfigError(ValueError):
    """Temporal's environment configuration is unusable; the text says what to change."""


async def connect(
    *, lazy: bool = False, environment: Mapping[str, str] | None = None, interceptors: Sequence[Interceptor] = ()
) -> Client:
    """Connect to the Temporal that the variables name; with `lazy`, not before the first call.

    They are read from `environment` when it is given, else from the process's environment. A lazy client tries
    again with each call, so that the API starts even when Temporal is down. Raises `TemporalConfigError`, and
    without `lazy` the SDK's RuntimeError when Temporal cannot be reached.
    """
    return await Client.connect(
        **configuration(environment), lazy=lazy, data_converter=DATA_CONVERTER, interceptors=interceptors
    )


def forward_core_log(metrics: PrometheusConfig | None = None) -> None:
    """Forward the log of the SDK's core to Python's logging. Call it once per process, before anything connects.

    With `metrics`, the core also shows those. Raises ValueError when it cannot bind their address.

    By default the core writes to standard output from its own threads, in colours, and blocks on a slow reader.
    Forwarding drops lines while 2,048 wait, and passes their fields as `temporal_log`, which `issuebox.logs`
    unpacks (temporalio 1.35.0, bridge/src/runtime.rs).
    """
    forwarding = LogForwardingConfig(
        logging.getLogger("temporalio.core"),
        append_target_to_name=False,
        prepend_target_on_message=False,
        append_log_fields_to_message=False,
    )
    telemetry = TelemetryConfig(logging=replace(LoggingConfig.default, forwarding=forwarding), metrics=metrics)
    Runtime.set_default(Runtime(telemetry=telemetry))


def reason_of(error: Exception) -> str:
    """Why Temporal could not be reached, or what it answered, on one line."""
    if isinstance(error, RPCError):
        return f"Temporal answered {error.status.name}: {_line(error.message)}"
    if isinstance(error, TemporalConfigError):
        return str(error)
    # The SDK wraps the system's message in the names of its own parts (1.35.0).
    message = re.search(r'message: "([^"]+)"', str(error))
    return f"no connection to Temporal: {_line(message[1] if message else str(error))}"


def _line(text: str) -> str:
    return one_line(text, REASON_MAX, keeps_markup=True)


def configuration(environment: Mapping[str, str] | None = None) -> ClientConnectConfig:
    """The SDK's connection settings: address, namespace, TLS, key. Raises `TemporalConfigError`."""
    given = None if environment is None else dict(environment)
    try:
        config = ClientConfig.load_client_connect_config(override_env_vars=given)
    except (OSError, RuntimeError, ValueError) as error:  # A file, a profile, a value: the SDK has no class for them.
        raise TemporalConfigError(
            f"Temporal's configuration (TEMPORAL_*) cannot be loaded: {_line(str(error))}"
        ) from error
    _require_pems(config.get("tls"))
    address = config.setdefault("target_host", DEFAULT_ADDRESS)
    if not _ADDRESS.fullmatch(str(address)):
        raise TemporalConfigError(f"TEMPORAL_ADDRESS must be host:port, such as {DEFAULT_ADDRESS}, not {address!r}")
    return config


def _require_pems(tls: object) -> None:
    for field, (variable, label) in _PEMS.items():
        text = getattr(tls, field, None)
        if text and not re.search(rb"-----BEGIN (\w+ )*%b-----" % label.encode(), text):
            raise TemporalConfigError(f"{variable}DATA or {variable}PATH has to be a PEM text with a {label.lower()}")
