"""The activities of the audit: the walks, the rereads of their suspects, and the mending. Nothing here decides.

They read, and they start or wake up workflows. None of them starts, stops or deletes a sandbox.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from temporalio import activity

from activities.audit_messages import AuditTerms, Bounds, Findings, Shard, Suspects
from activities.failures import typed_failures
from activities.reporting import heartbeats
from activities.walking import Pace, in_batches, walking
from issuebox.domain.audit import (
    GOING,
    OF_RECORDS,
    SUSPECTS_MAX,
    Claim,
    Finding,
    Installation,
    Kind,
    Mend,
    Naming,
    Reread,
    Suspect,
    Walked,
    claim_of,
    confirm,
    is_anothers,
    is_outdated,
    judge_record,
    judge_sandbox,
)
from issuebox.domain.issue import Issue, issue_id_of, sandbox_name
from issuebox.domain.issue_source import is_repository
from issuebox.domain.name_ranges import READS_MAX, joined, ranges_of
from issuebox.domain.policy import Closing
from issuebox.domain.provider import SandboxProvider, Spare
from issuebox.domain.records import IssueRecord, IssueRecords, NameRange, RangeRead
from issuebox.domain.sandbox import LABEL_ISSUE_NUMBER, LABEL_REPOSITORY, Sandbox

_log = structlog.get_logger("issuebox.activities")

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
"""A label may contain anything."""

UNSETTLED_PAUSE_S = 1.0
"""Before a range is read again: longer than an index needs to show what it has taken."""


@dataclass(frozen=True, slots=True)
class _Compared:
    """The comparison of a workflow's record with its sandbox and with the settings.

    It yields a suspect, a sandbox of another installation, or a closed issue that goes by timers of earlier settings.
    """

    suspect: Suspect | None = None
    is_foreign: bool = False
    is_outdated: bool = False


class AuditActivities:
    """Reading all managed sandboxes and all issues' workflows, on one provider and one Temporal namespace."""

    def __init__(
        self,
        provider: SandboxProvider,
        records: IssueRecords,
        *,
        ours: Installation,
        terms: AuditTerms,
        closing: Closing,
    ) -> None:
        self._provider = provider
        self._records = records
        self._ours = ours
        self._terms = terms
        self._timers = closing.timers

    def all(self) -> list[Callable[..., Any]]:
        """Every activity, for the worker."""
        return [
            self.read_audit_terms,
            self.walk_sandboxes,
            self.divide_records,
            self.walk_records,
            self.walk_undestroyed,
            self.reread_suspects,
            self.mend_findings,
        ]

    @activity.defn
    async def read_audit_terms(self) -> AuditTerms:
        """This worker's settings. Sends no request."""
        return self._terms

    @activity.defn
    async def walk_sandboxes(self) -> Walked:
        """Judge every managed sandbox in Daytona's list by its labels, its name, and whether its workflow runs."""
        async with typed_failures(), walking() as walk:
            while not walk.walked.is_over:
                page = await self._provider.list_page(self._ours.labels, walk.walked.cursor)
                suspects = await in_batches(page.sandboxes, self._suspect_sandbox)
                going = sum(sandbox.phase in GOING for sandbox in page.sandboxes)
                await walk.save(walk.walked.turn(len(page.sandboxes), going, suspects, page.next_cursor))
        return walk.walked

    @activity.defn
    async def divide_records(self) -> Bounds:
        """Cut the names of the running workflows into ranges of equal size. Keeps no progress, and sends no reads."""
        async with typed_failures(), heartbeats():
            return Bounds(await self._records.bounds())

    @activity.defn
    async def walk_records(self, shard: Shard) -> Walked:
        """Compare each running workflow's record of its sandbox with one read of that sandbox by ID.

        A closed issue that rests since before the settings changed does not know of the new timers. If the shard says
        so, its workflow gets the signal to look, which brings them.
        """
        ranges, pace = ranges_of(shard.bounds), self._pace(shard.at_once)
        compare = partial(self._compare, pace=pace, mends=shard.mends)
        async with typed_failures(), walking() as walk:
            while not walk.walked.is_over:
                number = int(walk.walked.cursor or 0)
                read = await self._read_range(ranges[number])
                judged = await in_batches(read.records, compare)
                await walk.save(
                    walk.walked.turn(
                        len(read.records),
                        sum(not record.sandbox_id for record in read.records),
                        [found.suspect for found in judged],
                        str(number + 1) if number + 1 < len(ranges) else None,
                        foreign=sum(found.is_foreign for found in judged),
                        outdated=sum(found.is_outdated for found in judged),
                        undelivered=sum(bool(record.undelivered) for record in read.records),
                        unsettled=not read.is_settled,
                    )
                )
        return walk.walked

    @activity.defn
    async def walk_undestroyed(self) -> Walked:
        """The deleted sandboxes that Daytona could not destroy. There are few, so this keeps no progress."""
        async with typed_failures(), heartbeats():
            found = await self._undestroyed()
        suspects = [
            Suspect(Kind.UNDESTROYED, claim_of(row, self._ours.name_prefix).issue_id, row.id, row.name)
            for row in found.values()
        ]
        return Walked().turn(len(suspects), 0, suspects, None)

    async def _undestroyed(self) -> dict[str, Sandbox]:
        """At most one more than can be suspects, by ID."""
        found: dict[str, Sandbox] = {}
        async for sandbox in self._provider.list_undestroyed(self._ours.labels):
            found[sandbox.id] = sandbox
            if len(found) > SUSPECTS_MAX:
                break
        return found

    @activity.defn
    async def reread_suspects(self, request: Suspects) -> Findings:
        """Read every suspect again, by ID, and its workflow. Returns those that are still wrong.

        With its database down, Daytona answers *not found* to every read by ID and an error to a list. So the
        reads count only when a list works after them; otherwise the attempt fails and Temporal retries it.
        """
        async with typed_failures(), heartbeats():
            is_listed = any(suspect.kind is Kind.UNDESTROYED for suspect in request.suspects)
            undestroyed = await self._undestroyed() if is_listed else {}
            reread = partial(self._reread, pace=self._pace(), undestroyed=undestroyed, despite_block=request.are_mended)
            findings = await in_batches(request.suspects, reread)
            await self._provider.list_page(self._ours.labels)
        return Findings(tuple(finding for finding in findings if finding is not None))

    @activity.defn
    async def mend_findings(self, request: Findings) -> None:
        """Ask the workflows to mend what can be mended without risk. Safe to repeat."""
        async with typed_failures(), heartbeats():
            await in_batches(request.findings, partial(self._mend, pace=self._pace()))

    async def _suspect_sandbox(self, sandbox: Sandbox) -> Suspect | None:
        claim = claim_of(sandbox, self._ours.name_prefix)
        record = await self._records.describe(sandbox.name) if _needs_record(sandbox, claim) else None
        # Whether a canonical one exists as well is read together with the suspect, later.
        kind = judge_sandbox(sandbox, record, None, self._ours)
        return Suspect(kind, claim.issue_id, sandbox.id, sandbox.name) if kind else None

    async def _read_range(self, name_range: NameRange) -> RangeRead:
        """The range, read again while its counts disagree with its rows: then everything that any reading showed."""
        reads = [await self._records.read_range(name_range)]
        while not reads[-1].is_settled and len(reads) < READS_MAX:
            await asyncio.sleep(UNSETTLED_PAUSE_S)
            reads.append(await self._records.read_range(name_range))
        return joined(reads)

    async def _compare(self, listed: IssueRecord, *, pace: Pace, mends: bool) -> _Compared:
        """Only a describe shows that a workflow is stuck; the list lags as well."""
        record = await self._records.describe(listed.name)
        if record is None or not record.is_running:
            return _Compared()
        sandbox = await self._read(record.sandbox_id, pace) if record.stuck is None else None
        if sandbox is not None and is_anothers(sandbox, self._ours):
            return _Compared(is_foreign=True)
        kind = judge_record(record, sandbox, self._ours)
        issue_id = issue_id_of(record.name, self._ours.name_prefix) or 0
        if kind is not None:
            return _Compared(Suspect(kind, issue_id, record.sandbox_id, record.name))
        is_late = is_outdated(record, self._timers)
        if is_late and mends:
            await self._records.look(record.name)
        return _Compared(is_outdated=is_late)

    def _pace(self, at_once: int = 1) -> Pace:
        """The pace of one of as many activities of an audit that read at once."""

        def spare() -> Spare:
            found = self._provider.spare(self._terms.share)
            return Spare(found.closed_s, at_once * max(found.pause_s, 1 / self._terms.reads_per_s))

        return Pace(spare)

    async def _read(self, sandbox_id: str, pace: Pace) -> Sandbox | None:
        """The sandbox of this ID; None also for no ID."""
        if not sandbox_id:
            return None
        await pace.turn()
        return await self._provider.lookup_by_id(sandbox_id)

    async def _reread(
        self, suspect: Suspect, *, pace: Pace, undestroyed: Mapping[str, Sandbox], despite_block: bool
    ) -> Finding | None:
        if suspect.kind is Kind.UNDESTROYED:
            # Only a list shows it: a read by ID says that it is gone.
            return confirm(suspect, Reread(undestroyed.get(suspect.sandbox_id), None), self._ours)
        sandbox = await self._read(suspect.sandbox_id, pace)
        # The canonical name is the workflow's ID; a suspect of the second walk carries its workflow's ID as its name.
        canonical = sandbox_name(suspect.issue_id, self._ours.name_prefix) if suspect.issue_id else ""
        own = suspect.name if suspect.kind in OF_RECORDS else canonical
        record = await self._records.describe(own) if own else None
        other: Sandbox | None = None
        if canonical and suspect.name != canonical:
            await pace.turn()
            other = await self._provider.lookup(canonical, record.sandbox_id if record else None)
        return confirm(suspect, Reread(sandbox, record, other), self._ours, despite_block=despite_block)

    async def _mend(self, finding: Finding, *, pace: Pace) -> None:
        match finding.mend:
            case Mend.START_WORKFLOW:
                await self._records.adopt(_labelled(finding.issue_id, await self._read(finding.sandbox_id, pace)))
            case Mend.LOOKUP:
                await self._records.look(finding.name)
            case Mend.NOTHING:
                return
        _log.info(
            "audit_mending",
            kind=str(finding.kind),
            issue_id=finding.issue_id,
            sandbox=finding.name,
            sandbox_id=finding.sandbox_id,
        )


def _labelled(issue_id: int, sandbox: Sandbox | None) -> Issue:
    """What the sandbox's labels say of its issue: resync then sees it, and learns at GitHub whether it is open."""
    labels = sandbox.labels if sandbox is not None else {}
    repository, number = labels.get(LABEL_REPOSITORY, ""), labels.get(LABEL_ISSUE_NUMBER, "")
    if not is_repository(repository) or not _NUMBER.fullmatch(number):
        return Issue(issue_id)
    return Issue(issue_id, repository, int(number))


def _needs_record(sandbox: Sandbox, claim: Claim) -> bool:
    return claim.naming is Naming.CANONICAL and sandbox.phase not in GOING
