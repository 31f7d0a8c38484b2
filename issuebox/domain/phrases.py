"""What counts as saying the trigger phrase in a comment."""

from __future__ import annotations

import re


def says(text: str, phrase: str) -> bool:
    """Whether somebody says the phrase: as a whole word in any case, neither quoted nor in code.

    ``@claude-bot``, ``@claude/team`` and ``me@claude.com`` are others.
    """
    pattern = rf"(?<![\w@/-]){re.escape(phrase)}(?![\w/-])"
    return re.search(pattern, _spoken(text), flags=re.IGNORECASE) is not None


# As in CommonMark 0.31, 4.5 and 6.1: an opening fence of backticks has none behind it, a fence is closed by
# one at least as long, and a code span by a run of backticks of the same length.
_FENCE = re.compile(r"\s*(`{3,}(?=[^`]*$)|~{3,})")
_CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)")


def _spoken(text: str) -> str:
    """The text without quoted lines, fenced code and code spans."""
    spoken, fence = [], ""
    for line in text.splitlines():
        if fence:
            mark = line.strip()
            is_closing = len(mark) >= len(fence) and set(mark) == set(fence)
            fence = "" if is_closing else fence
        elif opening := _FENCE.match(line):
            fence = opening[1]
        elif not line.lstrip().startswith(">"):
            spoken.append(_CODE_SPAN.sub(" ", line))
    return "\n".join(spoken)
