"""What a fault plan may contain: rules, what they match, and their effects. Data only.

An effect happens *before* the operation changes anything, or *after* it has committed (`_after`).
Seconds in effects are real seconds, not divided by `speed`.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from localdaytona.types import JSON

OperationName = Literal[
    "create",
    "get",
    "list",
    "start",
    "stop",
    "archive",
    "delete",
    "recover",
    "pause",
    "labels",
    "last_activity",
    "interval",
    "toolbox",
    "events",
    "api_key",
    "ssh_access",
    "ssh_check",
    "regions",
    "snapshot",
    "*",
]
Seconds = Annotated[float, Field(ge=0, le=3600)]
Status = Annotated[int, Field(ge=200, le=599)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StatusEffect(_Model):
    """Reply with a status before anything happens."""

    kind: Literal["status"]
    status: Status
    message: str = "Injected fault"
    headers: dict[str, str] = {}


class StatusAfter(_Model):
    """Run the operation, then reply with a status: commit, then 502."""

    kind: Literal["status_after"]
    status: Status
    message: str = "Injected fault"
    headers: dict[str, str] = {}


class Drop(_Model):
    """Close the connection without a reply, before anything happens."""

    kind: Literal["drop"]


class DropAfter(_Model):
    """Run the operation, then close the connection without a reply."""

    kind: Literal["drop_after"]


class Delay(_Model):
    """Wait, then run the operation."""

    kind: Literal["delay"]
    seconds: Seconds


class DelayAfter(_Model):
    """Run the operation, wait, then reply."""

    kind: Literal["delay_after"]
    seconds: Seconds


class Hang(_Model):
    """Do not reply until the client leaves, for 120 s at most."""

    kind: Literal["hang"]
    after: bool = Field(default=False, description="True: run the operation first.")


class Late(_Model):
    """Do not reply. Run the operation so long after the client has left, for 120 s at most."""

    kind: Literal["late"]
    seconds: Seconds = 0.5


class NotFound(_Model):
    """A false 404."""

    kind: Literal["not_found"]


class Conflict(_Model):
    """One of the three 409 texts."""

    kind: Literal["conflict"]
    text: Literal["state_change", "modified", "in_progress"] = "state_change"


class Malformed(_Model):
    """Run the operation, then reply 200 with a body that lacks one field the SDK requires."""

    kind: Literal["malformed"]
    field: str = "kvm"


class Stale(_Model):
    """Reply with the state of some seconds ago, or of a moment in epoch seconds, as in the journal."""

    kind: Literal["stale"]
    seconds: Seconds = 2.0
    at: float | None = None

    def moment(self, now_s: float) -> float:
        """Return the moment to show, in epoch seconds."""
        return now_s - self.seconds if self.at is None else self.at


class FailTransition(_Model):
    """The transition that the operation starts ends in `error`."""

    kind: Literal["fail_transition"]
    recoverable: bool = False
    reason: str = "Injected failure"
    seconds: Seconds | None = Field(default=None, description="When it fails; null: when it would have ended.")


class BuildFailed(_Model):
    """The transition that the operation starts ends in `build_failed`."""

    kind: Literal["build_failed"]
    reason: str = "Injected build failure"


class Stuck(_Model):
    """The transition that the operation starts never ends, until a person releases it."""

    kind: Literal["stuck"]


class Slow(_Model):
    """The transition that the operation starts takes this long."""

    kind: Literal["slow"]
    seconds: Seconds


class NoHold(_Model):
    """Reply at once instead of holding the request."""

    kind: Literal["no_hold"]


class Twice(_Model):
    """Run a request of the toolbox two times, as a proxy that sends it again; the second answer is the reply."""

    kind: Literal["twice"]
    seconds: Seconds = Field(default=0.0, description="How long after the first; 0: both at once.")


class CutLog(_Model):
    """Close a followed log as if the command had ended, at once or after a random beginning of what there is."""

    kind: Literal["cut_log"]
    after: Literal["nothing", "prefix"] = "nothing"


TransitionEffect = FailTransition | BuildFailed | Stuck | Slow
ToolboxEffect = Twice | CutLog
Effect = (
    StatusEffect
    | StatusAfter
    | Drop
    | DropAfter
    | Delay
    | DelayAfter
    | Hang
    | Late
    | NotFound
    | Conflict
    | Malformed
    | Stale
    | TransitionEffect
    | ToolboxEffect
    | NoHold
)

WITH_TRANSITION: frozenset[str] = frozenset({"create", "start", "stop", "archive", "delete", "recover", "pause", "*"})


class Match(_Model):
    """Which requests a rule matches. An omitted field matches everything."""

    operation: OperationName = "*"
    name: str | None = Field(default=None, description="Glob over the sandbox's name, case-sensitive.")
    sandbox_id: str | None = None
    path: str | None = Field(
        default=None, description="Glob over the path within the sandbox's toolbox, such as `/files/bulk-upload`."
    )


class Rule(_Model):
    """One rule of the plan."""

    id: str | None = Field(default=None, min_length=1, description="Chosen by the server when omitted.")
    match: Match = Match()
    effect: Annotated[Effect, Field(discriminator="kind")]
    times: int | None = Field(default=None, ge=1, description="How often it fires; null: forever.")
    skip: int = Field(default=0, ge=0, description="How many matching requests it lets pass first.")
    probability: float = Field(default=1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _transition_effects_need_a_transition(self) -> Self:
        if isinstance(self.effect, TransitionEffect) and self.match.operation not in WITH_TRANSITION:
            raise ValueError(f"{self.match.operation} starts no transition for {self.effect.kind}")
        return self

    @model_validator(mode="after")
    def _some_rules_need_the_toolbox(self) -> Self:
        is_toolbox = self.match.operation == "toolbox"
        if isinstance(self.effect, ToolboxEffect) and not is_toolbox:
            raise ValueError(f"{self.effect.kind} is for the operation toolbox only")
        if self.match.path is not None and not is_toolbox:
            raise ValueError("only the operation toolbox has paths to match")
        return self


class Plan(_Model):
    """A whole fault plan. The same seed and the same requests give the same faults."""

    seed: int = 0
    rules: tuple[Rule, ...] = ()


class Progress(_Model):
    """The counts of a rule."""

    seen: int = 0
    fired: int = 0


class Fault(_Model):
    """A rule that fired, whose effect applies to this request."""

    rule_id: str
    effect: Annotated[Effect, Field(discriminator="kind")]
    draw: float = Field(default=0.0, description="For effects with something random in them; of seed, rule and count.")

    def as_json(self) -> dict[str, JSON]:
        """Return its journal entry's detail."""
        return {"rule": self.rule_id, "effect": self.effect.model_dump(mode="json")}
