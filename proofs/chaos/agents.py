"""The agents of a chaos run: a job that keeps its own ledger, what strikes it, and what is left of all in the end.

A job appends a line when it begins and one when it ends to one file of the run's directory, with the time and the
sandbox. So the evidence is the job's own word, and outlives its sandbox. The service never reads it.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import httpx
from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.service import RPCError, RPCStatusCode

from issuebox.dev import fake_agent
from proofs.chaos.cluster import BEARER, Cluster
from proofs.chaos.fault_schedule import OrderRuns, StrikeRun
from proofs.chaos.run_strikes import MARKS, kill_marked
from proofs.chaos.settling import QUERY, answers
from proofs.chaos.tally import Tally
from proofs.chaos.terms import DAYTONA, NAME_PREFIX
from proofs.checker.evidence import Alive, Begun, Order, Receipt

LEDGER: Final = "agents.ledger"
HABITS: Final = "agents.habits"
FAKE_AGENT: Final = files(fake_agent).joinpath("fake_claude.py")
MARK: Final = b"ISSUEBOX_RUN="
POLL_INTERVAL_S: Final = 0.5
STRIKE_WAIT_S: Final = 20.0
"""How long a strike waits for a job. Requests may wait for a slot, and many are refused."""
QUERY_TIMEOUT: Final = timedelta(seconds=30)
SECRET: Final = "CHAOS_SECRET"  # noqa: S105 -- a name
"""A variable of the workers, which the job gets for its attempt and nobody else ever."""
RUNS_MAX: Final = 100
"""Slots of the installation: fewer than the issues that ask at once, so that runs wait for one another."""

JOB: Final = r"""
id=${HOME%/home}; id=${id##*/}
say() { echo "$1 $id $ISSUEBOX_RUN $ISSUEBOX_RUN_ATTEMPT $(date +%s.%N)" >>@LEDGER@; }
say begun
[ -n "$@SECRET@" ] || say without-secret
trap 'say ended; exit 130' INT TERM
(setsid sleep 2 &)
n=$(printf %s "$ISSUEBOX_RUN/$ISSUEBOX_RUN_ATTEMPT" | cksum); n=${n%% *}
agent() {
  echo "$1" >>@HABITS@
  FAKE_AGENT=$1 FAKE_AGENT_STEPS=4 FAKE_AGENT_STEP_S=0.5 FAKE_AGENT_LINE_BYTES=200000 \
    timeout --foreground --signal=INT --kill-after=1 5 @AGENT@ -p --output-format stream-json --verbose \
    --session-id "$(cat /proc/sys/kernel/random/uuid)" <"$ISSUEBOX_RUN_DIR/prompt.md"
}
if [ $((n % 3)) -eq 0 ]; then
  case $((n / 3 % 7)) in
@CASES@
  esac
else
  left=$((n % 13))
  while [ $left -gt 0 ]; do echo "$left more steps"; sleep 0.5; left=$((left - 1)); done
fi
say ended
[ $((n % 17)) -gt 0 ] || exit 3
"""
"""Some work of up to 6 s, by the number of its attempt. A process goes on in a session of its own. One of 17 fails.

One of three supervises the fake agent instead, which has one of `WORDS` for a habit. It has 5 s, and one more when it
is not moved by SIGINT: one that hangs would take the minute that a worker gives it.
"""

WORDS: Final = (
    "fork",
    "slow,ignore-int",
    "huge-lines",
    "half-character",
    "no-result",
    "hang-after-result,ignore-int",
    "slow,fork",
)
"""The fake agent's habits: a process that leaves twice, an ignored signal, lines longer than a slice of the output."""

_LINE: Final = re.compile(r"(begun|ended) ([0-9a-f-]+) (r-[0-9a-f]+) (\d+) (\d+\.\d+)")


def agent_settings(run_dir: Path, secret: str) -> dict[str, str]:
    """The settings by which every permitted label and comment makes the job run, with a secret in its environment."""
    places = {
        "@LEDGER@": shlex.quote(str(run_dir.resolve() / LEDGER)),
        "@HABITS@": shlex.quote(str(run_dir.resolve() / HABITS)),
        "@AGENT@": shlex.join([sys.executable, "-I", "-S", str(FAKE_AGENT)]),
        "@CASES@": "\n".join(f"  {number}) agent {word} ;;" for number, word in enumerate(WORDS)),
        "@SECRET@": SECRET,
    }
    job = JOB
    for name, text in places.items():
        job = job.replace(name, text)
    return {
        "ISSUEBOX_RUN_PRESET": "command",
        "ISSUEBOX_RUN_COMMAND": job,
        "ISSUEBOX_RUN_ENV": SECRET,
        SECRET: secret,
        "ISSUEBOX_RUNS_MAX": str(RUNS_MAX),
        "ISSUEBOX_RUN_ATTEMPTS": "6",
    }


def read_ledger(run_dir: Path) -> list[Begun]:
    """What the jobs wrote, in order of their begins. Raises ValueError for a line that no job wrote."""
    found: list[Begun] = []
    path = run_dir / LEDGER
    for line in path.read_text().splitlines() if path.exists() else ():
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"{LEDGER} has the line {line!r}")
        word, sandbox_id, run, attempt, at = match.groups()
        about = Begun(sandbox_id=sandbox_id, run=run, attempt=int(attempt), at=float(at))
        if word == "begun":
            found.append(about)
            continue
        place = next(place for place in reversed(range(len(found))) if _is_same(found[place], about))
        found[place] = found[place].model_copy(update={"ended_at": float(at)})
    return sorted(found, key=lambda begun: begun.at)


def read_habits(run_dir: Path) -> Counter[str]:
    """How often a job supervised a fake agent with which habit."""
    path = run_dir / HABITS
    return Counter(path.read_text().splitlines() if path.exists() else ())


