"""Targets, tables and chart of what metrics cost. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from bench.measure import charts, page
from bench.measure.frame import Measurement, Sense, Target
from bench.measure.metrics_overhead import API, ARMS, CREATED, SCRAPE_INTERVAL_S, WORKER, Overhead, run


def targets(figures: Overhead) -> Sequence[Target]:
    """Each interval includes 1: no effect of the metrics is seen."""
    return [
        target
        for row in figures.rows
        for target in (
            Target(name=f"{row.call}: lower end of the interval", value=row.ratio.low, limit=1.0),
            Target(
                name=f"{row.call}: upper end of the interval", value=row.ratio.high, limit=1.0, sense=Sense.AT_LEAST
            ),
        )
    ]


def render(figures: Overhead) -> str:
    """The ratios with their intervals, the times, and what processes used."""
    ratios = page.table(
        ("Time with metrics, to without", "rounds", "median", "interval of the median", "coverage"),
        (
            (
                row.call,
                row.ratio.count,
                f"{row.ratio.median:.3f}",
                f"{row.ratio.low:.3f} to {row.ratio.high:.3f}",
                f"{100 * row.ratio.coverage:.1f} %",
            )
            for row in figures.rows
        ),
    )
    times = page.table(
        ("Time of one call", "", "n", "p50", "p99"),
        (
            (row.call, name, taken.count, page.number(taken.p50, "ms"), page.number(taken.p99, "ms"))
            for row in figures.rows
            for name, taken in row.times_ms.items()
        ),
    )
    used = page.table(
        ("Used by one process", *ARMS),
        (
            (label, *(page.number(of[name][what], unit) for name in ARMS))
            for label, of, what, unit in (
                ("API, processor time of an acknowledgement", figures.processor_ms, API, "ms"),
                ("worker, processor time of a handover", figures.processor_ms, WORKER, "ms"),
                ("API, memory", figures.memory_mib, API, "MiB"),
                ("worker, memory", figures.memory_mib, WORKER, "MiB"),
            )
        ),
    )
    scrapes = f"Read {figures.scrapes} times, every {SCRAPE_INTERVAL_S:g} s from each process that shows metrics."
    return f"{ratios}\n\n{_READING}\n\n{times}\n\n{used}\n\n{scrapes} {page.loads(figures.load)}"


_READING = """\
Each round starts new processes, and both sides take turns in it, in a random order: call by call, and by 40 deliveries
where 8 are sent at once. A round's ratio is that of its medians. The interval holds the median of such ratios: it is
cut from the sorted ratios, as many at each end as 95 % allow, and takes only for granted that rounds are
independent."""


def draw(figures: Overhead) -> Mapping[str, Figure]:
    """A point for each round, and a line from end to end of the interval."""
    figure, axes = charts.axes("Time with metrics, to the time without, round by round", "ratio", "")
    for place, row in enumerate(figures.rows):
        axes.plot(row.ratios, [place] * len(row.ratios), "o", color=charts.COLOURS[4], alpha=0.6)
        axes.plot([row.ratio.low, row.ratio.high], [place - 0.2] * 2, linewidth=3, color=charts.COLOURS[0])
        axes.plot([row.ratio.median], [place - 0.2], "o", color=charts.COLOURS[1])
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_yticks(range(len(figures.rows)), [row.call for row in figures.rows])
    axes.invert_yaxis()
    return {"metrics": figure}


METRICS = Measurement(
    name="metrics",
    title="What metrics cost",
    sentence=(
        "The acknowledgement of a delivery, and the time from a request over REST until the sandbox is handed over, in "
        "turn with `ISSUEBOX_ADMIN_ADDRESS` and without it. No worker takes the acknowledged deliveries up, and "
        f"localdaytona creates at once, so that *{CREATED}* is our own time."
    ),
    figures=Overhead,
    run=run,
    targets=targets,
    render=render,
    charts=draw,
    chart_captions={"metrics": "Each round's ratio (grey), and the interval of their median."},
)
