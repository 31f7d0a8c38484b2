"""The alerts and the dashboard: what they name is exported, and each alert fires when it should and only then.

promtool evaluates the alerts where it is there: `scripts/promtool` builds it, which takes minutes. What does not need
it is checked always.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import temporalio.bridge
import yaml

from issuebox import metrics
from issuebox.domain.audit import Kind
from issuebox.domain.phase import Outcome
from issuebox.domain.run import RunOutcome
from issuebox.temporal.pollers import KINDS
from scripts.alerts import OBJECTIVES, every_alert, recorded, rules, windows
from scripts.dashboard import ROWS
from scripts.observability import DIRECTORY, files
from tests.deploy.alert_cases import CASES, Case

REPOSITORY = Path(__file__).parents[2]
ALERTS = DIRECTORY / "prometheus" / "alerts.yaml"

TARGET = frozenset({"job", "instance"})
"""Labels that Prometheus adds to everything that it reads."""

SDK: dict[str, frozenset[str]] = {
    "temporal_workflow_task_execution_failed": frozenset({"failure_reason"}),
    "temporal_workflow_task_schedule_to_start_latency_seconds_bucket": frozenset({"task_queue", "le"}),
    "temporal_activity_schedule_to_start_latency_seconds_bucket": frozenset({"task_queue", "le"}),
    "temporal_worker_task_slots_available": frozenset({"task_queue", "worker_type"}),
}
"""What we use of the SDK's own metrics, as temporalio 1.35.0 names them, with the labels that we use of it."""

OTHERS: dict[str, frozenset[str]] = {
    "up": frozenset(),
    "process_start_time_seconds": frozenset(),
    "process_resident_memory_bytes": frozenset(),
    "process_cpu_seconds_total": frozenset(),
    **{recorded(objective, window): frozenset() for objective in OBJECTIVES for window in windows()},
}

KNOWN: dict[str, frozenset[str]] = (
    {
        series: frozenset(metric.labels) | ({"le"} if series.endswith("_bucket") else frozenset())
        for metric in metrics.ALL
        for series in metric.series
    }
    | SDK
    | OTHERS
)

VALUES: dict[str, frozenset[str]] = {
    **{label: values for label, values in metrics.LABELS.items() if values is not None},
    "outcome": frozenset({*map(str, Outcome), *map(str, RunOutcome)}),
    "kind": frozenset({*map(str, Kind), *KINDS}),
    "sweep": frozenset({"audit", "resync"}),
    "le": frozenset(str(bound) for metric in metrics.ALL for bound in metric.buckets),
}


NAME = re.compile(r"\b(?:issuebox|temporal|process)_\w+|\bissuebox:[\w:]+|\bup\b")
"""What looks like a metric in an expression: the walk over its parts must find all of them."""


def expressions() -> dict[str, str]:
    """Every expression of the generated files, by where it stands."""
    groups: Any = rules()["groups"]
    found = {rule.get("alert") or rule["record"]: rule["expr"] for group in groups for rule in group["rules"]}
    for title, panels in ROWS.items():
        for panel in panels:
            for number, line in enumerate(panel.lines):
                found[f"{title}: {panel.title} {number}"] = line.expression
    return found


def nodes(expression: Any) -> Iterator[Any]:
    """An expression, and all that it consists of."""
    yield expression
    for name in ("expr", "lhs", "rhs", "param", "vector_selector"):
        part = getattr(expression, name, None)
        if part is not None and not isinstance(part, str | float):
            yield from nodes(part)
    for part in getattr(expression, "args", None) or ():
        yield from nodes(part)


def parsed(expression: str) -> Any:
    return promql_parser.parse(expression.replace("$__rate_interval", "5m"))


def selectors(expression: str) -> list[Any]:
    return [node for node in nodes(parsed(expression)) if isinstance(node, promql_parser.VectorSelector)]


@pytest.mark.parametrize("place", expressions())
def test_expression_names_only_what_is_exported(place: str) -> None:
    """Prometheus takes a misspelt metric for one that is never there: the alert would never fire."""
    expression = expressions()[place]
    found = selectors(expression)
    assert {selector.name for selector in found} == set(NAME.findall(expression))
    for selector in found:
        assert selector.name in KNOWN
        for matcher in selector.matchers.matchers:
            assert matcher.name in KNOWN[selector.name] | TARGET
            alternatives = [word for word in re.split(r"\|", matcher.value) if matcher.name in VALUES]
            assert all(any(re.fullmatch(word, value) for value in VALUES[matcher.name]) for word in alternatives)


