"""A database is created, brought up to date with a copy kept, or refused in a sentence; it is never replaced."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from greenrun.core.energy.ledger import Stage
from greenrun.core.errors import StoreError
from greenrun.core.jobs.job import State
from greenrun.store import Store
from greenrun.store.migrate import HEAD, SCRIPTS, backup_path, migrate
from greenrun.store.tables import METADATA
from tests.patience import HANGS_S
from tests.store.examples import submit

LATER = datetime(2026, 1, 4, tzinfo=UTC)
LATEST = f"{int(HEAD) + 1:04}"  # the revision of a later greenrun
NEXT = '''"""A revision of the future."""

from alembic import op

revision = "{next}"
down_revision = "{head}"


def upgrade() -> None:
    op.execute("CREATE TABLE later (id INTEGER)")
    {last}
'''
OLD_JOB = """
    INSERT INTO jobs (id, user, uid, state, held, cancel_requested, deadline_missed, submitted_at, command, workdir,
                      name, project, gpus, duration_s, duration_source, start_now, expire, priority, retries, grace_s,
                      interruptible, min_run_s, restart_cost_s, checkpoint_signal, checkpoint_exit_code, progress_s,
                      after, env, labels)
    VALUES (12, 'ada', 1000, 'queued', 0, 0, 0, '2026-01-02T03:04:05.000000Z', '["true"]', '/', '', 'default', 1,
            3600.0, 'given', 0, 0, 0, 0, 30.0, 0, 1800.0, 300.0, 'USR1', 85, 0.0, '[]', '{}',
            '{}')
"""


def execute(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement).fetchall()


def rows(path: Path, table: str) -> list[sqlite3.Row]:
    """Everything of a table, by its first column."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()


def scripts_with(folder: Path, last: str = "pass") -> Path:
    """The migrations and one more, as a later greenrun would have them."""
    shutil.copytree(SCRIPTS, folder)
    (folder / "versions" / f"v{LATEST}_later.py").write_text(NEXT.format(last=last, next=LATEST, head=HEAD))
    return folder


def test_the_migrated_schema_is_the_one_of_the_tables(path: Path) -> None:
    Store(path).close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), METADATA) == []
    engine.dispose()


def test_checks_are_in_the_migrated_schema_too(path: Path) -> None:
    Store(path).close()
    (sql,) = execute(path, "SELECT group_concat(sql) FROM sqlite_master")[0]
    wanted = {str(check.name) for table in METADATA.tables.values() for check in table.constraints if check.name}
    assert {name for name in wanted if name.startswith("ck_") and name not in str(sql)} == set()


def test_a_database_of_the_first_release_opens(path: Path) -> None:
    migrate(path)
    execute(path, OLD_JOB)
    with Store(path) as store:
        assert [(job.id, job.state, job.spec.command) for job in store.jobs.jobs()] == [(12, State.QUEUED, ("true",))]
        assert submit(store).id == 13


RUN = """
    INSERT INTO runs (id, job_id, number, token, devices, claimed_at, started_at, ended_at, outcome)
    VALUES ({0}, 12, {0}, 't{0}', '["a"]', '2026-01-02T0{0}:00:00.000000Z', '2026-01-02T0{0}:00:00.000000Z',
            '2026-01-02T0{0}:30:00.000000Z', '{1}')
"""
SLICE = """
    INSERT INTO slices (id, device, component, run_id, started_at, ended_at, energy_j, quality, pue)
    VALUES ({0}, 'a', 'gpu', {1}, '2026-01-02T0{0}:00:00.000000Z', '2026-01-02T0{0}:30:00.000000Z', {0}e6, 'measured',
            1.5)
"""
PRICE = "INSERT INTO ledger VALUES (NULL, {0}, '{1}', '2026-01-03T00:00:00.000000Z', 200.0, {2}, 'measured', 1)"
OLD_BOOKS = [
    OLD_JOB,
    RUN.format(1, "failed"),
    RUN.format(4, "succeeded"),
    "INSERT INTO series VALUES (1, 'uk', 'GB', 'average', '', '')",
    "INSERT INTO forecasts VALUES (1, 1, NULL, '2026-01-02T00:00:00.000000Z', '2026-01-02T00:00:00.000000Z', 'fresh',"
    """ '', '[[1767312000,1767315600,200.0,"forecast"]]')""",
    *(SLICE.format(number, run) for number, run in ((1, 1), (2, "NULL"), (4, 4))),
    *(PRICE.format(number, "booked", 10.0 * number) for number in (1, 2, 4)),
    PRICE.format(1, "settled", 9.0),
    *(f"INSERT INTO unsettled VALUES ({number}, '2026-01-02T0{number}:30:00.000000Z')" for number in (2, 4)),
]


