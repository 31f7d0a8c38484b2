"""A stand-in for an agent, for `issuebox demo` and for tests: no key, no account, no model.

Only its text is used here. It is put into a sandbox as the executable `~/.local/bin/claude`, where the preset `claude`
finds it before any other, and it needs nothing there but Python 3.
"""

from __future__ import annotations

from importlib.resources import files


def text_of_fake_agent() -> str:
    """The text of the executable."""
    return files(__name__).joinpath("fake_claude.py").read_text("utf-8")
