"""The cost of a month as a formula: what Temporal Cloud and Daytona charge for the issues. Pure; measures nothing.

Prices are list prices in US dollars, before tax, credits and negotiated discounts, each with its source and the day
on which it was read. To vary an input, change it and call `month`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

HOURS_OF_A_MONTH: Final = 744.0
"""As Temporal Cloud converts a GB-month: 1 GB is 744 GBh."""
DAYS_OF_A_MONTH: Final = HOURS_OF_A_MONTH / 24

SOURCES: Final = (
    (
        "Temporal Cloud: actions, storage and plans",
        "https://docs.temporal.io/cloud/pricing, https://docs.temporal.io/cloud/actions",
        "2026-11-24",
    ),
    (
        "Daytona: vCPU, memory and disk; stopped pays for disk only, archived for nothing",
        "https://www.daytona.io/pricing (as quoted on 2026-05-25), https://www.daytona.io/docs/en/limits",
        "2026-11-24",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalPrices:
    """Temporal Cloud, pay as you go on the Business plan."""

    action_tiers: Sequence[tuple[float, float]] = (
        (5e6, 50.0), (5e6, 45.0), (10e6, 40.0), (30e6, 35.0), (50e6, 30.0), (100e6, 25.0),
    )  # fmt: skip
    """Tiers of (actions, dollars per million). The last price applies to all further actions; Sales may lower it."""
    included_actions: float = 2.5e6
    active_gbh: float = 0.042
    included_active_gbh: float = 2.5 * HOURS_OF_A_MONTH
    retained_gbh: float = 0.00105
    included_retained_gbh: float = 100 * HOURS_OF_A_MONTH
    plan_least: float = 500.0
    plan_share: float = 0.10
    """The plan costs this share of the consumption, but at least `plan_least`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaytonaPrices:
    """Daytona, pay as you go."""

    vcpu_hour: float = 0.0504
    memory_gib_hour: float = 0.0162
    disk_gib_hour: float = 0.000108
    archived_gib_hour: float = 0.0
    included_disk_gib: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """A month's issues: their number, and the life of each of them. All values are assumptions."""

    issues: float = 1_000_000
    reuses: float = 4.0
    """Events of an issue that find its sandbox running."""
    starts: float = 1.0
    """Events that find it stopped."""
    is_closed: bool = True
    """Whether its sandbox is stopped, archived and in the end deleted."""
    running_h: float = 2.0
    """Hours that its sandbox runs, including the hour until the idle stop."""
    stopped_h: float = 24.0
    archived_h: float = 29 * 24.0
    workflow_h: float = HOURS_OF_A_MONTH
    """Hours that its workflow is open: for as long as the issue may be reopened."""
    retained_h: float = 0.0
    vcpus: float = 1.0
    memory_gib: float = 1.0
    disk_gib: float = 3.0
    """The size of Daytona's default sandbox."""
    reads_of_status: float = 2.0
    """How often somebody reads the issue's status: each time a query, which is an action."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one outcome uses, as `bench.measure.history` measured it: actions, and bytes of history."""

    actions: float
    history_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What the outcomes of an issue's life use. `closed` is everything from the close to the delete."""

    created: Usage
    reused: Usage
    started: Usage
    closed: Usage


@dataclass(frozen=True, slots=True)
class Bill:
    """Dollars a month."""

    actions: float
    """How many, in millions."""
    action_cost: float
    active_storage: float
    retained_storage: float
    plan: float
    compute: float
    disk: float

    @property
    def temporal(self) -> float:
        """All of Temporal Cloud."""
        return self.action_cost + self.active_storage + self.retained_storage + self.plan

    @property
    def daytona(self) -> float:
        """All of Daytona."""
        return self.compute + self.disk

    @property
    def total(self) -> float:
        """Both."""
        return self.temporal + self.daytona


def action_cost(actions: float, prices: TemporalPrices) -> float:
    """The dollars for these actions beyond those of the plan, tier by tier."""
    left, cost = max(0.0, actions - prices.included_actions), 0.0
    for size, price in prices.action_tiers:
        taken = min(left, size)
        cost += taken / 1e6 * price
        left -= taken
    return cost + left / 1e6 * prices.action_tiers[-1][1]


