"""Text that others wrote, made fit for one line of a log, an error or a page. Pure."""

from __future__ import annotations

_MARKUP = str.maketrans(dict.fromkeys("`<>|[]", "?"))
"""What would make a link, a tag or a table of a name where findings are shown as Markdown."""


def one_line(text: str, length_max: int) -> str:
    """The text on one printable line of `length_max` characters at most, without markup.

    What cannot be printed (line ends, escape sequences, marks that turn the direction of writing) becomes a
    question mark, so that a hostile name stays visible and can do nothing.
    """
    plain = "".join(char if char.isprintable() else "?" for char in text.strip()).translate(_MARKUP)
    return plain if len(plain) <= length_max else f"{plain[: length_max - 1]}…"
