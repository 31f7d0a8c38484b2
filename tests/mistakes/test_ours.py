"""Mistakes of our own end in a sentence, too, and so does Ctrl-C before the command line is even imported."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from issuebox.dev.environment import bare

BUG = """
import sys
import issuebox.cli.send
def fail(*_):
    raise ArithmeticError("not to be shown")
issuebox.cli.send._target = fail
sys.argv = ["issuebox", "send", "ping"]
from issuebox.__main__ import main
main()
"""

EARLY = """
import sys
class Interrupts:
    def find_spec(self, name, *_):
        if name == "issuebox.cli.app":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupts())
from issuebox.__main__ import main
main()
"""


def ran(program: str, place: Path) -> subprocess.CompletedProcess[str]:
    """The program, whose temporary files go to this place."""
    env = bare() | {"TMPDIR": str(place)}
    return subprocess.run(
        [sys.executable, "-c", program], env=env, cwd=place, capture_output=True, text=True, check=False, timeout=60
    )


def test_bug_is_one_sentence_that_names_the_file_for_the_report(tmp_path: Path) -> None:
    """The traceback is in the file, which only this user can read, and nowhere else."""
    found = ran(BUG, tmp_path)
    assert (found.returncode, found.stdout) == (70, "")
    named = re.fullmatch(
        r"issuebox: this is a bug in issuebox \(ArithmeticError\)\. Please report it, with (\S+), which says where it "
        r"happened\.\n",
        found.stderr,
    )
    assert named, found.stderr
    report = Path(named[1])
    assert "ArithmeticError: not to be shown" in report.read_text()
    assert report.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("raised", ["TimeoutError()", "ConnectionRefusedError(111, 'Connection refused')"])
def test_failure_of_the_network_that_nobody_expected_is_a_bug(tmp_path: Path, raised: str) -> None:
    """Both are OSErrors, and have nothing to do with files: to blame the output would mislead."""
    found = ran(BUG.replace('ArithmeticError("not to be shown")', raised), tmp_path)
    assert found.returncode == 70
    assert found.stderr.startswith(
        f"issuebox: this is a bug in issuebox ({raised.partition('(')[0]}). Please report it"
    )


def test_bug_without_a_place_for_its_file_is_one_sentence(tmp_path: Path) -> None:
    """A full disk does not bring the traceback back."""
    program = f"import tempfile; tempfile.tempdir = {str(tmp_path / 'nowhere')!r}\n{BUG}"
    found = ran(program, tmp_path)
    assert found.stderr == "issuebox: this is a bug in issuebox (ArithmeticError). Please report it.\n"


def test_interrupt_during_the_imports_is_one_word(tmp_path: Path) -> None:
    """They take a tenth of a second, in which people press Ctrl-C when they see their mistake."""
    found = ran(EARLY, tmp_path)
    assert (found.returncode, found.stdout, found.stderr) == (130, "", "issuebox: interrupted\n")
