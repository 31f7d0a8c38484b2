"""`python -m proofs.checker RUN_DIR`: whether a run kept the promise. Exit code 1: it did not; 2: no evidence."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from proofs.checker.evidence import Evidence, Violation
from proofs.checker.measures import Measures, measure
from proofs.checker.rules import RULES, check, is_checked
from proofs.checker.run_dir import NoEvidenceError, read_run

SHOWN_MAX = 5
"""How many violations are printed for each rule."""

UNCHECKED = {"g": "nobody read the blocks", "i": "nobody noted the answers"}
"""Why the evidence allows no verdict, for the rules that do not wait for rest."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the evidence, judge it and print the report. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m proofs.checker", description=__doc__)
    parser.add_argument("run_dir", type=Path, help="a run's directory, or localdaytona's data directory")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    try:
        evidence = read_run(options.run_dir)
    except NoEvidenceError as error:
        print(error, file=sys.stderr)
        return 2
    violations = check(evidence)
    print(_document(evidence, violations) if options.json else _report(evidence, violations))
    return 1 if violations else 0


def _document(evidence: Evidence, violations: Sequence[Violation]) -> str:
    found = [violation.model_dump(mode="json") for violation in violations]
    return json.dumps({"violations": found, "measures": asdict(measure(evidence))}, indent=1)


def _report(evidence: Evidence, violations: Sequence[Violation]) -> str:
    counts = _counts(measure(evidence), evidence)
    lines = [counts, *(_line(letter, evidence, violations) for letter in _told(evidence))]
    for letter in RULES:
        broken = [violation for violation in violations if violation.rule == letter]
        lines += [_details(violation, evidence) for violation in broken[:SHOWN_MAX]]
        if len(broken) > SHOWN_MAX:
            lines.append(f"({letter}) and {len(broken) - SHOWN_MAX} more")
    return "\n".join(lines)


def _told(evidence: Evidence) -> list[str]:
    """The rules that are named: those about runs only where anything is known of runs."""
    return [letter for letter in RULES if letter.islower() or is_checked(letter, evidence)]


def _counts(measures: Measures, evidence: Evidence) -> str:
    return (
        f"{measures.issues} issues, {measures.deliveries} acknowledged deliveries, {len(evidence.orders)} orders, "
        f"{measures.requests} requests to Daytona, {len(evidence.journal)} entries in the journal"
    )


def _line(letter: str, evidence: Evidence, violations: Sequence[Violation]) -> str:
    broken = sum(violation.rule == letter for violation in violations)
    unchecked = f"not checked: {UNCHECKED.get(letter, 'the run is not at rest')}"
    verdict = f"BROKEN {broken}x" if broken else "holds" if is_checked(letter, evidence) else unchecked
    return f"({letter}) {verdict:<8} {RULES[letter].says}"


def _details(violation: Violation, evidence: Evidence) -> str:
    entries = {entry.seq: entry for entry in evidence.journal if entry.seq in violation.entries}
    head = f"\n({violation.rule}) issue {violation.issue}: {violation.what}"
    shown = [
        f"    #{seq} {entry.at:.3f} {entry.kind} {entry.name} by {entry.operation}: {json.dumps(entry.detail)[:160]}"
        for seq, entry in sorted(entries.items())
    ]
    return "\n".join([head, *shown])


if __name__ == "__main__":
    sys.exit(main())
