"""The real server's staleness, which this one shows only when configured: caches by name, old reads."""

from dataclasses import dataclass, replace

from localdaytona.config import Config
from localdaytona.journal import Journal
from localdaytona.model import Sandbox, now_s


@dataclass(frozen=True, slots=True)
class _Seen:
    sandbox_id: str
    until: float


class NameCache:
    """Makes a re-created name answer 404 for a while if the earlier sandbox was read by name."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._blind_until: dict[str, float] = {}

    def remember(self, name: str, sandbox_id: str, config: Config) -> None:
        """Record a successful read by name."""
        if config.name_cache_s > 0:
            self._seen[name] = _Seen(sandbox_id, now_s() + config.scaled(config.name_cache_memory_s))

    def created(self, name: str, config: Config) -> None:
        """Record that a name has been taken; if an earlier owner was read, the name answers 404 for a while."""
        seen = self._seen.pop(name, None)
        if seen is not None and seen.until > now_s():
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


def as_of(journal: Journal, sandbox: Sandbox, at: float) -> Sandbox | None:
    """Return the sandbox with the name, states and time of change it had at that time; None before its creation."""
    moment = journal.moment(sandbox.id, at)
    if moment is None:
        return None
    updated_at = sandbox.updated_at if sandbox.updated_at <= at else moment.since
    return replace(sandbox, name=moment.name, state=moment.state, desired=moment.desired, updated_at=updated_at)
