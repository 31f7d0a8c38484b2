"""A run's attempt through what goes wrong: killed parts, late requests, numbers used again, disks that are full."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .run_home import RunHome, kill, run_home, wait
from .test_run_scripts import READY, SESSIONS, WAITS, home

__all__ = ["home"]


@pytest.fixture
def dash(tmp_path: Path) -> Iterator[RunHome]:
    """A home for what does not depend on the shell."""
    with run_home(tmp_path, "dash") as home:
        yield home


def test_job_whose_supervisor_was_killed_is_an_orphan_until_it_is_fenced(home: RunHome) -> None:
    """It lives on, and is said to; after the fence nothing of it is left, wherever it has gone."""
    home.begin(f"{SESSIONS} {WAITS}")
    home.says("far")
    kill(home.recorded("supervisor"))
    orphan = home.until(lambda probe: probe.is_orphan)
    assert orphan.phase == "running"
    probe = home("fence").probe
    assert (probe.phase, probe.is_orphan, home.all()) == ("dead", False, [])


def test_fence_ends_an_attempt_with_its_supervisor(home: RunHome) -> None:
    """A fence does not ask: supervisor, watcher and job are gone, and no end is recorded any more."""
    home.begin(f"trap '' INT TERM; {SESSIONS} {WAITS}")
    home.says("far")
    assert (home("fence").probe.phase, home.all()) == ("dead", [])
    assert home("fence").probe.phase == "dead"


def test_job_whose_watcher_was_killed_is_interrupted_in_order(home: RunHome) -> None:
    """The interrupt does what the watcher would have done."""
    home.begin("trap 'echo got; exit 9' INT; " + WAITS)
    home.says("ready")
    kill(home.recorded("watcher"))
    probe = home("interrupt", "interrupted", 40).probe
    assert (probe.exit_code, probe.why, home.out()) == (9, "interrupted", "ready\ngot\n")


def test_orphan_is_interrupted_in_order(home: RunHome) -> None:
    """Without a supervisor nobody records the end, but the job is asked all the same. Its time limit stands, too."""
    home.begin("trap 'echo got; exit 9' INT; " + WAITS)
    home.says("ready")
    kill(home.recorded("supervisor"))
    probe = home("interrupt", "interrupted", 40).probe
    assert (probe.phase, home.out()) == ("dead", "ready\ngot\n")


def test_job_that_was_killed_is_said_to_have_ended(home: RunHome) -> None:
    """Its supervisor sees it, and sweeps what the job leaves."""
    home.begin(f"{SESSIONS} {WAITS}")
    home.says("far")
    kill(home.recorded("job"))
    probe = home.ended()
    assert (probe.exit_code, probe.why, home.job()) == (137, "finished", [])


def test_attempt_whose_processes_were_all_killed_is_dead(home: RunHome) -> None:
    """As when memory or the sandbox ends: begun, nothing alive, no end."""
    home.begin(f"{SESSIONS} {WAITS}")
    home.says("far")
    # What is just executing shows no mark: it is killed in the next round.
    assert not wait(lambda: (kill(*home.all()), home.probe())[1], lambda probe: probe.phase == "dead").is_orphan
    assert home("begin").probe.phase == "dead"
    assert home.ledger() == ["1"]


def test_job_without_any_mark_is_found_by_its_record(home: RunHome) -> None:
    """A command that clears its environment and stays the same process is still known."""
    home.begin(f"exec env -i PATH=\"$PATH\" sh -c '{WAITS}'")
    home.says("ready")
    job = home.recorded("job")
    try:
        kill(home.recorded("watcher"), home.recorded("supervisor"))
        wait(home.all, lambda left: not left)
        assert (home.probe().phase, home.probe().is_orphan) == ("running", True)
        assert home("fence").probe.phase == "dead"
        wait(lambda: state(job), lambda letter: letter in "ZX")
    finally:
        kill(job)


@pytest.mark.parametrize("end", ["exit 0", WAITS])
def test_child_without_any_mark_is_ended_with_the_group_of_its_job(home: RunHome, end: str) -> None:
    """A command that clears the environment of its child has not hidden it, while that stays in the job's group."""
    home.begin(f"env -i PATH=\"$PATH\" sh -c 'echo $$; while :; do sleep 0.05; done' & {READY}{end}")
    child = int(wait(home.out, lambda out: "\n" in out).split()[0])
    try:
        (home.ended if end == "exit 0" else lambda: home("fence"))()
        wait(lambda: state(child), lambda letter: letter in "ZX")
    finally:
        kill(child)


