"""A database behind a URL or a file name: opened, brought to the newest schema, and its faults told in one line."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hedgerow.errors import HedgerowError
from hedgerow.records.tables import NEWEST, STEPS

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

WAIT_S = 30.0  # that a writer waits for another before it gives up
_LOCK = 7238110  # any number: PostgreSQL's advisory lock of this program


def default_url() -> str:
    """``HEDGEROW_RECORDS``, or a SQLite file in the user's data folder."""
    from platformdirs import user_data_path

    found = os.environ.get("HEDGEROW_RECORDS")
    return found or f"sqlite:///{user_data_path('hedgerow') / 'records.sqlite'}"


def as_url(where: str | Path | None) -> str:
    """A SQLAlchemy URL: None is the default, a path a SQLite file; ``postgresql://`` gets the psycopg driver."""
    text = default_url() if where is None else str(where)
    if "://" not in text:
        return f"sqlite:///{text}"
    scheme, _, rest = text.partition("://")
    if scheme in ("postgres", "postgresql"):
        return f"postgresql+psycopg://{rest}"
    if scheme in ("sqlite", "postgresql+psycopg"):
        return text
    raise HedgerowError(f"records are kept in SQLite or PostgreSQL; '{scheme}://' is neither")


def shown(url: str) -> str:
    """The URL without its password, for people."""
    from sqlalchemy import make_url

    try:
        made = make_url(url)
    except Exception:  # not a URL: said by whoever opens it
        return url.partition("://")[0] + "://…"
    if made.get_backend_name() == "sqlite":
        return made.database or "memory"
    made = made.difference_update_query(["password", "sslpassword"])
    return made.render_as_string(hide_password=True).replace("postgresql+psycopg", "postgresql")


def connect(where: str | Path | None, *, wait_s: float = WAIT_S, create: bool = True) -> Engine:
    """An engine whose database has the newest schema.

    ``create`` false: a SQLite file that is not there is an error instead of a new file. Raises HedgerowError without
    the extra ``records``, for a wrong URL, a server that does not answer, a file that is locked, read-only or no
    database, and for a database of a newer schema.
    """
    if find_spec("sqlalchemy") is None or find_spec("alembic") is None:
        raise HedgerowError("records need SQLAlchemy and Alembic: pip install 'hedgerow[records]'")
    import sqlalchemy as sa

    url = as_url(where)
    if url.startswith("postgresql") and find_spec("psycopg") is None:
        raise HedgerowError("a PostgreSQL URL needs psycopg: pip install 'hedgerow[records]'")
    try:
        made = sa.make_url(url)
        if made.get_backend_name() == "sqlite":
            _check_file(made.database, create)
            engine = sa.create_engine(made, connect_args={"timeout": wait_s})
            _prepare_sqlite(engine)
        else:
            options = {"connect_timeout": max(2, int(wait_s)), "options": f"-c lock_timeout={int(wait_s * 1000)}"}
            engine = sa.create_engine(made, connect_args=options)
    except sa.exc.ArgumentError as e:
        raise HedgerowError(f"'{url.partition('@')[2] or url}' is no database URL: {e}") from e
    try:
        with told(shown(url)):
            _bring_up(engine, shown(url))
    except BaseException:
        engine.dispose()
        raise
    return engine


def _check_file(name: str | None, create: bool) -> None:
    if not name or name == ":memory:":
        return
    path = Path(name.removeprefix("file:"))  # SQLite's own URI form, as in sqlite:///file:NAME?mode=ro&uri=true
    if path.is_dir():
        raise HedgerowError(f"{path} is a folder; name a file for the records")
    if not path.exists():
        if not create:
            raise HedgerowError(f"{path} does not exist; `hedgerow data import FILE --records {path}` makes it")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise HedgerowError(f"cannot make {path.parent}: {e.strerror or e}") from e


