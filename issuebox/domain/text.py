"""Text that others wrote: cleaned and cut where it enters, shown in Markdown, read as a number. Pure.

Lengths are in bytes of UTF-8, because Temporal counts bytes. Clean text has no control characters, so JSON doubles it
at most: a quotation mark or a backslash becomes two bytes. What is cut ends in "…". To clean clean text changes
nothing.

The records that cross a boundary clean their own fields as they are made (`clean`), whoever makes them: an activity,
the API, a signal that somebody typed, or a replay.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from hashlib import sha256

Clean = Callable[[str], str]
"""What makes the text of one field clean."""

_MARKUP = str.maketrans(dict.fromkeys("`<>|[]", "?"))
"""What would make a link, a tag or a table of a name where findings are shown as Markdown."""

_ESCAPED = str.maketrans({mark: f"\\{mark}" for mark in "\\`*[]<>"})
"""What makes emphasis, code, a link, an image or a tag in Markdown, with the backslash that makes it a plain character
(CommonMark 0.31, 2.4)."""

# ECMA-48, 5.4 and 5.6: a control sequence such as a colour, a string such as a window's title, a single control.
_ANSI = re.compile(r"(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]|\x1b[]P^_X][^\x07\x1b]*+(?:\x07|\x1b\\)|\x1b[@-Z\\-_]")

_DIGEST = 12
"""Characters of the digest with which a shortened name ends."""

_HEAD = 8
"""Of a longer text only this many times the limit is read and cleaned. The rest is cut off unread."""


def word(text: str, bytes_max: int) -> str:
    """A name, an ID or a label: as it is, with a question mark for each character that cannot be printed.

    White space at its ends stays, as a question mark: a label with a line end after it is not the label without.
    """
    if len(text) * 4 <= bytes_max and text.isprintable():
        return text
    head = text[: bytes_max + 1]
    shown = head if head.isprintable() else "".join(char if char.isprintable() else "?" for char in head)
    return cut_to_bytes(shown, bytes_max)


def one_line(text: str, bytes_max: int | None = None, *, keeps_markup: bool = False) -> str:
    """The text on one printable line, of `bytes_max` bytes at most.

    Markup and what cannot be printed (line ends, escape sequences, marks that turn the direction of writing) becomes
    a question mark, so that a hostile name stays visible and can do nothing. With `keeps_markup`, for sentences that
    are not shown as Markdown, markup stays, colours and the like are taken out, and a space replaces what else cannot
    be printed.
    """
    head = (text if bytes_max is None else text[: _HEAD * bytes_max]).strip()
    if not head.isprintable():  # What begins a control sequence is not.
        if keeps_markup:
            head = _ANSI.sub("", head)
        stand_in = " " if keeps_markup else "?"
        head = "".join(char if char.isprintable() else stand_in for char in head)
    line = " ".join(head.split())
    if not keeps_markup:
        line = line.translate(_MARKUP)
    if bytes_max is None:
        return line
    return cut_to_bytes(line if len(text) <= _HEAD * bytes_max else f"{line}…", bytes_max)


def prose(text: str, bytes_max: int) -> str:
    """A reason or a title: on one line, with its markup, which `as_markdown` disarms where it is shown."""
    return one_line(text, bytes_max, keeps_markup=True)


def passage(text: str, bytes_max: int) -> str:
    """What a person wrote, with its lines: no other control characters, and nothing that turns the direction of
    writing. What cannot be printed is left out, because an agent reads this as it is."""
    head = text[: bytes_max + 1].replace("\r\n", "\n").replace("\r", "\n")
    if not head.isprintable():
        head = "".join(char for char in head if char in "\n\t" or char.isprintable())
    return cut_to_bytes(head if len(text) <= bytes_max + 1 else f"{head}…", bytes_max)


def as_markdown(text: str) -> str:
    """The line as it may stand in Markdown: it makes no link, no image and no tag there, and reads as it is.

    A bare address may still become a link, which leads where it says.
    """
    return text.translate(_ESCAPED)


def cut_to_bytes(text: str, bytes_max: int) -> str:
    """The text, at most so many bytes in UTF-8. What is longer is cut between two characters and ends in "…"."""
    if len(text) * 4 <= bytes_max:
        return text
    encoded = text.encode(errors="replace")
    if len(encoded) <= bytes_max:
        return text
    return encoded[: bytes_max - len("…".encode())].decode(errors="ignore").rstrip() + "…"


def shortened(name: str, bytes_max: int) -> str:
    """The name, at most so many bytes in UTF-8. A longer one ends with a digest of the whole: it is only compared."""
    encoded = name.encode(errors="replace")
    if len(encoded) <= bytes_max:
        return name
    head = encoded[: bytes_max - _DIGEST - 1].decode(errors="ignore")
    return f"{head}-{sha256(encoded).hexdigest()[:_DIGEST]}"


def json_bytes(text: str) -> int:
    """How many bytes a clean text has as a string of JSON, without its quotation marks: twice its own at most."""
    return len(text.encode()) + text.count('"') + text.count("\\")


def clean(record: object, texts: Mapping[str, Clean]) -> None:
    """Clean these fields of a record that is being made, frozen or not."""
    for name, cleaned in texts.items():
        if text := getattr(record, name):
            object.__setattr__(record, name, cleaned(text))


def number_of(text: str | None) -> float | None:
    """A header's number, 0 at least; None when it is absent, a date, or not finite."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None
