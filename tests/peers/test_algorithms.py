"""Each peer serves without faults. A few tests show the defects that were read."""

from __future__ import annotations

import pytest

from proofs.peers.algorithms import ALL
from proofs.peers.algorithms.hermes import Hermes
from proofs.peers.algorithms.lock import InProcessLock
from proofs.peers.algorithms.n8n import N8n
from proofs.peers.algorithms.open_swe import OpenSwe
from proofs.peers.algorithms.opengeni import OpenGeni
from proofs.peers.algorithms.phoenix import Phoenix
from proofs.peers.algorithms.posthog import PostHog
from proofs.peers.algorithms.suna import SunaEnsure
from proofs.peers.algorithms.suna_session import SunaSession
from proofs.peers.algorithms.tanstack import TanStack
from proofs.peers.algorithms.vercel import Vercel
from proofs.peers.peer import Peer
from proofs.peers.system import Crash, RefusedError
from tests.peers.conftest import ISSUE, Stage, Start
from tests.waiting import until

STARTERS = [kind for kind in ALL if kind not in {Phoenix, PostHog}]
"""Peers that start an issue's stopped sandbox. Phoenix ignores it, and PostHog's provider has none."""


async def _drop_reply_of_create(stage: Stage) -> None:
    await stage.daytona.admin.add_fault("create", {"kind": "drop_after"})


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
async def test_events_one_after_the_other_are_served_by_one_sandbox(stage: Start, kind: type[Peer]) -> None:
    """Without faults every peer keeps one sandbox, on either host, and hands it over for each event."""
    peer = await stage(kind)
    for host in (0, 1, 0):
        await peer.send(host)
    (only,) = await peer.live()
    assert only.state == "started"
    assert peer.system.finds(ISSUE, [only]) == only.id
    assert {done.sandbox_id for done in peer.system.handovers or []} == {only.id}
    assert len(peer.system.handovers or []) == 3


@pytest.mark.parametrize("kind", STARTERS, ids=lambda kind: kind.__name__)
async def test_stopped_sandbox_is_started_again(stage: Start, kind: type[Peer]) -> None:
    """Peers that can start a sandbox at rest do so, and create no second one."""
    peer = await stage(kind)
    await peer.send()
    (only,) = await peer.live()
    await peer.daytona.admin.act(only.id, "stop")
    await _until_state(peer, "stopped")
    await peer.send()
    (again,) = await peer.live()
    assert (again.id, again.state) == (only.id, "started")


async def test_phoenix_makes_a_second_sandbox_beside_a_stopped_one(stage: Start) -> None:
    """It ignores every sandbox that is not started."""
    peer = await stage(Phoenix)
    await peer.send()
    (first,) = await peer.live()
    await peer.daytona.admin.act(first.id, "stop")
    await _until_state(peer, "stopped")
    await peer.send()
    assert len(await peer.live()) == 2


async def test_tanstack_is_refused_for_ever_after_a_lost_reply(stage: Start) -> None:
    """The name is taken by its own sandbox, and it never adopts."""
    peer = await stage(TanStack)
    await _drop_reply_of_create(peer)
    for _ in range(3):
        with pytest.raises(RefusedError):
            await peer.send()
        await peer.settle()
    assert len(await peer.live()) == 1
    assert await peer.found() is None


@pytest.mark.parametrize("kind", [OpenSwe, InProcessLock, OpenGeni], ids=lambda kind: kind.__name__)
async def test_unnamed_create_whose_reply_is_lost_leaks(stage: Start, kind: type[Peer]) -> None:
    """Nobody can find a sandbox without a name whose ID was never read."""
    peer = await stage(kind)
    await _drop_reply_of_create(peer)
    try:
        await peer.send()
    except RefusedError:
        await peer.settle()
    await peer.send()
    assert len(await peer.live()) == 2


@pytest.mark.parametrize("kind", [N8n, Vercel, Hermes], ids=lambda kind: kind.__name__)
async def test_named_create_whose_reply_is_lost_is_found_by_the_next_event(stage: Start, kind: type[Peer]) -> None:
    """The unique name finds it, without any record of its ID."""
    peer = await stage(kind)
    await _drop_reply_of_create(peer)
    try:
        await peer.send()
    except RefusedError:
        await peer.settle()
    await peer.send()
    (only,) = await peer.live()
    assert peer.system.finds(ISSUE, [only]) == only.id


async def test_suna_session_reaps_the_sandbox_of_a_lost_reply(stage: Start) -> None:
    """Its retry creates a second one, and its reaper deletes the one that no session knows."""
    peer = await stage(SunaSession)
    await _drop_reply_of_create(peer)
    await peer.send()
    created = await peer.daytona.admin.journal(kind="created")
    (only,) = await peer.live()
    assert len(created) == 2
    assert peer.system.finds(ISSUE, [only]) == only.id


async def test_suna_ensure_killed_while_it_provisions_never_serves_again(stage: Start) -> None:
    """The row with `provisioning` outlives the process that provisioned."""
    peer = await stage(SunaEnsure)
    with pytest.raises(RefusedError):
        await peer.send(crash=Crash(step=9, after_s=0))
    for host in (0, 1):
        await peer.send(host)
    assert await peer.found() is None


async def test_process_killed_after_the_create_leaves_a_sandbox_that_nobody_knows(stage: Start) -> None:
    """The restarted process creates another."""
    peer = await stage(InProcessLock)
    with pytest.raises(RefusedError, match="killed"):
        await peer.send(crash=Crash(step=4, after_s=0))
    assert await peer.found() is None
    await peer.send()
    assert (await peer.found()) is not None
    assert len(await peer.live()) == 2


async def _until_state(peer: Stage, state: str) -> None:
    await until(peer.live, lambda live: bool(live) and live[0].state == state, f"the sandbox is {state}")
