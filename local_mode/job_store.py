"""The machine's memory of its jobs, of all projects: a row for each, and which job holds which GPU. In SQLite.

Every question opens the file anew, so that any thread may ask; writers wait for each other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from local_mode.harness import computer, computer_of
from local_mode.job_record import JobRecord
from local_mode.job_rows import COLUMNS, LISTED, TOLD, record_of, row_of
from training_job.errors import Fault, JobRefused, MachineCannot, NameTaken

FILE = "jobs.sqlite"
DEFAULT_STATE = "~/.local/state/homeport"
_PATIENCE_SECONDS = 30

# Forward only: a store is brought to the last by running what follows its own version.
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE jobs (
            name TEXT PRIMARY KEY,
            arn TEXT NOT NULL,
            image TEXT NOT NULL,
            instances TEXT NOT NULL,
            directory TEXT NOT NULL,
            owner TEXT NOT NULL,
            process TEXT NOT NULL,
            gpus TEXT NOT NULL,
            status TEXT NOT NULL,
            secondary_status TEXT NOT NULL,
            created TEXT NOT NULL,
            changed TEXT NOT NULL,
            started TEXT,
            ended TEXT,
            stop_asked TEXT,
            failure_reason TEXT,
            exit_code INTEGER,
            told TEXT NOT NULL
        )""",
        "CREATE INDEX jobs_by_age ON jobs (created)",
        "CREATE INDEX jobs_running ON jobs (name) WHERE ended IS NULL",
        """CREATE TABLE gpus (
            computer TEXT NOT NULL,
            id TEXT NOT NULL,
            job TEXT NOT NULL REFERENCES jobs (name) ON DELETE CASCADE,
            PRIMARY KEY (computer, id)
        )""",
    ),
)


class GPUsTaken(MachineCannot):
    """Another job was given a GPU after this one was planned."""


def state_directory(environ: Mapping[str, str], here: Path) -> Path:
    """Where the store lies: HOMEPORT_STATE, or `homeport` below XDG_STATE_HOME. Raises JobRefused."""
    asked = environ.get("HOMEPORT_STATE")
    if not asked:
        home = environ.get("XDG_STATE_HOME")
        asked = f"{home}/homeport" if home else DEFAULT_STATE
    try:
        return here / Path(asked).expanduser()
    except RuntimeError as error:
        raise JobRefused("HOMEPORT_STATE", [Fault("", f"{asked!r} is no path: {error}")]) from None


