"""The job `temporal-namespace` of docker-compose.yml, run by a shell against a real Temporal server."""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path

import yaml
from temporalio.client import Client

from issuebox.dev.temporal_server import ensure_binary
from issuebox.temporal.search_attributes import registered

COMPOSE = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text())


async def test_namespace_job_succeeds_at_its_first_start_and_when_repeated(
    temporal_address: str, tmp_path: Path
) -> None:
    """It waits until Temporal knows the new namespace; what waits for the job never sees it fail."""
    namespace = f"new-{uuid.uuid4().hex}"
    program, option, script = COMPOSE["services"]["temporal-namespace"]["command"]
    environment = {
        "PATH": f"{(await ensure_binary()).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "TEMPORAL_ADDRESS": temporal_address,
        "TEMPORAL_NAMESPACE": namespace,
    }
    for _ in ("first", "repeated"):
        done = subprocess.run(
            [program, option, script.replace("$$", "$")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        client = await Client.connect(temporal_address, namespace=namespace)
        assert (await registered(client)).is_complete
