"""Targets, tables and charts of the burst. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from bench.measure import charts, page
from bench.measure.burst import ACKNOWLEDGED_LIMIT_S, CALLERS, STEPS, WORKERS, Acknowledged, Burst, run
from bench.measure.frame import Measurement, Target


def targets(figures: Burst) -> Sequence[Target]:
    """Every acknowledgement in time, every delivery accepted, and the promise kept."""
    slowest_s = figures.ours.latency_ms.most / 1000
    return [
        Target(name="slowest acknowledgement", value=slowest_s, limit=ACKNOWLEDGED_LIMIT_S, unit="s"),
        Target(name="deliveries that were not answered with 2xx", value=figures.refused, limit=0),
        Target(name="violations that the checker found", value=figures.violations, limit=0),
    ]


def render(figures: Burst) -> str:
    """The acknowledgements of both sides, and the durations of the remaining steps."""
    head = ("Acknowledgement", "n", "p50", "p99", "slowest", "rate, a second")
    both = page.table(head, [_row("webhook", figures.ours), _row("bare signal-with-start", figures.bare)])
    right = figures.right_each_s
    facts: list[tuple[object, ...]] = [
        ("all deliveries acknowledged after", page.number(figures.acknowledged_curve_s[-1], "s")),
        ("half of the issues right after", page.number(right[len(right) // 2], "s")),
        ("all issues right after", page.number(right[-1], "s")),
        *(
            (f"Daytona requests for one issue: `{operation}`", page.number(count / figures.issues))
            for operation, count in sorted(figures.requests.items())
        ),
        *(
            (f"processor time and memory of {name}", f"{page.number(figures.processor_s[name], 's')}, {memory:.0f} MiB")
            for name, memory in figures.memory_mib.items()
        ),
    ]
    return f"{both}\n\n{page.table((f'{figures.deliveries} deliveries for {figures.issues} issues', ''), facts)}"


def _row(who: str, side: Acknowledged) -> tuple[object, ...]:
    latency = side.latency_ms
    times = (page.number(value, "ms") for value in (latency.p50, latency.p99, latency.most))
    return who, latency.count, *times, page.number(side.rate_per_s)


def draw(figures: Burst) -> Mapping[str, Figure]:
    """The distribution of the latencies, and the course of the burst."""
    shares = [100 * step / STEPS for step in range(STEPS + 1)]
    figure, axes = charts.axes("Latency of acknowledgements in the burst", "milliseconds", "% not slower")
    axes.plot(figures.ours.curve_ms, shares, color=charts.COLOURS[0], label="webhook (API, workers at work)")
    axes.plot(figures.bare.curve_ms, shares, color=charts.COLOURS[4], label="bare signal-with-start")
    axes.axvline(1000 * ACKNOWLEDGED_LIMIT_S, color=charts.COLOURS[1], linestyle="--", label="limit")
    axes.set_xscale("log")
    axes.legend(loc="upper left")
    course, lower = charts.axes("Course of the burst", "seconds since the first delivery", "%")
    lower.plot(figures.acknowledged_curve_s, shares, color=charts.COLOURS[0], label="deliveries acknowledged")
    right = figures.right_each_s
    part = [100 * (place + 1) / len(right) for place in range(len(right))]
    lower.plot(right, part, color=charts.COLOURS[2], label="issues with their started sandbox")
    lower.legend(loc="lower right")
    return {"burst": figure, "burst_course": course}


BURST = Measurement(
    name="burst",
    title="A burst of deliveries",
    sentence=(
        "Ten deliveries for each issue, two of them copies, all shuffled (out of order, several of an issue at once), "
        f"are sent over {CALLERS} kept connections as fast as the answers come, to one API and {WORKERS} workers, with "
        "Temporal's dev server on a database file and localdaytona with its default durations. An issue is right when "
        "localdaytona's journal shows its one sandbox started; the checker of `proofs/checker` judges the whole run. "
        "Bare: as many concurrent signal-with-starts of an empty workflow with a worker, on the same server before it."
    ),
    figures=Burst,
    run=run,
    targets=targets,
    render=render,
    charts=draw,
    chart_captions={
        "burst": "Share of acknowledgements that were not slower.",
        "burst_course": "Deliveries acknowledged, and issues that had their one started sandbox, over time.",
    },
)
