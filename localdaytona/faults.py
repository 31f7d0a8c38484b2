"""Decides which rule of the fault plan hits which request. It applies no effect itself.

Whether the n-th request that matches a rule is hit depends only on the seed, the rule's ID and n,
so rules do not affect one another, and a restart continues where the plan was.
"""

import fnmatch
import random
from dataclasses import dataclass

from pydantic import BaseModel, Field, TypeAdapter

from localdaytona.fault_model import Fault, Plan, Progress, Rule
from localdaytona.journal import NewEntry
from localdaytona.model import now_s
from localdaytona.store import Store
from localdaytona.types import JSONObject

_PROGRESS = TypeAdapter(dict[str, Progress])


@dataclass(frozen=True, slots=True)
class Target:
    """The request that a fault may hit."""

    operation: str
    sandbox_id: str | None = None
    name: str | None = None
    request_id: str | None = None
    path: str | None = None


class RuleView(BaseModel):
    """A rule and its counts."""

    rule: Rule
    seen: int = Field(description="Requests that matched.")
    fired: int
    remaining: int | None = Field(description="None: without limit.")


class PlanView(BaseModel):
    """The plan as `GET /_local/faults` shows it."""

    seed: int
    rules: list[RuleView]


class Faults:
    """The plan and its progress; `take` decides about a request."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._plan = Plan.model_validate(store.setting("faults") or {})
        self._progress = _PROGRESS.validate_python(store.setting("faults_progress") or {})

    def replace(self, plan: Plan) -> None:
        """Replace the plan and reset its counts. Writes within the caller's transaction."""
        named = [_named(rule, index) for index, rule in enumerate(plan.rules)]
        _refuse_twins(named)
        self._keep(Plan(seed=plan.seed, rules=tuple(named)), {})

    def reseed(self, seed: int) -> None:
        """Change the seed and keep the rules. Writes within the caller's transaction."""
        self._keep(Plan(seed=seed, rules=self._plan.rules), {})

    def add(self, rule: Rule) -> str:
        """Append a rule and return its ID. Writes within the caller's transaction."""
        taken = {known.id for known in self._plan.rules}
        free = next(n for n in range(len(taken) + 1) if f"rule-{n}" not in taken)
        named = _named(rule, free)
        _refuse_twins([*self._plan.rules, named])
        self._keep(Plan(seed=self._plan.seed, rules=(*self._plan.rules, named)), self._progress)
        return str(named.id)

    def view(self) -> PlanView:
        """Return the plan and its progress."""
        return PlanView(seed=self._plan.seed, rules=[self._view(rule) for rule in self._plan.rules])

    def take(self, target: Target) -> Fault | None:
        """Return the first rule that hits, which it counts and journals in its own transaction."""
        for rule in self._plan.rules:
            if _matches(rule, target) and (draw := self._hit(rule)) is not None:
                fault = Fault(rule_id=str(rule.id), effect=rule.effect, draw=draw)
                with self._store.transaction():
                    self._keep_progress()
                    self._store.journal.append(now_s(), _entry(fault, target))
                return fault
        return None

    def _hit(self, rule: Rule) -> float | None:
        """Count a match and return, if it is a hit, the number that its effect may draw on."""
        progress = self._progress.get(str(rule.id), Progress())
        seen, fired = progress.seen + 1, progress.fired
        spent = rule.times is not None and fired >= rule.times
        drawn = random.Random(f"{self._plan.seed}/{rule.id}/{seen}")  # noqa: S311 - reproducible on purpose
        hit = not spent and seen > rule.skip and drawn.random() < rule.probability
        self._progress[str(rule.id)] = Progress(seen=seen, fired=fired + hit)
        return drawn.random() if hit else None

    def _view(self, rule: Rule) -> RuleView:
        progress = self._progress.get(str(rule.id), Progress())
        remaining = None if rule.times is None else rule.times - progress.fired
        return RuleView(rule=rule, seen=progress.seen, fired=progress.fired, remaining=remaining)

    def _keep(self, plan: Plan, progress: dict[str, Progress]) -> None:
        self._plan, self._progress = plan, dict(progress)
        self._store.keep_setting("faults", plan.model_dump(mode="json"))
        self._keep_progress()

    def _keep_progress(self) -> None:
        kept: JSONObject = {key: value.model_dump(mode="json") for key, value in self._progress.items()}
        self._store.keep_setting("faults_progress", kept)


def _named(rule: Rule, number: int) -> Rule:
    return rule if rule.id is not None else rule.model_copy(update={"id": f"rule-{number}"})


def _refuse_twins(rules: list[Rule]) -> None:
    ids = [rule.id for rule in rules]
    twins = sorted({str(each) for each in ids if ids.count(each) > 1})
    if twins:
        raise ValueError(f"rule IDs must be unique: {', '.join(twins)}")


def _matches(rule: Rule, target: Target) -> bool:
    match = rule.match
    return (
        match.operation in {"*", target.operation}
        and (match.sandbox_id is None or match.sandbox_id == target.sandbox_id)
        and _fits(match.name, target.name)
        and _fits(match.path, target.path)
    )


def _fits(pattern: str | None, text: str | None) -> bool:
    return pattern is None or (text is not None and fnmatch.fnmatchcase(text, pattern))


def _entry(fault: Fault, target: Target) -> NewEntry:
    detail = {**fault.as_json(), "request_id": target.request_id}
    if target.path is not None:
        detail["path"] = target.path
    return NewEntry("fault", target.sandbox_id, target.name, target.operation, detail)