def _is_same(one: Begun, other: Begun) -> bool:
    return (one.sandbox_id, one.run, one.attempt) == (other.sandbox_id, other.run, other.attempt)


async def places_of(run_dir: Path, text: str) -> list[str]:
    """The files of the run in which a text stands: Temporal's database, logs, journal, disks, notices."""
    grep = ("grep", "--recursive", "--text", "--fixed-strings", "--files-with-matches", "--devices=skip", "--")
    searching = await asyncio.create_subprocess_exec(*grep, text, ".", cwd=run_dir, stdout=asyncio.subprocess.PIPE)
    output, _ = await searching.communicate()
    if searching.returncode not in {0, 1}:
        raise RuntimeError(f"grep ended with {searching.returncode}")
    return sorted(output.decode(errors="replace").splitlines())


def alive_under(run_dir: Path) -> list[Alive]:
    """The processes of jobs that are alive in any sandbox of the run, deleted ones included."""
    sandboxes = f"{run_dir.resolve() / DAYTONA / 'sandboxes'}/"
    return [Alive(sandbox_id=sandbox_id, run=run, at=time.time()) for sandbox_id, run in _marked(sandboxes.encode())]


def _marked(sandboxes: bytes) -> Iterator[tuple[str, str]]:
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        try:
            variables = Path(entry.path, "environ").read_bytes().split(b"\0")
        except (ProcessLookupError, FileNotFoundError, PermissionError):
            continue
        home = next((each.removeprefix(b"HOME=") for each in variables if each.startswith(b"HOME=")), b"")
        run = next((each.removeprefix(MARK) for each in variables if each.startswith(MARK)), b"")
        if run and home.startswith(sandboxes):
            yield home.removeprefix(sandboxes).split(b"/")[0].decode(), run.decode()


async def read_receipts(client: Client, issues: Iterable[int]) -> list[Receipt]:
    """What the issues' newest workflow runs say about their requests. An issue without a workflow has none."""
    found = await answers(issues, partial(_receipts, client))
    return [receipt for receipts in found.values() for receipt in receipts]


async def _receipts(client: Client, issue: int) -> list[Receipt]:
    handle = client.get_workflow_handle(f"{NAME_PREFIX}{issue}")
    try:
        view: dict[str, Any] = await handle.query("runs", rpc_timeout=QUERY_TIMEOUT)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return []
        raise
    except WorkflowQueryFailedError:
        # A terminated workflow that never handled anything has no state to show.
        return []
    return [Receipt(issue=issue, key=each["key"], state=each["state"], run=each["run"]) for each in view["receipts"]]


class Agents:
    """What happens to the jobs. A strike without a job to hit is counted as refused."""

    def __init__(self, cluster: Cluster, tally: Tally) -> None:
        self._cluster = cluster
        self._tally = tally

    async def strike(self, step: StrikeRun) -> None:
        """Kill what the strike is about once a job is at work: the job, its supervisor, or the largest process."""
        word, ends_at = f"{step.strike} of a run", time.time() + STRIKE_WAIT_S
        while time.time() < ends_at:
            if await self._hits(step):
                self._tally.acts[word] += 1
                return
            await asyncio.sleep(POLL_INTERVAL_S)
        self._tally.refused_acts[word] += 1

    async def _hits(self, step: StrikeRun) -> bool:
        at_work = sorted({alive.sandbox_id for alive in await asyncio.to_thread(alive_under, self._cluster.run_dir)})
        if not at_work:
            return False
        admin, sandbox_id = self._cluster.admin, at_work[step.number % len(at_work)]
        try:
            if step.strike in MARKS:
                return await kill_marked(admin, sandbox_id, step.strike) > 0
            await admin.act(sandbox_id, step.strike)
        except httpx.HTTPError:
            return False
        return True

    async def order(self, step: OrderRuns) -> None:
        """Cancel or pause whatever runs and waits, over REST."""
        url = f"{self._cluster.api_urls[step.api]}/v1/issues/{step.issue}/runs/{step.order}"
        try:
            reply = await self._cluster.http.post(url, headers=BEARER)
        except httpx.TransportError:
            self._tally.refused_acts[f"{step.order} runs"] += 1
            return
        counter = self._tally.acts if reply.is_success else self._tally.refused_acts
        counter[f"{step.order} runs"] += 1

    async def resume(self) -> int:
        """After the faults: let all go on that a person or a second stop in the dashboard has paused. How many.

        Where something waits for that, it asks for the sandbox as well.
        """
        paused = {issue: status for issue, status in (await self._statuses()).items() if status["run_pause"]}
        for issue, status in paused.items():
            url, sent_at = f"{self._cluster.api_urls[0]}/v1/issues/{issue}/runs/resume", time.time()
            reply = await self._cluster.http.post(url, headers=BEARER)
            reply.raise_for_status()
            self._tally.acts["resume runs"] += 1
            if status["run_requests_waiting"] or (status["run"] and status["run"]["state"] == "paused"):
                asks = Order(order="ensure", issue=issue, sent_at=sent_at)
                answer = {"answered_at": time.time(), "status": reply.status_code}
                self._tally.orders.append(asks.model_copy(update=answer))
        return len(paused)

    async def _statuses(self) -> dict[int, dict[str, Any]]:
        client = await self._cluster.temporal()

        async def status(issue: int) -> dict[str, Any]:
            handle = client.get_workflow_handle(f"{NAME_PREFIX}{issue}")
            found: dict[str, Any] = await handle.query("status", rpc_timeout=QUERY_TIMEOUT)
            return found

        names = [execution.id async for execution in client.list_workflows(QUERY)]
        return await answers((int(name.removeprefix(NAME_PREFIX)) for name in names), status)
