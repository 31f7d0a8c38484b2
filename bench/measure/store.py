"""The file of Temporal's dev server: its rows, its bytes, and how long it keeps what has ended.

The server runs meanwhile. Reading is an ordinary transaction of SQLite, which holds up no writer (WAL).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.duration_pb2 import Duration
from temporalio.client import WorkflowExecutionStatus

WORKFLOWS = ("executions", "current_executions", "history_node", "history_tree", "executions_visibility")
"""The tables that have rows for each workflow, for as long as Temporal keeps it."""
RUNNING = int(WorkflowExecutionStatus.RUNNING)
BUSY_TIMEOUT_S = 10.0
_PACKAGE = "issuebox.bench"


@dataclass(frozen=True, slots=True)
class Store:
    """One file, and where copies of it may be put."""

    file: Path
    scratch: Path

    def rows(self) -> dict[str, int]:
        """The rows of each table that has any."""
        with self._reading() as connection:
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
            found = {name: _count(connection, name) for name in tables if not _is_of_index(name)}
        return {name: count for name, count in sorted(found.items()) if count}

    def open_workflows(self, workflow_type: str, holding: str = "") -> int:
        """How many workflows of this type run, and have this word among their search attributes.

        Temporal's server counts in its only connection, and does nothing else meanwhile.
        """
        asked = "SELECT count(*) FROM executions_visibility WHERE workflow_type_name = ? AND status = ?"
        with self._reading() as connection:
            [(count,)] = connection.execute(
                f"{asked} AND coalesce(search_attributes, '') LIKE ?", (workflow_type, RUNNING, f"%{holding}%")
            )
            return int(count)

    def history_bytes(self) -> int:
        """The bytes of all histories, as the server stores them."""
        with self._reading() as connection:
            [(size,)] = connection.execute("SELECT coalesce(sum(length(data)), 0) FROM history_node")
            return int(size)

    def compact_bytes(self) -> int:
        """The bytes of the file after a VACUUM. The file itself stays as it is."""
        copy = self.scratch / "compact.db"
        copy.unlink(missing_ok=True)
        with self._reading() as connection:
            connection.execute("VACUUM INTO ?", (str(copy),))
        size = copy.stat().st_size
        copy.unlink()
        return size

    def file_bytes(self) -> int:
        """The bytes of the file as it is: it never shrinks by itself."""
        return self.file.stat().st_size

    def keep_for(self, seconds: int, namespace: str) -> None:
        """Have the server keep what has ended for so long; it reads that anew every two seconds.

        Through its API a namespace has an hour at least (server 1.29.1, common/namespace/const.go).
        """
        with closing(sqlite3.connect(self.file, timeout=BUSY_TIMEOUT_S)) as connection, connection:
            [(before,)] = connection.execute("SELECT data FROM namespaces WHERE name = ?", (namespace,))
            connection.execute(
                "UPDATE namespaces SET data = ? WHERE name = ?", (with_retention(before, seconds), namespace)
            )

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)) as connection:
            yield connection


def more(after: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """By how many rows each table has grown, without those that have not."""
    grown = {name: after.get(name, 0) - before.get(name, 0) for name in sorted({*after, *before})}
    return {name: count for name, count in grown.items() if count}


def with_retention(namespace: bytes, seconds: int) -> bytes:
    """The same namespace with this retention. What this module does not know of it stays as it is."""
    detail = _namespace_type().FromString(namespace)
    detail.config.retention.seconds = seconds
    written: bytes = detail.SerializeToString()
    return written


def _namespace_type() -> Any:
    """Of Temporal's `NamespaceDetail` only `config.retention` (proto/internal/…/persistence/v1/namespaces.proto)."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3", dependency=["google/protobuf/duration.proto"]
    )
    for name, field, number, kind in (
        ("Config", "retention", 1, ".google.protobuf.Duration"),
        ("Detail", "config", 2, f".{_PACKAGE}.Config"),
    ):
        file.message_type.add(name=name).field.add(
            name=field,
            number=number,
            type=descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE,
            label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
            type_name=kind,
        )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(Duration.DESCRIPTOR.file.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Detail"))


def _is_of_index(name: str) -> bool:
    """Whether SQLite keeps this table for a full-text index or for itself."""
    return name.startswith("sqlite_") or "_fts_" in name


def _count(connection: sqlite3.Connection, table: str) -> int:
    [(count,)] = connection.execute(f'SELECT count(*) FROM "{table}"')  # noqa: S608 -- a name from its own schema
    return int(count)