def month(life: Life, inputs: Month, temporal: TemporalPrices, daytona: DaytonaPrices) -> Bill:
    """The bill."""
    parts = [
        (life.created, 1.0),
        (life.reused, inputs.reuses),
        (life.started, inputs.starts),
        (life.closed, float(inputs.is_closed)),
    ]
    actions = inputs.issues * (sum(usage.actions * times for usage, times in parts) + inputs.reads_of_status)
    history_gb = inputs.issues * sum(usage.history_bytes * times for usage, times in parts) / 1e9
    # A history grows over its life. Billing its whole length from the first hour on overestimates the cost.
    active_gbh = max(0.0, history_gb * inputs.workflow_h - temporal.included_active_gbh)
    retained_gbh = max(0.0, history_gb * inputs.retained_h - temporal.included_retained_gbh)
    spent = (
        action_cost(actions, temporal),
        active_gbh * temporal.active_gbh,
        retained_gbh * temporal.retained_gbh,
    )
    hourly = inputs.vcpus * daytona.vcpu_hour + inputs.memory_gib * daytona.memory_gib_hour
    disk_gibh = inputs.issues * inputs.disk_gib * (inputs.running_h + inputs.stopped_h)
    disk_gibh = max(0.0, disk_gibh - daytona.included_disk_gib * HOURS_OF_A_MONTH)
    archived_gibh = inputs.issues * inputs.disk_gib * inputs.archived_h
    return Bill(
        actions / 1e6,
        *spent,
        plan=max(temporal.plan_least, temporal.plan_share * sum(spent)),
        compute=inputs.issues * inputs.running_h * hourly,
        disk=disk_gibh * daytona.disk_gib_hour + archived_gibh * daytona.archived_gib_hour,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """Months that are all alike: as many issues are opened in each, and how long each stays. All are assumptions."""

    issues_a_month: float = 1_000_000
    open_d: float = 7.0
    """Days until an issue is closed."""
    archive_after_d: float = 1.0
    delete_after_d: float = 30.0
    forget_after_d: float = 7.0
    """Days from the close to the archive and to the delete, and from there to the workflow's end: the defaults."""
    retention_d: float = 7.0
    """Days for which the namespace keeps what has ended, as docker-compose.yml has it."""

    @property
    def first_run_d(self) -> float:
        """Days for which a life's first workflow run is open. It continues as new before the rest as archived."""
        return self.open_d + self.archive_after_d

    @property
    def last_run_d(self) -> float:
        """Days for which its last one is."""
        return self.delete_after_d - self.archive_after_d + self.forget_after_d


@dataclass(frozen=True, slots=True)
class Held:
    """What Temporal holds at any moment of such a month, and the dollars of it for the month at list prices."""

    open_workflows: float
    retained_runs: float
    active_gb: float
    retained_gb: float
    active_cost: float
    retained_cost: float
    added_gb: float
    """What each month would add for ever if no workflow ended: the last run of each life."""
    added_cost: float


def held(first_bytes: float, last_bytes: float, inputs: Steady, prices: TemporalPrices) -> Held:
    """What is held when months are alike, for lives of two workflow runs with so many bytes of history.

    Each run counts with its whole length for as long as it is open, which overestimates. What the plan includes is not
    deducted.
    """
    a_day = inputs.issues_a_month / DAYS_OF_A_MONTH
    active_gb = a_day * (first_bytes * inputs.first_run_d + last_bytes * inputs.last_run_d) / 1e9
    retained_gb = a_day * (first_bytes + last_bytes) * inputs.retention_d / 1e9
    added_gb = inputs.issues_a_month * last_bytes / 1e9
    return Held(
        open_workflows=a_day * (inputs.first_run_d + inputs.last_run_d),
        retained_runs=a_day * 2 * inputs.retention_d,
        active_gb=active_gb,
        retained_gb=retained_gb,
        active_cost=active_gb * HOURS_OF_A_MONTH * prices.active_gbh,
        retained_cost=retained_gb * HOURS_OF_A_MONTH * prices.retained_gbh,
        added_gb=added_gb,
        added_cost=added_gb * HOURS_OF_A_MONTH * prices.active_gbh,
    )