def _prepare_sqlite(engine: Engine) -> None:
    """Readers go on while somebody writes (WAL), foreign keys hold, and we say ourselves where transactions begin."""
    from sqlalchemy import event

    @event.listens_for(engine, "connect")
    def _open(raw: Any, _: Any) -> None:
        raw.isolation_level = None
        cursor = raw.cursor()
        with suppress(sqlite3.OperationalError):  # a read-only folder: reading works without
            cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction that alone writes; whatever is raised inside undoes it."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        try:
            yield connection
            connection.exec_driver_sql("COMMIT") if engine.dialect.name == "sqlite" else connection.commit()
        except BaseException:
            _undo(connection)
            raise


def _undo(connection: Connection) -> None:
    try:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("ROLLBACK")
        connection.rollback()
    except Exception:  # the server has gone, and with it the transaction
        connection.invalidate()


@contextmanager
def told(where: str, doing: str = "") -> Iterator[None]:
    """Turn the database's own errors into one line; ``doing`` says what was undone."""
    import sqlalchemy as sa

    theirs: tuple[type[Exception], ...] = (sa.exc.SQLAlchemyError, *_drivers())
    try:
        yield
    except theirs as e:
        text = " ".join(str(getattr(e, "orig", None) or e).split())
        raise HedgerowError(f"{where}: {_plain(text)}{f'; {doing}' if doing else ''}") from e


def _drivers() -> tuple[type[Exception], ...]:
    """Errors of the drivers themselves: COPY goes past SQLAlchemy."""
    psycopg: Any = sys.modules.get("psycopg")
    return (sqlite3.Error,) if psycopg is None else (sqlite3.Error, psycopg.Error)


_KNOWN = (
    ("database is locked", "another program holds it locked; try again when it is done"),
    ("readonly database", "it is read-only; copy it, or ask for the right to write"),
    ("unable to open", "it cannot be opened: no such folder, or no right to"),
    ("not a database", "it is no SQLite database"),
    ("malformed", "the database file is damaged; use a copy"),
    ("disk is full", "the disk is full"),
    ("lock timeout", "another program is writing; try again when it is done"),
    ("connection failed", "the server does not answer; is it running, and is the URL right?"),
    ("terminating connection", "the connection to the server was cut"),
    ("server closed the connection", "the connection to the server was cut"),
    ("connection is lost", "the connection to the server was cut"),
    ("consuming input failed", "the connection to the server was cut"),
    ("the connection is closed", "the connection to the server was cut"),
)


def _plain(text: str) -> str:
    lower = text.lower()
    return next((ours for theirs, ours in _KNOWN if theirs in lower), text[:200])


def version_of(connection: Connection) -> str:
    """The schema's step, '' for an empty database; HedgerowError when there are tables but no version."""
    import sqlalchemy as sa

    names = set(sa.inspect(connection).get_table_names())
    if "alembic_version" in names:
        rows = [str(row[0]) for row in connection.execute(sa.text("SELECT version_num FROM alembic_version"))]
        if rows:
            return rows[0]
    if names & {"exchanges", "imports", "wastes"}:
        raise HedgerowError("holds tables of these names that hedgerow did not make; name another database")
    return ""


def _bring_up(engine: Engine, where: str) -> None:
    with engine.connect() as connection:
        version = _checked(connection, where)
        connection.rollback()
    if version == NEWEST:
        return
    with writing(engine) as connection:
        if _checked(connection, where) != NEWEST:  # another program may have done it while we waited
            migrate(connection, NEWEST)


def _checked(connection: Connection, where: str) -> str:
    try:
        version = version_of(connection)
    except HedgerowError as e:
        raise HedgerowError(f"{where} {e}") from e
    if version and version not in STEPS:
        raise HedgerowError(
            f"{where} has schema {version}, this hedgerow knows up to {NEWEST}: update hedgerow to open it"
        )
    return version


def migrate(connection: Connection, to: str) -> None:
    """Run the steps between the database's schema and ``to``, inside the caller's transaction."""
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)

    def steps(revision: Any, _: Any) -> Any:
        return script._upgrade_revs(to, revision)

    with EnvironmentContext(config, script, fn=steps, destination_rev=to) as environment:
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()
