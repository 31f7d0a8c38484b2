"""Text that others wrote: as one line of a log, an error or a page, cut to a length, read as a number. Pure."""

from __future__ import annotations

import math

_MARKUP = str.maketrans(dict.fromkeys("`<>|[]", "?"))
"""What would make a link, a tag or a table of a name where findings are shown as Markdown."""


def one_line(text: str, length_max: int | None = None, *, keeps_markup: bool = False) -> str:
    """The text on one printable line, of `length_max` characters at most.

    Markup and what cannot be printed (line ends, escape sequences, marks that turn the direction of writing) becomes
    a question mark, so that a hostile name stays visible and can do nothing. With `keeps_markup`, for sentences that
    are not shown as Markdown, markup stays, and a space replaces what cannot be printed.
    """
    stand_in = " " if keeps_markup else "?"
    line = " ".join("".join(char if char.isprintable() else stand_in for char in text.strip()).split())
    if not keeps_markup:
        line = line.translate(_MARKUP)
    return line if length_max is None or len(line) <= length_max else f"{line[: length_max - 1]}…"


def cut_to_bytes(text: str, bytes_max: int) -> str:
    """The beginning of the text, at most so many bytes in UTF-8. No character is cut in two."""
    return text.encode(errors="ignore")[:bytes_max].decode(errors="ignore")


def number_of(text: str | None) -> float | None:
    """A header's number, 0 at least; None when it is absent, a date, or not finite."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None
