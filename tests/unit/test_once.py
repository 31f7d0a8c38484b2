"""What tests have in common changes nothing that they see."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, Any

import certifi
import httpx
import pytest
from fastapi import FastAPI, Query
from fastapi._compat import v2
from pydantic import Field, TypeAdapter

from tests import once


async def answers(kind: Any) -> tuple[int, object]:
    """What a new application answers to `?value=5`."""
    app = FastAPI()

    def read(value: Any) -> object:
        return value

    read.__annotations__["value"] = kind
    app.get("/")(read)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
        reply = await client.get("/", params={"value": "5"})
    return reply.status_code, reply.json() if reply.is_success else reply.json()["detail"][0]["type"]


async def test_applications_with_other_parameters_have_other_validators() -> None:
    """By type and by limit."""
    assert v2.TypeAdapter is not TypeAdapter, "nothing is shared"
    assert await answers(Annotated[int, Query(le=5)]) == (200, 5)
    assert await answers(Annotated[int, Query(le=4)]) == (422, "less_than_equal")
    assert await answers(Annotated[str, Query(max_length=5)]) == (200, "5")
    assert await answers(Annotated[str, Query(pattern="6")]) == (422, "string_pattern_mismatch")
    assert await answers(Annotated[float, Query(examples=[[1.0]])]) == (200, 5.0)


@pytest.mark.parametrize("defaults", [(1, True, 1.0), (2, 3), ([4], [5])])
def test_fields_with_other_defaults_have_other_validators(defaults: tuple[object, ...]) -> None:
    """Also where Python calls them equal: 1 is True."""
    for value in defaults:
        found = v2.TypeAdapter(Annotated[Any, Field(default=value)]).get_default_value()
        assert found is not None
        assert (type(found.value), found.value) == (type(value), value)


async def test_same_parameter_has_one_validator(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often an application is made."""
    made: list[object] = []

    def counted(kind: object, **given: Any) -> TypeAdapter[Any]:
        made.append(kind)
        return TypeAdapter(kind, **given)

    monkeypatch.setattr(once, "TypeAdapter", counted)
    once.build_validators(monkeypatch)
    await answers(Annotated[int, Query(le=5)])
    before = len(made)
    await answers(Annotated[int, Query(le=5)])
    assert len(made) == before > 0


@pytest.mark.parametrize("machines", [None, certifi.where()], ids=["none", "one"])
def test_authority_that_a_test_gives_is_trusted(monkeypatch: pytest.MonkeyPatch, machines: str | None) -> None:
    """Without one, a client trusts nobody whom a test could meet, whatever the machine has set."""
    if machines is None:
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    else:
        monkeypatch.setenv("SSL_CERT_FILE", machines)
    file = once.trust_one_authority(monkeypatch)
    try:
        assert file.read_text().count("BEGIN CERTIFICATE") == 1
        assert ssl.create_default_context().get_ca_certs() == []
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert len(ssl.create_default_context().get_ca_certs()) >= 1
    finally:
        Path(file).unlink()
