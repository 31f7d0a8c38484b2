"""Files that are generated and committed: written, or compared with what is there."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from os.path import relpath
from pathlib import Path


def write(files: Mapping[Path, str], command: str, *, is_check: bool) -> int:
    """Write what differs. With `is_check`, only say what does, and by which command it is written. The exit code."""
    stale = [path for path, text in files.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    if stale and is_check:
        sys.stderr.write(f"stale: {', '.join(map(relpath, stale))}; run `{command}`\n")
        return 1
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path], encoding="utf-8")
    return 0
