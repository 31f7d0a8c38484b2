"""A kept copy of a sandbox's files, and how it takes their place. No HTTP, no states.

`cp` makes the copies, because it keeps links, pipes, modes and times.
"""

import asyncio
import os
import shutil
import uuid
from pathlib import Path

# What a sandbox sees. Beside them lie the pipes of its sessions, and the kept copy.
PARTS = ("home", "root")
KEPT = "kept"
# A running sandbox removes files while they are copied.
VANISHED = "No such file or directory"


async def keep(directory: Path) -> None:
    """Copy a sandbox's files; the copy replaces an earlier one. Raises OSError."""
    fresh = await _copied(directory, directory)
    removed = _replace(directory / KEPT, fresh)
    await discard(removed)


def is_kept(directory: Path) -> bool:
    """Return whether there is a copy."""
    return (directory / KEPT).is_dir()


async def staged(directory: Path) -> Path:
    """Return a copy of the kept copy, which `restore` or `discard` takes. Raises OSError."""
    return await _copied(directory / KEPT, directory)


async def restore(directory: Path, fresh: Path) -> None:
    """Put a staged copy in place. Nothing else of the server runs between the first file's change and the last's."""
    removed = [_replace(directory / part, fresh / part) for part in PARTS]
    await discard(fresh, *removed)


async def discard(*places: Path) -> None:
    """Remove what is not needed any more."""
    for place in places:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


def _replace(place: Path, fresh: Path) -> Path:
    """Move a directory to a place, and return where the one is now that was there."""
    removed = place.parent / f"removed-{uuid.uuid4().hex}"
    if place.exists():
        place.rename(removed)
    fresh.rename(place)
    return removed


async def _copied(source: Path, directory: Path) -> Path:
    fresh = directory / f"copy-{uuid.uuid4().hex}"
    fresh.mkdir()
    parts = (str(source / part) for part in PARTS)
    english = {**os.environ, "LC_ALL": "C"}
    pipe = asyncio.subprocess.PIPE
    copying = await asyncio.create_subprocess_exec("cp", "-a", *parts, str(fresh), stderr=pipe, env=english)
    _, said = await copying.communicate()
    failures = [line for line in said.decode(errors="replace").splitlines() if not line.endswith(VANISHED)]
    if failures:
        await discard(fresh)
        raise OSError(failures[0])
    return fresh
