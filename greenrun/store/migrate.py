"""Brings a database to this program's schema at start, in one transaction, after making a copy of an older one.

Alembic takes 12 MiB and time to load, so it is not loaded for a database that is up to date, as most are.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from threading import active_count
from typing import TYPE_CHECKING
from warnings import catch_warnings, simplefilter

from sqlalchemy import Connection, inspect

from greenrun.core.errors import StoreError
from greenrun.store.database import BUSY_S, connect, create, translated
from greenrun.store.lineage import NEW_MARK, require_own_log

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

SCRIPTS = Path(__file__).parent / "migrations"
HEAD = max(
    script.name[1:5] for script in (SCRIPTS / "versions").glob("v*.py")
)  # the newest revision: v0002_... is 0002


def migrate(path: Path, scripts: Path = SCRIPTS) -> None:
    """Create the database or bring it to the newest revision of `scripts`; raise StoreError when it cannot be used."""
    require_own_log(path)  # before anything opens the file: SQLite applies whatever log lies beside it
    create(path)
    if scripts == SCRIPTS and _revision(path) == HEAD:
        return
    engine = connect(path, foreign_keys=False)  # rebuilding a table under enforcement would delete what refers to it
    try:
        with translated(path), engine.execution_options(begin="BEGIN IMMEDIATE").begin() as connection:
            _upgrade(path, connection, scripts)
    finally:
        engine.dispose()


def migrate_apart(path: Path) -> None:
    """Try to migrate in a process of its own, so that a daemon does not hold Alembic for as long as it lives.

    Whatever goes wrong there is left to `migrate`, which finds it again and says so. Where other threads run, which a
    forked process would not have, nothing is tried.
    """
    if path.exists():
        require_own_log(path)
        if _revision(path) == HEAD:
            return
    if active_count() > 1:
        return
    with catch_warnings():
        simplefilter("ignore", DeprecationWarning)  # of numpy's threads, which only compute
        child = os.fork()
    if child == 0:
        try:
            migrate(path)
        finally:
            os._exit(0)  # whoever forked finds out what has become of it
    os.waitpid(child, 0)


def backup_path(path: Path, revision: str) -> Path:
    """Return where the copy of a database of an older revision is kept."""
    return path.with_name(f"{path.name}.{revision}.backup")


def _revision(path: Path) -> str | None:
    """Return the revision of a database; None for one that has none, or that cannot be read."""
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_S)) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:
        return None
    return None if row is None else str(row[0])


def _upgrade(path: Path, connection: Connection, scripts: Path) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = connection
    directory = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    if current == directory.get_current_head():
        return
    _refuse_unknown(path, connection, current, directory)
    if current is not None:
        _back_up(path, backup_path(path, current))
    is_marked = inspect(connection).has_table("lineage")
    command.upgrade(config, "head")
    if is_marked:  # else it has its first mark from the migration that made the table
        connection.exec_driver_sql(NEW_MARK)
    _check_references(path, connection)


def _refuse_unknown(path: Path, connection: Connection, current: str | None, known: "ScriptDirectory") -> None:
    if current is None and inspect(connection).get_table_names():
        raise StoreError(
            f"{path} is a database of another program; greenrun leaves it as it is: choose another [paths] state"
        )
    if current is not None and current not in {script.revision for script in known.walk_revisions()}:
        raise StoreError(
            f"the database {path} was written by a newer greenrun (its schema is {current}); greenrun does not start "
            "and leaves it as it is: install that version again, or restore the backup that lies beside the database"
        )


def _back_up(path: Path, copy: Path) -> None:
    unfinished = copy.with_name(f"{copy.name}.unfinished")
    os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(unfinished)) as target:
        source.backup(target)
    unfinished.replace(copy)


def _check_references(path: Path, connection: Connection) -> None:
    if connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None:
        raise StoreError(f"the database {path} has rows that refer to nothing; greenrun leaves it as it is")
