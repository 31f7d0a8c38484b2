"""Reading the JSON that an agent writes, which anybody in the sandbox may have written instead. Pure.

Each function returns an empty value for what is not of its type or beyond its limit. None raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

COUNT_MAX = 999_999_999
COST_MAX_USD = 1_000_000.0

Event = Mapping[str, object]


def events(out: bytes) -> Iterator[Event]:
    """The objects among the lines of an output."""
    return filter(None, map(json_object, out.split(b"\n")))


def json_object(data: bytes) -> Event:
    """The JSON object that the bytes are."""
    try:
        return event_of(json.loads(data)) if data.lstrip()[:1] == b"{" else {}
    except (ValueError, RecursionError):  # lists in lists without end
        return {}


def event_of(value: object) -> Event:
    """The value as an object."""
    return value if isinstance(value, dict) else {}


def items(event: Event, key: str) -> list[object]:
    """A field that is a list."""
    value = event.get(key)
    return value if isinstance(value, list) else []


def text(event: Event, key: str) -> str:
    """A field that is a text, as it was written: clean it before it is shown or kept."""
    value = event.get(key)
    return value if isinstance(value, str) else ""


def count(event: Event, key: str) -> int:
    """A field that counts something."""
    value = event.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return value if 0 <= value <= COUNT_MAX else 0


def amount(event: Event, key: str) -> float:
    """A field in US dollars. NaN and infinity are none."""
    value = event.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(value) if 0 <= value <= COST_MAX_USD else 0.0


_NAME = re.compile(r"[\w.:-]{1,64}", re.ASCII)


def name(event: Event, key: str) -> str:
    """A field that is a tool's name or a session's ID."""
    value = text(event, key)
    return value if _NAME.fullmatch(value) else ""


# A little less than git-check-ref-format(1) allows.
_BRANCH = re.compile(r"(?!.*(?:\.\.|//|@\{|/\.|\.lock(?:/|\Z)))(?![-/.])[^\s~^:?*\[\\]{1,200}(?<![/.])")


def branch(event: Event, key: str) -> str:
    """A field that is a branch's name."""
    value = text(event, key)
    return value if value.isprintable() and _BRANCH.fullmatch(value) else ""


_NUMBER = re.compile(r"#?([1-9]\d{0,8})", re.ASCII)
_ADDRESS = re.compile(r"https://[\w.-]{1,100}(?::\d{1,5})?/[\w.-]{1,100}/[\w.-]{1,100}/pull/[1-9]\d{0,8}", re.ASCII)


def pull_request(event: Event, key: str) -> str:
    """A field that is a pull request's number or its address."""
    value = text(event, key) or str(count(event, key))
    number = _NUMBER.fullmatch(value)
    if number:
        return number[1]
    return value if _ADDRESS.fullmatch(value) else ""
