"""What a person says in a Markdown text, without what is quoted, code or hidden.

markdown-it-py reads the text as CommonMark does. Only the rules that tell speech from the rest are on, and they may
be tried only so often: the text comes from strangers, and the API's loop waits for the answer.
"""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

LENGTH_MAX = 65_536
"""Characters that are read: GitHub's own limit for a comment."""

LINES_MAX = 10_000
STEPS_MAX = 5_000
"""How often the rules are tried: some steps for each line, and one for each backtick, backslash and `<`. A log of
64 kB takes 1,000 lines and 4,000 steps; no text takes longer than some 40 ms (2 GHz, Python 3.11)."""

_BLOCKS = ("code", "fence", "blockquote", "hr", "list", "html_block", "heading", "lheading")
_INLINE = ("escape", "backticks", "html_inline")
_OPENERS = re.compile(r"[`\\<]")
"""The characters at which these inline rules begin."""

_HIDING = {"blockquote", "code", "pre", "samp", "script", "style", "textarea"}
"""HTML elements whose text nobody says."""
_TAG = re.compile(r"<(/?)([a-z][a-z0-9-]*)", re.IGNORECASE)
_UNSHOWN = {"<!--": "-->", "<?": "?>", "<![CDATA[": "]]>", "<!": ">"}
"""Openers and closers of HTML that shows nothing; without its closer it hides the rest of its block."""


class TooIntricateError(Exception):
    """Reading the text would take too long."""


def spoken(text: str) -> str:
    """What the text says, with a space for everything else. Raises `TooIntricateError`.

    A line without a `>` of its own counts as said: CommonMark adds it to the quote above, but people who answer
    under a quote rarely leave an empty line.
    """
    # The map of a token counts lines so.
    lines = text[:LENGTH_MAX].replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if len(lines) > LINES_MAX:
        raise TooIntricateError
    environment = {"steps": STEPS_MAX}
    tokens = _PARSER.parse("\n".join(lines), environment)
    said, hidden, quotes = [], 0, 0
    for token in tokens:
        quotes += {"blockquote_open": 1, "blockquote_close": -1}.get(token.type, 0)
        if token.type not in {"inline", "html_block"}:
            continue
        content = token.content if token.type == "inline" else _shown(token.content)
        if quotes:
            content = _unquoted(token, lines)
        for part in _PARSER.inline.parse(content, _PARSER, environment, []):
            hidden = max(0, hidden + _hides(part))
            said.append(part.content if part.type in {"text", "text_special"} and not hidden else " ")
        said.append("\n")
    return "".join(said)


def _shown(html: str) -> str:
    """A block of HTML without the comment or declaration with which it begins."""
    for opener, closer in _UNSHOWN.items():
        if html.lstrip().startswith(opener):
            return html.partition(closer)[2]
    return html


def _unquoted(token: Token, lines: list[str]) -> str:
    """The lines of a quoted paragraph that do not begin with a `>`."""
    first, end = token.map or (0, 0)
    return "\n".join(line for line in lines[first + 1 : end] if not line.lstrip().startswith(">"))


def _hides(part: Token) -> int:
    """How many more of the hiding elements are open after this part: 1, 0 or -1."""
    tag = _TAG.match(part.content) if part.type == "html_inline" else None
    if tag is None or tag[2].lower() not in _HIDING:
        return 0
    return -1 if tag[1] else 1


def _count_block(state: StateBlock, _first: int, _end: int, _silent: bool) -> bool:
    return _count(state)


def _count_inline(state: StateInline, _silent: bool) -> bool:
    return _count(state)


def _count(state: StateBlock | StateInline) -> bool:
    """A rule that never applies, and ends the reading once rules have been tried too often."""
    state.env["steps"] -= 1
    if state.env["steps"] < 0:
        raise TooIntricateError
    return False


def _parser() -> MarkdownIt:
    parser = MarkdownIt("zero", {"html": True, "maxNesting": 20}).enable([*_BLOCKS, *_INLINE])
    parser.core.ruler.enableOnly(["normalize", "block"])
    interrupting = ["paragraph", "reference", "blockquote", "list"]
    parser.block.ruler.before("code", "count", _count_block, {"alt": interrupting})
    parser.inline.ruler.before("escape", "count", _count_inline)
    parser.inline.terminator_re = _OPENERS
    return parser


_PARSER = _parser()
