"""A flood of one repository, and the few issues of others that come meanwhile: with Temporal's fairness, and without.

The one worker is the bottleneck, as in a flood. A quiet repository's issue is timed from its POST until its sandbox
was started, by localdaytona's journal; so is each issue of the flood.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict

from bench.measure import charts, page
from bench.measure.burst import first_started
from bench.measure.deliveries import Post, opened, send
from bench.measure.frame import Context, Measurement, Target
from bench.measure.parts import Parts, running
from bench.measure.quantiles import quantile
from issuebox.dev.demo.stack import until
from issuebox.dev.temporal_server import FAIRNESS
from issuebox.domain.issue import DEFAULT_NAME_PREFIX, sandbox_name
from proofs.checker.evidence import Delivery

CALLERS = 32
QUIET = 24
"""Issues of as many other repositories, spread over the flood."""
APART_S = (0.2, 1.4)
"""Between two of them."""
LIMIT = 1 / 3
TIMEOUT_S = 900.0
POLL_INTERVAL_S = 1.0
FLOOD = "octo/flood"
"""Its issues have the numbers up to the flood's size, and those of the quiet repositories the ones behind."""


class Side(BaseModel):
    """One flood. Seconds from each POST to the issue's started sandbox, in ascending order."""

    model_config = ConfigDict(frozen=True)

    is_fair: bool
    flood_s: list[float]
    quiet_s: list[float]
    took_s: float
    """From the first POST until every issue had its sandbox."""

    @property
    def p95(self) -> tuple[float, float]:
        """Of the flood and of the quiet repositories."""
        return quantile(self.flood_s, 0.95), quantile(self.quiet_s, 0.95)


class Fairness(BaseModel):
    """Both sides, in the order in which they ran."""

    model_config = ConfigDict(frozen=True)

    issues: int
    sides: list[Side]

    def side(self, *, is_fair: bool) -> Side:
        """The flood with fairness, or the one without."""
        return next(side for side in self.sides if side.is_fair is is_fair)


async def run(context: Context) -> Fairness:
    """Without fairness first, then with it; each on a fresh Temporal server and a fresh localdaytona."""
    issues = context.samples(full=1500, quick=150)
    sides = []
    for is_fair in (False, True):
        name = "fair" if is_fair else "unfair"
        config = dict.fromkeys(FAIRNESS, is_fair)
        async with running(context.scratch / name, workers=1, dynamic_config=config) as parts:
            side = await _flooded(parts, issues, context.seed, is_fair=is_fair)
        flood, quiet = side.p95
        context.say(f"{name}: p95 of the flood {flood:.1f} s, of {QUIET} quiet repositories {quiet:.1f} s")
        sides.append(side)
    return Fairness(issues=issues, sides=sides)


async def _flooded(parts: Parts, issues: int, seed: int, *, is_fair: bool) -> Side:
    base, secret = datetime.now(UTC) - timedelta(hours=1), parts.around.webhook_secret
    flood = [opened(issue, FLOOD, secret, base) for issue in range(1, issues + 1)]
    quiet = [opened(issues + number, f"octo/quiet-{number}", secret, base) for number in range(1, QUIET + 1)]
    began_at = time.time()
    sending = asyncio.create_task(send(parts.api_port, flood, CALLERS))
    noted = await _spread(parts, quiet, random.Random(seed))
    noted += await sending
    everyone = issues + QUIET
    await until(
        lambda: _started(parts), lambda count: count == everyone, "all have a sandbox", TIMEOUT_S, POLL_INTERVAL_S
    )
    right_at = first_started(await parts.admin.journal())
    took = {each.issue: right_at[sandbox_name(each.issue, DEFAULT_NAME_PREFIX)] - each.sent_at for each in noted}
    return Side(
        is_fair=is_fair,
        flood_s=_ascending(took[post.issue] for post in flood),
        quiet_s=_ascending(took[post.issue] for post in quiet),
        took_s=max(right_at.values()) - began_at,
    )


async def _spread(parts: Parts, quiet: Sequence[Post], draw: random.Random) -> list[Delivery]:
    """Send the quiet repositories' deliveries one after the other, while the flood is sent and worked off."""
    noted: list[Delivery] = []
    for post in quiet:
        await asyncio.sleep(draw.uniform(*APART_S))
        noted += await send(parts.api_port, [post], 1)
    return noted


def _ascending(seconds: Iterable[float]) -> list[float]:
    return sorted(round(each, 3) for each in seconds)


async def _started(parts: Parts) -> int:
    return sum(row.state == "started" for row in await parts.admin.sandboxes())


def targets(figures: Fairness) -> Sequence[Target]:
    """The quiet repositories against the flood, with fairness."""
    flood, quiet = figures.side(is_fair=True).p95
    return [Target(name="p95 of the quiet repositories, as a share of the flood's", value=quiet / flood, limit=LIMIT)]


def render(figures: Fairness) -> str:
    """One row for each side."""
    head = ("Temporal's fairness", "flood, p50", "flood, p95", "others, p50", "others, p95", "all have their sandbox")
    rows = [
        (
            "on" if side.is_fair else "off",
            *(f"{quantile(each, share):.1f} s" for each in (side.flood_s, side.quiet_s) for share in (0.5, 0.95)),
            f"{side.took_s:.0f} s",
        )
        for side in figures.sides
    ]
    return page.table(head, rows) + (
        f"\n\nThe flood is {figures.issues:,} issues of one repository, sent by {CALLERS} callers at once; meanwhile "
        f"{QUIET} others each open one issue. There is one worker. A half-empty queue needs no fairness: then both are "
        "served at once."
    )


def draw(figures: Fairness) -> Mapping[str, Figure]:
    """How long each issue waited, as the share of issues that had their sandbox by then."""
    figure, axes = charts.axes("From the POST to the started sandbox", "seconds", "share of the issues")
    lines = [(side, name) for side in figures.sides for name in ("flood", "others")]
    for place, (side, name) in enumerate(lines):
        samples = side.flood_s if name == "flood" else side.quiet_s
        shares = [number / len(samples) for number in range(1, len(samples) + 1)]
        label = f"{name}, fairness {'on' if side.is_fair else 'off'}"
        axes.step(samples, shares, where="post", color=charts.COLOURS[place], label=label)
    axes.legend()
    return {"fairness": figure}


FAIRNESS_OF_REPOSITORIES = Measurement(
    name="fairness",
    title="A flood of one repository, and the others",
    sentence=(
        "From the POST of an issue's opening until its sandbox was started, for a flood of one repository and for the "
        "few issues that others open meanwhile; without Temporal's fairness first, then with it."
    ),
    figures=Fairness,
    run=run,
    targets=targets,
    render=render,
    charts=draw,
    chart_captions={"fairness": "How long the flood and the others waited."},
)