class JobStore:
    """The store in a directory, made when it is first asked. Whatever it cannot do is MachineCannot."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE

    def begin(self, record: JobRecord) -> None:
        """Keep a job that begins, and give it its GPUs. Raises NameTaken, or GPUsTaken."""
        with self._writing() as store:
            if found := _one(store, record.name):
                raise NameTaken(record.name, _taken(found))
            values = ", ".join("?" * (COLUMNS.count(",") + 1))
            store.execute(f"INSERT INTO jobs ({COLUMNS}) VALUES ({values})", row_of(record))  # noqa: S608 - constants
            where = computer_of(record.owner)
            try:
                store.executemany(
                    "INSERT INTO gpus VALUES (?, ?, ?)", [(where, gpu, record.name) for gpu in record.gpus]
                )
            except sqlite3.IntegrityError:
                raise GPUsTaken(
                    f"{record.name}: another job was given one of the GPUs {','.join(record.gpus)}"
                ) from None

    def tell(self, record: JobRecord) -> None:
        """Keep what its harness tells of a job. The GPUs of one that has ended are free."""
        with self._writing() as store:
            _tell(store, record)

    def tell_killed(self, record: JobRecord) -> bool:
        """Keep the end of a job whose harness was killed; False if it has ended otherwise meanwhile."""
        with self._writing() as store:
            found = _one(store, record.name)
            if not found or not found.running or found.process != record.process:
                return False
            _tell(store, record)
            return True

    def forget(self, name: str) -> None:
        """Remove a job; its name and its GPUs are free."""
        with self._writing() as store:
            store.execute("DELETE FROM jobs WHERE name = ?", (name,))

    def ask_stop(self, name: str, signal: Callable[[], bool]) -> bool:
        """Have `signal` sent to a running job, once for ever: a second would end it at once. False if it was not."""
        with self._writing() as store:
            asked = store.execute("SELECT stop_asked FROM jobs WHERE name = ? AND ended IS NULL", (name,)).fetchone()
            if asked is None:
                return False
            if asked[0] is None:
                if not signal():
                    return False
                store.execute("UPDATE jobs SET stop_asked = ? WHERE name = ?", (datetime.now(UTC).isoformat(), name))
            return True

    def find(self, name: str) -> JobRecord | None:
        """The job of this name."""
        with self._reading() as store:
            return _one(store, name)

    def running(self) -> list[JobRecord]:
        """The jobs that have not ended, as far as is known here."""
        with self._reading() as store:
            return [record_of(row) for row in store.execute(f"SELECT {COLUMNS} FROM jobs WHERE ended IS NULL")]  # noqa: S608

    def recent(self, limit: int | None = None, status: str | None = None) -> list[JobRecord]:
        """The jobs, newest first, without their answers; at most `limit`, only those of `status`."""
        chosen = "WHERE status = ?" if status else ""
        with self._reading() as store:
            rows = store.execute(
                f"SELECT {LISTED} FROM jobs {chosen} ORDER BY created DESC, name LIMIT ?",  # noqa: S608 - constants
                (*([status] if status else []), -1 if limit is None else limit),
            )
            return [record_of(row) for row in rows]

    def names(self) -> list[str]:
        """Every name, newest first."""
        with self._reading() as store:
            return [row[0] for row in store.execute("SELECT name FROM jobs ORDER BY created DESC, name")]

    def count(self, status: str | None = None) -> int:
        """How many jobs there are, of `status` or at all."""
        with self._reading() as store:
            asked = (
                ("SELECT count(*) FROM jobs WHERE status = ?", (status,)) if status else ("SELECT count(*) FROM jobs",)
            )
            return int(store.execute(*asked).fetchone()[0])

    def held_gpus(self) -> dict[str, str]:
        """The GPUs of this computer that jobs hold, by id, with the job."""
        with self._reading() as store:
            return dict(store.execute("SELECT id, job FROM gpus WHERE computer = ?", (computer(),)).fetchall())

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with _told(self.path):
            store = _opened(self.path)
            try:
                yield store
            finally:
                store.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, alone from its begin."""
        with self._reading() as store, _alone(store):
            yield store


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise MachineCannot(
            f"{path}: the store of jobs cannot be used: {error}. Put it elsewhere with HOMEPORT_STATE=DIRECTORY"
        ) from None


def _opened(path: Path) -> sqlite3.Connection:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
    store = sqlite3.connect(path, timeout=_PATIENCE_SECONDS, isolation_level=None)
    try:
        store.execute("PRAGMA foreign_keys = ON")
        store.execute("PRAGMA synchronous = NORMAL")
        _migrate(store, path)
    except BaseException:
        store.close()
        raise
    return store


def _migrate(store: sqlite3.Connection, path: Path) -> None:
    if _version(store) == len(_MIGRATIONS):
        return
    store.execute("PRAGMA journal_mode = WAL")
    with _alone(store):
        version = _version(store)
        if version > len(_MIGRATIONS):
            raise MachineCannot(
                f"{path}: the store of jobs was written by a newer Homeport (its version {version}, this one knows "
                f"{len(_MIGRATIONS)}). Use that one, or another store with HOMEPORT_STATE=DIRECTORY"
            )
        for statements in _MIGRATIONS[version:]:
            for statement in statements:
                store.execute(statement)
        store.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")


def _version(store: sqlite3.Connection) -> int:
    return int(store.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def _alone(store: sqlite3.Connection) -> Iterator[None]:
    store.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        # A full disk has ended it already.
        if store.in_transaction:
            store.execute("ROLLBACK")
        raise
    store.execute("COMMIT")


def _one(store: sqlite3.Connection, name: str) -> JobRecord | None:
    row = store.execute(f"SELECT {COLUMNS} FROM jobs WHERE name = ?", (name,)).fetchone()  # noqa: S608 - constants
    return record_of(row) if row else None


def _tell(store: sqlite3.Connection, record: JobRecord) -> None:
    changes = ", ".join(f"{column} = ?" for column in TOLD)
    store.execute(f"UPDATE jobs SET {changes} WHERE name = ?", (*row_of(record)[-len(TOLD) :], record.name))  # noqa: S608
    if not record.running:
        store.execute("DELETE FROM gpus WHERE job = ?", (record.name,))


def _taken(found: JobRecord) -> str:
    # The service's own words: ResourceInUse of CreateTrainingJob.
    return (
        f"names must be unique, and a training job with this name already exists ({found.status}, "
        f"{found.directory}). Give another with --name NAME; homeport-local prune frees those of ended jobs"
    )