def test_begin_after_a_fence_runs_nothing(home: RunHome) -> None:
    """A begin that was on its way when the attempt was given up finds the claim taken, and the record behind it."""
    home.prepare("echo never >~/ran")
    done = home("fence")
    assert (done.exit_code, done.probe.phase) == (0, "dead")
    assert (home.directory() / "begun" / "supervisor").read_text() == "0 0\n"
    assert (home("begin").probe.phase, home.ledger()) == ("dead", [])
    assert not (home.path / "ran").exists()


def test_attempt_that_is_fenced_before_its_files_come_never_runs(home: RunHome) -> None:
    """A preparation that comes after the fence finds the place taken."""
    room = Path(home("room", "late").probe.room)
    home.fill(room, "echo never >~/ran")
    assert home("fence").probe.phase == "dead"
    assert home("place", "late").probe.phase == "dead"
    assert (home("begin").probe.phase, home.ledger()) == ("dead", [])
    assert [path.name for path in home.directory().iterdir()] == ["begun"]


def test_supervisor_that_is_fenced_in_the_middle_of_its_claim_runs_nothing(dash: RunHome, tmp_path: Path) -> None:
    """Between its claim and its record a supervisor cannot be told from none by a fence that does not see its mark."""
    dash.prepare("echo never >~/ran")
    gate = tmp_path / "gate"
    slow = f'#!/bin/sh\nPATH={dash.binaries}\nmkdir "$@" || exit\n'
    slow += 'case $1 in */begun) until [ -e "$GATE" ]; do sleep 0.02; done ;; esac\n'
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "mkdir").write_text(slow)
    (tmp_path / "slow" / "mkdir").chmod(0o700)
    begin = dash.start("begin", PATH=f"{tmp_path}/slow:{dash.binaries}", GATE=str(gate))
    try:
        wait((dash.directory() / "begun").exists, bool)
        probe = dash.probe()
        assert (probe.phase, probe.is_orphan) == ("running", False)
        # What a fence leaves; the rest of it would kill the supervisor.
        (dash.directory() / "begun" / "supervisor").write_text("0 0\n")
    finally:
        gate.touch()
        output, _ = begin.communicate(timeout=20)
    assert b"phase dead" in output
    assert (dash.ledger(), (dash.path / "ran").exists()) == ([], False)


def test_late_fence_leaves_the_next_attempt_alone(home: RunHome) -> None:
    """A fence that is repeated when the next attempt runs ends nothing of it."""
    home.begin(f"{SESSIONS} {WAITS}")
    home.says("far")
    home("fence")
    home.begin(f"{SESSIONS} {WAITS}", attempt=2)
    home.says("far", attempt=2)
    before = sorted(home.job())
    assert home("fence").probe.phase == "dead"
    assert set(home.job()) >= {pid for pid in before if state(pid) not in "ZX"}
    assert home.probe(attempt=2).phase == "running"
    assert home.ledger() == ["1", "2"]


def test_number_that_another_process_got_is_not_taken_for_the_supervisor(dash: RunHome) -> None:
    """A record counts only with the start time: numbers are used again."""
    dash.prepare("")
    begun = dash.directory() / "begun"
    begun.mkdir()
    started = Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()[19]
    (begun / "supervisor").write_text(f"{os.getpid()} {started}\n")
    assert dash.probe().phase == "running"
    (begun / "supervisor").write_text(f"{os.getpid()} {int(started) - 1}\n")
    assert dash.probe().phase == "dead"


