"""The life of a run's attempt in a sandbox, script by script: prepared, begun once, interrupted, ended, collected."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from issuebox.domain.probe import Other

from .run_home import HASTE, SHELLS, RunHome, kill, run_home, wait

READY = 'until [ -s "$ISSUEBOX_RUN_DIR/out" ]; do sleep 0.05; done; '
WAITS = "echo ready; while :; do sleep 0.05; done"
SESSIONS = "setsid sh -c 'setsid sh -c \"echo far; while :; do sleep 0.05; done\" & sleep 60' &"


@pytest.fixture(
    params=[
        pytest.param(shell, marks=pytest.mark.skipif(not shutil.which(program), reason=f"no {program} here"))
        for shell, program in SHELLS.items()
    ]
)
def home(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RunHome]:
    with run_home(tmp_path, request.param) as home:
        yield home


def test_attempt_that_is_begun_runs_its_command_and_says_how_it_ended(home: RunHome) -> None:
    """From nothing to the end: each phase is said, the command ran once, and its exit code and output are there."""
    assert home.probe().phase == "absent"
    assert home.prepare("echo out; echo err >&2; exit 7").probe.phase == "prepared"
    assert home("begin").exit_code == 0
    ended = home.ended()
    assert (ended.exit_code, ended.why, ended.out_bytes, ended.err_bytes) == (7, "finished", 4, 4)
    assert home.ledger() == ["1"]
    assert (home.directory().stat().st_mode & 0o777, home.job()) == (0o700, [])
    wait(home.all, lambda left: not left)


def test_running_attempt_is_said_to_run(home: RunHome) -> None:
    """The reply of a begin shows the run already. Supervisor and job have sessions of their own, so that the end of
    the request ends neither."""
    probe = home.begin(WAITS)
    assert (probe.phase, probe.is_orphan, probe.exit_code) == ("running", False, None)
    home.says("ready")
    for kind in ("supervisor", "job"):
        assert os.getsid(home.recorded(kind)) == home.recorded(kind)


def test_room_for_an_attempt_in_place_is_not_made(home: RunHome) -> None:
    """Preparing again changes nothing of what is in place."""
    home.prepare("echo mine")
    assert home("room", "later").probe.room == ""
    assert home("place", "later").probe.phase == "prepared"
    assert (home.directory() / "command").read_text() == "echo mine"
    assert [path.name for path in home.directory().parent.iterdir()] == ["1"]


def test_room_that_is_made_twice_keeps_its_files(home: RunHome) -> None:
    """A request that is repeated late does not remove what has been uploaded meanwhile, nor does one of another try."""
    room = Path(home("room", "a").probe.room)
    home.fill(room, "echo mine")
    assert home("room", "a").probe.room == str(room)
    home("room", "b")
    assert (room / "command").exists()
    home("place", "b")
    assert [path.name for path in home.directory().parent.iterdir()] == ["1"]


def test_many_that_place_at_once_leave_one_whole_attempt(home: RunHome) -> None:
    """The first is in place, whole. Nothing is moved into it, and nothing of the others is left."""
    names = [f"try-{number}" for number in range(12)]
    for name in names:
        home.fill(Path(home("room", name).probe.room), f"echo {name}")
    for process in [home.start("place", name) for name in names]:
        output, _ = process.communicate(timeout=30)
        assert (process.returncode, b"phase prepared" in output) == (0, True)
    assert [path.name for path in home.directory().parent.iterdir()] == ["1"]
    assert sorted(path.name for path in home.directory().iterdir()) == ["command", "settings", "supervise"]


def test_place_without_files_fails(home: RunHome) -> None:
    """Nothing is put in place when nothing was uploaded."""
    done = home("place", "never")
    assert (done.exit_code, done.probe.phase) == (1, "absent")


def test_forty_begins_at_once_run_the_command_once(home: RunHome) -> None:
    """The claim is atomic, whatever repeats the request; each reply says that it runs or has ended."""
    home.prepare("echo once >>~/count; sleep 0.5")
    processes = [home.start("begin") for _ in range(40)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert {process.returncode for process in processes} == {0}
    assert all(b"phase running" in output or b"phase ended" in output for output in outputs)
    assert not any(b"orphan" in output for output in outputs)
    home.ended()
    assert ((home.path / "count").read_text(), home.ledger()) == ("once\n", ["1"])


def test_begin_after_the_end_runs_nothing(home: RunHome) -> None:
    """A begin that is repeated late finds the end of the first one."""
    home.begin("echo once >>~/count; exit 3")
    home.ended()
    assert home("begin").probe.exit_code == 3
    assert (home.path / "count").read_text() == "once\n"


def test_job_gets_its_environment(home: RunHome) -> None:
    """The command finds its marks, what the request brought, its directory, an empty input and no sign of ours."""
    (home.path / "repo").mkdir()
    home.begin("env; pwd; cat; umask", settings={"directory": "repo"}, TOKEN="t", LANG="C.UTF-8")
    home.ended()
    lines = home.out().splitlines()
    assert {
        f"ISSUEBOX_RUN={home.run}",
        "ISSUEBOX_RUN_ATTEMPT=1",
        f"ISSUEBOX_RUN_DIR={home.directory()}",
        "TOKEN=t",
        "LANG=C.UTF-8",
        str(home.path / "repo"),
    } <= set(lines)
    assert not [line for line in lines if line.startswith(("ISSUEBOX_SUPERVISOR", "LC_ALL"))]


def test_job_ignores_no_signal(home: RunHome) -> None:
    """A job must be able to end in order: none of SIGHUP, SIGINT and SIGTERM is ignored."""
    home.begin("grep SigIgn /proc/self/status")
    home.ended()
    ignored = int(home.out().split()[1], 16)
    assert not [number for number in (1, 2, 15) if ignored & 1 << number - 1]


def test_job_without_its_directory_fails(home: RunHome) -> None:
    """A clone that is gone is the job's failure, with a reason that can be read."""
    home.begin("echo never", settings={"directory": "gone"})
    assert home.ended().exit_code == 126
    assert "gone" in (home.directory() / "err").read_text()


