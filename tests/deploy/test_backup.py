"""The jobs `backup` and `restore` of docker-compose.yml, run by a shell against a real PostgreSQL server."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from localdaytona.testing import free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
DATABASES = ("temporal", "temporal_visibility")


def _programs() -> Path | None:
    """Where the server's programs are: Debian does not put them on PATH."""
    on_path = shutil.which("pg_verifybackup")
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_verifybackup"))
    return Path(on_path).resolve().parent if on_path else installed[-1].parent if installed else None


PROGRAMS = _programs()
USER = next(user.pw_name for user in pwd.getpwall() if user.pw_name in {"postgres", "nobody"})
pytestmark = pytest.mark.skipif(PROGRAMS is None, reason="needs the programs of a PostgreSQL server")


@dataclass
class Database:
    """A PostgreSQL server that is set up as in docker-compose.yml, and a directory for its backups."""

    root: Path
    port: int
    user: str | None
    server: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": "temporal",
            "PGDATA": str(self.root / "data"),
            "PGPASSWORD_FILE": str(self.root / "password"),
            "BACKUPS": str(self.root / "backups"),
            "BACKUP_EVERY_HOURS": "24",
            "BACKUP_KEEP": "2",
        }

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a program as the server's user."""
        return subprocess.run(
            command,
            env={**self.environment, **more},
            cwd=self.root,
            user=self.user,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def script(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of our scripts."""
        return self.run("sh", str(self.root / name), *arguments)

    def sql(self, database: str, statement: str) -> str:
        """What a statement returns, over the network as Temporal connects."""
        command = ("psql", "-qAt", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement)
        done = self.run(*command, PGPASSWORD=(self.root / "password").read_text())
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = {
            "hba_file": self.root / "pg_hba.conf",
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.root,
            "fsync": "off",
        }
        given = (part for name, value in options.items() for part in ("-c", f"{name}={value}"))
        self.server = subprocess.Popen(
            # setpriv: the kernel kills the server when this process ends.
            ("setpriv", "--pdeathsig=KILL", "postgres", *given),
            env=self.environment,
            cwd=self.root,
            user=self.user,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while self.run("pg_isready", "--quiet").returncode != 0:
            assert self.server.poll() is None
            assert time.monotonic() < deadline

    def stop(self) -> None:
        """Stop the server, if it runs."""
        if self.server is not None:
            self.server.send_signal(signal.SIGINT)
            self.server.wait(timeout=30)
            self.server = None

    def backups(self) -> list[str]:
        return sorted(path.name for path in (self.root / "backups").iterdir() if path.is_dir())


@pytest.fixture
def database() -> Iterator[Database]:
    """A new database server with both databases. It ends with the test, also when that is killed."""
    # PostgreSQL refuses to run as root, and only root may enter pytest's own directories then.
    user = USER if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as root:
        database = Database(Path(root), free_port(), user)
        (database.root / "backups").mkdir()
        (database.root / "password").write_text("secret")
        for name in ("backup.sh", "restore.sh", "pg_hba.conf"):
            shutil.copy(DEPLOY / name, database.root / name)
        if user:
            for path in (database.root, *database.root.iterdir()):
                shutil.chown(path, user)
        yield from running(database)


def running(database: Database) -> Iterator[Database]:
    """The server's life within a test."""
    made = database.run("initdb", "--username=temporal", "--pwfile=password", "--auth=scram-sha-256")
    assert made.returncode == 0, made.stderr
    database.start()
    try:
        for name in DATABASES:
            database.sql("postgres", f"CREATE DATABASE {name}")
            database.sql(name, "CREATE TABLE seen (at text)")
        yield database
    finally:
        database.stop()


def write(database: Database, at: str) -> None:
    for name in DATABASES:
        database.sql(name, f"INSERT INTO seen VALUES ('{at}')")  # noqa: S608 - our own words


def test_restored_backup_has_both_databases_as_of_one_moment(database: Database) -> None:
    """What was written before the backup is there afterwards, and what was written later is gone, in both."""
    write(database, "before")
    taken = database.script("backup.sh", "now")
    assert taken.returncode == 0, taken.stderr
    write(database, "after")

    [backup] = database.backups()
    refused = database.script("restore.sh", backup)
    assert (refused.returncode, "stop it first" in refused.stderr) == (1, True)
    database.stop()
    restored = database.script("restore.sh", backup)
    assert restored.returncode == 0, restored.stderr
    database.start()
    assert [database.sql(name, "SELECT * FROM seen") for name in DATABASES] == ["before", "before"]


def test_damaged_backup_leaves_the_database_as_it_is(database: Database) -> None:
    """The backup is verified before anything is deleted."""
    write(database, "kept")
    database.script("backup.sh", "now")
    [backup] = database.backups()
    manifest = database.root / "backups" / backup / "backup_manifest"
    manifest.write_text(manifest.read_text().replace('"Size": ', '"Size": 1', 1))
    database.stop()
    assert database.script("restore.sh", backup).returncode != 0
    database.start()
    assert database.sql("temporal", "SELECT * FROM seen") == "kept"


def test_newest_backups_are_kept(database: Database) -> None:
    """Older ones are removed after a newer one was taken, and what is left of an interrupted one as well."""
    names = ["20200101T000000Z", "20200102T000000Z"]
    for name in (*names, ".unfinished"):
        assert database.run("mkdir", f"backups/{name}").returncode == 0
    assert database.script("backup.sh", "now").returncode == 0
    oldest, newest = database.backups()
    assert oldest == names[1]
    assert newest > names[1]


def test_health_check_of_the_backup_fails_without_a_recent_one(database: Database) -> None:
    """It fails at first, and again when the newest is as old as two rounds; a failed backup is no backup."""
    assert database.script("backup.sh", "check").returncode == 1
    database.stop()
    assert database.script("backup.sh", "now").returncode != 0
    assert database.script("backup.sh", "check").returncode == 1
    database.start()
    assert database.script("backup.sh", "now").returncode == 0
    assert database.script("backup.sh", "check").returncode == 0
    [backup] = database.backups()
    long_ago = time.time() - 49 * 3600
    os.utime(database.root / "backups" / backup, (long_ago, long_ago))
    assert database.script("backup.sh", "check").returncode == 1


def test_unknown_backup_is_refused_with_a_list(database: Database) -> None:
    """Without a name, or with a wrong one, nothing is touched and the names are shown."""
    database.script("backup.sh", "now")
    for arguments in ((), ("nonsense",), ("../data",)):
        refused = database.script("restore.sh", *arguments)
        assert refused.returncode == 2
        assert database.backups()[0] in refused.stderr
