"""What `issuebox dev` keeps in its data directory, and how others read it.

The lock is held while a stack runs; `dev.json` says where its parts are; `secrets.json` outlives
it. Nothing here starts or stops anything.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Self, TextIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

LOOPBACK: Final = "127.0.0.1"
DEFAULT_DATA_DIR: Final = Path(".issuebox")
# Children of a killed `issuebox dev` are killed by the kernel, which takes a moment.
LOCK_TIMEOUT_S: Final = 3.0
LOCK_INTERVAL_S: Final = 0.1


class DevError(Exception):
    """`issuebox dev` cannot continue; the text tells a person why and what to do."""


class DevSecrets(BaseModel):
    """Generated once per data directory, so that a restarted stack accepts the same signatures and tokens."""

    model_config = ConfigDict(frozen=True)

    webhook_secret: str = Field(default_factory=lambda: secrets.token_urlsafe(24))
    api_token: str = Field(default_factory=lambda: secrets.token_urlsafe(24))
    daytona_api_key: str = Field(default_factory=lambda: secrets.token_urlsafe(24))

    @classmethod
    def load_or_create(cls, data_dir: Path) -> Self:
        """The secrets of this data directory; safe to repeat."""
        path = data_dir / "secrets.json"
        if not path.exists():
            write_private(path, cls().model_dump_json(indent=2))
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError:
            # Without its cause, which quotes the secrets.
            raise DevError(
                f"{path} is damaged. Put it back from a copy, or delete it: new secrets are made, and senders of "
                "deliveries and callers of the API have to learn them."
            ) from None


class DevStack(BaseModel):
    """Where the parts of a running `issuebox dev` are. None stands for a part that it does not run."""

    model_config = ConfigDict(frozen=True)

    pid: int
    is_ready: bool
    api_url: str
    api_token: str
    webhook_secret: str
    temporal_address: str
    temporal_namespace: str
    temporal_ui_url: str | None
    daytona_api_url: str
    daytona_page_url: str | None
    daytona_api_key: str | None
    run_log_dir: str = ""
    processes: Mapping[str, int]

    @classmethod
    def lookup(cls, data_dir: Path = DEFAULT_DATA_DIR) -> Self | None:
        """The stack that runs on this directory, as last published; None when none does."""
        try:
            return cls.model_validate_json(_path(data_dir).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        except NotADirectoryError:
            raise DevError(f"{data_dir} is not a directory. Name the data directory of an `issuebox dev`.") from None

    def write(self, data_dir: Path) -> None:
        """Publish the stack, atomically and readable by this user only."""
        write_private(_path(data_dir), self.model_dump_json(indent=2))


def temporal_environment(data_dir: Path) -> Mapping[str, str]:
    """Temporal's variables to use here: the process's own, or those of the dev stack on this directory."""
    stack = None if os.environ.get("TEMPORAL_ADDRESS") else DevStack.lookup(data_dir)
    if stack is None:
        return os.environ
    return {
        "TEMPORAL_ADDRESS": stack.temporal_address,
        "TEMPORAL_NAMESPACE": stack.temporal_namespace,
        # A profile of the user may carry TLS and keys for another cluster.
        "TEMPORAL_CONFIG_FILE": os.devnull,
    }


def forget(data_dir: Path) -> None:
    """Record that no stack runs on this directory any more."""
    _path(data_dir).unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read, to the disk, and rename it into place."""
    scratch = path.with_suffix(".new")
    scratch.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # A write that fails does not say where.


@contextlib.contextmanager
def claimed(data_dir: Path) -> Iterator[int]:
    """Hold the data directory, and yield the lock's descriptor for the children to inherit.

    The lock belongs to the open file, so it lasts until the last process that inherited it is gone:
    survivors of a killed run refuse a second one, instead of two servers writing one database.
    Raises `DevError` when somebody else holds it, or it cannot be used.
    """
    with _lock_file(data_dir) as file:
        deadline_s = time.monotonic() + LOCK_TIMEOUT_S
        while not _is_locked(file.fileno()):
            if time.monotonic() > deadline_s or _is_other_alive(data_dir):
                raise DevError(_held(data_dir))
            time.sleep(LOCK_INTERVAL_S)
        yield file.fileno()


def _lock_file(data_dir: Path) -> TextIO:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        (data_dir / ".gitignore").write_text("*\n")  # There are secrets in here.
        return (data_dir / "dev.lock").open("a+")
    except OSError as error:
        reason = "it is a file" if data_dir.is_file() else str(error.strerror).lower()
        raise DevError(
            f"The data directory {data_dir} cannot be used: {reason}. Name another one with --data."
        ) from error


def choose_port(name: str, given: int | None, preferred: int, taken: set[int]) -> int:
    """The given port; without one the preferred port if free, else any free one. Raises `DevError`."""
    if given is not None:
        if given in taken or not _is_free(given):
            raise DevError(f"Port {given} for {name} is taken. Choose another with --{name}-port, or omit the option.")
        return given
    if preferred not in taken and _is_free(preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port = int(probe.getsockname()[1])
    return port if port not in taken else choose_port(name, None, preferred, taken)


def _path(data_dir: Path) -> Path:
    return data_dir / "dev.json"


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_other_alive(data_dir: Path) -> bool:
    stack = DevStack.lookup(data_dir)
    return stack is not None and _is_alive(stack.pid)


def _held(data_dir: Path) -> str:
    stack = DevStack.lookup(data_dir)
    if stack is None or _is_alive(stack.pid):
        who = f"process {stack.pid}" if stack else "another process"
        return f"{data_dir} is in use by another `issuebox dev` ({who}). Stop that one, or give another --data."
    survivors = [f"{name} {pid}" for name, pid in stack.processes.items() if _is_alive(pid)]
    return (
        f"`issuebox dev` on {data_dir} was killed, and some of its processes still run ({', '.join(survivors)}). "
        "End them, then try again."
    )


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Servers set this too, so lingering connections of an earlier run do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True
