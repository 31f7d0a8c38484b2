"""A worker in its own process, to be killed.

``python -m tests.resync.worker_process ADDRESS URL QUEUE PREFIX RUN_ON…``
"""

from __future__ import annotations

import asyncio
import sys

from temporalio.client import Client

from activities.github import GitHubActivities
from issuebox.domain.triggers import Criteria
from issuebox.providers.github import GitHubSource
from issuebox.providers.github_client import GitHubOptions
from issuebox.temporal.connect import DATA_CONVERTER
from issuebox.temporal.sweeps import SweptIssues
from proofs.github_api import TOKEN, GitHub
from tests.resync.conftest import Stack, worker


async def main(address: str, url: str, task_queue: str, prefix: str, *run_on: str) -> None:
    """Serve until killed."""
    criteria = Criteria(run_on=run_on)
    temporal = await Client.connect(address, data_converter=DATA_CONVERTER)
    known = SweptIssues(temporal, name_prefix=prefix, task_queue=task_queue)
    source = GitHubSource(GitHubOptions(url, TOKEN))
    async with (
        source,
        worker(Stack(temporal, GitHub(), known, task_queue, prefix), GitHubActivities(source, known, criteria)),
    ):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
