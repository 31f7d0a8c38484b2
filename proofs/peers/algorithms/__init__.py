"""One file for each project, and the list of all algorithms in the order of the table."""

from __future__ import annotations

from proofs.peers.algorithms.background_agents import BackgroundAgents
from proofs.peers.algorithms.hermes import Hermes
from proofs.peers.algorithms.lock import InProcessLock
from proofs.peers.algorithms.n8n import N8n
from proofs.peers.algorithms.open_swe import OpenSwe, OpenSweMarker, OpenSweNamed
from proofs.peers.algorithms.opengeni import OpenGeni
from proofs.peers.algorithms.phoenix import Phoenix
from proofs.peers.algorithms.posthog import PostHog
from proofs.peers.algorithms.suna import SunaEnsure, SunaProject
from proofs.peers.algorithms.suna_session import SunaSession
from proofs.peers.algorithms.tanstack import TanStack
from proofs.peers.algorithms.vercel import Vercel
from proofs.peers.peer import Peer

ALL: tuple[type[Peer], ...] = (
    InProcessLock,
    OpenSwe,
    OpenSweMarker,
    OpenSweNamed,
    SunaProject,
    SunaEnsure,
    SunaSession,
    TanStack,
    PostHog,
    N8n,
    Phoenix,
    Hermes,
    Vercel,
    BackgroundAgents,
    OpenGeni,
)
