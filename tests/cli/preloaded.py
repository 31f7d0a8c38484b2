"""A process that has imported what the commands import, and forks for each command.

Each command runs and ends as its own process, as from a shell.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
from typing import NoReturn

from tests.forking import serve

MODULES = (
    "issuebox.cli.app",
    "issuebox.temporal.issues",
    "issuebox.cli.cards",
    "issuebox.doctor.examination",
    "issuebox.doctor.daytona",
)


def answer(connection: socket.socket) -> NoReturn:
    """Run the command of one JSON line in a child of this child, and send its exit code."""
    with connection, connection.makefile("rw") as stream:
        request = json.loads(stream.readline())
        child = os.fork()
        if child == 0:
            command(request["arguments"], request["environment"], request["directory"])
        _, status = os.waitpid(child, 0)
        stream.write(f"{os.waitstatus_to_exitcode(status)}\n")
        stream.flush()
    os._exit(0)


def command(arguments: list[str], environment: dict[str, str], directory: str) -> NoReturn:
    """Become the command, with its arguments and environment, and its standard streams as files in the directory."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(environment["PRELOADED_CWD"])
    for descriptor, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, f"{directory}/out", os.O_WRONLY | os.O_CREAT),
        (2, f"{directory}/err", os.O_WRONLY | os.O_CREAT),
    ):
        os.dup2(os.open(path, flags), descriptor)
    sys.argv = ["issuebox", *arguments]
    sys.modules["issuebox.cli.app"].main()
    os._exit(70)  # Not reached: main ends the process.


if __name__ == "__main__":
    for module in MODULES:
        importlib.import_module(module)
    serve(sys.argv[1], answer)
