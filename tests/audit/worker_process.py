"""A worker in its own process, to be killed: the real one, with pages of a few sandboxes.

``python -m tests.audit.worker_process SETTINGS.json TEMPORAL_ADDRESS PAGE_SIZE``
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path

from temporalio.client import Client

from issuebox.providers.daytona import DaytonaProvider
from issuebox.temporal.connect import DATA_CONVERTER
from issuebox.worker import build_worker
from proofs.shortened import made_from


async def main(settings_file: str, address: str, page_size: str) -> None:
    worker = made_from(json.loads(Path(settings_file).read_text()))
    client = await Client.connect(address, data_converter=DATA_CONVERTER)
    options = replace(worker.daytona, list_page_size=int(page_size))
    async with DaytonaProvider(options) as provider, build_worker(client, provider, worker):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