@pytest.mark.parametrize("place", expressions())
def test_expression_groups_only_by_labels_that_are_there(place: str) -> None:
    """By a label that no series has, all become one."""
    for node in nodes(parsed(expressions()[place])):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            own = {name for part in nodes(node.expr) if isinstance(part, promql_parser.VectorSelector)
                   for name in KNOWN[part.name]}  # fmt: skip
            assert set(node.modifier.labels) <= own | TARGET


def test_metrics_of_the_sdk_exist() -> None:
    """Their names stand in its library; some are shown only once there was something to count."""
    [library] = Path(temporalio.bridge.__file__).parent.glob("temporal_sdk_bridge*.so")
    binary = library.read_bytes()
    for name in SDK:
        inner = name.removeprefix("temporal_").removesuffix("_bucket").removesuffix("_seconds")
        assert inner.encode() in binary, name


def test_what_an_alert_writes_is_there() -> None:
    """A placeholder for a label that the alert does not have would be empty in the text that wakes somebody."""
    for alert in every_alert():
        expression = parsed(alert.expression)
        for label in re.findall(r"\$labels\.(\w+)", alert.summary):
            assert label in re.findall(r"\w+", alert.expression) or label in labels_of(expression), alert.name
        assert alert.severity in {"page", "ticket"}
        assert alert.summary.endswith(".")
        assert alert.advice.endswith(".")


def labels_of(expression: Any) -> set[str]:
    return {label for node in nodes(expression) if isinstance(node, promql_parser.VectorSelector)
            for label in KNOWN[node.name] | TARGET}  # fmt: skip


def test_alerts_have_names_of_their_own() -> None:
    """Else one would hide another, and its case test both."""
    assert [name for name, count in Counter(alert.name for alert in every_alert()).items() if count > 1] == []


def test_every_alert_is_tried_both_ways() -> None:
    """One that never fires, and one that fires whenever a case is set up, would both pass otherwise."""
    tried = {(case.alert, case.fires > 0) for case in CASES}
    assert tried == {(alert.name, fires) for alert in every_alert() for fires in (True, False)}


@pytest.mark.parametrize("name", files())
def test_generated_file_is_fresh(name: str) -> None:
    """Somebody changed the table, or the file."""
    assert (DIRECTORY / name).read_text() == files()[name]


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    """Nobody looks at one that is in neither."""
    used = {selector.name for expression in expressions().values() for selector in selectors(expression)}
    unused = [metric.name for metric in metrics.ALL if not metric.series & used]
    assert unused == [metrics.BUILD_INFO.name]


def promtool() -> Path | None:
    """The promtool that `scripts/promtool` has built; None when nobody did."""
    [version] = re.findall(r"^promtool_version=(\S+)", (REPOSITORY / "scripts" / "promtool").read_text(), re.MULTILINE)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = cache / "issuebox" / "bin" / f"promtool-{version}"
    return found if found.exists() else None


PROMTOOL = promtool()
with_promtool = pytest.mark.skipif(PROMTOOL is None, reason="scripts/promtool has not built it")


@with_promtool
def test_rules_are_taken_by_prometheus() -> None:
    """Its own reader, which also reads the templates of the texts."""
    done = subprocess.run([str(PROMTOOL), "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@with_promtool
@pytest.mark.parametrize("step", sorted({case.step for case in CASES}))
def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path, step: str) -> None:
    """promtool evaluates the rules over the series of each case."""
    cases = [case for case in CASES if case.step == step]
    suite = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": step,
        # Else in any order, and an alert might miss what is recorded for it at the same time.
        "group_eval_order": ["issuebox-objectives", "issuebox"],
        "tests": [_tested(case) for case in cases],
    }
    path = tmp_path / "suite.yaml"
    path.write_text(yaml.safe_dump(suite, sort_keys=False, width=10_000))
    done = subprocess.run([str(PROMTOOL), "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _tested(case: Case) -> dict[str, object]:
    minutes = case.steps * int(case.step.removesuffix("m"))
    firing = f'count(ALERTS{{alertname="{case.alert}",alertstate="firing"}})'
    return {
        "name": f"{case.alert} {case.what}",
        "interval": case.step,
        "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
        "promql_expr_test": [
            {
                "expr": firing,
                "eval_time": f"{minutes}m",
                "exp_samples": [{"labels": "{}", "value": case.fires}] if case.fires else [],
            }
        ],
    }
