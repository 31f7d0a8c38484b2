"""A run's attempts on the disk of a sandbox, and what the scripts inside it do to them. Pure.

An attempt is five bits: prepared, begun, alive, ended, and whether the disk is still the one on which it began. It is
prepared when the row has it. The scripts themselves are tested alone (`tests/inside`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from issuebox.domain.run import RunPhase


class End(StrEnum):
    """What the supervisor wrote about the end of a job. Nothing: it has not ended, or nobody could write it."""

    NONE = ""
    DONE = "done"
    KILLED = "killed"
    """The job was killed, and its supervisor lived."""
    INTERRUPTED = "interrupted"
    STOPPED = "stopped"
    """The sandbox was stopped under it."""


FINISHED = frozenset({End.DONE, End.KILLED})
"""Ends of a job that nobody interrupted: no other attempt may follow."""


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt on a disk. ``is_alive``: something that carries its mark is. ``is_supervised``: its supervisor is."""

    run: str
    attempt: int
    is_begun: bool = False
    is_alive: bool = False
    is_supervised: bool = False
    end: End = End.NONE

    @property
    def phase(self) -> RunPhase:
        """What a probe says."""
        if not self.is_begun:
            return RunPhase.PREPARED
        if self.end:
            return RunPhase.ENDED
        return RunPhase.RUNNING if self.is_alive else RunPhase.DEAD

    @property
    def word(self) -> str:
        """What a probe says, with what it says beside the phase."""
        if self.phase is RunPhase.ENDED:
            return f"{RunPhase.ENDED}:{self.end}"
        return ORPHAN if self.is_alive and not self.is_supervised else str(self.phase)

    def begun(self) -> Job:
        """BEGIN claims it, and its supervisor runs the job. Nothing happens to one that was claimed before."""
        return self if self.is_begun else replace(self, is_begun=True, is_alive=True, is_supervised=True)

    def ended(self, end: End) -> Job:
        """All of it ends. Its supervisor writes how, if it is alive."""
        if not self.is_alive:
            return self
        return replace(self, is_alive=False, is_supervised=False, end=end if self.is_supervised else End.NONE)

    def killed(self) -> Job:
        """All of it is killed, its supervisor first."""
        return replace(self, is_alive=False, is_supervised=False)


ORPHAN = "orphan"
"""What a probe says of a job that is alive without its supervisor."""

Jobs = tuple[Job, ...]
"""The attempts on one disk."""


def job_of(jobs: Jobs, run: str, attempt: int) -> Job | None:
    """The attempt on this disk; None when the disk does not know it."""
    return next((job for job in jobs if (job.run, job.attempt) == (run, attempt)), None)


def put(jobs: Jobs, job: Job) -> Jobs:
    """The disk with this attempt in place of what it had of it."""
    others = tuple(each for each in jobs if (each.run, each.attempt) != (job.run, job.attempt))
    return tuple(sorted((*others, job), key=lambda each: (each.run, each.attempt)))


def are_alive(jobs: Jobs) -> bool:
    """Whether anything of any attempt is alive."""
    return any(job.is_alive for job in jobs)


def stopped(jobs: Jobs, end: End) -> Jobs:
    """The sandbox no longer runs, and nothing in it does. `end`: what supervisors still could write."""
    return tuple(job.ended(end) if end else job.killed() for job in jobs)
