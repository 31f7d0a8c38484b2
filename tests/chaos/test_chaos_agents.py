"""The agents of a chaos run: their job's ledger, what is alive of them, and what strikes them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from proofs.chaos.agents import (
    LEDGER,
    SECRET,
    WORDS,
    agent_settings,
    alive_under,
    places_of,
    read_habits,
    read_ledger,
)
from proofs.chaos.fault_schedule import OrderRuns, StrikeRun
from proofs.chaos.plan import RUN_ORDERS, make_plan
from proofs.chaos.run_strikes import MARKS, Strike
from proofs.chaos.terms import DAYTONA
from proofs.checker.evidence import Alive, Begun
from tests.waiting import until

SANDBOX = "0a1b2c3d-0000-4000-8000-000000000001"


def _home(run_dir: Path) -> Path:
    home = run_dir / DAYTONA / "sandboxes" / SANDBOX / "home"
    home.mkdir(parents=True, exist_ok=True)
    return home


def _environment(run_dir: Path, run: str, attempt: int) -> dict[str, str]:
    home = _home(run_dir)
    (home / "prompt.md").write_text("Do it.\n")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "ISSUEBOX_RUN_DIR": str(home),
        "ISSUEBOX_RUN": run,
        "ISSUEBOX_RUN_ATTEMPT": str(attempt),
        SECRET: "s3cret",
    }


async def test_job_writes_its_begin_and_its_end_and_what_it_leaves_is_found(tmp_path: Path) -> None:
    """The job's own ledger names its sandbox, its run and its attempt. A process in a session of its own is seen."""
    environment = _environment(tmp_path, "r-0123456789ab", 4)
    command = agent_settings(tmp_path, "s3cret")["ISSUEBOX_RUN_COMMAND"]
    process = await asyncio.create_subprocess_exec("sh", "-c", command, env=environment, stdout=subprocess.DEVNULL)

    async def alive() -> list[Alive]:
        return alive_under(tmp_path)

    (found, *_) = await until(alive, lambda seen: len(seen) >= 2, "the job and its process are seen")
    assert (found.sandbox_id, found.run) == (SANDBOX, "r-0123456789ab")
    assert await process.wait() in {0, 3}
    (begun,) = read_ledger(tmp_path)
    assert (begun.sandbox_id, begun.run, begun.attempt) == (SANDBOX, "r-0123456789ab", 4)
    assert begun.ended_at is not None
    assert begun.at <= begun.ended_at
    await until(alive, lambda seen: not seen, "all of it has ended")


def _runs_with_agents() -> list[str]:
    """A run for each of the fake agent's habits, in their order: the job draws them by the number of its attempt."""
    text = "for i in $(seq 300); do run=$(printf r-%012x $i); printf '%s ' $run; printf %s $run/1 | cksum; done"
    found: dict[int, str] = {}
    for line in subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True).stdout.splitlines():
        run, number, _ = line.split()
        if int(number) % 3 == 0:
            found.setdefault(int(number) // 3 % len(WORDS), run)
    return [found[place] for place in range(len(WORDS))]


@contextlib.contextmanager
def _ended(run_dir: Path) -> Iterator[None]:
    """What the jobs leave is killed, however the block ends: nothing sweeps here."""
    mark = f"HOME={run_dir}/".encode()
    try:
        yield
    finally:
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if any(each.startswith(mark) for each in path.read_bytes().split(b"\0")):
                    os.kill(int(path.parent.name), signal.SIGKILL)


async def test_one_job_of_three_supervises_the_fake_agent_with_each_of_its_habits(tmp_path: Path) -> None:
    """All come to their end, in order. Two leave a process in a session of its own, which the sweep has to find."""
    command, told = agent_settings(tmp_path, "s3cret")["ISSUEBOX_RUN_COMMAND"], _runs_with_agents()

    async def output(run: str) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", command), env=_environment(tmp_path, run, 1), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        out = await process.stdout.read()
        assert await process.wait() in {0, 3}, (out[-500:], process.stderr)
        return out

    with _ended(tmp_path):
        outputs = dict(zip(WORDS, await asyncio.gather(*map(output, told)), strict=True))
        left = {alive.run for alive in alive_under(tmp_path)}
    ledger = read_ledger(tmp_path)
    assert {begun.run for begun in ledger if begun.ended_at is not None} == set(told)
    assert len(ledger) == len(told)
    assert read_habits(tmp_path) == Counter(WORDS)
    assert left == {run for run, word in zip(told, WORDS, strict=True) if "fork" in word}
    assert {word for word in WORDS if b'"type": "result"' not in outputs[word]} == {"no-result"}
    assert max(map(len, outputs["huge-lines"].splitlines())) > 3 * 64 * 1024


async def test_secret_is_found_in_binary_files_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "database").write_bytes(b"\0\xff--s3cret\0")
    (tmp_path / "log").write_text("s3cre t\n")
    assert await places_of(tmp_path, "s3cret") == ["./a/b/database"]
    assert await places_of(tmp_path, "another") == []


