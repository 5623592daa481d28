"""SQLite behind typed tables: `Store.table(kind, type)` puts and gets structs as JSON."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

from stockade.errors import Conflict, Damaged, Unsupported

T = TypeVar("T", bound=msgspec.Struct)

NAMESPACE = "default"
VERSION = 1
_RESERVE, _LOW = 2 << 20, 512 << 10
_HINT = "stockade system repair"
# Version → what brings a database of the version before to it. The first makes everything.
_MIGRATIONS: dict[int, tuple[str, ...]] = {
    1: (
        """CREATE TABLE records (
            kind TEXT NOT NULL, namespace TEXT NOT NULL, key TEXT NOT NULL, name TEXT, value BLOB NOT NULL,
            PRIMARY KEY (kind, namespace, key), UNIQUE (kind, namespace, name)
        ) WITHOUT ROWID""",
        """CREATE TABLE operations (
            id INTEGER PRIMARY KEY AUTOINCREMENT, verb TEXT NOT NULL, subject TEXT NOT NULL,
            data BLOB NOT NULL, done BLOB NOT NULL
        )""",
    ),
}


class Store:
    """An open database.

    Raises:
        Damaged: it cannot be read or written; the text says why.
        Unsupported: a newer release wrote it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        with self.guarded():
            self.connection = _open(path)
            try:
                self._migrate()
            except BaseException:
                self.connection.close()
                raise
        self._depth = 0
        self._reserve = f"{path}.reserve"
        self.refill()

    def refill(self) -> None:
        """Have room set aside for the day when the disk is full, unless it is full already."""
        room = os.statvfs(os.path.dirname(self.path))
        if os.path.exists(self._reserve) or room.f_bavail * room.f_frsize < 4 * _RESERVE:
            return
        with contextlib.suppress(OSError), open(self._reserve, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, _RESERVE)

    def _make_room(self) -> None:
        """On a disk that is nearly full the room that was set aside is given up: ends must be recorded, and what is
        removed makes more room.
        """
        room = os.statvfs(os.path.dirname(self.path))
        if room.f_bavail * room.f_frsize < _LOW:
            with contextlib.suppress(OSError):
                os.unlink(self._reserve)

    def table(self, kind: str, type: type[T]) -> Table[T]:
        """The records of one kind."""
        return Table(self, kind, type)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what is put within, or nothing; may be nested."""
        with self.guarded():
            if self._depth:
                yield
                return
            self._make_room()
            self.connection.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                yield
            except BaseException:
                self.connection.execute("ROLLBACK")
                raise
            else:
                self._commit()
            finally:
                self._depth = 0

    def _commit(self) -> None:
        try:
            self.connection.execute("COMMIT")
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")
            raise

    def checkpoint(self) -> None:
        """Carry the write-ahead log over into the database; takes milliseconds, so call it in a thread of its own."""
        with self.guarded(), contextlib.closing(_connect(self.path)) as own:
            # Not truncated: what is written next needs no new room on a disk that may be full by then.
            own.execute("PRAGMA wal_checkpoint(RESTART)")
        self.refill()

    def close(self) -> None:
        """Idempotent."""
        self.connection.close()

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn what SQLite says of the file into a condition with a way out."""
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise _condition(self.path, error) from error

    def _migrate(self) -> None:
        [version] = self.connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise Unsupported(
                f"{self.path} was written by a newer release: its version is {version}, this one knows {VERSION}",
                hint=f"install the newer release again, or put {self.path}.v{VERSION} in its place",
            )
        if version == VERSION:
            return
        if version:
            copy = f"{self.path}.v{version}"
            self.connection.execute("VACUUM INTO ?", (f"{copy}.new",))
            os.rename(f"{copy}.new", copy)
        self.connection.execute("BEGIN EXCLUSIVE")
        for number in range(version + 1, VERSION + 1):
            for statement in _MIGRATIONS[number]:
                self.connection.execute(statement)
        self.connection.execute(f"PRAGMA user_version={VERSION}")
        self.connection.execute("COMMIT")


