"""A server that forks a child for each connection: processes of their own without the seconds that imports take.

Import what the children need first. Nothing may be connected and no thread started before the fork.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import NoReturn


def serve(path: str, become: Callable[[socket.socket], NoReturn]) -> NoReturn:
    """Listen on a socket at `path`; each connection gets a child, which becomes what it asks for."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            become(connection)
        connection.close()
