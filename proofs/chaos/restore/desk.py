"""An operator's desk: the commands of docs/operations.md, and what they say."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proofs.chaos.cluster import PYTHON, Cluster
from proofs.chaos.terms import TEMPORAL
from proofs.loopback import LOOPBACK

TIMEOUT_S: Final = 90.0
MEND: Final = ("temporal workflow reset", "temporal workflow terminate")
"""The commands against a stuck workflow, in the order of the docs."""


class DeskError(RuntimeError):
    """A command did not do what the docs say of it. The text has its output."""


@dataclass(slots=True)
class Desk:
    """Runs the commands, with a worker's environment, and keeps what they were and what they said."""

    cluster: Cluster
    environment: Mapping[str, str]
    done: list[str] = field(default_factory=list)

    async def doctor(self) -> dict[str, str]:
        """What the doctor sees of Temporal, by check; a check that failed begins with its verdict."""
        document = await self._issuebox("doctor", "--only", "temporal")
        return {
            f"{check['part']}, {check['check']}": f"{check['verdict']}: {check['seen']}"
            for check in document["checks"]
            if check["verdict"] != "ok"
        }

    async def audit(self, *, may_mend: bool = True) -> dict[str, Any]:
        """The report of an audit, which mends what it may, or only looks."""
        return await self._issuebox("audit", "--mend" if may_mend else "--no-mend")

    async def resync(self) -> Counter[str]:
        """What a full resync sent, by action. Raises DeskError when a repository could not be read."""
        document = await self._issuebox("resync", "--full")
        failed = [one for one in document["repositories"] if one["error"]]
        if failed:
            raise DeskError(f"resync: {failed}")
        return Counter(sent["action"] for one in document["repositories"] for sent in one["sent"])

    async def stuck(self) -> list[str]:
        """The names of the workflows that the list marks as stuck."""
        document = await self._issuebox("list", "--blocked", "--limit", "100000")
        return [str(row["name"]) for row in document["issues"] if row["stuck"]]

    async def wake(self) -> None:
        """Have each workflow take a workflow task, so that one whose history does not fit any more shows as stuck."""
        query = "WorkflowType = 'IssueSandboxWorkflow' AND ExecutionStatus = 'Running'"
        arguments = ("--query", query, "--name", "look", "--reason", "restored", "--yes")
        await self._temporal("workflow", "signal", *arguments)

    async def mend(self, advice: str, number: int) -> str:
        """Carry out the `number`th command of this advice (0: the first). Returns it, without its arguments."""
        commands = [part for part in advice.split("`") if part.startswith(MEND)]
        command = commands[min(number, len(commands) - 1)]
        await self._temporal(*command.split()[1:])
        return " ".join(command.split()[:3])

    async def _issuebox(self, *arguments: str) -> dict[str, Any]:
        """The JSON document of one of our commands. Exit code 1 is an answer."""
        code, output, complaint = await self._run(*PYTHON, "-m", "issuebox", *arguments, "--json")
        if code not in {0, 1} or not output.strip():
            raise DeskError(f"issuebox {' '.join(arguments)} ended with {code}: {complaint or output}")
        document: dict[str, Any] = json.loads(output)
        return document

    async def _temporal(self, *arguments: str) -> None:
        address = f"{LOOPBACK}:{self.cluster.ports[TEMPORAL]}"
        code, output, complaint = await self._run(str(self.cluster.binary), *arguments, "--address", address)
        if code != 0:
            raise DeskError(f"temporal {' '.join(arguments)} ended with {code}: {complaint or output}")

    async def _run(self, *command: str) -> tuple[int | None, str, str]:
        """The exit code, standard output and standard error."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, env=dict(self.environment), stdout=pipe, stderr=pipe)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                output, complaint = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        self.done.append(f"{' '.join(command)}\n{output.decode(errors='replace')}{complaint.decode(errors='replace')}")
        return process.returncode, output.decode(), complaint.decode()
