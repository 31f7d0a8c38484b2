"""Writes report.txt, report.json and report.html. The page loads nothing from elsewhere."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Final

from proofs.chaos.fault_schedule import MEDDLINGS
from proofs.chaos.parts import Ending
from proofs.chaos.plan import Plan
from proofs.chaos.run import Outcome
from proofs.chaos.summary import Summary, as_text
from proofs.chaos.tally import Tally
from proofs.chaos.timeline import draw

STYLE: Final = Path(__file__).with_name("page.css")
SHOWN_MAX: Final = 50

_LEGEND: Final = (
    ('<circle class="expects-running" cx="7" cy="6" r="4"/>', "delivery that asks for the sandbox"),
    ('<circle class="expects-stopped" cx="7" cy="6" r="4"/>', "close, transfer"),
    ('<circle class="expects-gone" cx="7" cy="6" r="4"/>', "delete"),
    ('<circle class="expects-kept" cx="7" cy="6" r="4"/>', "reopened by one who may not ask"),
    ('<circle class="expects-nothing" cx="7" cy="6" r="4"/>', "asks for nothing"),
    ('<circle class="unanswered" cx="7" cy="6" r="4"/>', "not acknowledged"),
    ('<rect class="state-started" x="0" y="1" width="14" height="10"/>', "started"),
    ('<rect class="passing" x="0" y="1" width="14" height="10"/>', "changing"),
    ('<rect class="state-stopped" x="0" y="1" width="14" height="10"/>', "stopped"),
    ('<rect class="state-archived" x="0" y="1" width="14" height="10"/>', "archived"),
    ('<rect class="state-error" x="0" y="1" width="14" height="10"/>', "error"),
    ('<rect class="dying" x="0" y="1" width="14" height="10"/>', "dying"),
    ('<circle class="handover" cx="7" cy="6" r="4"/>', "handed over"),
    ('<path class="fault" d="M7 1v10"/>', "fault injected"),
    ('<path class="person" d="M7 0l5 6l-5 6l-5 -6z"/>', "a person"),
    ('<path class="kill" d="M3 2l8 8m0 -8l-8 8"/>', "kill -9"),
    ('<rect class="freeze" x="0" y="1" width="14" height="10"/>', "frozen"),
    ('<rect class="terminate" x="0" y="1" width="14" height="10"/>', "SIGTERM, until it ended"),
    ('<rect class="did-not-end" x="0" y="1" width="14" height="10"/>', "SIGTERM, and did not end"),
    ('<rect class="cut" x="0" y="1" width="14" height="10"/>', "cut"),
    ('<rect class="stall" x="0" y="1" width="14" height="10"/>', "stalled: a link, or the reader of a log"),
    ('<rect class="slow" x="0" y="1" width="14" height="10"/>', "slow"),
    ('<rect class="knob" x="0" y="1" width="14" height="10"/>', "Daytona: outage, quota, …"),
)


def write_report(run_dir: Path, summary: Summary, plan: Plan, outcome: Outcome, tally: Tally) -> None:
    """Write the three files into the run's directory."""
    (run_dir / "report.txt").write_text(f"{summary.command}\n{as_text(summary)}\n")
    (run_dir / "report.json").write_text(summary.model_dump_json(indent=1) + "\n")
    picture = draw(plan, outcome, tally, run_dir)
    (run_dir / "report.html").write_text(page(summary, picture))


def page(summary: Summary, picture: str) -> str:
    """The whole page."""
    parts = [*_head(summary), *_verdicts(summary), *_violations(summary), *_timeline(picture), *_done(summary)]
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>issuebox chaos run, seed {summary.seed}</title>\n<style>\n{STYLE.read_text()}</style></head>\n"
        "<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _head(summary: Summary) -> Iterator[str]:
    word, is_bad = ("The promise held", "") if summary.is_good else ("The promise did not hold", " bad")
    if summary.unrest and not summary.violations:
        word = "The run did not come to rest"
    elif summary.bad_endings and not summary.violations:
        word = "A process did not end in order"
    elif summary.breaches and not summary.violations:
        word = "A hostile call or a cancel had an effect that it should not have"
    yield f"<h1>issuebox chaos run, seed {summary.seed}</h1>"
    machine = ", ".join(f"{name} {value}" for name, value in summary.machine.items())
    yield f'<div class="dim">{escape(machine)}</div>'
    yield f'<div class="verdict{is_bad}">{word}</div> <div>Again: <code>{escape(summary.command)}</code></div>'
    settle = f"{summary.settle_s:.1f} s" if summary.settle_s is not None else "none"
    killed = _sum(summary.disturbances, "kill")
    cards = {
        "issues": f"{summary.issues:,}",
        "deliveries, acknowledged": f"{summary.deliveries - summary.given_up:,} of {summary.deliveries:,}",
        "POSTs, redeliveries included": f"{summary.posts:,}",
        "sandboxes created": f"{summary.sandboxes_created:,}",
        "executions of the agents' jobs": f"{summary.agents.get('executions', 0):,}",
        "processes killed": f"{killed:,}",
        "processes frozen": f"{_sum(summary.disturbances, 'freeze'):,}",
        "processes that ended in order after SIGTERM": f"{_orderly(summary):,} of {sum(summary.endings.values()):,}",
        "workflows cancelled, terminated or reset": f"{sum(_meddling(summary).values()):,}",
        "hostile calls": f"{sum(sum(answers.values()) for answers in summary.hostile.values()):,}",
        "log readers stalled": f"{_sum(summary.disturbances, 'stall reader'):,}",
        "requests hit by a fault": f"{sum(summary.faults.values()):,} of {summary.daytona_requests:,}",
        "kinds of faults that hit": f"{len(summary.faults):,}",
        "acknowledged, p50 / p99 / longest": " / ".join(_time(ms) for ms in summary.ack_ms.values()) or "none",
        "from the last fault to rest": settle,
    }
    card_divs = "".join(f'<div class="card"><b>{value}</b><span>{name}</span></div>' for name, value in cards.items())
    yield f'<div class="cards">{card_divs}</div>'


