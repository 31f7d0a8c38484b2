"""The output of a probe, which whoever works in the sandbox may have written."""

from __future__ import annotations

import base64
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from issuebox.domain.probe import DATA_BYTES_MAX, OUTPUT_CHARS_MAX, PHASES, TAIL_BYTES_MAX, Other, Probe, read_probe

RUN = "/home/daytona/.issuebox/runs/r-0123456789ab"


def said(*lines: str, first: str = "issuebox probe 1", last: str = "issuebox end") -> str:
    return "\n".join((first, *lines, last, ""))


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_whole_probe_is_read() -> None:
    """Each line has its value."""
    output = said(
        "phase ended",
        "exit 137 time_limit 1796007952",
        "oom 2",
        "out 12",
        "err 3",
        f"progress {encoded('läuft'.encode())}",
        f"data 5 {encoded(b'data')}",
        f"result {encoded(b'{}')}",
        f"tail {encoded(b'tail')}",
        f"errtail {encoded(b'err')}",
    )
    assert read_probe(output) == Probe(
        phase="ended",
        exit_code=137,
        why="time_limit",
        ended_at=1796007952,
        oom=2,
        out_bytes=12,
        err_bytes=3,
        progress="läuft",
        offset=5,
        data=b"data",
        result=b"{}",
        tail=b"tail",
        err_tail=b"err",
    )


@pytest.mark.parametrize("phase", sorted(PHASES - {"ended"}))
def test_shortest_probe_is_read(phase: str) -> None:
    """What can be left out has its default."""
    assert read_probe(said(f"phase {phase}", "out 0", "err 0", "progress ")) == Probe(phase=phase)


def test_orphan_runs() -> None:
    """The extra line of a job without its supervisor."""
    assert read_probe(said("phase running", "orphan", "out 0", "err 0")).is_orphan


def test_empty_data_has_its_offset() -> None:
    """A probe that asked for output and found no more of it."""
    probe = read_probe(said("phase running", "out 9", "err 0", "data 9 "))
    assert (probe.offset, probe.data) == (9, b"")


def test_other_output_is_ignored() -> None:
    """A shell may greet at its start and complain at its end."""
    output = f"hello\n\nissuebox present\n{said('phase dead', 'out 0', 'err 0')}Terminated\n"
    assert read_probe(output) == Probe(phase="dead")


def test_another_run_is_read() -> None:
    """Only in front of the probe, where the script says it, and only as a script can say it."""
    whole = said("phase absent", "out 0", "err 0")
    assert read_probe(f"issuebox other r-0123456789ab 2\n{whole}").other == Other("r-0123456789ab", 2)
    for strange in ("issuebox other r-0123456789ab 0", "issuebox other ../x 1", "issuebox other r-0123456789ab"):
        assert read_probe(f"{strange}\n{whole}").other is None
    assert read_probe(f"{whole}\nissuebox other r-0123456789ab 2").other is None


def test_room_is_read() -> None:
    """The directory that was made, before the probe."""
    room = f"{RUN}/1.partial-0a-b/1"
    assert read_probe(f"issuebox room {room}\n{said('phase absent', 'out 0', 'err 0')}").room == room


def test_progress_is_one_printable_line() -> None:
    """It is shown to people: half a character, escape sequences and line ends are not."""
    text = encoded("a\x1b[31mb\nc ü".encode()[:-1])
    assert read_probe(said("phase running", "out 0", "err 0", f"progress {text}")).progress == "ab c"


WHOLE = ("phase running", "out 0", "err 0")


