"""The command line of `issuebox doctor`, which checks whether this installation can work."""

from __future__ import annotations

from typing import Annotated

import typer

from issuebox.cli.command_line import DATA, AsJson, Data, Exit

PARTS = "temporal, daytona or github"


def doctor(
    *,
    fix: Annotated[
        bool, typer.Option("--fix", help="Register missing search attributes. Changes nothing else.")
    ] = False,
    only: Annotated[list[str] | None, typer.Option(help=f"Check only {PARTS}; repeat it for more.")] = None,
    as_json: AsJson = False,
    data: Data = DATA,
) -> None:
    """Check the settings, Temporal, Daytona and GitHub, and say what to do about each failure.

    Run it where the API and the workers run: it uses this machine's network and environment.
    The exit code is 1 when a check fails; warnings do not count.
    """
    import asyncio  # noqa: PLC0415

    from issuebox.cli import screen  # noqa: PLC0415
    from issuebox.cli.doctor_card import report_card  # noqa: PLC0415
    from issuebox.doctor.check_results import Part, Report  # noqa: PLC0415
    from issuebox.doctor.examination import Order, examine  # noqa: PLC0415

    parts = [Part.TEMPORAL, Part.DAYTONA, Part.GITHUB]
    if only:
        wrong = [name for name in only if name not in parts]
        if wrong:
            raise typer.BadParameter(f"{wrong[0]!r} is none of {PARTS}", param_hint="--only")
        parts = [part for part in parts if part in only]
    with screen.waiting("Checking"):
        found = asyncio.run(examine(Order(data, parts, is_fixing=fix)))
    if as_json:
        screen.show_json(Report, found)
    else:
        screen.show(report_card(found, screen.console().width))
    raise typer.Exit(Exit.DONE if found.is_healthy else Exit.NO)
