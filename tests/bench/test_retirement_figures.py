"""What issues leave behind: the server's file, the runs of a life, what is held, and the targets."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from bench.measure import retirement_page
from bench.measure.cost import DAYS_OF_A_MONTH, Steady, TemporalPrices, held
from bench.measure.retirement import AFTER, BEFORE, ENDED, OPEN, Retirement, Run, Stage, summarize
from bench.measure.store import Store, more, with_retention

ROWS = {"executions": 2, "history_node": 2, "namespaces": 2}


def _stage(name: str, compact_bytes: int, open_workflows: int = 0, **rows: int) -> Stage:
    return Stage(
        name=name,
        open_workflows=open_workflows,
        rows={**ROWS, **rows},
        compact_bytes=compact_bytes,
        history_bytes=compact_bytes // 4,
        after_s=1.0,
    )


def _figures(after: Stage) -> Retirement:
    return Retirement(
        lives=2,
        runs=[
            Run(runs=1, events=93, history_bytes=38_000, actions=27),
            Run(runs=1.5, events=44, history_bytes=18_000, actions=10),
        ],
        issues=100,
        retention_s=60,
        stages=[
            _stage(BEFORE, 600_000),
            _stage(OPEN, 1_600_000, open_workflows=100, executions=102),
            _stage(ENDED, 2_600_000, executions=102),
            after,
        ],
        put_off=0,
        file_bytes=3_000_000,
    )


def _met(after: Stage) -> list[bool]:
    return [target.is_met for target in retirement_page.targets(_figures(after))]


def test_rows_of_queues_are_told_and_rows_of_workflows_miss_the_target() -> None:
    """A task queue's last rows are nobody's; a single workflow that is left is what must not be."""
    assert _met(_stage(AFTER, 610_000, tasks=50)) == [True, True, True]
    assert "+50 in `tasks`" in retirement_page.render(_figures(_stage(AFTER, 610_000, tasks=50)))
    assert _met(_stage(AFTER, 600_000, executions=3)) == [True, False, True]
    assert _met(_stage(AFTER, 600_000, history_node=3)) == [True, False, True]
    assert _met(_stage(AFTER, 600_000, open_workflows=1)) == [False, True, True]


def test_bytes_may_be_more_by_what_queues_keep() -> None:
    """A megabyte, however many issues there were."""
    assert _met(_stage(AFTER, 1_600_000)) == [True, True, True]
    assert _met(_stage(AFTER, 1_600_001)) == [True, True, False]


def test_page_tells_what_each_issue_adds_and_leaves_out_what_never_changes() -> None:
    """10 kB for each of a hundred workflows; rows of the namespaces are the same throughout."""
    shown = retirement_page.render(_figures(_stage(AFTER, 600_000)))
    assert "| rows of `executions` | 2 | 102 | 102 | 2 |" in shown
    assert "`namespaces`" not in shown
    assert (
        "10.0 kB while its sandbox runs, 2.5 kB of it history, 20.0 kB once it has retired, 5.0 kB of it history"
        in shown
    )
    assert "its history and 15.0 kB" in shown
    assert "| all | 2.5 | 137 | 56,000 | 37 |" in shown
    drawn = retirement_page.draw(_figures(_stage(AFTER, 600_000)))
    assert set(drawn) == set(retirement_page.RETIREMENT.chart_captions)


def test_first_runs_of_lives_are_averaged_and_so_are_all_that_follow() -> None:
    """A life may continue as new once more; one that never does is another life than the one that is measured."""
    started = HistoryEvent(event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED)
    timer = HistoryEvent(event_type=EventType.EVENT_TYPE_TIMER_STARTED)
    first, later = summarize([[[started, timer], [started]], [[started, timer, timer, timer], [started], [started]]])
    assert (first.runs, first.events, first.actions) == (1, 3, 3)
    assert (later.runs, later.events, later.actions) == (1.5, 1.5, 1.5)
    assert first.history_bytes == 3 * started.ByteSize()
    with pytest.raises(ValueError, match="did not continue as new"):
        summarize([[[started], [started]], [[started]]])


def test_held_is_what_a_day_brings_times_the_days_that_it_stays() -> None:
    """Calculated by hand: 31,000 issues a month are 1,000 a day."""
    assert DAYS_OF_A_MONTH == 31
    inputs = Steady(
        issues_a_month=31_000, open_d=3, archive_after_d=1, delete_after_d=11, forget_after_d=5, retention_d=2
    )
    found = held(40_000, 10_000, inputs, TemporalPrices())
    # 3 + 1 days in the first run, 10 + 5 in the last one.
    assert (found.open_workflows, found.retained_runs) == (19_000, 4_000)
    assert math.isclose(found.active_gb, 1_000 * (40_000 * 4 + 10_000 * 15) / 1e9)
    assert math.isclose(found.retained_gb, 1_000 * 50_000 * 2 / 1e9)
    assert math.isclose(found.active_cost, 0.31 * 744 * 0.042)
    assert math.isclose(found.retained_cost, 0.1 * 744 * 0.00105)
    assert math.isclose(found.added_gb, 0.31)
    assert math.isclose(found.added_cost, 0.31 * 744 * 0.042)


def test_retention_is_changed_and_nothing_else_of_the_namespace() -> None:
    """The server's own record has more fields than are known here."""
    info, version = b"\x0a\x03\x0a\x01i", b"\x20\x07"
    day = b"\x12\x09\x0a\x04\x08\x80\xa3\x05\x12\x01b"  # 86,400 s, and an archival bucket.
    found = with_retention(info + day + version, 5)
    assert len(found) == len(info + day + version) - 2
    assert all(part in found for part in (info, b"\x12\x07\x0a\x02\x08\x05\x12\x01b", version))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A file with tables as the server's has them."""
    file = tmp_path / "temporal.db"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE namespaces (name TEXT, data BLOB)")
        connection.execute("INSERT INTO namespaces VALUES ('default', ?), ('other', ?)", (b"", b""))
        connection.execute("CREATE TABLE executions (data BLOB)")
        connection.execute("CREATE TABLE history_node (data BLOB)")
        connection.execute("CREATE TABLE executions_visibility_fts_text_data (data BLOB)")
        connection.execute("INSERT INTO executions_visibility_fts_text_data VALUES ('x')")
    return Store(file, tmp_path)