def test_zombie_is_dead(dash: RunHome) -> None:
    """A process that was killed keeps its number and start time until somebody reaps it, which may be never."""
    dash.prepare("")
    process = subprocess.Popen(["sleep", "60"], env={"ISSUEBOX_RUN": dash.run, "PATH": dash.binaries})
    begun = dash.directory() / "begun"
    begun.mkdir()
    started = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
    (begun / "supervisor").write_text(f"{process.pid} {started}\n")
    assert dash.probe().phase == "running"
    process.kill()
    wait(lambda: state(process.pid), lambda letter: letter == "Z")
    assert dash.probe().phase == "dead"
    assert dash("fence").probe.phase == "dead"
    process.wait()


def test_ledger_that_cannot_be_written_leaves_no_job(home: RunHome) -> None:
    """What is not in the ledger has not run: with a full disk the attempt is dead, not half begun."""
    home.prepare("echo never >~/ran")
    (home.path / ".issuebox" / "ledger").symlink_to("/dev/full")
    assert home("begin").probe.phase == "dead"
    assert not (home.path / "ran").exists()


def test_full_disk_leaves_no_job(home: RunHome, tmp_path: Path) -> None:
    """With room for a directory and for no byte, nothing begins."""
    home.prepare("echo never >~/ran")
    limited = tmp_path / "limited"
    limited.mkdir()
    (limited / "sh").write_text(f'#!/bin/sh\nulimit -f 0\nexec {home.binaries.split(":")[0]}/sh "$@"\n')
    (limited / "sh").chmod(0o700)
    assert home("begin", PATH=f"{limited}:{home.binaries}").probe.phase == "dead"
    assert not (home.path / "ran").exists()


def test_home_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """Nothing begins, nothing is fenced, and the exit code tells; the attempt is as it was."""
    with tempfile.TemporaryDirectory() as place, run_home(Path(place), "dash") as home:
        home.prepare("echo never")
        (home.directory() / "progress").write_text("unreadable")
        os.chmod(place, 0o755)  # noqa: PTH101, S103
        nobody = 65534 if os.getuid() == 0 else os.getuid()
        for path in (home.path, *home.path.rglob("*")):
            os.chown(path, nobody, -1)
            path.chmod(0o500 if path.is_dir() else 0o400)
        (home.directory() / "progress").chmod(0)
        try:
            for name, phase in {"begin": "prepared", "fence": "prepared", "probe": "prepared"}.items():
                done = home(name, user=nobody)
                assert (done.exit_code, done.probe.phase) == (int(name != "probe"), phase)
            done = home("room", "later", attempt=2, user=nobody)
            assert (done.exit_code, "cannot be written" in done.output) == (1, True)
        finally:
            for path in (home.path, *home.path.rglob("*")):
                path.chmod(0o700)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk of 256 KiB, which is gone with the process that holds it."""
    if os.getuid() != 0 or not shutil.which("unshare"):
        pytest.skip("only root can mount a small disk")
    mount = f"mount -t tmpfs -o size=256k none {tmp_path} && echo mounted; exec cat"
    with subprocess.Popen(
        ["unshare", "-m", "sh", "-c", mount], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as holder:
        assert holder.stdin
        assert holder.stdout
        if holder.stdout.readline() != b"mounted\n":
            holder.stdin.close()
            pytest.skip("nothing can be mounted here")
        yield Path(f"/proc/{holder.pid}/root{tmp_path}")


def test_job_that_fills_the_disk_still_ends(small_disk: Path) -> None:
    """The room for its end was taken at its begin."""
    with run_home(small_disk, "dash") as home:
        home.begin("cat /dev/zero >~/filler; cat /dev/zero >~/filler2; exit 6")
        probe = home.ended()
        assert (probe.exit_code, probe.why) == (6, "finished")


def test_interrupt_works_on_a_disk_that_is_full(small_disk: Path) -> None:
    """The file that asks for it may be empty."""
    with run_home(small_disk, "dash") as home:
        home.begin(f"cat /dev/zero >~/filler; trap 'exit 9' INT; exec 3>~/ready; {WAITS}")
        wait((home.path / "ready").exists, bool)
        probe = home("interrupt", "interrupted", 40).probe
        assert (probe.exit_code, probe.why) == (9, "interrupted")


def state(pid: int) -> str:
    """The letter of a process's state, X when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"
