"""All rounds of one system, and all systems one after the other."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from localdaytona.testing import Server, running, running_inside
from proofs.peers.count import Counts, count
from proofs.peers.drive import CALM_CONFIG, Driver
from proofs.peers.issuebox_system import issuebox_system
from proofs.peers.peer import Peer
from proofs.peers.plan import SPEED, Round
from proofs.peers.results import Named, Sums
from proofs.peers.system import System, peer_system

ROUNDS_AT_ONCE = 4
"""Each round of a peer has its own Daytona. More rounds at once would wait for the processor and not for Daytona."""

N = TypeVar("N", bound=Named)
C = TypeVar("C", bound=Sums)

Shares = Sequence[tuple[Round, Sequence[int]]]
"""Rounds, each with its issues."""


def shares(rounds: Sequence[N], issues: int, first: int = 1) -> Sequence[tuple[N, Sequence[int]]]:
    """Divide the issues evenly. Their global IDs, from `first` times 10,000 up, are the same for every system."""
    return [
        (each, [(first + index) * 10_000 + number for number in range(len(range(index, issues, len(rounds))))])
        for index, each in enumerate(rounds)
    ]


async def side_by_side(
    dealt: Sequence[tuple[N, Sequence[int]]], at_once: int, play: Callable[[N, Sequence[int]], Awaitable[C]]
) -> dict[str, C]:
    """Play the rounds, so many at once. Returns the counts by round."""
    room = asyncio.Semaphore(at_once)

    async def one(each: N, issues: Sequence[int]) -> C:
        async with room:
            return await play(each, issues)

    done = await asyncio.gather(*(one(each, issues) for each, issues in dealt))
    return {each.key: counts for (each, _), counts in zip(dealt, done, strict=True)}


async def run_peer(kind: type[Peer], dealt: Shares, seed: int) -> dict[str, Counts]:
    """A peer's counts by round."""
    return await side_by_side(dealt, ROUNDS_AT_ONCE, lambda each, issues: _peer_round(kind, each, issues, seed))


async def run_round(system: System, server: Server, each: Round, issues: Sequence[int], seed: int) -> Counts:
    """One round of one system, counted."""
    return count(await Driver(system, server, each, issues, seed).run(), system)


async def _peer_round(kind: type[Peer], each: Round, issues: Sequence[int], seed: int) -> Counts:
    with tempfile.TemporaryDirectory(prefix="peers-") as scratch:
        async with running_inside(Path(scratch), speed=SPEED, seed=seed) as server:
            await server.admin.config(**CALM_CONFIG)
            async with peer_system(kind, server, SPEED, f"{seed}/{kind.title}/{each.key}") as system:
                return await run_round(system, server, each, issues, seed)


async def run_issuebox(dealt: Shares, seed: int) -> dict[str, Counts]:
    """issuebox's counts by round. All rounds run one after the other, on one Temporal, one Daytona and two hosts."""
    with tempfile.TemporaryDirectory(prefix="peers-") as scratch:
        async with running(Path(scratch) / "daytona", speed=SPEED, seed=seed) as server:
            await server.admin.config(**CALM_CONFIG)
            async with issuebox_system(server, Path(scratch), SPEED) as system:
                return {each.key: await run_round(system, server, each, issues, seed) for each, issues in dealt}
