"""What all HTML pages of the API share: each is one piece, and its policy allows it nothing else.

The status page keeps the API token of its tab. So no page loads anything from elsewhere, runs a script that is not
its own, or appears in a frame; only the status page has a script at all.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files


def part(room: str, name: str) -> str:
    """A file of the folder `room`, as text."""
    return (files("api") / room / name).read_text("utf-8")


def headers(style: str, script: str = "") -> dict[str, str]:
    """Headers that let a browser use this style and this script, and no other. Without a script, none runs."""
    running = (
        f"script-src '{_digest(script)}'",
        "connect-src 'self'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
    policy = (
        "default-src 'none'",
        f"style-src '{_digest(style)}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        *(running if script else ()),
    )
    return {
        "Content-Security-Policy": "; ".join(policy),
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
