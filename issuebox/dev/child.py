"""Executes another program that cannot outlive the process that started it.

`bound` gives the command: this file as a script, `python -I child.py PARENT_PID PROGRAM [ARGUMENT…]`. On Linux it
asks the kernel to kill this process when its parent dies, which survives the exec. Doing it here
instead of in `preexec_fn` keeps Python code out of the moment between fork and exec, where it can
deadlock. Other systems have no such call; there, the lock that children inherit reveals survivors.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


def bound(*command: str) -> list[str]:
    """The command for a program that ends with this process. The thread that starts it must live as long."""
    return [sys.executable, "-I", __file__, str(os.getpid()), *command]


if __name__ == "__main__":
    parent_pid, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    # The parent may have died before the line above took effect.
    if os.getppid() != parent_pid:
        sys.exit("the process that started this one has ended")
    os.execvp(program[0], program)  # noqa: S606 - the program is our own caller's, and no shell is wanted
