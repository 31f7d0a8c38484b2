"""The picture of the demo in the README: runs `issuebox demo`, and writes what it showed at its end.

``python -m scripts.demo_picture`` takes about a minute. The picture is kept in git, because it shows a run.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "demo.svg"
COLUMNS = 124


def run() -> str:
    """All that the demo writes to a terminal. Raises CalledProcessError unless every check holds."""
    environment = os.environ | {"COLUMNS": str(COLUMNS), "FORCE_COLOR": "1"}
    command = [sys.executable, "-m", "issuebox", "demo"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def final(shown: str) -> Text:
    """The last state of the table, and the line that counts the checks; the log between them is left out."""
    table, _, rest = shown.rsplit("\x1b[2K", 1)[1].partition("\x1b[?25h")
    count = next(line for line in rest.splitlines() if "checks hold" in line)
    return Text.from_ansi(f"\x1b[1m$ make demo\x1b[0m\n{table.rstrip()}\n\n{count}")


def picture(text: Text) -> str:
    """The text as a terminal, in SVG, in the reader's own font: rich's would come from a server of others."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(text, soft_wrap=True)
    svg = console.export_svg(title="make demo", theme=MONOKAI, unique_id="demo")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def main() -> None:
    """Run the demo, and write the picture."""
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(picture(final(run())))


if __name__ == "__main__":
    main()
