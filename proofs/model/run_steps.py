"""The possible outcomes of each step of a run, and what else may happen to its attempts.

A step is one request to the sandbox: lost before its effect or after it, executed after its activity was given up, or
answered. The request that begins an attempt may also be executed a second time, by whatever repeats it on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from issuebox.domain.phase import Cause
from issuebox.domain.run import RunPhase
from proofs.model import daytona
from proofs.model.activity_outcomes import Attempt, Mistakes, Outcome
from proofs.model.daytona import Actor, Begun, Errand, Row, Trouble, World
from proofs.model.jobs import FINISHED, ORPHAN, End, Job, are_alive, job_of, put
from proofs.model.views import TIMEOUT, Kind, Observation

STEPS = frozenset({"prepare_run", "begin_run", "probe_run", "interrupt_run", "fence_run", "collect_run"})
"""Activities that carry out one step of a run."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What a step did: the world after it, what its probe says, and the promise that it broke."""

    label: str
    world: World
    word: str
    is_fault: bool = False
    broken: str = ""


def sent(world: World, errand: Errand, mistakes: Mistakes) -> Iterator[Outcome]:
    """The outcomes of a step that the workflow carries out."""
    row = world.row(errand.sandbox_id)
    yield Outcome("is lost before it was executed", world, is_fault=True, observed=_failed(TIMEOUT))
    if row is None or row.state != "started":
        error = "GoneError" if row is None else "NotInStateError"
        yield Outcome(f"is answered {error}", world, attempt=Attempt(reply=_failed(error)))
        return
    if errand.activity in REFUSABLE:
        refused = _failed(f"RefusedError:{Cause.INVALID.value}")
        yield Outcome("is refused before it was sent", world, is_fault=True, attempt=Attempt(reply=refused))
    if errand.activity in CHANGING:
        later = replace(world, errands=(*world.errands, errand))
        yield Outcome("is given up before it was executed", later, is_fault=True, observed=_failed(TIMEOUT))
    for effect in executed(world, errand, mistakes):
        reply = Attempt(reply=Observation(Kind.PROBED, word=effect.word))
        yield Outcome(effect.label, effect.world, effect.is_fault, reply, broken=effect.broken)
        if effect.is_fault:
            continue
        if errand.activity in CHANGING:
            label = f"{effect.label}, and the reply is lost"
            yield Outcome(label, effect.world, is_fault=True, observed=_failed(TIMEOUT), broken=effect.broken)
        if errand.activity == "begin_run":
            again = replace(effect.world, errands=(*effect.world.errands, errand))
            yield Outcome(f"{effect.label}, and will come a second time", again, is_fault=True, attempt=reply)


REFUSABLE = frozenset({"prepare_run", "begin_run"})
"""Steps that may lack what a worker has to bring, such as a secret."""
CHANGING = STEPS - {"probe_run", "collect_run"}
"""Steps that change something in the sandbox."""


def executed(world: World, errand: Errand, mistakes: Mistakes) -> Iterator[Effect]:
    """What happens when the sandbox executes the step. Nothing, once it does not run."""
    row = world.row(errand.sandbox_id)
    if row is None or row.state != "started":
        yield Effect("reaches nothing", world, RunPhase.UNKNOWN)
        return
    yield from _EXECUTED[errand.activity](world, row, errand, mistakes)


def _prepared(world: World, row: Row, errand: Errand, mistakes: Mistakes) -> Iterator[Effect]:
    job = job_of(row.jobs, errand.run, errand.attempt) or Job(errand.run, errand.attempt)
    after = put(row.jobs, job)
    if mistakes.unclaims_earlier:
        after = tuple(
            replace(each, is_begun=False, end=End.NONE) if each.attempt < job.attempt else each for each in after
        )
    yield Effect("puts the files in place", world.put(replace(row, jobs=after)), job.word)


def _begun(world: World, row: Row, errand: Errand, _mistakes: Mistakes) -> Iterator[Effect]:
    job = job_of(row.jobs, errand.run, errand.attempt)
    if job is None or job.is_begun:
        yield Effect("begins nothing", world, job.word if job else RunPhase.ABSENT)
        return
    line = Begun(errand.run, errand.attempt, row.id)
    after = replace(world.put(replace(row, jobs=put(row.jobs, job.begun()))), ledger=(*world.ledger, line))
    yield Effect("begins the job", after, job.begun().word, broken=broken_by_begin(world, row, errand))


def _probed(world: World, row: Row, errand: Errand, _mistakes: Mistakes) -> Iterator[Effect]:
    job = job_of(row.jobs, errand.run, errand.attempt)
    word = job.word if job else RunPhase.ABSENT
    yield Effect(f"shows {word}", world, word)


def _interrupted(world: World, row: Row, errand: Errand, _mistakes: Mistakes) -> Iterator[Effect]:
    job = job_of(row.jobs, errand.run, errand.attempt)
    if job is None or not job.is_alive:
        word = job.word if job else RunPhase.ABSENT
        yield Effect(f"finds it {word}", world, word)
        return
    after = job.ended(End.INTERRUPTED)
    yield Effect("ends the job", world.put(replace(row, jobs=put(row.jobs, after))), after.word)
    yield Effect("does not end the job", world, job.word, is_fault=True)


