"""A process that has imported what the commands import, and forks for each of them.

A command is a process of its own with its own end, as from a shell, without the seconds that the imports take.
Nothing is connected and no thread is started before the fork.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
from typing import NoReturn

MODULES = (
    "issuebox.cli",
    "api.issue_calls",
    "issuebox.cards",
    "issuebox.doctor.examination",
    "issuebox.doctor.daytona",
)


def serve(path: str) -> NoReturn:
    """Take requests on a socket at `path`: one JSON line, answered with the exit code."""
    for module in MODULES:
        importlib.import_module(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            answer(connection)
        connection.close()


def answer(connection: socket.socket) -> NoReturn:
    """Run one command in a child of this child, and tell what it ended with."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
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
    """Become the command: its arguments, its environment, its standard streams as files of the directory."""
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
    sys.modules["issuebox.cli"].main()
    os._exit(70)  # Not reached: main ends the process.


if __name__ == "__main__":
    serve(sys.argv[1])
