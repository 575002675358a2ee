"""The real server on real sockets: who asks is what the kernel says, and the sockets are nobody else's."""

import errno
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import takewhile
from pathlib import Path

import httpx
import pytest

from greenrun.api.app import create_tcp_app
from greenrun.api.serving.connections import BoundedProtocol
from greenrun.api.serving.server import ServerHandle, bind_tcp, serve_in_thread
from greenrun.api.serving.unix_socket import Listener, bind_unix
from greenrun.client import ApiClient, RequestRefused
from greenrun.core.errors import ConfigError, GreenrunError
from tests.api.fakes import NOW, World, stored
from tests.patience import HANGS_S, until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the socket is to be, in a folder that is still to be made."""
    return tmp_path / "run" / "greenrun.sock"


@pytest.fixture
def server(world: World, path: Path) -> Iterator[ServerHandle]:
    """The API on a real unix socket and the metrics on a real TCP port."""
    metrics_app = create_tcp_app(world.store, world.scheduler, world.settings, world.metrics, now=lambda: NOW)
    handle = serve_in_thread(world.app, bind_unix(path), metrics_app, bind_tcp("127.0.0.1:0"))
    yield handle
    handle.stop()


def ask(path: Path, method: str, target: str, **more: object) -> httpx.Response:
    """Send one request to a unix socket."""
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(path)), base_url="http://greenrun", timeout=HANGS_S
    ) as client:
        return client.request(method, target, **more)  # type: ignore[arg-type]


def test_a_job_belongs_to_the_user_whom_the_kernel_names(world: World, server: ServerHandle, path: Path) -> None:
    claims = {"x-forwarded-for": "uid:0", "x-real-ip": "uid:0"}
    answer = ask(path, "POST", "/v1/jobs", json={"command": ["/bin/true"], "workdir": "/"}, headers=claims)
    assert answer.status_code == 201
    assert world.store.jobs.job(1).uid == os.getuid()


def test_a_body_that_is_refused_before_it_is_read_is_told_by_the_client(
    world: World, server: ServerHandle, path: Path
) -> None:
    job = {"command": ["/bin/true", "x" * 100_000], "workdir": "/"}
    with pytest.raises(RequestRefused, match=r"larger than 33554432 bytes: submit fewer jobs") as caught:
        ApiClient(path, timeout_s=HANGS_S).submit_many([job] * 400)
    assert (caught.value.status, world.store.kept) == (413, {})


def test_as_many_jobs_as_one_request_may_be_are_submitted_and_cancelled(
    world: World, server: ServerHandle, path: Path
) -> None:
    client = ApiClient(path, timeout_s=HANGS_S)
    jobs, new = client.offer_sweep(
        {"command": ["/bin/true"], "workdir": "/", "array": {"indices": list(range(10_000))}}
    )
    assert (new, [job["id"] for job in jobs], world.scheduler.wakes) == (True, list(range(1, 10_001)), 1)
    done = client.cancel_many([*range(9_999, 0, -1), 10_001])
    assert [row["id"] for row in done if row["job"] and row["job"]["cancel_requested"]] == list(range(9_999, 0, -1))
    assert (done[-1]["problem"]["status"], world.scheduler.wakes) == (404, 2)


@pytest.mark.system
@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
def test_another_user_is_known_as_such_and_may_not_touch(world: World, server: ServerHandle, path: Path) -> None:
    world.store.keep(stored(1, uid=0, user="root"))
    path.chmod(0o666)  # for this test anybody may connect
    for folder in takewhile(lambda folder: not folder.stat().st_mode & stat.S_IWOTH, path.parents):
        folder.chmod(0o711)
    program = (
        "import os, sys, socket\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "s.sendall(b'POST /v1/jobs/1/cancel HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\nX-Uid: 0\\r\\n\\r\\n')\n"
        "print(s.makefile('rb').read().decode())\n"
    )
    told = subprocess.run(
        [sys.executable, "-I", "-c", program, str(path)], capture_output=True, text=True, timeout=HANGS_S, check=True
    ).stdout
    assert told.startswith("HTTP/1.1 403 ")
    assert "Job 1 belongs to root: nobody may look at it but not touch it, nor read its log." in told
    assert world.store.log == []


def test_over_tcp_nobody_gets_jobs_who_is_not_known(server: ServerHandle) -> None:
    address = f"http://127.0.0.1:{server.tcp_port}"
    statuses = [
        httpx.get(f"{address}{path}", timeout=HANGS_S).status_code for path in ("/metrics", "/healthz", "/v1/jobs")
    ]
    assert statuses == [200, 200, 401]


def test_the_socket_and_its_folder_are_the_users_alone(server: ServerHandle, path: Path) -> None:
    modes = [stat.S_IMODE(place.stat().st_mode) for place in (path.parent, path)]
    assert modes == [0o700, 0o600]


def test_a_stopped_server_leaves_no_thread_and_no_socket(server: ServerHandle, path: Path) -> None:
    port = server.tcp_port
    server.stop()
    assert (server.is_alive(), path.exists()) == (False, False)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port or 0), timeout=HANGS_S).close()


def test_a_second_daemon_is_refused_while_the_first_answers(server: ServerHandle, path: Path) -> None:
    with pytest.raises(GreenrunError, match="Another daemon answers at"):
        bind_unix(path)
    assert ask(path, "GET", "/v1/jobs").status_code == 200


class Strict(BoundedProtocol):
    """Limits that a test can reach."""

    most = 3
    head_s = 0.2


class Lasting(Strict):
    """Few connections, which may be idle for longer than a test."""

    head_s = 60.0


@pytest.fixture
def strict(world: World, path: Path, request: pytest.FixtureRequest) -> Iterator[ServerHandle]:
    """The same servers with strict limits on the metrics' connections."""
    metrics_app = create_tcp_app(world.store, world.scheduler, world.settings, world.metrics, now=lambda: NOW)
    protocol = getattr(request, "param", Strict)
    handle = serve_in_thread(world.app, bind_unix(path), metrics_app, bind_tcp("127.0.0.1:0"), tcp_protocol=protocol)
    yield handle
    handle.stop()


