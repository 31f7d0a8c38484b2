"""From the body of a create to a row, with the defaults and refusals of the real server. No I/O."""

import fnmatch
import re
from dataclasses import dataclass

from localdaytona.calls import ApiError, refuse
from localdaytona.config import Config, Snapshot
from localdaytona.model import Intervals, Sandbox, Spec, new_id
from localdaytona.types import JSON, JSONObject

# Only these are refused: HTML tags, URLs, control characters (a tab is fine).
_BAD_NAME = re.compile(r"<[^>]+>|https?://|www\.|[\x00-\x08\x0a-\x1f\x7f]", re.IGNORECASE)
BAD_NAME = "name must not contain HTML tags, URLs, or control characters"
RESOURCES = ("cpu", "memory", "disk", "gpu")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A sandbox to create; it has passed all checks except quota and the unique name."""

    name: str | None
    spec: Spec
    labels: dict[str, JSON]
    intervals: Intervals
    ttl_min: float | None

    def sandbox(self, at: float, config: Config) -> Sandbox:
        """Return the row, just inserted: state `unknown`, or `pending_build` for an image."""
        sandbox_id = new_id()
        return Sandbox(
            id=sandbox_id,
            name=self.name or sandbox_id,
            state="unknown" if self.spec.build_info is None else "pending_build",
            desired="started",
            spec=self.spec,
            labels=self.labels,
            intervals=self.intervals,
            created_at=at,
            updated_at=at,
            last_activity_at=at,
            state_since=at,
            destroy_at=at + config.scaled(60 * self.ttl_min) if self.ttl_min else None,
        )


def parse(body: JSON, config: Config) -> Wanted:
    """Return what is wanted. Without a body, or with one that is not an object, all defaults apply.

    Raises ApiError in the order of the real server: name, region, snapshot.
    """
    asked = body if isinstance(body, dict) else {}
    name = asked.get("name") or None
    if name is not None and (not isinstance(name, str) or _BAD_NAME.search(name)):
        refuse(BAD_NAME)
    target = _text(asked, "target") or config.target
    if target not in config.regions:
        refuse("Region not found", 404)
    snapshot = _snapshot(asked, config)
    return Wanted(
        name=name,
        spec=_spec(asked, target, snapshot),
        labels=_mapping(asked, "labels"),
        intervals=intervals(asked, snapshot.sandbox_class),
        ttl_min=_minutes(asked, "ttlMinutes"),
    )


def intervals(asked: JSONObject, sandbox_class: str) -> Intervals:
    """Return the timers, with the defaults of the class."""
    container = sandbox_class == "container"
    stop, pause = _minutes(asked, "autoStopInterval"), _minutes(asked, "autoPauseInterval")
    archive, delete = _minutes(asked, "autoArchiveInterval"), _minutes(asked, "autoDeleteInterval")
    for value, label in ((stop, "Auto-stop"), (pause, "Auto-pause"), (archive, "Auto-archive")):
        if value is not None and value < 0:
            refuse(f"{label} interval must be non-negative")
    return Intervals(
        auto_stop=(15 if container else 0) if stop is None else stop,
        auto_pause=(None if container else 60) if pause is None else pause,
        auto_archive=10_080 if archive is None else archive,
        auto_delete=-1 if delete is None else delete,
    )


def snapshot_named(name: str, config: Config) -> Snapshot | None:
    """Return the snapshot of this name; None when there is none."""
    return next((each for each in config.snapshots if fnmatch.fnmatchcase(name, each.glob)), None)


def _snapshot(asked: JSONObject, config: Config) -> Snapshot:
    if asked.get("buildInfo") is not None:
        return Snapshot(glob="", cpu=1, memory=1, disk=3)
    name = _text(asked, "snapshot") or config.default_snapshot
    found = snapshot_named(name, config)
    if found is None:
        refuse(f"Snapshot {name} not found. Did you add it through the Daytona Dashboard?")
    if found.state != "active":
        refuse(f"Snapshot {name} is {found.state}")
    if any(asked.get(key) is not None for key in RESOURCES):
        refuse("Cannot specify Sandbox resources when using a snapshot")
    return found.model_copy(update={"glob": name})


def _spec(asked: JSONObject, target: str, snapshot: Snapshot) -> Spec:
    build = asked.get("buildInfo")
    volumes = asked.get("volumes")
    return Spec(
        snapshot=snapshot.glob or None,
        user=_text(asked, "user") or "daytona",
        env=_mapping(asked, "env"),
        public=asked.get("public") is True,
        network_block_all=asked.get("networkBlockAll") is True,
        network_allow_list=_text(asked, "networkAllowList"),
        domain_allow_list=_text(asked, "domainAllowList"),
        target=target,
        cpu=_whole(asked, "cpu", snapshot.cpu),
        gpu=_whole(asked, "gpu", 0),
        memory=_whole(asked, "memory", snapshot.memory),
        disk=_whole(asked, "disk", snapshot.disk),
        sandbox_class=snapshot.sandbox_class,
        volumes=volumes if isinstance(volumes, list) else [],
        build_info=_build(build) if isinstance(build, dict) else None,
    )


def _build(asked: JSONObject) -> JSONObject:
    """Return the build info with the two times that the SDK requires."""
    return {"createdAt": "", "updatedAt": "", "snapshotRef": "", **asked}


def _text(asked: JSONObject, key: str) -> str | None:
    value = asked.get(key)
    if value is not None and not isinstance(value, str):
        refuse(f"{key} must be a string")
    return value


def _mapping(asked: JSONObject, key: str) -> dict[str, JSON]:
    """Return a map unchanged: the real server stores values that are not strings, and the SDK fails on them."""
    value = asked.get(key)
    return dict(value) if isinstance(value, dict) else {}


def _whole(asked: JSONObject, key: str, default: int) -> int:
    value = asked.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        refuse(f"{key} must be an integer number")
    return value


def _minutes(asked: JSONObject, key: str) -> int | float | None:
    """Return an interval. One that is not a whole number is a 500, as on the real server."""
    value = asked.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ApiError(500, "An unexpected error occurred.")
    return value