def test_the_books_of_the_first_release_keep_every_figure(path: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    shutil.copytree(SCRIPTS, first)
    for script in (first / "versions").glob("v*.py"):
        if not script.name.startswith("v0001"):
            script.unlink()
    migrate(path, first)
    for statement in OLD_BOOKS:
        execute(path, statement)
    tables = ("jobs", "runs", "slices", "unsettled", "series")
    prices = "SELECT slice_id, stage, at, intensity_g_per_kwh, emissions_g, intensity_kind, series_id FROM ledger"
    before = {table: [dict(row) for row in rows(path, table)] for table in tables}
    before_prices = sorted(execute(path, prices))
    with Store(path) as store:
        after = {table: [dict(row) for row in rows(path, table)] for table in tables}
        kept = {
            table: [{name: row[name] for name in old} for old, row in zip(before[table], after[table], strict=True)]
            for table in tables
        }
        assert kept == before
        assert sorted(execute(path, prices)) == before_prices
        assert (store.jobs.job(12).spec.retry_on, store.jobs.job(12).retry_at) == ((), None)
        assert (store.jobs.job(12).spec.umask, store.jobs.job(12).spec.limits) == (None, {})
        assert store.jobs.job(12).spec.noted_files == {}
        assert [run.ran for run in store.runs.of_jobs([12])[12]] == [None, None]
        (forecast,) = store.grid.forecasts("GB", LATER - timedelta(days=9))
        assert [slot.intensity_g_per_kwh for slot in forecast.series] == [200.0]
        assert [row["share"] for row in after["slices"]] == [1.0, 1.0, 1.0]
        totals = store.books.run_totals([1, 4])
        assert [(row.energy_j, row.emissions_g, row.settled_g) for row in totals.values()] == [
            (1e6, 10.0, 9.0),
            (4e6, 40.0, None),
        ]
        assert [key for key, *_ in store.books.unsettled(LATER)] == [2, 4]
        assert [key for key, *_ in store.books.unsettled(LATER, stage=Stage.MARGINAL)] == []
        assert store.baselines.uncompared(LATER) == [1, 4]
        assert [run.run_id for run in store.baselines.comparable([1, 4], LATER)] == [1]


def test_of_jobs_requeued_before_the_number_was_kept_those_runs_count_that_were_claimed_since(
    path: Path, tmp_path: Path
) -> None:
    earlier = tmp_path / "earlier"
    shutil.copytree(SCRIPTS, earlier)
    for script in (earlier / "versions").glob("v*.py"):
        if script.name > "v0008":
            script.unlink()
    migrate(path, earlier)
    for statement in (OLD_JOB, RUN.format(1, "failed"), RUN.format(2, "failed"), RUN.format(4, "failed")):
        execute(path, statement)
    others = {13: None, 14: "2026-01-02T05:00:00.000000Z"}  # never requeued; requeued without having run
    for job_id in others:
        execute(path, OLD_JOB.replace("(12,", f"({job_id},"))
    for job_id, instant in (others | {12: "2026-01-02T03:00:00.000000Z"}).items():
        told = "NULL" if instant is None else f"'{instant}'"
        execute(path, f"UPDATE jobs SET requeued_at = {told} WHERE id = {job_id}")
    with Store(path) as store:
        assert {job.id: job.counted_from for job in store.jobs.jobs()} == {12: 3, 13: 1, 14: 1}


DEVICES = ("EMULATED-a-0", "EMULATED-a-0", "GPU-1")


def test_what_emulated_gpus_used_is_no_longer_measured(path: Path, tmp_path: Path) -> None:
    older = tmp_path / "older"
    shutil.copytree(SCRIPTS, older)
    for later in (older / "versions").glob("v*.py"):
        if later.name > "v0009":
            later.unlink()
    migrate(path, older)
    for device, quality in zip(DEVICES, ("measured", "bridged", "measured"), strict=True):
        execute(
            path,
            "INSERT INTO slices (device, component, started_at, ended_at, energy_j, quality, pue)"
            f" VALUES ('{device}', 'gpu', '2026-01-02T01:00:00.000000Z', '2026-01-02T01:30:00.000000Z', 1.0,"
            f" '{quality}', 1.0)",
        )
    Store(path).close()
    told = [(row["device"], row["quality"], row["split_j"]) for row in rows(path, "slices")]
    assert told == [
        (device, grade, 0.0) for device, grade in zip(DEVICES, ("emulated", "bridged", "measured"), strict=True)
    ]


def test_an_older_database_is_copied_before_it_is_changed(path: Path, tmp_path: Path) -> None:
    with Store(path) as store:
        job = submit(store)
    migrate(path, scripts_with(tmp_path / "scripts"))
    copy = backup_path(path, HEAD)
    assert execute(path, "SELECT name FROM sqlite_master WHERE name = 'later'") == [("later",)]
    assert copy.stat().st_mode & 0o777 == 0o600
    with Store(copy) as old:
        assert old.jobs.jobs() == [job]


def test_a_migration_that_fails_changes_nothing(path: Path, tmp_path: Path) -> None:
    Store(path).close()
    with pytest.raises(StoreError, match="no such table: nowhere"):
        migrate(path, scripts_with(tmp_path / "scripts", 'op.execute("DELETE FROM nowhere")'))
    assert execute(path, "SELECT name FROM sqlite_master WHERE name = 'later'") == []
    Store(path).close()


def test_a_database_of_a_newer_greenrun_is_refused_and_left_alone(path: Path, tmp_path: Path) -> None:
    migrate(path, scripts_with(tmp_path / "scripts"))
    with pytest.raises(StoreError, match=rf"written by a newer greenrun .* {LATEST}"):
        Store(path)
    assert execute(path, "SELECT version_num FROM alembic_version") == [(LATEST,)]


def test_a_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    execute(path, "CREATE TABLE moz_places (id INTEGER)")
    with pytest.raises(StoreError, match="of another program"):
        Store(path)
    assert execute(path, "SELECT name FROM sqlite_master") == [("moz_places",)]


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("not a database, but precious\n" * 100)
    with pytest.raises(StoreError, match="damaged or not a database"):
        Store(path)
    assert path.read_text() == "not a database, but precious\n" * 100


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(tmp_path / "file" / "greenrun.db")


def test_the_files_belong_to_their_owner_alone(path: Path) -> None:
    with Store(path) as store:
        submit(store)
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == {"greenrun.db": 0o600, "greenrun.db-wal": 0o600, "greenrun.db-shm": 0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_the_schema_that_is_opened_without_alembic_is_the_newest_one() -> None:
    assert ScriptDirectory(str(SCRIPTS)).get_current_head() == HEAD


def test_a_database_that_is_up_to_date_is_opened_without_alembic(path: Path) -> None:
    """And a daemon, which lives long, has a new one made by a process that ends."""
    opens = (
        "import sys; from pathlib import Path; from greenrun.store import Store; "
        "migrate_apart = sys.modules['greenrun.store.migrate'].migrate_apart; path = Path(sys.argv[1]); "
        "migrate_apart(path); migrate_apart(path); Store(path).close(); print('alembic' in sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", opens, path], capture_output=True, text=True, check=True, timeout=HANGS_S
    )
    assert told.stdout == "False\n"
