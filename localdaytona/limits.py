"""Rate limits and CPU quota: counters in memory, lost on restart as a cache would be."""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from localdaytona.calls import ApiError
from localdaytona.config import Config
from localdaytona.model import CONSUMES_CPU, now_s
from localdaytona.store import Store

BUCKETS: dict[str, str] = {
    "create": "sandbox-create",
    "start": "sandbox-lifecycle",
    "stop": "sandbox-lifecycle",
    "archive": "sandbox-lifecycle",
    "delete": "sandbox-lifecycle",
    "recover": "sandbox-lifecycle",
    "pause": "sandbox-lifecycle",
}
TOO_MANY = "ThrottlerException: Too Many Requests"
ACCESS_DENIED = "Access denied"
NEEDS: dict[str, str] = {
    **dict.fromkeys(
        ("create", "start", "stop", "archive", "recover", "pause", "labels", "interval", "ssh_access"),
        "write:sandboxes",
    ),
    "delete": "delete:sandboxes",
}
"""The permission that a call needs. Reads and the refresh of the activity timer need none."""


class RateLimiter:
    """Fixed windows by bucket. The buckets are independent."""

    def __init__(self) -> None:
        self._windows: dict[str, tuple[float, int]] = {}

    def admit(self, operation: str, config: Config) -> dict[str, str]:
        """Count a call and return the headers of its reply.

        Raises ApiError 429 with `Retry-After-<bucket>` and no other header.
        """
        bucket = BUCKETS.get(operation, "authenticated")
        limit = getattr(config.rate_limits, bucket.replace("-", "_"))
        if limit is None:
            return {}
        used, left_s = self._count(bucket, config)
        if used > limit:
            raise ApiError(429, TOO_MANY, {f"Retry-After-{bucket}": str(left_s)})
        return {
            f"X-RateLimit-Limit-{bucket}": str(limit),
            f"X-RateLimit-Remaining-{bucket}": str(limit - used),
            f"X-RateLimit-Reset-{bucket}": str(left_s),
        }

    def admit_key(self, config: Config, *, valid: bool) -> None:
        """Count a wrong key. Above the limit even valid keys are refused until the window ends.

        Raises ApiError 401 or 429.
        """
        limit = config.rate_limits.failed_auth
        if limit is not None:
            used, left_s = self._count("failed-auth", config, step=0 if valid else 1)
            if used > limit:
                headers = {"Retry-After": str(left_s), "X-RateLimit-Limit-failed-auth": str(limit)}
                raise ApiError(429, TOO_MANY, headers)
        if not valid:
            raise ApiError(401, "Invalid credentials")

    def _count(self, bucket: str, config: Config, step: int = 1) -> tuple[int, int]:
        """Return calls in this window and the seconds until it ends."""
        now, window_s = now_s(), config.scaled(config.rate_limits.window_s)
        started, used = self._windows.get(bucket, (now, 0))
        if now - started >= window_s:
            started, used = now, 0
        self._windows[bucket] = (started, used + step)
        return used + step, math.ceil(started + window_s - now)


def check_permission(operation: str, config: Config) -> None:
    """Raise ApiError 403 when the key lacks what the call needs."""
    needed = NEEDS.get(operation)
    if needed is not None and needed not in config.permissions:
        raise ApiError(403, ACCESS_DENIED)


class Quota:
    """The organisation's CPUs. A create reserves before it inserts, so two racing creates can both be refused."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reserved: Counter[str] = Counter()

    @contextmanager
    def reserving(self, cpu: int, config: Config) -> Iterator[None]:
        """Hold a reservation while the block runs.

        Raises ApiError 400 when the CPUs in use and reserved leave no room.
        """
        self.check(cpu, config)
        self._reserved["cpu"] += cpu
        try:
            yield
        finally:
            self._reserved["cpu"] -= cpu

    def check(self, cpu: int, config: Config) -> None:
        """Raise ApiError 400 when there is no room for this many CPUs."""
        if config.cpu_max is None:
            return
        states = ", ".join(f"'{state}'" for state in sorted(CONSUMES_CPU))
        used = self._store.number("sum(cpu)", f"state IN ({states}) AND desired != 'destroyed'") or 0
        if used + self._reserved["cpu"] + cpu > config.cpu_max:
            raise ApiError(
                400,
                f"Total CPU limit exceeded. Maximum allowed: {config.cpu_max}.\nTo increase concurrency limits,"
                " upgrade your organization's Tier by visiting https://app.daytona.io/dashboard/limits.",
            )
