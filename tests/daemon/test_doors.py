"""A lock or socket that somebody removes or replaces is had again, or told; nobody else's is taken or removed."""

import fcntl
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from greenrun.api.app import create_tcp_app
from greenrun.api.serving.server import ServerHandle, serve_in_thread
from greenrun.api.serving.unix_socket import bind_unix
from greenrun.client import ApiClient
from greenrun.core.conditions import ConditionCode
from greenrun.core.errors import GreenrunError
from greenrun.daemon.doors import LOCK, StateLock, check_socket
from greenrun.daemon.health_watch import FolderCheck
from tests.api.fakes import World
from tests.patience import HANGS_S

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def lock(state: Path) -> Iterator[StateLock]:
    with closing(StateLock(state)) as held:
        yield held


@pytest.mark.parametrize("file_is_there", [True, False])
def test_one_daemon_has_a_state_folder_also_after_its_lock_file_was_removed(
    state: Path, lock: StateLock, file_is_there: bool
) -> None:
    if not file_is_there:
        (state / LOCK).unlink()
    with pytest.raises(GreenrunError, match="Another daemon uses"):
        StateLock(state)


def test_a_lock_file_that_was_removed_or_replaced_is_locked_anew(state: Path, lock: StateLock) -> None:
    for replace in (lambda: None, lambda: (state / LOCK).touch()):
        (state / LOCK).unlink()
        replace()
        with capture_logs() as logged:
            assert [lock.check(NOW), lock.check(NOW)] == [[], []]
        assert len(logged) == 1
        with (state / LOCK).open() as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_lock_that_somebody_else_got_is_told_until_it_can_be_had(state: Path, lock: StateLock) -> None:
    (state / LOCK).unlink()
    with (state / LOCK).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert [row.code for row in lock.check(NOW)] == [ConditionCode.LOCK_LOST]
    with capture_logs():
        assert lock.check(NOW) == []


def test_a_state_folder_that_is_gone_is_told(state: Path, lock: StateLock) -> None:
    shutil.rmtree(state)
    (condition,) = lock.check(NOW)
    assert "No such file" in condition.text


def test_a_folder_of_runs_that_was_moved_is_told_until_it_is_back(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    check = FolderCheck(runs)
    runs.rename(tmp_path / "moved")
    assert [row.code for row in check(NOW)] == [ConditionCode.RUNS_FOLDER_LOST]
    runs.mkdir()
    assert [row.code for row in check(NOW)] == [ConditionCode.RUNS_FOLDER_LOST]
    runs.rmdir()
    (tmp_path / "moved").rename(runs)
    assert check(NOW) == []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "s"


@pytest.fixture
def server(path: Path) -> Iterator[ServerHandle]:
    world = World()
    metrics_app = create_tcp_app(world.store, world.scheduler, world.settings, world.metrics)
    handle = serve_in_thread(world.app, bind_unix(path), metrics_app, None)
    yield handle
    handle.stop()


def removed(path: Path) -> None:
    path.unlink()


def folder_removed(path: Path) -> None:
    shutil.rmtree(path.parent)


def replaced_by_a_dead_one(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))


@pytest.mark.parametrize("accident", [removed, folder_removed, replaced_by_a_dead_one])
def test_a_socket_that_is_gone_is_bound_anew_and_told_once(server: ServerHandle, path: Path, accident: object) -> None:
    with capture_logs() as logged:
        for _ in range(2):
            accident(path)  # type: ignore[operator]
            assert [check_socket(server, NOW), check_socket(server, NOW)] == [[], []]
            assert ApiClient(path, timeout_s=HANGS_S).jobs() == []
    assert [line["event"] for line in logged if line["log_level"] == "warning"] == [
        "the socket was removed or replaced, and is bound anew"
    ] * 2
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_socket_that_another_program_serves_is_left_alone_and_told(server: ServerHandle, path: Path) -> None:
    path.unlink()
    with closing(bind_unix(path)):
        assert [row.code for row in check_socket(server, NOW)] == [ConditionCode.SOCKET_LOST]
        server.stop()
        assert path.is_socket()


def test_a_file_in_place_of_the_socket_is_left_alone_and_told(server: ServerHandle, path: Path) -> None:
    path.unlink()
    path.write_text("mine")
    assert [row.code for row in check_socket(server, NOW)] == [ConditionCode.SOCKET_LOST]
    server.stop()
    assert path.read_text() == "mine"


def test_a_socket_that_was_removed_because_its_server_stops_is_not_bound_anew(server: ServerHandle, path: Path) -> None:
    server.stop()
    with capture_logs() as logged:
        assert check_socket(server, NOW) == []
    assert (logged, path.exists()) == ([], False)
