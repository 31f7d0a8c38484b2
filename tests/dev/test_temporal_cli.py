"""What we assume about the real Temporal CLI."""

import asyncio
import re
from pathlib import Path

from issuebox.dev.temporal_server import DevServer, ensure_binary


async def test_every_flag_we_pass_exists() -> None:
    """The CLI of this machine knows each flag that our command uses."""
    binary = await ensure_binary()
    process = await asyncio.create_subprocess_exec(
        binary, "server", "start-dev", "--help", stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    known = set(re.findall(r"--[a-z-]+", output.decode()))
    server = DevServer(
        binary=binary,
        database=Path("x.db"),
        port=1,
        ui_port=2,
        search_attributes={"A": "Keyword"},
        dynamic_config={"a.b": 1},
    )
    used = {part for part in server.command() if part.startswith("--")}
    assert len(used) == 9
    assert used <= known
