"""Redaction: known secrets, and what looks like one, become asterisks in the output of a job. Pure.

A byte becomes one asterisk, so that positions stay as they are. Whether it does depends only on the bytes around it,
`Redaction.reach` on either side: two processes that read the same output in other slices write the same.

Known secrets are found as they are, URL-encoded, in base64 and as JSON has them. Other forms (in hexadecimal, split
over lines, backwards) are not found.
"""

from __future__ import annotations

import base64
import json
import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

RAW_BYTES_MIN = 6
"""Shorter values are taken for settings: a job that gets `1` may write it."""
ENCODED_BYTES_MIN = 8

PIECE_BYTES = 256
"""A longer value is looked for in pieces of this length."""

SHAPES = ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "sk-ant-", "sk-proj-", "dtn_")
"""How tokens of GitHub, Anthropic, OpenAI and Daytona begin."""
SHAPE_BYTES_MIN, SHAPE_BYTES_MAX = 16, 255
"""Of a token, after its beginning."""

MASK = b"*"

_UNRESERVED = (string.ascii_letters + string.digits + "_.-~").encode()

_SHAPES = tuple(shape.encode() for shape in SHAPES)
_REST = re.compile(rb"[A-Za-z0-9_.-]{0,%d}" % SHAPE_BYTES_MAX)


@dataclass(frozen=True, slots=True)
class Redaction:
    """What is taken out. ``forms`` are the secrets in each of their forms."""

    forms: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, secrets: Iterable[str]) -> Redaction:
        """The redaction of these values, and of what looks like a token."""
        forms = {form for secret in secrets for piece in _pieces(secret) for form in _forms(piece)}
        return cls(tuple(sorted(forms)))

    @property
    def reach(self) -> int:
        """How many bytes on either side decide whether one becomes an asterisk."""
        longest = max(map(len, _SHAPES)) + SHAPE_BYTES_MAX
        return max([longest, *map(len, self.forms)])

    def masked(self, window: bytes) -> bytes:
        """The bytes, as many as before. Those of a secret that the window does not show whole may stay."""
        masked = bytearray(window)
        for start, end in self._found(window):
            masked[start:end] = MASK * (end - start)
        return bytes(masked)

    def held(self, window: bytes) -> int:
        """How many bytes at the end may turn out to be the beginning of a secret."""
        return max(map(len, self._beginnings(window)), default=0)

    def text(self, text: str) -> str:
        """The text, with asterisks for its secrets."""
        return self.masked(text.encode(errors="replace")).decode(errors="replace")

    def _found(self, window: bytes) -> Iterator[tuple[int, int]]:
        for form in self.forms:
            for start in _places(form, window):
                yield start, start + len(form)
        for shape in _SHAPES:
            for start in _places(shape, window):
                rest = _REST.match(window, start + len(shape))
                if rest and len(rest[0]) >= SHAPE_BYTES_MIN:
                    yield start, rest.end()

    def _beginnings(self, window: bytes) -> Iterator[bytes]:
        for form in (*self.forms, *_SHAPES):
            yield _begun(form, window)
        for shape in _SHAPES:
            for start in _places(shape, window[-len(shape) - SHAPE_BYTES_MIN :]):
                end = window[-len(shape) - SHAPE_BYTES_MIN :][start:]
                if len(end) < len(shape) + SHAPE_BYTES_MIN and _REST.fullmatch(end, len(shape)):
                    yield end


def _places(form: bytes, window: bytes) -> Iterator[int]:
    """Where the form begins, also within itself."""
    start = window.find(form)
    while start >= 0:
        yield start
        start = window.find(form, start + 1)


def _begun(form: bytes, window: bytes) -> bytes:
    """The longest end of the window with which the form begins, but is not whole."""
    last = window[-1:]
    lengths = (at + 1 for at in range(min(len(form) - 1, len(window)) - 1, -1, -1) if form[at : at + 1] == last)
    return next((form[:length] for length in lengths if window.endswith(form[:length])), b"")


def _pieces(secret: str) -> Iterator[bytes]:
    """The value, and its lines. What is long comes in pieces, each of which is long enough."""
    for text in {secret.strip(), *map(str.strip, secret.splitlines())}:
        value = text.encode(errors="replace")
        count = max(1, len(value) // PIECE_BYTES)
        for at in range(count):
            piece = value[at * PIECE_BYTES : (at + 1) * PIECE_BYTES if at + 1 < count else None]
            if len(piece) >= RAW_BYTES_MIN:
                yield piece


def _forms(piece: bytes) -> Iterator[bytes]:
    yield piece
    encoded = {_percent_encoded(piece, safe) for safe in (b"", b"/", b"!'()*")}
    encoded.add(_percent_encoded(piece, b" ").replace(b" ", b"+"))
    encoded |= {re.sub(rb"%[0-9A-F]{2}", lambda found: found[0].lower(), form) for form in encoded}
    encoded |= {json.dumps(piece.decode(errors="replace"), ensure_ascii=flag)[1:-1].encode() for flag in (True, False)}
    for form in (*encoded, *_in_base64(piece)):
        if len(form) >= ENCODED_BYTES_MIN:
            yield form


def _percent_encoded(piece: bytes, safe: bytes) -> bytes:
    """As in a URL, with what RFC 3986 calls unreserved and `safe` as they are."""
    return b"".join(bytes((byte,)) if byte in _UNRESERVED + safe else b"%%%02X" % byte for byte in piece)


def _in_base64(piece: bytes) -> Iterator[bytes]:
    """What of the base64 is the value's alone, wherever in a longer text the value begins."""
    for before in range(3):
        digits = base64.b64encode(b"\0" * before + piece).rstrip(b"=")
        is_cut = (before + len(piece)) % 3 != 0
        own = digits[(0, 2, 3)[before] : len(digits) - is_cut]
        yield own
        yield own.translate(bytes.maketrans(b"+/", b"-_"))