@pytest.mark.parametrize(
    "output",
    [
        "",
        "issuebox probe 1\nphase dead\nout 0\nerr 0\n",
        "phase dead\nout 0\nerr 0\nissuebox end\n",
        "issuebox end\nissuebox probe 1\n",
        said(*WHOLE) * 2,
        said(*WHOLE, "issuebox probe 1"),
        said(*WHOLE) + "issuebox end\n",
        said(*WHOLE, first="issuebox probe 2"),
        said(*WHOLE, first=" issuebox probe 1"),
        said("out 0", "err 0"),
        said("phase running", "err 0"),
        said("phase running", "out 0"),
        said("phase lost", "out 0", "err 0"),
        said("phase running ", "out 0", "err 0"),
        said(*WHOLE, "phase dead"),
        said(*WHOLE, "exit 0 finished 1"),
        said("phase ended", "out 0", "err 0"),
        said("phase ended", "out 0", "err 0", "exit 256 finished 1"),
        said("phase ended", "out 0", "err 0", "exit 0 Finished! 1"),
        said("phase ended", "out 0", "err 0", "exit 0 finished"),
        said("phase dead", "orphan", "out 0", "err 0"),
        said("phase running", "orphan yes", "out 0", "err 0"),
        said("phase running", "out -1", "err 0"),
        said("phase running", "out ٣", "err 0"),
        said("phase running", f"out {'9' * 16}", "err 0"),
        said(*WHOLE, ""),
        said(*WHOLE, "more 1"),
        said(*WHOLE, "oom x"),
        said(*WHOLE, "tail a"),
        said(*WHOLE, "tail YWJj!"),
        said(*WHOLE, "tail YW=j"),
        said(*WHOLE, "tail ="),
        said(*WHOLE, "data YWJj"),
        said(*WHOLE, "data 1 YWJj YWJj"),
        said(*WHOLE, f"data 0 {encoded(bytes(DATA_BYTES_MAX + 1))}"),
        said(*WHOLE, f"result {encoded(bytes(DATA_BYTES_MAX + 1))}"),
        said(*WHOLE, f"tail {encoded(bytes(TAIL_BYTES_MAX + 1))}"),
        said(*WHOLE, f"progress {encoded(bytes(301))}"),
        "x" * OUTPUT_CHARS_MAX + said(*WHOLE),
        f"issuebox room relative/.issuebox/runs/r-0123456789ab/1.partial-a/1\n{said(*WHOLE)}",
        f"issuebox room {RUN}/1.partial-a/2\n{said(*WHOLE)}",
        f"issuebox room /etc\n{said(*WHOLE)}",
        f"issuebox room {RUN}/1.partial-a/1\n" * 2 + said(*WHOLE),
    ],
)
def test_probe_that_is_not_whole_is_refused(output: str) -> None:
    """Nothing is concluded from a part, a double, an unknown line or a value that is none."""
    with pytest.raises(ValueError):
        read_probe(output)


def test_values_at_their_limits_are_read() -> None:
    """The limits are those of what the scripts print at most."""
    data, tail = bytes(DATA_BYTES_MAX), bytes(TAIL_BYTES_MAX)
    parts = (("data 0", data), ("result", data), ("tail", tail), ("errtail", tail))
    probe = read_probe(said(*WHOLE, *(f"{name} {encoded(part)}" for name, part in parts)))
    assert (probe.data, probe.result, probe.tail, probe.err_tail) == (data, data, tail, tail)


def test_refusal_says_nothing_of_what_a_job_has_written() -> None:
    """The reason may be logged, so it names the line and nothing in it."""
    with pytest.raises(ValueError) as refused:
        read_probe(said(*WHOLE, "tail c2VjcmV0!"))
    assert "c2VjcmV0" not in str(refused.value)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """No output raises anything but ValueError."""
    with suppress(ValueError):
        read_probe(text)
    with suppress(ValueError):
        read_probe(said(*text.split("\n")))


words = st.sampled_from(["phase", "orphan", "exit", "oom", "out", "err", "progress", "data", "result", "tail", "more"])
rests = (
    st.sampled_from(["", "0", "1 finished 2", "running", "ended", "dead", "YWJj", "1 YWJj", "a=", "\x00"]) | st.text()
)


@settings(deadline=None)
@given(st.lists(st.tuples(words, rests).map(" ".join)))
def test_lines_that_are_nearly_right_are_read_or_refused(lines: list[str]) -> None:
    """What is read has a phase that there is, and an end exactly when it ended."""
    with suppress(ValueError):
        probe = read_probe(said(*lines))
        assert probe.phase in PHASES
        assert (probe.exit_code is not None) is (probe.phase == "ended")
        assert len(probe.progress.encode()) <= 300


@settings(deadline=None)
@given(st.binary(max_size=300), st.integers(0, 10**14), st.integers(0, 255))
def test_what_a_script_says_comes_back(data: bytes, number: int, code: int) -> None:
    """Bytes and numbers are read as they were said."""
    probe = read_probe(
        said(
            "phase ended",
            f"exit {code} interrupted {number}",
            f"out {number}",
            f"err {number}",
            f"data {number} {encoded(data)}",
        )
    )
    assert (probe.data, probe.offset, probe.out_bytes, probe.ended_at, probe.exit_code) == (
        data,
        number,
        number,
        number,
        code,
    )
