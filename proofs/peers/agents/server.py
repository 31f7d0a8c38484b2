"""A server in the sandbox: it is started when it does not answer, takes messages, and runs the agent for each in turn.

The port is played by a lock that ends with its process, and a request to the server by a command in the sandbox; what
the server remembers is gone with it.
"""

from __future__ import annotations

import logging
import shlex
from typing import ClassVar

from daytona import AsyncSandbox

from proofs.peers.agents.agent import SCRIPT
from proofs.peers.agents.starter import FAILURES, Record, Request, Starter, retried
from proofs.peers.host import CommandError

log = logging.getLogger(__name__)

READY_WITHIN_S = 30.0
READY_POLL_S = 0.5
POLL_S = 5.0
LOST_MAX = 3
"""How many reads of the events may fail one after the other."""

SERVER = f"""\
exec 9>"$HOME/agent-server.port"; flock -n 9 || exit 0
memory="$HOME/agent-server"; rm -rf "$memory"; mkdir -p "$memory/inbox" "$memory/seen" "$memory/done"
echo $$ >"$memory/pid.new"; mv "$memory/pid.new" "$memory/pid"
while :; do
  for message in "$memory"/inbox/*; do
    [ -e "$message" ] || continue
    read -r beats helper <"$message"; key=${{message##*/}}; rm -f "$message"
    AGENT_KEYS=$key AGENT_BEATS=$beats AGENT_HELPER=$helper setsid sh -c {shlex.quote(SCRIPT)} agent 9>&- &
    echo $! >"$memory/agent"
    wait; rm -f "$memory/agent"; : >"$memory/done/$key"
  done
  sleep 0.1
done
"""
START = f"setsid sh -c {shlex.quote(SERVER)} agent-server </dev/null >/dev/null 2>&1 &"
HEALTH = 'read -r pid <"$HOME/agent-server/pid" && kill -0 "$pid"'
POST = (
    HEALTH + ' || exit 7; mkdir "$HOME/agent-server/seen/{key}" 2>/dev/null || exit 0; '
    'echo "{beats} {helper}" >"$HOME/agent-server/message.$$" && '
    'mv "$HOME/agent-server/message.$$" "$HOME/agent-server/inbox/{key}"'
)
"""A message whose ID the server has seen is taken and not queued again."""
IS_DONE = HEALTH + ' || exit 7; [ -e "$HOME/agent-server/done/{key}" ] && echo done || echo working'
CANCEL = 'rm -f "$HOME/agent-server/inbox/"*; read -r pid <"$HOME/agent-server/agent" && kill -TERM -- "-$pid" || true'


class ServerInTheBox(Starter):
    """The message's ID keeps a server from running it twice, as long as it is the same server."""

    title: ClassVar[str] = "server in the sandbox"
    notes: ClassVar[str] = (
        "read in OpenHands' agent-server, rivet's sandbox-agent on Daytona, coder's agentapi and PostHog's agent "
        "server: started with `nohup` when its health check fails, then a POST; best configuration: message IDs as in "
        "PostHog, a queue in the server, one agent at a time; inferred: 3 tries of each call, the answer waits for "
        "the POST, the queue is in memory, a follower reads the events until 3 reads fail, a cancel ends the agent's "
        "process group; no reading of a close"
    )

    async def request(self, request: Request) -> None:
        sandbox = await self.sandbox_of(request.issue)
        await retried(self.host, lambda: self.post(sandbox, request))
        await self.records.write(request.number, Record(request))
        self.host.spawn(self.follow(sandbox, request))

    async def call_off(self, issue: int) -> None:
        sandbox = await self.sandbox_of(issue)
        await retried(self.host, lambda: self.host.execute(sandbox, CANCEL))

    async def post(self, sandbox: AsyncSandbox, request: Request) -> None:
        """Have a server, and send it the message. Raises one of FAILURES."""
        if not await self.is_healthy(sandbox):
            await self.host.execute(sandbox, START)
            left = self.host.deadline(READY_WITHIN_S)
            while not await self.is_healthy(sandbox) and left() > 0:
                await self.host.sleep(READY_POLL_S)
        work = request.work
        message = POST.format(key=request.key, beats=work.beats, helper="1" if work.has_helper else "")
        await self.host.execute(sandbox, message)

    async def is_healthy(self, sandbox: AsyncSandbox) -> bool:
        """Whether the server answers."""
        try:
            await self.host.execute(sandbox, HEALTH)
        except CommandError:
            return False
        return True

    async def follow(self, sandbox: AsyncSandbox, request: Request) -> None:
        """Read the server's events until the work is done, or it no longer answers."""
        lost = 0
        while lost < LOST_MAX:
            await self.host.sleep(POLL_S)
            try:
                said = await self.host.execute(sandbox, IS_DONE.format(key=request.key))
            except FAILURES as error:
                log.debug("the events of %s were not read: %s", request.key, error)
                lost += 1
                continue
            lost = 0
            if said.strip() == "done":
                await self.finish(request, "done")
                return

    def names(self, pid: int) -> bool:  # noqa: ARG002 -- all of them
        """The server tells of each agent that it started."""
        return True
