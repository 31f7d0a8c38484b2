"""Whether a person who got a sandbox as the answer really got one (rule i)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from proofs.checker import whose
from proofs.checker.cases import Case, latest_orders
from proofs.checker.evidence import Order
from proofs.checker.lives import SandboxLife
from proofs.checker.rest import as_of

HANDED_OVER = frozenset({200, 201})
"""The answers that hand a sandbox over."""


def are_noted(orders: Iterable[Order]) -> bool:
    """Whether the sender noted which sandbox each answer handed over."""
    return all(order.sandbox_id is not None for order in orders if _hands_over(order))


def empty(case: Case) -> Iterator[tuple[Order, str]]:
    """The answers that handed over no running sandbox of the issue, and what is wrong with each."""
    for order in filter(_hands_over, latest_orders(case.orders)):
        objection = _objection(case, order)
        if objection:
            yield order, objection


def _hands_over(order: Order) -> bool:
    return order.order == "ensure" and order.status in HANDED_OVER


def _objection(case: Case, order: Order) -> str:
    """Why this is no running sandbox of the issue; '' when it is one."""
    if not order.sandbox_id:
        return "names no sandbox"
    life = next((life for life in case.lives if life.id == order.sandbox_id), None)
    if life is None:
        return f"names {order.sandbox_id}, which is no sandbox of the issue"
    answered_at = order.answered_at if order.answered_at is not None else order.sent_at
    if whose.is_anothers(case, life, answered_at):
        return f"names {life.id}, which is another's"
    return "" if _ran(case, life, order.sent_at, answered_at) else f"names {life.id}, which did not run then"


def _ran(case: Case, life: SandboxLife, since: float, until: float) -> bool:
    """Whether it ran at some moment from the order to its answer, or at that which a read in between showed."""
    past = [as_of(reply) for reply in case.past.get(life.id, ()) if since <= reply.at <= until]
    return any(period.begin.at <= until and period.reaches(min([since, *past])) for period in life.periods)