def _verdicts(summary: Summary) -> Iterator[str]:
    yield "<h2>Verdicts of the checker</h2>"
    yield (
        '<p class="dim">From the journal of Daytona, the histories of Temporal and the notes of the sender alone; '
        "the checker does not rely on what issuebox reports about itself.</p>"
    )
    yield "<table>"
    for verdict in summary.verdicts:
        kind = "bad" if verdict.broken or not verdict.is_checked else "good"
        yield f'<tr><td>({verdict.rule})</td><td>{verdict.says}</td><td class="{kind}">{verdict.word}</td></tr>'
    yield "</table>"
    if summary.unrest:
        yield f"<p>Not at rest: {escape(summary.unrest)}</p>"
    for breach, times in Counter(summary.breaches).most_common(SHOWN_MAX):
        yield f"<p>Breach, {times} x: {escape(breach)}</p>"
    if summary.bad_endings:
        yield f"<p>Did not end in order after SIGTERM: {escape(', '.join(summary.bad_endings))}</p>"


def _violations(summary: Summary) -> Iterator[str]:
    if not summary.violations:
        return
    yield "<h2>Violations</h2><table><tr><th>rule</th><th>issue</th><th>what</th><th>journal entries</th></tr>"
    for each in summary.violations[:SHOWN_MAX]:
        entries = ", ".join(map(str, each.entries))
        yield f"<tr><td>({each.rule})</td><td>{each.issue}</td><td>{escape(each.what)}</td><td>{entries}</td></tr>"
    yield "</table>"


def _timeline(picture: str) -> Iterator[str]:
    yield "<h2>The most affected issues</h2>"
    yield '<p class="dim">Point at a mark to read it.</p>'
    legend = "".join(f'<span><svg viewBox="0 0 14 12">{mark}</svg>{says}</span>' for mark, says in _LEGEND)
    yield f'<div class="legend">{legend}</div>'
    yield f'<div class="timeline scroll">{picture}</div>'


def _done(summary: Summary) -> Iterator[str]:
    yield '<h2>Disturbances</h2><div class="columns">'
    yield _counts("Processes, links, Daytona", summary.disturbances)
    yield _counts("Agents", summary.agents)
    yield _counts("Told at GitHub", summary.at_github)
    if summary.slots:
        yield _counts("Slots of the cap", summary.slots)
    yield _counts("People", summary.acts)
    yield _counts("Refused at that moment", summary.refused_acts)
    yield _counts("Outcomes of SIGTERMs", summary.endings)
    yield _counts("Blocks of issues, by cause", summary.blocks)
    if summary.failed_tasks:
        yield _counts("Failed workflow tasks", summary.failed_tasks)
    if summary.own_deaths:
        yield _counts("Ended by themselves, restarted", summary.own_deaths)
    yield "</div>"
    yield '<h2>Answers to strangers</h2><div class="columns">'
    for kind, answers in summary.hostile.items():
        yield _counts(escape(kind), answers)
    yield "</div>"
    yield "<h2>Requests hit by a fault, by operation and effect</h2>"
    yield f'<div class="scroll">{_hits(summary.faults)}</div>'


def _counts(title: str, counts: Mapping[str, float]) -> str:
    rows = "".join(f'<tr><td>{escape(word)}</td><td class="number">{count}</td></tr>' for word, count in counts.items())
    return f"<div><table><tr><th>{title}</th><th></th></tr>{rows}</table></div>"


def _hits(faults: Mapping[str, int]) -> str:
    hits: dict[str, Counter[str]] = defaultdict(Counter)
    for word, count in faults.items():
        operation, _, effect = word.partition(" ")
        hits[effect][operation] += count
    operations = sorted({operation for row in hits.values() for operation in row})
    most = max((count for row in hits.values() for count in row.values()), default=1)
    head = "".join(f"<th>{operation}</th>" for operation in operations)
    rows = "".join(
        f"<tr><td>{effect}</td>{''.join(_cell(row[operation], most) for operation in operations)}</tr>"
        for effect, row in sorted(hits.items())
    )
    return f'<table class="hits"><tr><th></th>{head}</tr>{rows}</table>'


def _cell(count: int, most: int) -> str:
    return f'<td class="hit" style="--heat:{count / most:.2f}">{count}</td>' if count else "<td></td>"


def _sum(disturbances: Mapping[str, int], kind: str) -> int:
    return sum(count for word, count in disturbances.items() if word.startswith(f"{kind} "))


def _meddling(summary: Summary) -> dict[str, int]:
    return {word: hits for word, hits in summary.acts.items() if word.startswith(MEDDLINGS)}


def _orderly(summary: Summary) -> int:
    return summary.endings.get(Ending.IN_ORDER, 0)


def _time(ms: float) -> str:
    return f"{ms / 1000:.1f} s" if ms >= 1000 else f"{ms:.0f} ms"  # noqa: PLR2004
