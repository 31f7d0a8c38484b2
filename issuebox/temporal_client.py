"""The connection to Temporal, as Temporal's own environment configuration describes it."""

from __future__ import annotations

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.envconfig import ClientConfig

DEFAULT_ADDRESS = "127.0.0.1:7233"


async def connect(*, lazy: bool = False) -> Client:
    """Connect to ``TEMPORAL_ADDRESS`` and its companions; with `lazy`, at the first call only."""
    config = ClientConfig.load_client_connect_config()
    config.setdefault("target_host", DEFAULT_ADDRESS)
    return await Client.connect(**config, lazy=lazy, data_converter=pydantic_data_converter)
