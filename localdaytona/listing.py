"""`GET /sandbox`: query parameters to SQL, pages and cursors. Reads only.

The state filter works on the raw state while items show the derived one, as on the real server.
"""

import base64
import binascii
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from starlette.datastructures import QueryParams

from localdaytona.caches import as_of
from localdaytona.calls import refuse
from localdaytona.config import Config
from localdaytona.model import ERRORED, STATES, Sandbox, list_item, now_s
from localdaytona.store import Store
from localdaytona.types import JSONObject

LIMIT_MAX = 200
FLAP_WINDOW_S = 10.0
SORTS = {
    "name": "name",
    "cpu": "cpu",
    "memoryGib": "memory",
    "diskGib": "disk",
    "lastActivityAt": "last_activity_at",
    "createdAt": "created_at",
}
LISTABLE = STATES - {"destroyed"}


def _number(text: str) -> float:
    return float(text)


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _flag(text: str) -> float:
    return float({"true": 1, "false": 0}[text])


# Single-valued filters: parameter -> (SQL condition, how its value is read).
FILTERS: dict[str, tuple[str, Callable[[str], str | float]]] = {
    "id": ("id LIKE ? || '%'", str),
    "name": ("name LIKE ? || '%'", str),
    "minCpu": ("cpu >= ?", _number),
    "maxCpu": ("cpu <= ?", _number),
    "minMemoryGiB": ("memory >= ?", _number),
    "maxMemoryGiB": ("memory <= ?", _number),
    "minDiskGiB": ("disk >= ?", _number),
    "maxDiskGiB": ("disk <= ?", _number),
    "isPublic": ("(doc ->> '$.spec.public') = ?", _flag),
    "isRecoverable": ("(doc ->> '$.recoverable') = ?", _flag),
    "createdAtAfter": ("created_at >= ?", _time),
    "createdAtBefore": ("created_at <= ?", _time),
    "lastEventAfter": ("last_activity_at >= ?", _time),
    "lastEventBefore": ("last_activity_at <= ?", _time),
    "autoDestroyAtAfter": ("destroy_at >= ?", _time),
    "autoDestroyAtBefore": ("destroy_at <= ?", _time),
}
# Repeated filters: parameter -> column.
CHOICES = {
    "states": "state",
    "snapshots": "snapshot",
    "regionIds": "(doc ->> '$.spec.target')",
    "sandboxClasses": "(doc ->> '$.spec.sandbox_class')",
}


@dataclass(frozen=True, slots=True)
class Query:
    """The requested page, as SQL."""

    conditions: tuple[str, ...]
    values: tuple[str | float, ...]
    sort: str
    descending: bool
    limit: int
    include_errored_deleted: bool
    states: frozenset[str]
    name: str | None


class Listing:
    """Answers list calls, with lag and flapping if configured."""

    def __init__(self, store: Store, seed: int) -> None:
        self._store = store
        self._random = random.Random(seed)  # noqa: S311 - reproducible on purpose

    def page(self, params: QueryParams, config: Config, toolbox_url: str) -> JSONObject:
        """Return `{"items", "nextCursor"}`.

        Raises ApiError 400 for what the real server refuses.
        """
        query, lag_s = parse(params), config.scaled(config.list_lag_s)
        rows = self._rows(query, lag_s)
        cursor = _cursor(rows[query.limit - 1], query.sort) if len(rows) > query.limit else None
        shown = (self._show(row, query, config, lag_s) for row in rows[: query.limit])
        return {
            "items": [list_item(sandbox, toolbox_url) for sandbox in shown if sandbox is not None],
            "nextCursor": cursor,
        }

    def _rows(self, query: Query, lag_s: float) -> list[Sandbox]:
        """Return the rows of a page, and one more if there is one."""
        direction = "DESC" if query.descending else "ASC"
        hidden = "state != 'destroyed'"
        if not query.include_errored_deleted:
            hidden += " AND NOT (state IN ('error', 'build_failed') AND desired = 'destroyed')"
        if lag_s > 0:
            hidden = f"({hidden} OR updated_at > {now_s() - lag_s!r})"
        where = " AND ".join((hidden, *query.conditions))
        order = f"ORDER BY {query.sort} {direction}, id {direction} LIMIT {query.limit + 1}"
        return self._store.select(f"{where} {order}", query.values)

    def _show(self, row: Sandbox, query: Query, config: Config, lag_s: float) -> Sandbox | None:
        """Return the row as the list shows it: lagging, or not at all."""
        age_s = now_s() - row.updated_at
        recent = age_s < config.scaled(FLAP_WINDOW_S)
        if recent and config.list_flap_probability > 0 and self._random.random() < config.list_flap_probability:
            return None
        if age_s >= lag_s:
            return row
        late = as_of(self._store.journal, row, now_s() - lag_s)
        return late if late is not None and _still_fits(late, query) else None