def _write(store: Store, statement: str, rows: int = 1) -> None:
    with closing(sqlite3.connect(store.file)) as connection, connection:
        for _ in range(rows):
            connection.execute(statement)


def test_rows_are_those_of_the_tables_that_have_any(store: Store) -> None:
    """A full-text index has tables of its own, which nobody wrote."""
    _write(store, "INSERT INTO executions VALUES ('x')", 3)
    assert store.rows() == {"executions": 3, "namespaces": 2}


def test_open_workflows_are_counted_by_type_and_by_what_is_published(store: Store) -> None:
    """An ended one is not among them, nor one of another type; one that published nothing has no phase."""
    rows = [("Ours", 1, '{"Keyword08": "usable"}'), ("Ours", 1, None), ("Ours", 2, "usable"), ("Theirs", 1, "usable")]
    with closing(sqlite3.connect(store.file)) as connection, connection:
        connection.execute("CREATE TABLE executions_visibility (workflow_type_name, status, search_attributes)")
        connection.executemany("INSERT INTO executions_visibility VALUES (?, ?, ?)", rows)
    assert (store.open_workflows("Ours"), store.open_workflows("Ours", "usable")) == (2, 1)


def test_bytes_of_histories_are_what_the_server_wrote(store: Store) -> None:
    """Without its indexes and the room in its pages."""
    assert store.history_bytes() == 0
    _write(store, "INSERT INTO history_node VALUES (zeroblob(700))", 3)
    assert store.history_bytes() == 2_100


def test_growth_is_told_by_table_in_both_directions() -> None:
    """What is the same on both sides is left out."""
    before: Mapping[str, int] = {"a": 1, "b": 2, "c": 3}
    assert more({"a": 1, "b": 5, "d": 4}, before) == {"b": 3, "c": -3, "d": 4}


def test_bytes_are_those_after_a_vacuum_and_the_file_stays_as_it_is(store: Store) -> None:
    """Deleted rows leave room in the file, which a VACUUM would free."""
    before = store.compact_bytes()
    _write(store, "INSERT INTO executions VALUES (randomblob(5000))", 100)
    grown = store.file_bytes()
    assert store.compact_bytes() > before + 400_000
    _write(store, "DELETE FROM executions")
    assert (store.compact_bytes(), store.file_bytes()) == (before, grown)


def test_retention_is_written_for_one_namespace(store: Store) -> None:
    """The others keep theirs."""
    store.keep_for(60, "default")
    with closing(sqlite3.connect(store.file)) as connection:
        rows = dict(connection.execute("SELECT name, data FROM namespaces"))
    assert rows == {"default": with_retention(b"", 60), "other": b""}
