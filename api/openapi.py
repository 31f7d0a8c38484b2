"""The OpenAPI document: what FastAPI derives from the routes, made exact for those who generate clients from it.

- Errors are problems, and not FastAPI's own 422.
- An answer has all of its fields. FastAPI takes a field with a default for one that may be missing.
- A query parameter is given or not; it is never null. So is a body.
- Whole numbers have 64 bits: issue IDs have long outgrown 32.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from api.problems import Problem

SERVERS = [{"url": "/", "description": "Where this document comes from"}]

TAGS = [
    {"name": "sandboxes", "description": "An issue's sandbox, and a person's orders for it. With a bearer token."},
    {"name": "runs", "description": "What an issue's agent is asked, and its work. With a bearer token."},
    {"name": "queue", "description": "Who waits for a slot of the installation. With a bearer token."},
    {"name": "issues", "description": "Which issue is meant. With a bearer token."},
    {"name": "webhooks", "description": "What GitHub sends. Signed, without a token."},
    {"name": "health", "description": "For probes. Without a token."},
]

_PARTIAL = frozenset({"Accepted"})
"""Answers that leave out what is null."""

Schema = dict[str, Any]


def install(app: FastAPI) -> None:
    """Have the app serve the corrected document."""
    original = app.openapi

    def openapi() -> Schema:
        if app.openapi_schema is None:
            correct(original())
        assert app.openapi_schema is not None  # noqa: S101 -- `original` sets it
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def correct(document: Schema) -> None:
    """Correct FastAPI's document in place."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for operation in _operations(document):
        _correct_operation(operation)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    sent = _sent(document)
    for name, schema in schemas.items():
        if name not in sent | _PARTIAL and "properties" in schema:
            schema["required"] = list(schema["properties"])
            for field in schema["properties"].values():
                field.pop("default", None)
    schemas["Problem"] = Problem.model_json_schema()
    for schema in _nested(document):
        if schema.get("type") == "integer":
            schema["format"] = "int64"


def _correct_operation(operation: Schema) -> None:
    replies = operation["responses"]
    if "application/json" in replies.get("422", {}).get("content", ()):
        del replies["422"]
    operation["responses"] = dict(sorted(replies.items()))
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _without_null(parameter["schema"])
    for content in operation.get("requestBody", {}).get("content", {}).values():
        content["schema"] = _without_null(content["schema"])


def _without_null(schema: Schema) -> Schema:
    """The schema, which an absent value need not meet."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if not kinds:
        return schema
    return kinds[0] if len(kinds) == 1 else {**schema, "anyOf": kinds}


def _sent(document: Schema) -> set[str]:
    """The names of the schemas of what callers send."""
    bodies = [operation.get("requestBody", {}) for operation in _operations(document)]
    references = [schema.get("$ref", "") for body in bodies for schema in _nested(body)]
    return {reference.rpartition("/")[2] for reference in references}


def _operations(document: Schema) -> Iterator[Schema]:
    for path in document["paths"].values():
        yield from path.values()


def _nested(part: Any) -> Iterator[Schema]:
    """All objects in a part of the document, itself included."""
    if isinstance(part, dict):
        yield part
        for value in part.values():
            yield from _nested(value)
    elif isinstance(part, list):
        for value in part:
            yield from _nested(value)
