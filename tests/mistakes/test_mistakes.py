"""Every mistake of an operator ends in a sentence that says what is wrong and what helps, and never in a traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import pytest

from issuebox.dev.environment import bare
from tests.mistakes.conftest import World, issuebox, wait_for
from tests.mistakes.mistakes import MISTAKES, Mistake

END_S = 60.0
WIDE = {"COLUMNS": "400", "TEMPORAL_CONFIG_FILE": os.devnull}
"""A terminal that folds nothing, and no profile of this machine's user."""


@dataclass(frozen=True)
class Ran:
    """What a command did. White space counts as one blank; a line of JSON is its event, reason and advice."""

    code: int
    out: str
    err: str

    @property
    def logged(self) -> list[str]:
        return [_told(json.loads(line)) for line in self.err.splitlines() if line.startswith("{")]

    def said(self, on: str) -> str:
        return " ".join((self.out if on == "out" else self.err).split())


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.key)
def test_mistake_gets_its_sentence(world: World, place: Path, mistake: Mistake) -> None:
    """The sentence is shown where it belongs, with the right exit code, and without a traceback."""
    if mistake.prepare is not None:
        mistake.prepare(place)
    ran = _asked(world, place, mistake) if mistake.command[0] == "curl" else _run(world, place, mistake)
    everything = f"exit code {ran.code}\n{ran.out}\n{ran.err}"
    assert ran.code == mistake.code, everything
    assert not re.search(r"Traceback|most recent call last|❱|\"exception\"", everything), everything
    said = ran.logged if mistake.on == "log" else [ran.said(mistake.on)]
    assert [line for line in said if _fits(mistake.shown, line)], everything
    if mistake.on in {"err", "log"}:
        assert ran.out == "", everything
    if mistake.on == "out":
        assert ran.err == "", everything


def _run(world: World, place: Path, mistake: Mistake) -> Ran:
    fill = _filler(world, place)
    command = [fill(part) for part in mistake.command]
    base = [sys.executable, "-m", command.pop(0)] if command[0] == "localdaytona" else issuebox()
    if mistake.stdout == "closed":
        base = ["sh", "-c", 'exec "$@" >&-', "sh", *base]
    env = bare() | WIDE | {name: fill(value) for name, value in mistake.env.items()}
    out, err = place / "stdout", place / "stderr"
    before = world.stranger.connections if mistake.until == "a connection" else 0
    with _stdout(out, mistake.stdout) as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [*base, *command],
            env=env,
            cwd=mistake.cwd or place,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
    try:
        if mistake.until == "a connection":
            wait_for(lambda: world.stranger.connections > before or process.poll() is not None, err.read_text)
        elif mistake.until:
            wait_for(lambda: mistake.until in _text(out) + _text(err) or process.poll() is not None, err.read_text)
        if mistake.until:
            process.send_signal(mistake.signal)
        code = process.wait(END_S)
    finally:
        process.kill()
        process.wait()
    return Ran(code, _text(out), _text(err))


def _asked(world: World, place: Path, mistake: Mistake) -> Ran:
    """What `curl` would get: the detail of the answer, with its status as the exit code."""
    url = _filler(world, place)(mistake.command[1])
    reply = httpx.get(url, headers={"Authorization": "Bearer wrong"}, trust_env=False)
    return Ran(reply.status_code, reply.json()["detail"], "")


def _filler(world: World, place: Path) -> Callable[[str], str]:
    return lambda text: re.sub(r"\{(\w+)\}", lambda found: world.value(found[1], place), text)


@contextmanager
def _stdout(path: Path, what: str) -> Iterator[IO[bytes]]:
    if what == "full":
        with Path("/dev/full").open("wb", buffering=0) as file:
            yield file
    elif what == "broken":
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "wb", buffering=0) as file:
            yield file
    else:
        with path.open("wb") as file:
            yield file


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _told(line: dict[str, str]) -> str:
    reason, advice = line.get("reason", ""), line.get("advice", "")
    return f"{line['event']}: {reason}" + (f". {advice}" if advice else "") if reason else line["event"]


def _fits(shown: str, said: str) -> bool:
    """Whether it was said, with anything in the place of each …."""
    pattern = ".*".join(re.escape(part.strip()) for part in shown.split("…"))
    return re.fullmatch(pattern, said) is not None
