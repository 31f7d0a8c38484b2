"""Whose a sandbox is, by its labels (rule h). The service never touches a sandbox that is labelled as another's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import zip_longest

from localdaytona.journal import Entry
from proofs.checker.cases import Case
from proofs.checker.lives import Labelling, Labels, SandboxLife

MANAGER = "issuebox"


def is_anothers(case: Case, life: SandboxLife, at: float = math.inf) -> bool:
    """Whether it was labelled as another's at that time, by default at the end of the journal."""
    past = [labelling for labelling in life.labellings if labelling.at <= at]
    return bool(past) and _is_anothers(case, life, past[-1])


def _is_anothers(case: Case, life: SandboxLife, labelling: Labelling) -> bool:
    """Whether the labels name another. Those with which the service itself created the sandbox do not count."""
    return names_another(case, labelling.labels) and (life.is_by_hand or labelling.seq != life.born.seq)


def names_another(case: Case, labels: Labels) -> bool:
    """Whether a label names another installation, another manager or another issue. A missing label names nobody."""
    own = {"issuebox-instance": case.evidence.instance, "managed-by": MANAGER, "issue-id": str(case.issue)}
    return any(labels.get(label, value) != value for label, value in own.items())


def trespasses(case: Case, life: SandboxLife) -> Iterator[Entry]:
    """The commands that the service sent although it knew that the sandbox is another's.

    A sandbox that was created as another's cannot be mistaken. One that became another's may get commands until a
    reply has shown the new labels.
    """
    for began, ended in _periods(case, life):
        yield from (command for command in life.commands if began < command.seq < ended)


def _periods(case: Case, life: SandboxLife) -> Iterator[tuple[float, float]]:
    """From which entry to which the service knew that it is another's."""
    for labelling, later in zip_longest(life.labellings, life.labellings[1:]):
        if not _is_anothers(case, life, labelling):
            continue
        shown = (seq for seq in case.reads.get(life.id, ()) if seq > labelling.seq)
        began = labelling.seq if labelling.seq == life.born.seq else next(shown, math.inf)
        yield began, (math.inf if later is None else later.seq)
