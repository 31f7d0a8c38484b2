"""How values become Temporal's payloads and back: pydantic's JSON, with the type adapters shared by the process.

The SDK makes a payload converter for each workflow that a worker holds, and `PydanticPayloadConverter`
(temporalio 1.35.0, `contrib/pydantic.py`) caches its type adapters in the instance. So each issue's workflow
would build, and keep for as long as it stays cached, a validator of its own for each message type.
"""

from __future__ import annotations

from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import CompositePayloadConverter, DataConverter

_SHARED = PydanticPayloadConverter()


class SharedPydanticPayloadConverter(CompositePayloadConverter):
    """`PydanticPayloadConverter` on the wire; all instances in a process share what they have learned of types."""

    def __init__(self) -> None:
        super().__init__(*_SHARED.converters.values())


DATA_CONVERTER = DataConverter(payload_converter_class=SharedPydanticPayloadConverter)
"""For every client and worker of ours."""
