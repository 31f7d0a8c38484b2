"""The report's timeline as SVG: the disturbances of processes and links, and the histories of the most affected issues.

Pure: from the evidence to marks with a time, and from marks to SVG. Every mark has a tooltip.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Final

from proofs.chaos.plan import Plan
from proofs.chaos.run import Outcome
from proofs.chaos.tally import Tally
from proofs.chaos.terms import DAYTONA, LINKS, PARTS, ROLLED, STRAYS, WORKERS
from proofs.checker.evidence import Evidence
from proofs.checker.lives import SandboxLife, issue_of, read_lives

SHOWN_MAX: Final = 10
WIDTH: Final = 1200
GUTTER: Final = 150
ROW: Final = 15
GAP: Final = 7
HANDED_OVER: Final = frozenset({"sandbox_created", "sandbox_started", "sandbox_recovered", "sandbox_reused"})
PASSING: Final = frozenset({"creating", "starting", "restoring", "resuming", "stopping", "archiving", "unknown"})
PART_KINDS: Final = {
    "kill": "kill",
    "freeze": "freeze",
    "terminate": "terminate",
    "did not end": "did-not-end",
    "rolling restart": "terminate",
    "stall reader": "stall",
    "wrong settings": "slow",
}
"""Disturbances of processes, and their class in the style sheet; all others are knobs of Daytona."""
WEIGHTS: Final = {"fault": 3, "created": 4, "state": 1}
"""How much a journal entry of this kind counts for its issue."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something at a time in epoch seconds; until `end`, when it lasts. `kind`: its class in the style sheet."""

    at: float
    kind: str
    says: str
    end: float | None = None


@dataclass(frozen=True, slots=True)
class Lane:
    """One row: a label and its marks. `is_head`: it begins a new block."""

    label: str
    marks: tuple[Mark, ...]
    is_head: bool = False


def draw(plan: Plan, outcome: Outcome, tally: Tally, run_dir: Path) -> str:
    """The whole timeline as one SVG."""
    lanes = [*_of_parts(tally), *_of_links(tally)]
    for issue in most_affected(outcome.evidence):
        lanes += _of_issue(issue, outcome, handovers(run_dir, issue), tally)
    return _svg(lanes, outcome, plan)


def most_affected(evidence: Evidence) -> list[int]:
    """The most affected issues, by their journal entries, in descending order."""
    score: Counter[int] = Counter()
    for entry in evidence.journal:
        issue = issue_of(entry.name, {})
        if issue is not None:
            score[issue] += WEIGHTS.get(entry.kind, 0)
    return [issue for issue, _ in sorted(score.items(), key=lambda pair: (-pair[1], pair[0]))[:SHOWN_MAX]]


def handovers(run_dir: Path, issue: int) -> list[Mark]:
    """The handovers of the issue's sandbox, from the workers' logs."""
    found = []
    for worker in WORKERS:
        path = run_dir / "logs" / f"{worker}.log"
        for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
            if f'"issue_id": {issue},' not in line and f'"issue_id":{issue},' not in line:
                continue
            mark = _handover(line, worker)
            if mark is not None:
                found.append(mark)
    return sorted(found, key=lambda mark: mark.at)


def _handover(line: str, worker: str) -> Mark | None:
    try:
        logged = json.loads(line)
    except ValueError:  # A kill cut the line short.
        return None
    if logged.get("event") not in HANDED_OVER:
        return None
    at = datetime.fromisoformat(logged["timestamp"]).timestamp()
    return Mark(at, "handover", f"{logged['event'].replace('_', ' ')} ({worker})")


def _of_parts(tally: Tally) -> Iterator[Lane]:
    for place, part in enumerate((*PARTS, ROLLED, *STRAYS)):
        marks = [
            Mark(
                each.at,
                _part_kind(each.kind),
                f"{part}: {each.kind}, {each.seconds:g} s",
                each.at + each.seconds,
            )
            for each in tally.disturbances
            if each.lane == part
        ]
        own = tuple(mark for mark in marks if mark.kind != "knob")
        yield Lane(part, own, is_head=place == 0)
        if part == DAYTONA:
            yield Lane("its knobs", tuple(mark for mark in marks if mark.kind == "knob"))


def _part_kind(kind: str) -> str:
    return PART_KINDS.get(kind, "knob")


def _of_links(tally: Tally) -> Iterator[Lane]:
    for place, link in enumerate(LINKS):
        marks = [
            Mark(
                each.at,
                each.kind,
                f"{each.kind} {link}, {each.seconds:g} s",
                each.at + each.seconds,
            )
            for each in tally.disturbances
            if each.lane == link
        ]
        yield Lane(link.replace(">", " → "), tuple(marks), is_head=place == 0)


def _of_issue(issue: int, outcome: Outcome, handed_over: Sequence[Mark], tally: Tally) -> Iterator[Lane]:
    evidence = outcome.evidence
    lives = [life for life in read_lives(evidence.journal) if life.issue == issue]
    deliveries = [
        Mark(
            post.sent_at,
            f"expects-{post.expects.value}" if post.is_acknowledged else "unanswered",
            f"{post.action}, {post.status or 'no answer'}, asks for {post.expects.value}",
        )
        for post in evidence.deliveries
        if post.issue == issue
    ]
    yield Lane(f"issue {issue}", tuple(deliveries), is_head=True)
    for place, row in enumerate(_packed(lives)):
        marks = tuple(mark for life in row for mark in _life(life, outcome.ended_at))
        yield Lane("sandbox" if place == 0 else "", marks)
    yield Lane("handed over", tuple(handed_over))
    meddled = [Mark(each.at, "person", each.word) for each in tally.meddled if each.issue == issue]
    yield Lane("faults, people", (*_faults(evidence, issue), *_people(evidence, issue), *meddled))


