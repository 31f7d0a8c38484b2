"""The figures of a run: as one object for report.json, and as text. Judges nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from proofs.chaos.plan import Plan
from proofs.chaos.ranks import at_ranks
from proofs.chaos.run import Outcome
from proofs.chaos.slots import used
from proofs.chaos.tally import ON_PROCESSES, Tally
from proofs.checker.evidence import Delivery, Evidence, Violation
from proofs.checker.rules import RULES, is_about, is_checked


class Verdict(BaseModel):
    """One rule: how often it was broken; `is_checked` is false when the run did not come to rest."""

    model_config = ConfigDict(frozen=True)

    rule: str
    says: str
    is_checked: bool
    broken: int

    @property
    def word(self) -> str:
        """For people."""
        if self.broken:
            return f"BROKEN {self.broken} x"
        return "holds" if self.is_checked else "not checked"


class Summary(BaseModel):
    """A run and its results. `ack_ms`: the latencies of acknowledged POSTs, in milliseconds."""

    model_config = ConfigDict(frozen=True)

    seed: int
    command: str
    machine: Mapping[str, str]
    issues: int
    load_s: float
    settle_s: float | None
    unrest: str
    verdicts: tuple[Verdict, ...]
    violations: tuple[Violation, ...]
    deliveries: int
    posts: int
    acknowledged: int
    redeliveries: int
    given_up: int
    ack_ms: Mapping[str, float]
    orders: int
    journal_entries: int
    sandboxes_created: int
    daytona_requests: int
    agents: Mapping[str, int]
    """Requests for work, runs, executions by the jobs' own ledger, and fake agents by habit."""
    at_github: Mapping[str, int]
    """The comments about runs, and what became of the writes to GitHub."""
    slots: Mapping[str, float]
    """How the slots were used, in a run with a cap."""
    disturbances: Mapping[str, int]
    """Disturbances of processes by part, those of links and of Daytona by kind."""
    faults: Mapping[str, int]
    """Hits by operation and effect, as `create drop_after`."""
    acts: Mapping[str, int]
    refused_acts: Mapping[str, int]
    own_deaths: Mapping[str, int]
    """Parts that ended by themselves, such as a worker that starts while Temporal is down."""
    endings: Mapping[str, int]
    """The outcomes of all SIGTERMs to our processes, with the last one of each."""
    bad_endings: tuple[str, ...]
    """Parts that did not end in order after a SIGTERM, such as `worker-1 did not end`."""
    full_pipes: int
    """How many processes had a full log pipe at the end of a stall."""
    blocks: Mapping[str, int]
    """How often issues were blocked, by cause."""
    hostile: Mapping[str, Mapping[str, int]]
    told: Mapping[str, int]
    """The answers to strangers, by kind and status."""
    breaches: tuple[str, ...]
    """What strangers should not have achieved, and cancels that did not end as documented."""
    failed_tasks: Mapping[str, int]
    """How often workflow tasks failed, by code: `TMPRL1101` did not yield for 2 s, as in a frozen worker."""

    @property
    def is_good(self) -> bool:
        """Whether every rule was checked, none was broken, and every process ended in order after a SIGTERM."""
        return not self.violations and not self.unrest and not self.bad_endings and not self.breaches


def summarize(plan: Plan, outcome: Outcome, tally: Tally, machine: Mapping[str, str], command: str) -> Summary:
    """Count what the run did."""
    kinds = Counter(entry.kind for entry in outcome.evidence.journal)
    broken = Counter(violation.rule for violation in outcome.violations)
    return Summary(
        seed=plan.seed,
        command=command,
        machine=machine,
        issues=plan.issues,
        load_s=plan.seconds,
        settle_s=outcome.settle_s,
        unrest=outcome.unrest,
        verdicts=tuple(
            Verdict(
                rule=letter,
                says=rule.says,
                is_checked=is_checked(letter, outcome.evidence),
                broken=broken[letter],
            )
            for letter, rule in RULES.items()
            if is_about(letter, outcome.evidence)
        ),
        violations=tuple(outcome.violations),
        deliveries=len(plan.sent),
        posts=len(tally.posts),
        acknowledged=tally.acknowledged,
        redeliveries=tally.redeliveries,
        given_up=tally.given_up,
        ack_ms=latencies(tally.posts),
        orders=sum(order.status is not None for order in tally.orders),
        journal_entries=len(outcome.evidence.journal),
        sandboxes_created=kinds["created"],
        daytona_requests=kinds["request"],
        agents=_agents(outcome.evidence) | {f"fake agent: {word}": n for word, n in tally.habits.most_common()},
        at_github=tally.at_github,
        slots=used(outcome.evidence),
        disturbances=dict(Counter(_name(each.lane, each.kind) for each in tally.disturbances).most_common()),
        faults=dict(sorted(tally.faults.items())),
        acts=dict(tally.acts.most_common()),
        refused_acts=dict(tally.refused_acts.most_common()),
        own_deaths=dict(outcome.own_deaths),
        endings=dict(outcome.endings),
        bad_endings=outcome.bad_endings,
        full_pipes=outcome.full_pipes,
        failed_tasks=dict(outcome.failed_tasks),
        told=dict(tally.told.most_common()),
        hostile={kind: dict(answers.most_common()) for kind, answers in sorted(tally.hostile.items())},
        breaches=outcome.breaches,
        blocks=dict(Counter(block.cause for block in outcome.evidence.blocks or ()).most_common()),
    )