def _fenced(world: World, row: Row, errand: Errand, mistakes: Mistakes) -> Iterator[Effect]:
    job = job_of(row.jobs, errand.run, errand.attempt) or Job(errand.run, errand.attempt)
    is_begun = job.is_begun or not mistakes.unclaimed_fence
    after = replace(job.killed(), is_begun=is_begun)
    # Even the fence without its claim believes that it has claimed.
    word = after.word if is_begun else RunPhase.DEAD
    yield Effect("leaves nothing alive", world.put(replace(row, jobs=put(row.jobs, after))), word)
    if job.is_alive:
        survivor = replace(job, is_supervised=False)
        yield Effect(
            "leaves something alive", world.put(replace(row, jobs=put(row.jobs, survivor))), ORPHAN, is_fault=True
        )


_EXECUTED: dict[str, Callable[[World, Row, Errand, Mistakes], Iterator[Effect]]] = {
    "prepare_run": _prepared,
    "begin_run": _begun,
    "probe_run": _probed,
    "interrupt_run": _interrupted,
    "fence_run": _fenced,
    "collect_run": _probed,
}


def broken_by_begin(world: World, row: Row, errand: Errand) -> str:
    """The promise that is broken when this attempt begins now, '' for none.

    What is alive in a sandbox that is being deleted ends with it: assumption 4 of docs/proofs/model.md.
    """
    name = f"attempt {errand.attempt} of run {errand.run}"
    if any((line.run, line.attempt) == (errand.run, errand.attempt) for line in world.ledger):
        return f"(G) {name} begins a second time"
    if any(are_alive(each.jobs) for each in world.rows if not each.is_dying):
        return f"(G) {name} begins, and another one is alive"
    earlier = [line for line in world.ledger if line.run == errand.run]
    if any(line.sandbox_id != row.id for line in earlier):
        return f"(I) {name} begins in another sandbox than the one before"
    for number in range(1, errand.attempt):
        before = job_of(row.jobs, errand.run, number)
        if before is not None and not before.is_begun:
            return f"(I) {name} begins, and the one before may still begin"
        if before is not None and before.end in FINISHED:
            return f"(I) {name} begins, and the one before had finished"
    return ""


def followed(world: World, sandbox_id: str, run: str, attempt: int) -> tuple[str, Observation]:
    """What a follower that is at work sees now, as a label and what it returns."""
    row = world.row(sandbox_id)
    if row is None or row.state != "started":
        error = "GoneError" if row is None else "NotInStateError"
        return f"ends with {error}", Observation(Kind.FOLLOWED, word=f"!{error}")
    job = job_of(row.jobs, run, attempt)
    word = job.word if job else str(RunPhase.ABSENT)
    label = "returns after its slice" if word == RunPhase.RUNNING else f"sees {word}"
    return label, Observation(Kind.FOLLOWED, word=word)


def ends(world: World) -> Iterator[tuple[str, World]]:
    """The jobs that end by themselves: at the latest their time limit ends them."""
    for row, job in _alive(world):
        yield f"attempt {job.attempt} in {row.id} has done its work", _with(world, row, job.ended(End.DONE))


def strikes(world: World) -> Iterator[tuple[str, World]]:
    """What a person, the kernel or Daytona may do to a run."""
    for row, job in _alive(world):
        name = f"attempt {job.attempt} in {row.id}"
        yield f"the job of {name} is killed", _with(world, row, job.ended(End.KILLED))
        if job.is_supervised:
            yield f"the supervisor of {name} is killed", _with(world, row, replace(job, is_supervised=False))
            yield f"all of {name} is killed", _with(world, row, job.killed())
    for row in world.rows:
        if row.state == "started" and row.desired == "started":
            after = daytona.command(world, "stop", row.id, Actor.PERSON).world
            yield f"a person stops {row.id} in the dashboard", replace(after, trouble=Trouble.SINCE_READ)
            after = daytona.command(world, "delete", row.id, Actor.PERSON).world
            yield f"a person deletes {row.id} in the dashboard", replace(after, trouble=Trouble.SINCE_READ)
        if row.state == "stopped" and not row.transition and row.jobs:
            # Assumed: that takes longer than a request can be on its way.
            later = replace(world, errands=())
            yield f"an older disk comes back to {row.id}", later.put(replace(row, jobs=()))
            last = row.jobs[-1]
            older = put(row.jobs, Job(last.run, last.attempt))
            yield f"a disk from before its last BEGIN comes back to {row.id}", later.put(replace(row, jobs=older))


def _alive(world: World) -> list[tuple[Row, Job]]:
    return [(row, job) for row in world.rows for job in row.jobs if job.is_alive]


def _with(world: World, row: Row, job: Job) -> World:
    return world.put(replace(row, jobs=put(row.jobs, job)))


def _failed(word: str) -> Observation:
    return Observation(Kind.FAILED, word=word)