def _packed(lives: Sequence[SandboxLife]) -> list[list[SandboxLife]]:
    """The lives in as few rows as possible, so that none overlaps another in its row."""
    rows: list[list[SandboxLife]] = []
    for life in lives:
        free = [row for row in rows if row[-1].gone is not None and row[-1].gone.at <= life.born.at]
        if free:
            free[0].append(life)
        else:
            rows.append([life])
    return rows


def _life(life: SandboxLife, ended_at: float) -> Iterator[Mark]:
    for moment, following in zip(life.moments, [*life.moments[1:], None], strict=True):
        if moment.is_gone:
            yield Mark(moment.at, "gone", f"{life.id[:8]} is gone")
            return
        kind = "dying" if moment.is_dying else "passing" if moment.state in PASSING else f"state-{moment.state}"
        says = f"{life.id[:8]} {moment.state}, should be {moment.desired}"
        yield Mark(moment.at, kind, says, following.at if following else ended_at)


def _faults(evidence: Evidence, issue: int) -> Iterator[Mark]:
    for entry in evidence.journal:
        effect = entry.detail.get("effect")
        if entry.kind == "fault" and isinstance(effect, dict) and issue_of(entry.name, {}) == issue:
            yield Mark(entry.at, "fault", f"{entry.operation}: {effect.get('kind')}")


def _people(evidence: Evidence, issue: int) -> Iterator[Mark]:
    for order in evidence.orders:
        if order.issue == issue and order.status is not None:
            yield Mark(order.sent_at, "person", f"order: {order.order}{', forced' if order.is_forced else ''}")
    for entry in evidence.journal:
        if entry.kind == "admin" and issue_of(entry.name, {}) == issue:
            yield Mark(entry.at, "person", f"by hand: {entry.detail.get('act')}")


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps epoch seconds to x coordinates."""

    begin: float
    end: float

    def x(self, at: float) -> float:
        share = (min(max(at, self.begin), self.end) - self.begin) / (self.end - self.begin)
        return round(GUTTER + share * (WIDTH - GUTTER - 8), 2)


def _svg(lanes: Sequence[Lane], outcome: Outcome, plan: Plan) -> str:
    scale = Scale(outcome.load_began_at, outcome.ended_at)
    body, y = [], 26.0
    for lane in lanes:
        if lane.is_head:
            y += GAP
            body.append(f'<line class="rule" x1="0" x2="{WIDTH}" y1="{y - GAP / 2}" y2="{y - GAP / 2}"/>')
        body += _row(lane, y, scale)
        y += ROW
    height = y + 24
    return "\n".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="Timeline of seed {plan.seed}">',
            *_axis(scale, outcome, height),
            *body,
            "</svg>",
        ]
    )


def _axis(scale: Scale, outcome: Outcome, height: float) -> Iterator[str]:
    begin, calm, end = scale.x(scale.begin), scale.x(outcome.faults_ended_at), scale.x(scale.end)
    yield f'<rect class="faults-on" x="{begin}" y="20" width="{calm - begin:.2f}" height="{height - 40:g}"/>'
    yield f'<text class="phase" x="{begin + 4}" y="13">faults on</text>'
    yield f'<text class="phase" x="{min(calm + 4, end - 56):.2f}" y="13">faults off</text>'
    seconds = scale.end - scale.begin
    step = next(step for step in (5, 10, 20, 30, 60, 120, 300, 3600) if seconds / step <= 16)  # noqa: PLR2004
    for tick in range(0, int(seconds) + 1, step):
        x = scale.x(scale.begin + tick)
        yield f'<line class="grid" x1="{x}" x2="{x}" y1="20" y2="{height - 20:g}"/>'
        yield f'<text class="tick" x="{x}" y="{height - 6:g}">{tick} s</text>'


def _row(lane: Lane, y: float, scale: Scale) -> Iterator[str]:
    head = " head" if lane.is_head else ""
    if lane.label:
        yield f'<text class="label{head}" x="{GUTTER - 8}" y="{y + 11}">{escape(lane.label)}</text>'
    yield from _marks(lane.marks, y, scale)


def _marks(marks: Iterable[Mark], y: float, scale: Scale) -> Iterator[str]:
    for mark in marks:
        x, says = scale.x(mark.at), f"<title>{escape(mark.says)} · {mark.at - scale.begin:.2f} s</title>"
        if mark.kind == "kill":
            yield f'<path class="kill" d="M{x - 4} {y + 3}l8 8m0 -8l-8 8">{says}</path>'
        elif mark.end is not None:
            width = max(1.5, scale.x(mark.end) - x)
            yield f'<rect class="{mark.kind}" x="{x}" y="{y + 2}" width="{width:.2f}" height="{ROW - 5}">{says}</rect>'
        elif mark.kind == "person":
            yield f'<path class="person" d="M{x} {y + 2}l5 5.5l-5 5.5l-5 -5.5z">{says}</path>'
        elif mark.kind == "fault":
            yield f'<path class="fault" d="M{x} {y + 3}v9">{says}</path>'
        elif mark.kind == "gone":
            yield f'<path class="gone" d="M{x} {y + 1}v{ROW - 3}">{says}</path>'
        else:
            yield f'<circle class="{mark.kind}" cx="{x}" cy="{y + 7}" r="4">{says}</circle>'
