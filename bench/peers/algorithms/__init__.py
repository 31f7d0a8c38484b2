"""One file for each project, and the list of all, in the order of the table."""

from __future__ import annotations

from bench.peers.algorithms.background_agents import BackgroundAgents
from bench.peers.algorithms.hermes import Hermes
from bench.peers.algorithms.lock import InProcessLock
from bench.peers.algorithms.n8n import N8n
from bench.peers.algorithms.open_swe import OpenSwe, OpenSweMarker, OpenSweNamed
from bench.peers.algorithms.opengeni import OpenGeni
from bench.peers.algorithms.phoenix import Phoenix
from bench.peers.algorithms.posthog import PostHog
from bench.peers.algorithms.suna import SunaEnsure, SunaProject
from bench.peers.algorithms.suna_session import SunaSession
from bench.peers.algorithms.tanstack import TanStack
from bench.peers.algorithms.vercel import Vercel
from bench.peers.peer import Peer

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
