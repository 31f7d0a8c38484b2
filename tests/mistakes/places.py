"""What a mistake needs in its directory: files that are damaged, in the way, or on a full disk."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from localdaytona.testing import free_port

FULL_BYTES = "size=8k"

Prepare = Callable[[Path], None]


def file(directory: Path) -> None:
    """A file where a directory is expected."""
    (directory / "file").touch()


def bad_toml(directory: Path) -> None:
    """A configuration that is none."""
    (directory / "bad.toml").write_text("this is [not toml")


def profile_of_nobody(directory: Path) -> None:
    """A Temporal profile with an address at which nobody listens: the default one may be that of another program."""
    (directory / "profile.toml").write_text(f'[profile.default]\naddress = "127.0.0.1:{free_port()}"\n')


def half_written(name: str) -> Prepare:
    """A file that ends in the middle, in directories of the right modes."""

    def prepare(directory: Path) -> None:
        path = directory / name
        path.parent.mkdir(mode=0o700, parents=True)
        path.write_bytes(b'{"settings": {"half' + bytes(4096) + b"\xff")

    return prepare


def directory(name: str, mode: int) -> Prepare:
    """A directory with this mode."""

    def prepare(above: Path) -> None:
        path = above / name
        path.mkdir(parents=True)
        path.chmod(mode)

    return prepare


def both(*prepares: Prepare) -> Prepare:
    """All of them."""

    def prepare(above: Path) -> None:
        for each in prepares:
            each(above)

    return prepare


def full_disk(above: Path) -> None:
    """A disk of two pages, full but for the name of one more file. The world's end unmounts it."""
    path = above / "full"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", FULL_BYTES, "tmpfs", path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"only root may mount a disk here: {mounted.stderr.decode().strip()}")
    (path / "data").mkdir(mode=0o700)
    (path / "data" / ".gitignore").write_text("*\n")
    (path / "filler").write_bytes(bytes(4096))
