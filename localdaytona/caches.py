"""The real server's staleness: caches by name and by ID, and old reads."""

from dataclasses import dataclass, replace

from localdaytona.config import Config
from localdaytona.journal import Journal
from localdaytona.model import Sandbox, now_s


@dataclass(frozen=True, slots=True)
class _Seen:
    sandbox_id: str
    until: float


class NameCache:
    """Makes a re-created name answer 404 for a while.

    It does so if the earlier sandbox was read by name, and the name was looked up shortly before the create.
    """

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._asked_at: dict[str, float] = {}
        self._blind_until: dict[str, float] = {}

    def ask(self, name: str) -> None:
        """Record that somebody looks the name up, with whatever answer."""
        self._asked_at[name] = now_s()

    def remember(self, name: str, sandbox_id: str, config: Config) -> None:
        """Record a successful read by name."""
        if config.name_cache_s > 0:
            self._seen[name] = _Seen(sandbox_id, now_s() + config.scaled(config.name_cache_memory_s))

    def created(self, name: str, config: Config) -> None:
        """Record that a name has been taken; if an earlier owner was read, the name answers 404 for a while."""
        seen, asked_at = self._seen.pop(name, None), self._asked_at.get(name, 0.0)
        is_fresh = now_s() - asked_at <= config.scaled(config.name_cache_s)
        if seen is not None and seen.until > now_s() and is_fresh:
            self._blind_until[name] = now_s() + config.scaled(config.name_cache_s)

    def blind(self, name: str) -> bool:
        """Return whether reads and writes by this name answer a false 404 now."""
        until = self._blind_until.get(name)
        if until is None:
            return False
        if until > now_s():
            return True
        del self._blind_until[name]
        return False


@dataclass(frozen=True, slots=True)
class Read:
    """A sandbox as a read showed it, and when, in epoch seconds."""

    sandbox: Sandbox
    at: float


class ReadCache:
    """The last read of each ID. While the database is down, the real server answers from such a cache."""

    def __init__(self) -> None:
        self._reads: dict[str, Read] = {}

    def remember(self, sandbox: Sandbox) -> None:
        """Record a read by ID."""
        self._reads[sandbox.id] = Read(sandbox, now_s())

    def fresh(self, sandbox_id: str, config: Config) -> Read | None:
        """Return the read that the server still remembers."""
        read = self._reads.get(sandbox_id)
        return read if read is not None and now_s() - read.at <= config.scaled(config.read_cache_s) else None


def as_of(journal: Journal, sandbox: Sandbox, at: float) -> Sandbox | None:
    """Return the sandbox with the name, states and time of change it had at that time; None before its creation."""
    moment = journal.moment(sandbox.id, at)
    if moment is None:
        return None
    updated_at = sandbox.updated_at if sandbox.updated_at <= at else moment.since
    return replace(sandbox, name=moment.name, state=moment.state, desired=moment.desired, updated_at=updated_at)