@pytest.mark.parametrize("setsid", [True, False])
def test_interrupted_job_ends_in_order(home: RunHome, setsid: bool, tmp_path: Path) -> None:
    """The job gets the signal that it understands, and the end says why. Also where there is no setsid."""
    if not setsid:
        home.binaries = without("setsid", home.binaries, tmp_path / "less")
    home.begin("trap 'echo got; exit 9' INT; " + WAITS)
    home.says("ready")
    probe = home("interrupt", "interrupted", 40).probe
    assert (probe.phase, probe.exit_code, probe.why, home.out()) == ("ended", 9, "interrupted", "ready\ngot\n")
    assert home("interrupt", "again", 0).probe == probe


def test_interrupt_reaches_what_the_command_waits_for(home: RunHome) -> None:
    """The signal goes to the group, as Ctrl-C does: the shell of the command is often not the agent."""
    home.begin(f"sh -c \"trap 'echo child; exit 4' INT; {WAITS}\"; echo not reached")
    home.says("ready")
    assert home("interrupt", "interrupted", 40).probe.why == "interrupted"
    assert "child" in home.out()


def test_other_signal_is_sent_when_the_settings_say_so(home: RunHome) -> None:
    """A plain script is asked to end by SIGTERM."""
    home.begin("trap 'echo term; exit 5' TERM; " + WAITS, settings={"interrupt_signal": "TERM"})
    home.says("ready")
    assert home("interrupt", "interrupted", 40).probe.exit_code == 5


def test_job_that_ignores_signals_is_killed(home: RunHome) -> None:
    """After both graces nothing is asked any more, and nothing is left."""
    home.begin(f"trap '' INT TERM; {SESSIONS} {WAITS}", settings=HASTE)
    home.says("far")
    probe = home("interrupt", "interrupted", 40).probe
    assert (probe.exit_code, probe.why, home.job()) == (137, "interrupted", [])


def test_interrupt_without_patience_kills_at_once(home: RunHome) -> None:
    """A second, harder interrupt does not wait for the first one's graces."""
    home.begin(f"trap '' INT TERM; {SESSIONS} {WAITS}", settings={"interrupt_grace_s": "30"})
    home.says("far")
    first = home.start("interrupt", "interrupted", 30)
    wait(lambda: home.directory().joinpath("why").exists(), bool)
    assert home("interrupt", "harder", 0).probe.why == "interrupted"
    assert b"phase ended" in first.communicate(timeout=20)[0]
    assert home.job() == []


def test_interrupt_before_the_begin_changes_nothing(home: RunHome) -> None:
    """What does not run is not interrupted: the attempt can still begin."""
    home.prepare("echo runs")
    assert home("interrupt", "interrupted", 0).probe.phase == "prepared"
    home("begin")
    assert home.ended().why == "finished"


def test_time_limit_is_kept_without_anybody_asking(home: RunHome) -> None:
    """The supervisor ends the job by itself when its time is over."""
    home.begin("trap 'echo got; exit 9' INT; " + WAITS, settings={"time_limit_s": "1"})
    probe = home.ended()
    assert (probe.exit_code, probe.why, home.out()) == (9, "time_limit", "ready\ngot\n")


