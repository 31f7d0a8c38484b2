"""Files of a sandbox: describe, list, make, remove. Plain file system calls, no HTTP."""

import errno
import grp
import os
import pwd
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from localdaytona.toolbox.errors import ToolboxError
from localdaytona.types import JSONObject

MODE = re.compile("[0-7]{3,4}")
# How the operating system's errors are reported.
ERRORS: dict[type[OSError], tuple[int, str, str]] = {
    FileNotFoundError: (404, "not found: file not found", "FILE_NOT_FOUND"),
    PermissionError: (403, "forbidden: permission denied", "FILE_ACCESS_DENIED"),
    FileExistsError: (400, "bad request: file exists", "INVALID_FILE_PATH"),
    NotADirectoryError: (400, "bad request: not a directory", "INVALID_FILE_PATH"),
    IsADirectoryError: (400, "bad request: is a directory", "INVALID_FILE_PATH"),
}


@contextmanager
def refusing(asked: str) -> Iterator[None]:
    """Turn an OSError into a ToolboxError with the path as requested."""
    try:
        yield
    except OSError as error:
        status, message, code = ERRORS.get(type(error), (400, f"bad request: {error.strerror}", "BAD_REQUEST"))
        raise ToolboxError(status, f"{message}: {asked}", code) from error


def open_regular(path: Path, flags: int) -> BinaryIO:
    """Return an open file. Raises OSError for anything else, such as a pipe, which would block forever."""
    descriptor = os.open(path, flags | os.O_NONBLOCK, 0o666)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb" if flags == os.O_RDONLY else "wb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory", str(path))
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def describe(path: Path) -> JSONObject:
    """Return the details of a file, of a link itself and not of its target. Raises OSError."""
    info = path.lstat()
    changed = datetime.fromtimestamp(info.st_mtime, UTC)
    owner, group = str(info.st_uid), str(info.st_gid)
    with suppress(KeyError):
        owner, group = pwd.getpwuid(info.st_uid).pw_name, grp.getgrgid(info.st_gid).gr_name
    return {
        "name": path.name,
        "path": str(path),
        "isDir": stat.S_ISDIR(info.st_mode),
        "size": info.st_size,
        "mode": stat.filemode(info.st_mode),
        "permissions": f"{stat.S_IMODE(info.st_mode):04o}",
        "modTime": f"{changed:%Y-%m-%d %H:%M:%S} +0000 UTC",
        "modifiedAt": changed.isoformat().replace("+00:00", "Z"),
        "owner": owner,
        "group": group,
    }


def listing(directory: Path, depth: int) -> Iterator[JSONObject]:
    """Yield the entries of a directory by name, `depth` levels deep. Raises OSError."""
    for path in sorted(directory.iterdir()):
        yield describe(path)
        if depth > 1 and path.is_dir() and not path.is_symlink():
            yield from listing(path, depth - 1)


def make_directory(path: Path, mode: str) -> None:
    """Make a directory and its parents. Raises OSError, and ToolboxError for an invalid mode."""
    if not MODE.fullmatch(mode):
        raise ToolboxError(400, f"bad request: invalid mode: {mode}")
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(int(mode, 8))


def remove(path: Path, *, recursive: bool) -> None:
    """Remove a file, or a directory if `recursive`. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        if not recursive:
            raise IsADirectoryError(0, "cannot delete directory without recursive flag", str(path))
        shutil.rmtree(path)
    else:
        path.unlink()
