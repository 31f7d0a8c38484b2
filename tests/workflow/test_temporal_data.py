"""The payload converter: pydantic's format, and one set of validators for all workflows of a process."""

from __future__ import annotations

from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import JSONPlainPayloadConverter

from issuebox.domain.memory import Memory
from issuebox.temporal.connect import DATA_CONVERTER
from workflows.messages import StartInput

JSON = JSONPlainPayloadConverter().encoding.encode()


def test_every_workflow_shares_the_validators() -> None:
    """The SDK makes a converter for each workflow that it holds: none may build its own validators."""
    first, second = (DATA_CONVERTER.payload_converter_class() for _ in range(2))
    assert first is not second
    assert first.converters[JSON] is second.converters[JSON]


def test_wire_is_that_of_pydantic() -> None:
    """It reads payloads that pydantic's converter wrote, and pydantic's converter reads its payloads."""
    start = StartInput(7, "claude-issue-7", Memory(7, "claude-issue-7"))
    ours, theirs = DATA_CONVERTER.payload_converter_class(), PydanticPayloadConverter()
    assert ours.to_payloads([start]) == theirs.to_payloads([start])
    assert ours.from_payloads(theirs.to_payloads([start]), [StartInput]) == [start]