async def test_job_without_its_secret_is_told(tmp_path: Path) -> None:
    environment = _environment(tmp_path, "r-0123456789ab", 1)
    del environment[SECRET]
    command = agent_settings(tmp_path, "s3cret")["ISSUEBOX_RUN_COMMAND"]
    process = await asyncio.create_subprocess_exec("sh", "-c", command, env=environment, stdout=subprocess.DEVNULL)
    await process.wait()
    with pytest.raises(ValueError, match="without-secret"):
        read_ledger(tmp_path)


def test_ledger_keeps_executions_apart(tmp_path: Path) -> None:
    """One attempt that began twice is two executions; one without an end was killed."""
    lines = (
        f"begun {SANDBOX} r-00000000000a 1 10.5",
        f"begun {SANDBOX} r-00000000000a 1 11.5",
        f"ended {SANDBOX} r-00000000000a 1 12.5",
        f"begun {SANDBOX} r-00000000000b 1 13.5",
    )
    (tmp_path / LEDGER).write_text("".join(f"{line}\n" for line in lines))
    assert read_ledger(tmp_path) == [
        Begun(sandbox_id=SANDBOX, run="r-00000000000a", attempt=1, at=10.5),
        Begun(sandbox_id=SANDBOX, run="r-00000000000a", attempt=1, at=11.5, ended_at=12.5),
        Begun(sandbox_id=SANDBOX, run="r-00000000000b", attempt=1, at=13.5),
    ]
    assert read_ledger(tmp_path / "elsewhere") == []
    (tmp_path / LEDGER).write_text("begun half a li")
    with pytest.raises(ValueError, match="half a li"):
        read_ledger(tmp_path)


@pytest.mark.parametrize("seed", [1, 2])
def test_plan_strikes_cancels_and_pauses_runs_some_seconds_after_requests(seed: int) -> None:
    plan = make_plan(seed, 200, 45.0)
    struck = Counter(timed.step.strike for timed in plan.schedule if isinstance(timed.step, StrikeRun))
    assert set(struck) == {*MARKS, Strike.OOM}
    assert {timed.step.order for timed in plan.schedule if isinstance(timed.step, OrderRuns)} == set(RUN_ORDERS)
    asked = {post.event.issue for post in plan.posts if post.event.asks}
    assert {timed.step.issue for timed in plan.schedule if isinstance(timed.step, OrderRuns)} <= asked


def test_all_deliveries_of_one_comment_are_one_request() -> None:
    """A second hook has another delivery ID, and GitHub's ID of the comment stays."""
    plan = make_plan(3, 100, 60.0)
    keys: dict[tuple[int, int], set[str]] = {}
    for post in plan.sent:
        if post.event.asks:
            keys.setdefault((post.event.issue, post.event.second), set()).add(post.event.asks)
    assert len(keys) > 50
    assert all(len(found) == 1 for found in keys.values())
    assert len({key for found in keys.values() for key in found}) == len(keys)
