"""Nothing is put or begun in a sandbox that another owner has claimed since it was seen."""

from __future__ import annotations

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.run_messages import BeginInput, PrepareInput, RunInput
from activities.runs import RunActivities
from issuebox.domain.sandbox import LABEL_INSTANCE, LABEL_ISSUE_ID, LABEL_MANAGED_BY, MANAGED_BY
from issuebox.worker import work

from .conftest import Started


@pytest.mark.parametrize("step", ["prepare", "begin"])
async def test_sandbox_of_another_installation_gets_no_run(start: Started, step: str) -> None:
    stack = await start(has_worker=False, run_preset="command", run_command="touch ~/worked")
    labels = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_INSTANCE: "another", LABEL_ISSUE_ID: str(stack.issue_id)}
    made = await stack.daytona.admin.create(name=stack.name, labels=labels)
    await stack.provider.settle(made.id, 5.0)
    activities = RunActivities(stack.provider, work=work(stack.settings))
    about = RunInput(stack.issue_id, stack.name, made.id, "r-0123456789ab", 1)
    given = {
        "prepare": (activities.prepare_run, PrepareInput(about, None, ())),
        "begin": (activities.begin_run, BeginInput(about, None, "start", "s", is_session_new=True)),
    }
    method, request = given[step]
    with pytest.raises(ApplicationError, match="another") as error:
        await ActivityEnvironment().run(method, request)
    assert error.value.type == "RefusedError"
    assert "No such file" in (await stack.provider.execute(made.id, "ls ~/.issuebox ~/worked", 10.0)).output