def _agents(evidence: Evidence) -> dict[str, int]:
    """What the agents were asked, and what they did. An execution that was killed wrote no end."""
    ledger, receipts = evidence.ledger or (), evidence.receipts or ()
    return {
        "requests for work": len(receipts),
        "refused requests": sum(receipt.state == "refused" for receipt in receipts),
        "runs": len({receipt.run for receipt in receipts if receipt.run}),
        "executions": len(ledger),
        "executions that wrote their end": sum(begun.ended_at is not None for begun in ledger),
        "alive at the end": len(evidence.left),
    }


def latencies(posts: Sequence[Delivery]) -> dict[str, float]:
    """p50, p99 and the longest time to an acknowledgement, in milliseconds; empty without one."""
    took = [post.answered_at - post.sent_at for post in posts if post.is_acknowledged and post.answered_at]
    found = at_ranks(took, {"p50": 0.5, "p99": 0.99, "max": 1.0})
    return {name: round(1000 * value, 1) for name, value in found.items()}


def as_text(summary: Summary) -> str:
    """The summary as text."""
    rest = f"at rest {summary.settle_s:.1f} s after the last fault" if summary.settle_s is not None else summary.unrest
    lines = [
        "",
        _sent(summary),
        _met(summary),
        f"Disturbances: {_counted(summary.disturbances)}",
        f"SIGTERMs: {_counted(summary.endings)}{_bad_endings(summary)}",
        f"Processes with a full log pipe: {summary.full_pipes}",
        f"Blocked: {_counted(summary.blocks) or 'none'}",
        f"Failed workflow tasks: {_counted(summary.failed_tasks) or 'none'}",
        f"Agents: {_counted(summary.agents)}",
        f"GitHub: {_counted(summary.at_github)}",
        f"Slots: {_measured(summary.slots) or 'no cap'}",
        f"People: {_counted(summary.acts)}",
        f"Strangers: {_answers(summary.hostile)}",
        f"Receiver of notices: {_counted(summary.told) or 'was told nothing'}",
        f"Result: {rest}",
        "",
        *(f"({verdict.rule}) {verdict.word:<10} {verdict.says}" for verdict in summary.verdicts),
    ]
    lines += [f"\nBREACH, {times} x: {breach}" for breach, times in Counter(summary.breaches).most_common(20)]
    lines += [
        f"\n({each.rule}) issue {each.issue}: {each.what} {list(each.entries)}" for each in summary.violations[:20]
    ]
    return "\n".join(lines)


def _sent(summary: Summary) -> str:
    ack = ", ".join(f"{name} {ms:.0f} ms" for name, ms in summary.ack_ms.items())
    return (
        f"{summary.issues} issues, {summary.deliveries} deliveries in {summary.posts} POSTs "
        f"({summary.acknowledged} acknowledged; {summary.given_up} deliveries never), {summary.orders} orders; "
        f"acknowledged after {ack}"
    )


def _met(summary: Summary) -> str:
    return (
        f"{summary.sandboxes_created} sandboxes created with {summary.daytona_requests} requests, "
        f"of which {sum(summary.faults.values())} met a fault ({len(summary.faults)} kinds)"
    )


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.items())


def _measured(figures: Mapping[str, float]) -> str:
    return "; ".join(f"{name} {value:g}" for name, value in figures.items())


def _answers(hostile: Mapping[str, Mapping[str, int]]) -> str:
    """How many hostile calls came through each door, and how they were answered."""
    doors: dict[str, Counter[str]] = {}
    for kind, answers in hostile.items():
        doors.setdefault(kind.partition(":")[0], Counter()).update(answers)
    return "; ".join(
        f"{sum(answers.values())} by {door} ({_counted(dict(answers.most_common()))})"
        for door, answers in doors.items()
    )


def _bad_endings(summary: Summary) -> str:
    """The parts that did not end in order, as text; '' without any."""
    return f" (NOT IN ORDER: {', '.join(summary.bad_endings)})" if summary.bad_endings else ""


def _name(lane: str, kind: str) -> str:
    return f"{kind} {lane}" if kind in ON_PROCESSES else kind
