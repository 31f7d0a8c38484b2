"""The `issuebox` command, also as ``python -m issuebox``. Ctrl-C ends it with a sentence from its first moment on."""

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line, and end this process with its exit code."""
    try:
        from issuebox.cli.app import main as run  # noqa: PLC0415 -- the imports take a tenth of a second
    except KeyboardInterrupt:
        print("issuebox: interrupted", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(130)  # Its documented, public name.
    run()


if __name__ == "__main__":
    main()