def test_background_server_is_ended_with_its_run(home: RunHome) -> None:
    """What a job leaves behind, in sessions of its own, gets SIGTERM, and the end waits for its end."""
    home.begin('setsid sh -c \'setsid sh -c "trap \\"echo bye; exit\\" TERM; ' + WAITS + "\" &'; " + READY + "exit 3")
    probe = home.ended()
    assert (probe.exit_code, probe.why, home.job()) == (3, "finished", [])
    assert home.out() == "ready\nbye\n"


def test_job_that_signals_its_group_leaves_its_supervisor_alone(home: RunHome) -> None:
    """`kill 0` is how scripts end their children: nobody takes it for a stop of the sandbox."""
    home.begin("trap '' TERM; kill 0; sleep 0.2; exit 4")
    probe = home.ended()
    assert (probe.exit_code, probe.why) == (4, "finished")


def test_job_may_close_its_output(home: RunHome) -> None:
    """The end is known by the process, not by who holds its output."""
    home.begin("exec >&- 2>&-; sleep 0.1; exit 2")
    assert home.ended().exit_code == 2


def test_collect_brings_the_result_and_the_ends_of_the_output(home: RunHome) -> None:
    """The result is bounded, the ends are the last bytes, and a job without a result has none."""
    home.begin('head -c 70000 /dev/zero >"$ISSUEBOX_RUN_DIR/result.json"; echo 123456789; echo abcdef >&2')
    home.ended()
    probe = home("collect", 4).probe
    assert (probe.result, probe.tail, probe.err_tail) == (bytes(65536), b"789\n", b"def\n")
    (home.directory() / "result.json").unlink()
    probe = home("collect", 65536).probe
    assert (probe.result, probe.tail, probe.err_tail) == (b"", b"123456789\n", b"abcdef\n")


def test_last_line_of_progress_is_said(home: RunHome) -> None:
    """Of a long line the beginning is said, without half a character."""
    home.begin('echo first >>"$ISSUEBOX_RUN_DIR/progress"; echo "second ü" >>"$ISSUEBOX_RUN_DIR/progress"')
    home.ended()
    assert home.probe().progress == "second ü"
    (home.directory() / "progress").write_text("first\n" + "€" * 101 + "\n")
    assert home.probe().progress == "€" * 100


def test_secret_of_the_request_is_in_no_file_and_no_command_line(home: RunHome) -> None:
    """The job gets it, and it is on no disk and in no process list."""
    secret = "s3cret-" + home.run
    home.begin('[ -n "$API_KEY" ] && echo has it; ' + WAITS, API_KEY=secret)
    home.says("ready")
    lines = [command_of(pid) for pid in home.all()]
    assert any(b"supervise" in line for line in lines)
    assert not [line for line in lines if secret.encode() in line]
    home("interrupt", "interrupted", 0)
    assert home.out().startswith("has it\n")
    found = subprocess.run(["grep", "-rl", secret, str(home.path)], check=False, capture_output=True)
    assert (found.returncode, found.stdout) == (1, b"")


def command_of(pid: int) -> bytes:
    """The command line of a process, '' when it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def without(name: str, binaries: str, directory: Path) -> str:
    """A PATH with all the same programs but one."""
    directory.mkdir()
    for place in reversed(binaries.split(os.pathsep)):
        for program in Path(place).iterdir() if Path(place).is_dir() else ():
            (directory / program.name).unlink(missing_ok=True)
            (directory / program.name).symlink_to(program)
    (directory / name).unlink()
    return str(directory)


def test_stopping_sandbox_ends_its_job_in_order(home: RunHome) -> None:
    """SIGTERM to everything at once, as when a sandbox stops: the end is recorded, and says so."""
    home.begin(f"trap 'echo term; exit 6' TERM; {SESSIONS} {WAITS}")
    home.says("far")
    home.says("ready")
    kill(home.recorded("supervisor"), *home.all(), number=signal.SIGTERM)
    probe = home.ended()
    assert (probe.exit_code, probe.why, home.job()) == (6, "stopped", [])


def test_stopping_sandbox_ends_a_job_that_ignores_it(home: RunHome) -> None:
    """The watcher goes on to SIGKILL when the job does not follow."""
    home.begin("trap '' INT TERM; " + WAITS, settings=HASTE)
    home.says("ready")
    kill(*home.all(), number=signal.SIGTERM)
    probe = home.ended()
    assert (probe.exit_code, probe.why) == (137, "stopped")


def test_room_names_another_run_that_lives(home: RunHome) -> None:
    """A workflow that has forgotten a run begins none beside it. What is over, or was never begun, is none."""
    home.begin(WAITS)
    home.says("ready")
    beside = RunHome(home.path, home.binaries)
    try:
        assert beside("room", "u").probe.other == Other(home.run, 1)
        home("interrupt", "forgotten", 0)
        assert beside("room", "v").probe.other is None
        home.prepare("true", attempt=2)
        assert beside("room", "w").probe.other is None
    finally:
        beside.end()
