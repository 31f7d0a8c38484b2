"""The page that describes the API: the OpenAPI document as HTML, without a script.

FastAPI's own pages load Swagger UI or ReDoc from a host that is not ours, and such a script could read the token
that the status page keeps in the same tab.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from api import pages

Schema = Mapping[str, Any]
"""A part of the OpenAPI document."""


def router(document: Callable[[], Schema]) -> APIRouter:
    """``/docs``. The page needs no token."""
    routes = APIRouter(include_in_schema=False)
    style, page = pages.part("docs", "page.css"), pages.part("docs", "page.html")
    headers = pages.headers(style)

    @cache
    def whole() -> str:
        described = document()
        return (
            page.replace("{style}", style)
            .replace("{title}", html.escape(f"{described['info']['title']} {described['info']['version']}"))
            .replace("{description}", _prose(described["info"]["description"]))
            .replace("{operations}", "".join(_operations(described)))
            .replace("{schemas}", "".join(_schemas(described)))
        )

    @routes.get("/docs")
    async def docs() -> HTMLResponse:
        return HTMLResponse(whole(), headers=headers)

    return routes


def _operations(document: Schema) -> Iterator[str]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"<section><h2><b>{method.upper()}</b> <code>{html.escape(path)}</code></h2>"
            yield f"<p><strong>{html.escape(operation['summary'])}</strong></p>"
            yield _prose(operation.get("description", ""))
            yield _table("Parameters", map(_parameter, operation.get("parameters", ())))
            yield _table("Body", _contents(operation.get("requestBody", {})))
            yield _table("Answers", map(_answer, operation["responses"].items()))
            yield "</section>"


def _schemas(document: Schema) -> Iterator[str]:
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield f'<section id="{html.escape(name)}"><h2>{html.escape(name)}</h2>{_prose(schema.get("description", ""))}'
        if "enum" in schema:
            yield f"<p>{_type(schema)}</p>"
        required = schema.get("required", ())
        rows = ((key, _type(value), key in required, value) for key, value in schema.get("properties", {}).items())
        yield _table("Fields", (_row(*row) for row in rows))
        yield "</section>"


def _parameter(parameter: Schema) -> str:
    name, schema = f"{parameter['name']} ({parameter['in']})", parameter["schema"]
    return _row(name, _type(schema), bool(parameter.get("required")), schema | parameter)


def _contents(body: Schema) -> Iterator[str]:
    for media_type, content in body.get("content", {}).items():
        yield _row(media_type, _type(content["schema"]), bool(body.get("required")), content["schema"])


def _answer(answer: tuple[str, Schema]) -> str:
    status, response = answer
    content = response.get("content", {}).values()
    kinds = " or ".join(_type(each["schema"]) for each in content if each.get("schema"))
    return _row(f"{status} {HTTPStatus(int(status)).phrase}", kinds, is_required=False, described=response)


def _table(title: str, rows: Iterator[str]) -> str:
    filled = "".join(rows)
    return f"<h3>{title}</h3><table>{filled}</table>" if filled else ""


def _row(name: str, kind: str, is_required: bool, described: Schema) -> str:
    """One line; `kind` is HTML already."""
    notes = [f"<p>{kind}{', required' if is_required else ''}</p>", _prose(str(described.get("description", "")))]
    if "default" in described:
        notes.append(f"<p>Default: <code>{html.escape(repr(described['default']))}</code></p>")
    return f"<tr><th><code>{html.escape(name)}</code></th><td>{''.join(notes)}</td></tr>"


def _type(schema: Schema) -> str:
    """The type in words, as HTML; another schema is a link to its section."""
    if "$ref" in schema:
        name = html.escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if choices := schema.get("anyOf"):
        return " or ".join(map(_type, choices))
    if "enum" in schema:
        return ", ".join(f"<code>{html.escape(str(value))}</code>" for value in schema["enum"])
    if "items" in schema:
        return f"list of {_type(schema['items'])}"
    words = [str(schema.get("format") or schema.get("const") or schema.get("type", "anything"))]
    words += [f"{word} {schema[key]}" for key, word in _BOUNDS.items() if key in schema]
    return html.escape(", ".join(words))


_BOUNDS = {
    "minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below",
    "maxLength": "length at most", "pattern": "as",
}  # fmt: skip


def _prose(text: str) -> str:
    """The paragraphs of a description; text between backticks is code."""
    paragraphs = (html.escape(paragraph) for paragraph in text.split("\n\n") if paragraph)
    return "".join(f"<p>{_CODE.sub(_AS_CODE, paragraph)}</p>" for paragraph in paragraphs)


_CODE, _AS_CODE = re.compile("`([^`]+)`"), r"<code>\1</code>"
