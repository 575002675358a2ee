"""A database and a log that are not of one another are never mixed; those that are, are never refused."""

import random
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from greenrun.core.errors import StoreDamaged, StoreError, StoreLost
from greenrun.store import Store, file_identity, free_pages
from greenrun.store.database import opened
from greenrun.store.lineage import NEW_MARK, require_own_log
from tests.sampling import sampled
from tests.store.examples import submit

ENDINGS = ("", "-wal")


def beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def left_by_a_kill(path: Path, folder: Path) -> Path:
    """What is there of an open database once its process was killed."""
    folder.mkdir()
    for ending in ENDINGS:
        with suppress(FileNotFoundError):
            shutil.copy(beside(path, ending), folder)
    return folder / path.name


def completed(path: Path) -> None:
    """Have the log written into the file, as SQLite does now and then."""
    with closing(opened(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(FULL)").fetchone()


@pytest.fixture
def killed(path: Path, store: Store, tmp_path: Path) -> tuple[Path, Path]:
    """An older backup, and what a killed daemon has left that went on since."""
    submit(store)
    completed(path)
    backup = left_by_a_kill(path, tmp_path / "backup")
    beside(backup, "-wal").unlink()
    submit(store)
    completed(path)
    submit(store)  # begins the log anew
    submit(store)
    return backup, left_by_a_kill(path, tmp_path / "left")


def test_what_a_killed_daemon_has_left_is_opened_with_all_that_was_acknowledged(killed: tuple[Path, Path]) -> None:
    _, left = killed
    with Store(left) as store:
        assert len(store.jobs.jobs()) == 4


def test_an_older_backup_beside_the_log_of_what_came_later_is_refused_and_both_are_left(
    killed: tuple[Path, Path],
) -> None:
    backup, left = killed
    log = beside(left, "-wal").read_bytes()
    shutil.copy(backup, left)
    with pytest.raises(
        StoreError, match=r"is not the one that \S+-wal beside it belongs to.* move \S+-wal and .*-shm away"
    ):
        Store(left)
    assert (left.read_bytes(), beside(left, "-wal").read_bytes()) == (backup.read_bytes(), log)
    beside(left, "-wal").rename(beside(left, "-wal.away"))  # as the sentence says
    with Store(left) as store:
        assert len(store.jobs.jobs()) == 1


def test_the_log_of_a_linked_database_is_the_one_beside_the_file_itself(
    killed: tuple[Path, Path], tmp_path: Path
) -> None:
    backup, left = killed
    link = tmp_path / "linked" / "greenrun.db"
    link.parent.mkdir()
    link.symlink_to(left)
    require_own_log(link)
    shutil.copy(backup, left)
    with pytest.raises(StoreError, match="belongs to"):
        require_own_log(link)


def test_a_link_to_itself_is_refused_in_a_sentence(tmp_path: Path) -> None:
    link = tmp_path / "greenrun.db"
    link.symlink_to(link)
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(link)


def test_a_linked_database_whose_log_is_removed_is_lost(tmp_path: Path) -> None:
    real, link = tmp_path / "disk" / "all.db", tmp_path / "greenrun.db"
    Store(real).close()
    link.symlink_to(real)
    with Store(link) as store:
        beside(real, "-wal").unlink()
        with pytest.raises(StoreLost, match=r"all\.db-wal, which belongs to the open database, was removed"):
            submit(store)


def test_another_database_or_one_from_before_commits_were_marked_is_refused_too(
    killed: tuple[Path, Path], tmp_path: Path
) -> None:
    _, left = killed
    other = tmp_path / "other" / left.name
    Store(other).close()
    shutil.copy(other, left)
    with pytest.raises(StoreError, match="belongs to"):
        require_own_log(left)
    with closing(sqlite3.connect(other, isolation_level=None)) as connection:
        connection.execute("DROP TABLE lineage")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(other, left)
    with pytest.raises(StoreError, match="belongs to"):
        require_own_log(left)


def test_a_file_that_is_damaged_or_without_a_log_is_left_to_whoever_opens_it(
    killed: tuple[Path, Path], tmp_path: Path
) -> None:
    backup, left = killed
    require_own_log(backup)
    require_own_log(tmp_path / "none")
    left.unlink()
    require_own_log(left)
    for content in (b"", b"x" * 40, beside(left, "-wal").read_bytes()[:31]):
        beside(backup, "-wal").write_bytes(content)
        require_own_log(backup)


def is_refused(path: Path) -> bool:
    try:
        require_own_log(path)
    except StoreError:
        return True
    return False


@pytest.mark.parametrize("seed", sampled(range(200), "histories", user=4, ci=8))
def test_whatever_is_accepted_is_the_latest_state_and_each_true_pair_is_accepted(seed: int, tmp_path: Path) -> None:
    """Any file of a history beside any log of then or later; checkpoints of every kind in between, partial ones too."""
    draw = random.Random(seed)
    path = tmp_path / "d" / "greenrun.db"
    Store(path).close()
    taken: list[tuple[bytes, bytes, int]] = []  # the file, its log, and what was committed last
    with closing(opened(path)) as writer, closing(opened(path)) as reader:
        writer.execute("PRAGMA wal_autocheckpoint=0")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("CREATE TABLE filler (id INTEGER PRIMARY KEY, n INTEGER, x BLOB)")
        writer.execute(NEW_MARK)
        writer.execute("COMMIT")
        for n in range(1, 30):
            with suppress(sqlite3.OperationalError):
                reader.execute("COMMIT")
            if draw.random() < 0.3:  # one that reads keeps a checkpoint from getting to its end
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM filler").fetchone()
            writer.execute("BEGIN IMMEDIATE")
            for key in draw.sample(range(40), 3):
                writer.execute("INSERT OR REPLACE INTO filler VALUES (?, ?, randomblob(900))", (key, n))
            writer.execute("INSERT OR REPLACE INTO filler VALUES (99, ?, x'')", (n,))
            writer.execute(NEW_MARK)
            writer.execute("COMMIT")
            if draw.random() < 0.4:
                kind = draw.choice(["PASSIVE", "PASSIVE", "TRUNCATE"])
                writer.execute("PRAGMA busy_timeout=0")
                with suppress(sqlite3.OperationalError):
                    writer.execute(f"PRAGMA wal_checkpoint({kind})").fetchone()
            taken.append((path.read_bytes(), beside(path, "-wal").read_bytes(), n))
        with suppress(sqlite3.OperationalError):
            reader.execute("COMMIT")
    mixed = tmp_path / "mixed.db"
    for later, (own, log, committed) in enumerate(taken):
        for place in {later, *draw.choices(range(later + 1), k=6)}:
            mixed.write_bytes(taken[place][0])
            beside(mixed, "-wal").write_bytes(log)
            beside(mixed, "-shm").unlink(missing_ok=True)
            is_accepted = not is_refused(mixed)
            assert is_accepted or taken[place][0] != own
            if is_accepted and log:
                with closing(sqlite3.connect(mixed)) as connection:
                    assert connection.execute("SELECT n FROM filler WHERE id = 99").fetchone() == (committed,)
                    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_copy_of_the_same_size_over_the_open_database_is_noticed_at_once(
    path: Path, store: Store, tmp_path: Path
) -> None:
    submit(store)
    completed(path)
    older = path.read_bytes()
    submit(store)
    completed(path)
    submit(store)
    completed(path)
    assert len(path.read_bytes()) == len(older)
    path.write_bytes(older)
    for call in (lambda: submit(store), store.jobs.jobs, store.runs.live_runs):
        with pytest.raises(StoreDamaged, match="written over while it was open"):
            call()


def test_many_writers_and_checkpoints_are_never_taken_for_somebody_else_s(path: Path, store: Store) -> None:
    over = threading.Event()
    wrong: list[Exception] = []

    def write() -> None:
        try:
            for _ in range(40):
                submit(store)
        except StoreError as exc:
            wrong.append(exc)

    def look() -> None:
        try:
            while not over.is_set():
                store.database.require_in_place()
                require_own_log(path)
        except StoreError as exc:
            wrong.append(exc)

    threads = [threading.Thread(target=write) for _ in range(3)]
    looking = threading.Thread(target=look)
    for thread in (*threads, looking):
        thread.start()
    while any(thread.is_alive() for thread in threads):
        completed(path)
    for thread in threads:
        thread.join()
    over.set()
    looking.join()
    assert (wrong, len(store.jobs.jobs())) == ([], 120)


def test_a_size_that_is_old_by_the_time_it_is_judged_is_no_cut(
    path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when another thread has looked since, and the file has grown meanwhile."""
    completed(path)
    stale, look = path.stat(), file_identity._status
    while path.stat().st_size == stale.st_size:
        submit(store)
        completed(path)
    store.database.require_in_place()
    looks = [stale]
    monkeypatch.setattr(file_identity, "_status", lambda place: looks.pop() if looks else look(place))
    store.database.require_in_place()
    assert looks == []


def vacuum(path: Path, _: Store) -> None:
    with closing(opened(path)) as connection:
        connection.execute("VACUUM")


def move_tables(path: Path, _: Store) -> None:
    with closing(opened(path)) as connection:
        connection.execute("DROP TABLE emptied")
        connection.execute("CREATE TABLE another (x)")


def submit_some(_: Path, store: Store) -> None:
    for _ in range(3):
        submit(store)


def shrink(_: Path, store: Store) -> None:
    assert store.shrink()


@pytest.mark.parametrize(
    "acts", [(shrink,), (shrink, submit_some), (vacuum,), (submit_some, vacuum), (move_tables, shrink)]
)
def test_a_log_that_begins_with_any_write_is_known_at_each_page_at_which_its_completion_may_end(
    path: Path, tmp_path: Path, acts: tuple[Callable[[Path, Store], None], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(free_pages, "FEW_PAGES", 8)
    monkeypatch.setattr(free_pages, "AT_ONCE", 16)
    with Store(path) as store:
        with closing(opened(path)) as connection:
            connection.execute("CREATE TABLE emptied AS SELECT randomblob(200000)")
            connection.execute("DELETE FROM emptied")
        submit(store)
        completed(path)
        for act in acts:
            act(path, store)
        store.database.require_in_place()
        before, log = path.read_bytes(), beside(path, "-wal").read_bytes()
        completed(path)
        store.database.require_in_place()
        after = path.read_bytes()
    half = tmp_path / "half.db"
    for end in range(0, max(len(before), len(after)) + 1, 4096):
        half.write_bytes(after[:end] + before[end:])  # SQLite writes one page after another
        beside(half, "-wal").write_bytes(log)
        require_own_log(half)


def test_other_rows_where_the_mark_will_be_are_taken_for_none(killed: tuple[Path, Path]) -> None:
    _, left = killed
    for value in ("7", "x'00ff'", "'EMULATED-GPU-0 is no mark of a commit'"):
        with closing(sqlite3.connect(left, isolation_level=None)) as connection:
            connection.execute(f"UPDATE lineage SET mark = {value}")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with closing(sqlite3.connect(left, isolation_level=None)) as connection:
            connection.execute("UPDATE lineage SET mark = 'commit:0123456789abcdef:0123456789abcdef'")
            require_own_log(left)


def test_a_transaction_that_changes_nothing_marks_nothing(path: Path, store: Store) -> None:
    def mark() -> object:
        with store.database.read() as session:
            return session.connection().exec_driver_sql("SELECT mark FROM lineage").fetchone()

    before = mark()
    store.jobs.set_reason({}, now=submit(store).submitted_at)
    after = mark()
    store.jobs.set_reason({}, now=store.jobs.jobs()[0].submitted_at)
    assert (before == after, mark() == after) == (False, True)