class Table(Generic[T]):
    """The records of one kind, each a struct; `name` is unique within a namespace."""

    def __init__(self, store: Store, kind: str, type: type[T]) -> None:
        self._store = store
        self._kind = kind
        self._encode = msgspec.json.Encoder().encode
        self._decoder = msgspec.json.Decoder(type)

    def put(self, key: str, value: T, *, name: str | None = None, namespace: str = NAMESPACE) -> None:
        """Keep a record, in place of one with the same key.

        Raises:
            Conflict: another record has that name.
        """
        row = (self._kind, namespace, key, name, self._encode(value))
        try:
            with self._store.transaction():
                self._store.connection.execute(
                    "INSERT INTO records VALUES (?,?,?,?,?) ON CONFLICT (kind, namespace, key)"
                    " DO UPDATE SET name=excluded.name, value=excluded.value",
                    row,
                )
        except sqlite3.IntegrityError as error:
            raise Conflict(f"the name {name!r} is taken by another {self._kind}") from error

    def get(self, key: str, namespace: str = NAMESPACE) -> T | None:
        """The record with that key."""
        return self._one("key=?", namespace, key)

    def named(self, name: str, namespace: str = NAMESPACE) -> T | None:
        """The record with that name."""
        return self._one("name=?", namespace, name)

    def all(self, namespace: str | None = NAMESPACE) -> list[T]:
        """Every record, by key; None: of every namespace."""
        return [value for _, value in self.items(namespace)]

    def items(self, namespace: str | None = NAMESPACE) -> list[tuple[str, T]]:
        """Every record with its key."""
        where, values = ("", ()) if namespace is None else (" AND namespace=?", (namespace,))
        with self._store.guarded():
            rows = self._store.connection.execute(
                f"SELECT key, value FROM records WHERE kind=?{where} ORDER BY key", (self._kind, *values)
            ).fetchall()
        return [(key, self._read(key, value)) for key, value in rows]

    def delete(self, key: str, namespace: str = NAMESPACE) -> None:
        """Forget a record. Idempotent."""
        with self._store.transaction():
            self._store.connection.execute(
                "DELETE FROM records WHERE kind=? AND namespace=? AND key=?", (self._kind, namespace, key)
            )

    def _one(self, where: str, namespace: str, word: str) -> T | None:
        with self._store.guarded():
            row = self._store.connection.execute(
                f"SELECT key, value FROM records WHERE kind=? AND namespace=? AND {where}",
                (self._kind, namespace, word),
            ).fetchone()
        return None if row is None else self._read(*row)

    def _read(self, key: str, value: bytes) -> T:
        try:
            return self._decoder.decode(value)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Damaged(f"the record of {self._kind} {key} in {self._store.path} cannot be read: {error}",
                          hint=_HINT) from error  # fmt: skip


def _connect(path: str) -> sqlite3.Connection:
    # Of the daemon alone, so nobody is waited for; autocommit is left to `transaction`.
    return sqlite3.connect(path, timeout=2.0, isolation_level=None, check_same_thread=False)


def _open(path: str) -> sqlite3.Connection:
    fresh = not os.path.exists(path)
    connection = _connect(path)
    try:
        if fresh:
            os.chmod(path, 0o600)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        # Reads every page's structure: damage is found now and not in the middle of a verb.
        [verdict] = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
    except OSError as error:
        connection.close()
        raise Damaged(f"{path} cannot be made: {error.strerror}", hint=_HINT) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _condition(path: str, error: sqlite3.Error) -> Damaged:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        free = shutil.disk_usage(os.path.dirname(path)).free
        return Damaged(f"{path} cannot be written: its disk is full ({free} bytes free)", hint="make room, try again")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR):
        return Damaged(f"{path} cannot be written: {error}", hint="is its directory read-only, or its disk failing?")
    return Damaged(f"{path} is damaged: {error}", hint=_HINT)