def _still_fits(sandbox: Sandbox, query: Query) -> bool:
    """Return whether an older version of a row passes the filters on fields that may have changed."""
    deleted = sandbox.state in ERRORED and sandbox.desired == "destroyed"
    return (
        sandbox.state != "destroyed"
        and (query.include_errored_deleted or not deleted)
        and (not query.states or sandbox.state in query.states)
        and (query.name is None or sandbox.name.lower().startswith(query.name.lower()))
    )


def parse(params: QueryParams) -> Query:
    """Return the query that the parameters mean, or answer 400."""
    sort, descending = _sort(params)
    conditions: list[str] = []
    values: list[str | float] = []
    for condition, found in (*_filters(params), *_choices(params), *_labels(params), *_after(params, sort, descending)):
        conditions.append(condition)
        values.extend(found)
    return Query(
        conditions=tuple(conditions),
        values=tuple(values),
        sort=sort,
        descending=descending,
        limit=_limit(params),
        include_errored_deleted=params.get("includeErroredDeleted") == "true",
        states=frozenset(params.getlist("states")),
        name=params.get("name"),
    )


_Condition = tuple[str, list[str | float]]


def _sort(params: QueryParams) -> tuple[str, bool]:
    sort, order = params.get("sort") or "lastActivityAt", params.get("order") or "desc"
    if sort not in SORTS:
        refuse(f"sort must be one of the following values: {', '.join(SORTS)}")
    if order not in {"asc", "desc"}:
        refuse("order must be one of the following values: asc, desc")
    return SORTS[sort], order == "desc"


def _limit(params: QueryParams) -> int:
    text = params.get("limit") or "100"
    if not text.isascii() or not text.isdigit():
        refuse("limit must be an integer number")
    limit = int(text)
    if limit < 1:
        refuse("limit must not be less than 1")
    if limit > LIMIT_MAX:
        refuse(f"limit must not be greater than {LIMIT_MAX}")
    return limit


def _filters(params: QueryParams) -> list[_Condition]:
    found: list[_Condition] = []
    for key, (condition, read) in FILTERS.items():
        text = params.get(key)
        if text:
            try:
                found.append((condition, [read(text)]))
            except (ValueError, KeyError):
                refuse(f"{key} is invalid")
    return found


def _choices(params: QueryParams) -> list[_Condition]:
    if not LISTABLE.issuperset(params.getlist("states")):
        refuse(f"each value in states must be one of the following values: {', '.join(sorted(LISTABLE))}")
    found: list[_Condition] = []
    for key, column in CHOICES.items():
        wanted = params.getlist(key)
        if wanted:
            found.append((f"{column} IN ({', '.join('?' * len(wanted))})", list(wanted)))
    return found


def _labels(params: QueryParams) -> list[_Condition]:
    text = params.get("labels")
    if not text:
        return []
    try:
        wanted = json.loads(text)
    except ValueError:
        refuse("Invalid labels JSON format")
    if not isinstance(wanted, dict):
        return []
    exists = "EXISTS (SELECT 1 FROM json_each(doc, '$.labels') WHERE key = ? AND value = ? AND type = 'text')"
    return [(exists, [key, value]) if isinstance(value, str) else ("0", []) for key, value in wanted.items()]


def _after(params: QueryParams, sort: str, descending: bool) -> list[_Condition]:
    cursor = params.get("cursor")
    if not cursor:
        return []
    try:
        place = json.loads(base64.b64decode(cursor, validate=True))
        value, sandbox_id = place["sortValue"], str(place["id"])
    except (binascii.Error, ValueError, KeyError, TypeError):
        refuse(f"Invalid cursor provided: {cursor}")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        refuse(f"Invalid cursor provided: {cursor}")
    return [(f"({sort}, id) {'<' if descending else '>'} (?, ?)", [value, sandbox_id])]


def _cursor(sandbox: Sandbox, sort: str) -> str:
    spec = sandbox.spec
    value: dict[str, str | float] = {
        "name": sandbox.name,
        "cpu": spec.cpu,
        "memory": spec.memory,
        "disk": spec.disk,
        "last_activity_at": sandbox.last_activity_at,
        "created_at": sandbox.created_at,
    }
    return base64.b64encode(json.dumps({"sortValue": value[sort], "id": sandbox.id}).encode()).decode()
