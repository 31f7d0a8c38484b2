"""How every command ends when something goes wrong that it did not expect: with one sentence, never with a traceback.

What a command expects (a wrong setting, Temporal that is away) it tells itself, with `command_line.fail`. Here is what
may happen anywhere: Ctrl-C, a file that cannot be used, a full disk, a reader that has gone, a terminal without our
letters, and bugs.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import typer

from issuebox.cli.command_line import INTERRUPTED, fail

BROKEN_PIPE = 141
"""The exit code when the reader of the output has gone, as shells have it: 128 and the number of SIGPIPE."""

EXIT_BUG = 70
"""The exit code after a bug: EX_SOFTWARE of sysexits.h, as in `issuebox.watchdog`."""

ADVICE = {
    errno.ENOSPC: "Free some space, or name another place.",
    errno.EDQUOT: "Free some space, or name another place.",
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f), or name another place.",
    errno.EACCES: "Give this user access, or name another place.",
    errno.EPERM: "Give this user access, or name another place.",
    errno.EROFS: "Name a place that can be written.",
    errno.ENOTDIR: "Name a directory instead.",
    errno.EISDIR: "Name a file instead.",
    errno.EMFILE: "Raise the limit on open files (ulimit -n).",
}


@contextmanager
def ending() -> Iterator[None]:
    """Run a command within this block."""
    sys.excepthook = _bug
    _need_streams()
    _show_every_letter()
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        print("issuebox: interrupted", file=sys.stderr)  # noqa: T201
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError as error:
        _let_go()
        raise typer.Exit(BROKEN_PIPE) from error
    except OSError as error:
        if not error.filename and error.errno not in ADVICE:
            raise  # Neither a file nor the output: a call of the network that nobody expected to fail.
        _let_go()
        fail(sentence_of(error))
    except Exception as error:
        from issuebox.dev.dev_stack import DevError  # noqa: PLC0415 -- `issuebox --help` does without it

        if not isinstance(error, DevError):
            raise
        fail(str(error))


def sentence_of(error: OSError) -> str:
    """What could not be used, why, and what helps. An error of the output names no file."""
    reason = error.strerror or str(error) or type(error).__name__
    what = f"{error.filename}: {reason}" if error.filename else f"the output cannot be written: {reason}"
    advice = ADVICE.get(error.errno or 0, "")
    return f"{what}. {advice}".rstrip(". ") + ("." if advice else "")


def _need_streams() -> None:
    """Python has none where the shell closed it (`>&-`); what goes there goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 -- to the process's end


def _show_every_letter() -> None:
    """What the terminal cannot show, such as a stranger's title in another script, is shown as its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _let_go() -> None:
    """What is still in the buffer goes nowhere: the end of the process would try to write it once more."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _bug(kind: type[BaseException], error: BaseException, found: TracebackType | None) -> None:
    """Say in one sentence that this is a bug, and keep the traceback for the report."""
    where = ""
    with suppress(OSError):
        descriptor, path = tempfile.mkstemp(prefix="issuebox-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write("".join(traceback.format_exception(kind, error, found)))
        where = f", with {path}, which says where it happened"
    print(f"issuebox: this is a bug in issuebox ({kind.__name__}). Please report it{where}.", file=sys.stderr)  # noqa: T201
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(EXIT_BUG)  # Its documented, public name. Python's own shutdown may crash: `issuebox.process`.
