"""The possible outcomes of an attempt of each activity: sent to Daytona, waited for, read, failed, or executed late.

An attempt has up to three steps, and other events may come between them: Daytona executes its request; the sandbox
has settled and is read; the reply reaches the workflow. A fault is a further outcome of one of these steps. The order
of requests within an attempt is that of `activities/` and `issuebox/providers/daytona.py`. `docs/proofs/model.md` names
the requests that the model joins into a single step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from activities.claims import refuse_foreign
from issuebox.domain.errors import RefusedError
from issuebox.domain.phase import ASLEEP, RAISING, RUNS, Cause, Phase
from issuebox.domain.sandbox import DEFAULT_INSTANCE
from issuebox.domain.unsaved_work import WorkState
from localdaytona.admission import Lifecycle
from proofs.model import daytona
from proofs.model.daytona import Actor, Answer, Fate, Row, Trouble, World
from proofs.model.runtime import EPOCH
from proofs.model.views import BUDGET_SPENT, CUT_OFF, TIMEOUT, UNREACHABLE, Kind, Observation

OPERATIONS: dict[str, Lifecycle] = {
    "start_sandbox": "start",
    "recover_sandbox": "recover",
    "stop_sandbox": "stop",
    "archive_sandbox": "archive",
}
COMMANDS = frozenset({*OPERATIONS, "create_sandbox", "delete_sandbox"})
"""Activities whose request changes something. It is sent once."""

RAISED_BY = frozenset(f"{action}_sandbox" for action in RAISING)
"""Activities whose reply is not waited for when a look finds the sandbox up, unless it is started for an inspection."""

FAILING = {"create_sandbox": (Fate.BROKEN, Fate.RECOVERABLE), "start_sandbox": (Fate.BROKEN, Fate.RECOVERABLE)}
"""How the transition may end that an activity starts."""

REFUSED = f"RefusedError:{Cause.CAPACITY.value}"


@dataclass(frozen=True, slots=True)
class Mistakes:
    """Planted mistakes in the modelled parts. Mistakes in the real code are patches: `proofs.model.plants`."""

    lists: bool = False
    unnamed: bool = False
    unchecked: bool = False
    unclaimed: bool = False
    unwatched: bool = False
    unclaims_earlier: bool = False
    unclaimed_fence: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """The attempt under way. ``follows``: the sandbox that it waits for. ``reply``: what it returns to the workflow."""

    follows: str = ""
    is_create: bool = False
    reply: Observation | None = None


@dataclass(frozen=True, slots=True)
class Late:
    """A request that Daytona has not executed yet, although its attempt was given up.

    ``is_overtaken``: the workflow has sent another command since. When the attempt of that command ends, the model
    takes the late request as lost, unless it is a stop or an archive, and not on the way to a delete.
    """

    activity: str
    sandbox_id: str
    is_overtaken: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """One thing that may happen to an attempt. With `observed`, the workflow observes it at once."""

    label: str
    world: World
    is_fault: bool = False
    attempt: Attempt | None = None
    observed: Observation | None = None
    is_late: bool = False
    broken: str = ""

    @property
    def shows_session(self) -> bool:
        """Whether the sandbox is read after somebody was active in it."""
        view = self.attempt.reply.view if self.attempt is not None and self.attempt.reply is not None else None
        return view is not None and view.is_used


def sent(
    world: World,
    activity: str,
    sandbox_id: str,
    mistakes: Mistakes,
    *,
    is_at_once: bool,
    is_confirming: bool,
    only_at_rest: bool,
    is_ours: bool,
) -> Iterator[Outcome]:
    """The outcomes of an attempt's request.

    `is_at_once`: a lookup that is repeated when it fails. `is_confirming`: a false 404 has had the time to pass.
    `only_at_rest`: the sandbox is read first, and the command is not sent to one that somebody has started. `is_ours`:
    its labels were ours when the workflow saw it; otherwise they are read first.
    """
    row = world.row(sandbox_id)
    is_checked = activity in CHECKED or (not is_ours and activity not in UNCHECKED)
    if is_checked and row is not None and _is_refused(row) and not mistakes.unclaimed:
        yield Outcome("lost before it was executed", world, is_fault=True, observed=_failed(TIMEOUT))
        yield Outcome("refused: foreign", world, attempt=Attempt(reply=_failed(f"RefusedError:{Cause.FOREIGN.value}")))
        return
    if only_at_rest and row is not None and row.phase not in ASLEEP:
        yield Outcome("lost", world, is_fault=True, observed=_failed(TIMEOUT))
        yield _read(world, row, f"is not sent, for it is {row.shown}", is_sent=False)
        return
    match activity:
        case "lookup_sandbox":
            yield from _looked_up(world, sandbox_id, mistakes, is_at_once=is_at_once, is_confirming=is_confirming)
        case "settle_sandbox":
            yield Outcome("", world, attempt=Attempt(follows=sandbox_id))
        case "inspect_sandbox":
            yield from _inspected(world, sandbox_id)
        case "set_up_sandbox":
            yield from _set_up(world, sandbox_id)
        case "label_sandbox":
            yield from _labelled(world, sandbox_id)
        case "refresh_activity":
            yield from _refreshed(world, sandbox_id)
        case _:
            row = world.named if activity == "create_sandbox" else row
            if _is_cut_off(row, activity, only_at_rest=only_at_rest):
                label = "is not executed yet, and a look finds the sandbox up"
                yield Outcome(label, world, is_fault=True, observed=_failed(CUT_OFF), is_late=True)
            yield from _commanded(world, activity, sandbox_id, mistakes)


CHECKED = frozenset({"delete_sandbox", "label_sandbox", "set_up_sandbox"})
"""Activities that read the labels whatever the workflow saw."""
UNCHECKED = frozenset({"lookup_sandbox", "create_sandbox", "settle_sandbox"})
"""Activities that touch no sandbox that exists."""


def _is_refused(row: Row) -> bool:
    """Whether the real check refuses the sandbox because of its labels."""
    try:
        refuse_foreign(row.view().at(EPOCH), 1, DEFAULT_INSTANCE)
    except RefusedError:
        return True
    return False


def _is_cut_off(row: Row | None, activity: str, *, only_at_rest: bool) -> bool:
    return row is not None and row.phase in RUNS and activity in RAISED_BY and not only_at_rest


def followed(
    world: World, attempt: Attempt, activity: str, mistakes: Mistakes, *, only_at_rest: bool
) -> Iterator[Outcome]:
    """The outcomes of an attempt that waits for its sandbox to settle."""
    row = world.row(attempt.follows)
    if row is None:
        yield _read(world, None, "finds it gone")
        return
    if _is_cut_off(row, activity, only_at_rest=only_at_rest):
        label = "has not replied yet, and a look finds the sandbox up"
        yield Outcome(label, world, is_fault=True, observed=_failed(CUT_OFF))
    if row.is_settled(for_archive=activity == "archive_sandbox"):
        is_proven_unrun = attempt.is_create and (not row.has_started or mistakes.unwatched)
        yield _read(world, row, f"reads {row.shown}", is_proven_unrun=is_proven_unrun)
    elif activity == "settle_sandbox":
        yield Outcome(
            "waits until the budget of the phase is spent", world, is_fault=True, observed=_failed(BUDGET_SPENT)
        )
    else:
        # Daytona queues the backups that archives wait for: that one outlasts its attempt is no fault.
        is_fault = row.phase is not Phase.ARCHIVING
        yield replace(_read(world, row, f"stops waiting at {row.shown}"), is_fault=is_fault)
    if not row.is_dying:
        yield _denied(world, row)


def executed(world: World, late: Late, mistakes: Mistakes) -> Answer:
    """Daytona executes the late request after all. That is no excuse at rest: issuebox has to follow what it sent."""
    return _answer(world, late.activity, late.sandbox_id, mistakes, is_late=True)


def _answer(
    world: World,
    activity: str,
    sandbox_id: str,
    mistakes: Mistakes,
    fate: Fate = Fate.WELL,
    *,
    is_late: bool = False,
) -> Answer:
    if activity == "create_sandbox":
        answer = daytona.create(world, Actor.ISSUEBOX, fate, is_unnamed=mistakes.unnamed, is_late=is_late)
        # The planted lookup by label leaves out the name on purpose: only its consequences count.
        return replace(answer, broken="") if mistakes.lists and "without the name" in answer.broken else answer
    if activity == "delete_sandbox":
        return daytona.checked_delete(world, sandbox_id, is_unchecked=mistakes.unchecked, is_late=is_late)
    return daytona.command(world, OPERATIONS[activity], sandbox_id, Actor.ISSUEBOX, fate, is_late=is_late)


def _commanded(world: World, activity: str, sandbox_id: str, mistakes: Mistakes) -> Iterator[Outcome]:
    answer = _answer(world, activity, sandbox_id, mistakes)
    is_create = activity == "create_sandbox"
    yield Outcome("lost before it was executed", world, is_fault=True, observed=_failed(TIMEOUT))
    row = world.row(sandbox_id)
    if row is None or not row.is_occupied or activity != "delete_sandbox":
        yield Outcome("given up before it was executed", world, is_fault=True, observed=_failed(TIMEOUT), is_late=True)
    if is_create and answer.error and world.named is not None:
        # Found by its name, or by its labels when the name answers a false 404. If the list lags, too, it is not found.
        yield _read(world, world.named, f"finds the name held by {world.named.id}", is_sent=False)
    if answer.error:
        label = f"answered {answer.error}"
        yield Outcome(label, world, attempt=Attempt(reply=_failed(answer.error)), broken=answer.broken)
        return
    target = f"s{answer.world.made}" if is_create else sandbox_id
    attempt = Attempt(follows=target, is_create=is_create)
    yield Outcome("accepted", answer.world, attempt=attempt, broken=answer.broken)
    yield Outcome(
        "accepted, and the reply is lost", answer.world, is_fault=True, observed=_failed(TIMEOUT), broken=answer.broken
    )
    if not is_create:
        yield Outcome("answered with a false 404", world, is_fault=True, attempt=Attempt(reply=_failed("GoneError")))
    for fate in FAILING.get(activity, ()):
        failing = _answer(world, activity, sandbox_id, mistakes, fate)
        label = f"accepted, and it will fail ({fate.value})"
        yield Outcome(label, failing.world, is_fault=True, attempt=attempt, broken=failing.broken)
    if activity in FAILING:
        yield Outcome("refused: no runner", world, is_fault=True, attempt=Attempt(reply=_failed(REFUSED)))


def _looked_up(
    world: World, sandbox_id: str, mistakes: Mistakes, *, is_at_once: bool, is_confirming: bool
) -> Iterator[Outcome]:
    if mistakes.lists:
        yield from _listed(world)
        return
    row = world.found(sandbox_id)
    yield _read(world, row, f"finds {row.id} {row.shown}" if row else "finds none")
    if row is not None and row.before is not None:
        stale = row.view(is_stale=True) if row.before else None
        attempt = Attempt(reply=Observation(Kind.SEEN, stale))
        label = f"reads the past: {stale.state if stale else 'none'}"
        is_hidden = world.trouble is Trouble.ASKED and not row.is_seen_since
        hidden = replace(world, trouble=Trouble.SINCE_READ) if is_hidden else world
        yield Outcome(label, hidden, is_fault=True, attempt=attempt)
    if row is not None and not is_confirming:
        yield _denied(world, row)
    if is_at_once:
        yield Outcome("fails at once", world, is_fault=True, observed=_failed(UNREACHABLE))
    else:
        # Without `is_confirming`, this lookup follows one that failed at once: the same fault goes on.
        yield Outcome("fails for too long", world, is_fault=is_confirming, observed=_failed(UNREACHABLE))


def _listed(world: World) -> Iterator[Outcome]:
    """The planted lookup by label: the list does not show a new row yet, and still shows dying ones."""
    rows = [row for row in world.rows if row.is_labelled]
    yield _read(world, rows[0] if rows else None, f"lists {rows[0].id} {rows[0].shown}" if rows else "lists none")
    if rows and rows[-1].before == "":
        yield _read(world, None, f"lists none: the list lags, and {rows[-1].id} is not in it yet")


def _inspected(world: World, sandbox_id: str) -> Iterator[Outcome]:
    row = world.row(sandbox_id)
    for verdict, after in daytona.inspected(world, sandbox_id):
        is_fault = verdict is WorkState.UNCHECKED and row is not None and row.phase is Phase.USABLE
        label = f"finds the work {verdict}"
        broken = daytona.touched(row, "inspect") if row is not None else ""
        yield Outcome(label, after, is_fault=is_fault, attempt=Attempt(reply=_judged(verdict)), broken=broken)


def _set_up(world: World, sandbox_id: str) -> Iterator[Outcome]:
    row = world.row(sandbox_id)
    yield Outcome("lost before it was executed", world, is_fault=True, observed=_failed(TIMEOUT))
    if row is None:
        yield Outcome("answered GoneError", world, attempt=Attempt(reply=_failed("GoneError")))
        return
    if row.phase is not Phase.USABLE or row.is_set_up:
        yield _read(world, row, f"finds it {row.shown}")
        return
    ready = replace(row, is_set_up=True)
    yield replace(_read(world.put(ready), ready, "done and marked"), broken=daytona.touched(row, "set-up"))
    yield Outcome("done, and the reply is lost", world.put(ready), is_fault=True, observed=_failed(TIMEOUT))
    failed = Attempt(reply=_failed(f"RefusedError:{Cause.SETUP.value}"))
    yield Outcome("the command fails in it", world, is_fault=True, attempt=failed)


def _labelled(world: World, sandbox_id: str) -> Iterator[Outcome]:
    row = world.row(sandbox_id)
    after = world.put(replace(row, is_labelled=True)) if row is not None else world
    broken = daytona.touched(row, "label") if row is not None else ""
    yield Outcome("done", after, observed=Observation(Kind.SEEN), broken=broken)
    yield Outcome("lost before it was executed", world, is_fault=True, observed=_failed(TIMEOUT))


def _refreshed(world: World, sandbox_id: str) -> Iterator[Outcome]:
    row = world.row(sandbox_id)
    broken = daytona.touched(row, "refresh") if row is not None else ""
    yield Outcome("done", world, observed=Observation(Kind.SEEN), broken=broken)
    yield Outcome("lost before it was executed", world, is_fault=True, observed=_failed(TIMEOUT))


_SHOWN = {Trouble.SINCE_READ: Trouble.READ, Trouble.ASKED: Trouble.NONE}
"""What a read of the present makes of a trouble."""


def _read(world: World, row: Row | None, label: str, *, is_proven_unrun: bool = False, is_sent: bool = True) -> Outcome:
    """The read that ends an attempt."""
    trouble = _SHOWN.get(world.trouble, world.trouble)
    view = None if row is None else row.view(is_proven_unrun=is_proven_unrun)
    if row is not None and (row.is_denied or row.before):
        world = world.put(replace(row, is_denied=False, is_seen_since=bool(row.before)))
    reply = Observation(Kind.SEEN if is_sent else Kind.NOT_SENT, view)
    return Outcome(label, replace(world, trouble=trouble), attempt=Attempt(reply=reply))


def _denied(world: World, row: Row) -> Outcome:
    """A read that is answered with 404 although the sandbox exists."""
    denied = world.put(replace(row, is_denied=True))
    reply = Attempt(reply=Observation(Kind.SEEN))
    return Outcome("gets a false 404", denied, is_fault=True, attempt=reply)


def _failed(word: str) -> Observation:
    return Observation(Kind.FAILED, word=word)


def _judged(verdict: WorkState) -> Observation:
    return Observation(Kind.INSPECTED, word=verdict.value)
