"""Checks that a tag fits what it releases, and prints the release's notes.

``python3 -m scripts.release v0.6.0`` needs nothing but Python. The version stands in pyproject.toml; the tag, the
images of docker-compose.yml and the changelog have to agree with it. Each mistake is one line on standard error.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Sources:
    """The texts that name the version."""

    project: str
    compose: str
    changelog: str

    @classmethod
    def read(cls) -> Self:
        """Those of this checkout."""
        names = ("pyproject.toml", "docker-compose.yml", "CHANGELOG.md")
        return cls(*((REPOSITORY / name).read_text(encoding="utf-8") for name in names))


def mistakes(tag: str, sources: Sources) -> Iterator[str]:
    """Why this tag must not be released."""
    version = tomllib.loads(sources.project)["project"]["version"]
    if tag != f"v{version}":
        yield f"the tag is {tag}, and pyproject.toml has version {version}: the tag has to be v{version}"
    for image, given in re.findall(r"image: (issuebox[\w-]*):(\S+)", sources.compose):
        if given != version:
            yield f"docker-compose.yml uses {image}:{given}, not {version}"
    if not notes(version, sources.changelog):
        yield f"CHANGELOG.md has no section [{version}] with a date, or nothing in it"


def notes(version: str, changelog: str) -> str:
    """What the changelog says of the version, '' for nothing."""
    section = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$(.*?)(?=^## \[|\Z)"
    found = re.search(section, changelog, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""


def main(arguments: Sequence[str]) -> int:
    """Print the notes. Returns the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python3 -m scripts.release TAG\n")
        return 2
    sources = Sources.read()
    found = list(mistakes(arguments[0], sources))
    for mistake in found:
        sys.stderr.write(f"{mistake}\n")
    if found:
        return 1
    sys.stdout.write(notes(arguments[0].removeprefix("v"), sources.changelog) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