def connected(stack: ExitStack, server: ServerHandle, sent: bytes = b"") -> socket.socket:
    """Connect to the metrics port, and send no whole request."""
    made = stack.enter_context(socket.create_connection(("127.0.0.1", server.tcp_port or 0), timeout=HANGS_S))
    made.sendall(sent)
    return made


def is_closed(connection: socket.socket) -> bool:
    """Wait until the server closes the connection; False when it does not within the time-out."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize("strict", [Lasting], indirect=True)
def test_idle_connections_beyond_the_limit_make_room_for_who_asks(strict: ServerHandle, path: Path) -> None:
    with ExitStack() as stack:
        idle = [connected(stack, strict) for _ in range(40)]
        assert httpx.get(f"http://127.0.0.1:{strict.tcp_port}/healthz", timeout=HANGS_S).status_code == 200
        assert ask(path, "GET", "/v1/jobs").status_code == 200
        assert [is_closed(one) for one in idle[:-3]] == [True] * 37


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_connection_that_sends_no_whole_head_is_closed(strict: ServerHandle, sent: bytes) -> None:
    with ExitStack() as stack:
        assert is_closed(connected(stack, strict, sent))


def test_a_second_request_in_drops_gets_no_more_time_than_the_first(strict: ServerHandle) -> None:
    with ExitStack() as stack:
        connection = connected(stack, strict, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = connection.recv(65536)
        connection.sendall(b"GET ")
        while rest := connection.recv(65536):
            answer += rest
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_folder_that_others_can_write_is_no_place_for_the_socket(path: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o770)
    with pytest.raises(ConfigError, match=r"run can be written by others, so others could put"):
        bind_unix(path)
    path.parent.chmod(0o1777)
    bind_unix(path).close()


def test_a_link_is_no_place_for_the_socket(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    path.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="run is a symbolic link"):
        bind_unix(path)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_no_place_for_the_socket(path: Path) -> None:
    path.parent.mkdir()
    os.chown(path.parent, 65534, 65534)
    with pytest.raises(ConfigError, match="run belongs to the user 65534"):
        bind_unix(path)


def test_what_lies_in_a_shared_folder_is_looked_at_too(path: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    path.parent.mkdir()
    (path.parent / "greenrun").mkdir(mode=0o700)
    path.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="run can be written by others"):
        bind_unix(path.parent / "greenrun" / "s")


def test_folders_made_for_the_socket_are_the_users_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        bind_unix(tmp_path / "a" / "b" / "s").close()
    finally:
        os.umask(before)
    assert [stat.S_IMODE(place.stat().st_mode) for place in (tmp_path / "a", tmp_path / "a" / "b")] == [0o700, 0o700]


def test_the_socket_of_a_killed_daemon_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with closing(bind_unix(path)) as listener:
        assert listener.getsockname() == str(path)


def test_a_file_that_is_no_socket_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("precious")
    with pytest.raises(ConfigError, match="is not a socket"):
        bind_unix(path)
    assert path.read_text() == "precious"


def test_a_socket_path_that_cannot_be_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be made"):
        bind_unix(tmp_path / ("x" * 200) / "greenrun.sock")


@pytest.mark.parametrize("address", ["", "9753", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:99999"])
def test_an_address_that_is_none_is_told(address: str) -> None:
    with pytest.raises(ConfigError, match="is not an address"):
        bind_tcp(address)


def test_metrics_are_bound_to_loopback_only() -> None:
    with pytest.raises(ConfigError, match="not a loopback address"):
        bind_tcp("0.0.0.0:0")


def test_a_port_in_use_is_told() -> None:
    with closing(bind_tcp("127.0.0.1:0")) as first, pytest.raises(ConfigError, match="is in use"):
        bind_tcp(f"127.0.0.1:{first.getsockname()[1]}")


def test_many_clients_at_once_are_all_answered(world: World, server: ServerHandle, path: Path) -> None:
    world.store.keep(*(stored(number) for number in range(1, 21)))
    statuses: list[int] = []

    def client() -> None:
        statuses.extend(ask(path, "GET", target).status_code for target in ("/v1/jobs", "/metrics", "/v1/plan"))

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANGS_S)
    assert statuses == [200] * 24


@pytest.mark.parametrize("strict", [Lasting], indirect=True)
def test_bodies_that_are_held_back_make_room_for_who_asks(strict: ServerHandle) -> None:
    head = b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{"
    with ExitStack() as stack:
        held = [connected(stack, strict, head) for _ in range(20)]
        assert httpx.get(f"http://127.0.0.1:{strict.tcp_port}/healthz", timeout=HANGS_S).status_code == 200
        assert held


def test_what_is_not_http_is_answered_with_a_problem(server: ServerHandle) -> None:
    with ExitStack() as stack:
        connection = connected(stack, server, b"GARBAGE\r\n\r\n")
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in answer


def test_a_listener_without_descriptors_is_asked_again_only_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def fail(self: socket.socket) -> None:
        asked.append(1)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket.socket, "accept", fail)
    with Listener() as listener:
        with pytest.raises(OSError, match="Too many open files"):
            listener.accept()
        for _ in range(5):
            with pytest.raises(BlockingIOError):
                listener.accept()
    assert len(asked) == 1


def test_of_many_who_connect_at_once_no_more_are_accepted_than_may_be(tmp_path: Path) -> None:
    with Listener() as listener, ExitStack() as stack:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)
        listener.most = 2
        listener.setblocking(False)
        callers = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(5)]
        for caller in callers:
            caller.settimeout(HANGS_S)
            caller.connect(str(tmp_path / "s"))
        first, second = (stack.enter_context(listener.accept()[0]) for _ in range(2))
        with pytest.raises(BlockingIOError):
            listener.accept()
        first.close()
        stack.enter_context(listener.accept()[0])
        assert second.fileno() >= 0


@pytest.mark.parametrize("strict", [Lasting], indirect=True)
def test_whoever_is_idle_is_dropped_for_a_start_and_whoever_has_just_come_is_not(
    strict: ServerHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        idle = [connected(stack, strict) for _ in range(3)]
        assert httpx.get(f"http://127.0.0.1:{strict.tcp_port}/healthz", timeout=HANGS_S).status_code == 200
        monkeypatch.setattr("greenrun.api.serving.server._NEW_S", HANGS_S)
        assert strict.drop_idle() == 0
        monkeypatch.setattr("greenrun.api.serving.server._NEW_S", 0.0)
        until(lambda: strict.drop_idle() == 0, "nobody idle is left")
        assert [is_closed(one) for one in idle] == [True] * 3


def test_that_no_connection_can_be_accepted_is_one_line_without_a_traceback(
    server: ServerHandle, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    accept, refusals = socket.socket.accept, [OSError(errno.EMFILE, "Too many open files")]

    def refuse_once(self: socket.socket) -> object:
        if refusals:
            raise refusals.pop()
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", refuse_once)
    assert ask(path, "GET", "/v1/jobs").status_code == 200
    told = capsys.readouterr()
    assert ("callers wait" in told.out + told.err, "Traceback" in told.out + told.err) == (True, False)
