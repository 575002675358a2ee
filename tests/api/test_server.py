"""The real server on real sockets: who asks is what the kernel says, and the sockets are nobody else's."""

import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from greenrun.api.app import create_metrics_app
from greenrun.api.server import ServerHandle, bind_tcp, bind_unix, serve_in_thread
from greenrun.core.errors import ConfigError, GreenrunError
from tests.api.fakes import NOW, World, stored


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the socket is to be, in a folder that is still to be made."""
    return tmp_path / "run" / "greenrun.sock"


@pytest.fixture
def server(world: World, path: Path) -> Iterator[ServerHandle]:
    """The API on a real unix socket and the metrics on a real TCP port."""
    metrics_app = create_metrics_app(world.store, world.scheduler, world.settings, world.metrics, now=lambda: NOW)
    handle = serve_in_thread(world.app, bind_unix(path), metrics_app, bind_tcp("127.0.0.1:0"))
    yield handle
    handle.stop()


def ask(path: Path, method: str, target: str, **more: object) -> httpx.Response:
    """Send one request to a unix socket."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://greenrun", timeout=10) as client:
        return client.request(method, target, **more)  # type: ignore[arg-type]


def test_a_job_belongs_to_the_user_whom_the_kernel_names(world: World, server: ServerHandle, path: Path) -> None:
    claims = {"x-forwarded-for": "uid:0", "x-real-ip": "uid:0"}
    answer = ask(path, "POST", "/v1/jobs", json={"command": ["/bin/true"], "workdir": "/"}, headers=claims)
    assert answer.status_code == 201
    assert world.store.job(1).uid == os.getuid()


@pytest.mark.system
@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
def test_another_user_is_known_as_such_and_may_not_touch(world: World, server: ServerHandle, path: Path) -> None:
    world.store.keep(stored(1, uid=0, user="root"))
    for folder in (path, *list(path.parents)[:-1]):
        os.chmod(folder, 0o777)  # noqa: PTH101 - for this test anybody may connect
    program = (
        "import os, sys, socket\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "s.sendall(b'POST /v1/jobs/1/cancel HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\nX-Uid: 0\\r\\n\\r\\n')\n"
        "print(s.makefile('rb').read().decode())\n"
    )
    told = subprocess.run(
        [sys.executable, "-I", "-c", program, str(path)], capture_output=True, text=True, timeout=20, check=True
    ).stdout
    assert told.startswith("HTTP/1.1 403 ")
    assert "Job 1 belongs to root: nobody may look at it but not touch it." in told
    assert world.store.log == []


def test_the_metrics_port_serves_no_jobs(server: ServerHandle) -> None:
    address = f"http://127.0.0.1:{server.tcp_port}"
    statuses = [httpx.get(f"{address}{path}", timeout=10).status_code for path in ("/metrics", "/healthz", "/v1/jobs")]
    assert statuses == [200, 200, 404]


def test_the_socket_and_its_folder_are_the_users_alone(server: ServerHandle, path: Path) -> None:
    modes = [stat.S_IMODE(place.stat().st_mode) for place in (path.parent, path)]
    assert modes == [0o700, 0o600]


def test_a_stopped_server_leaves_no_thread_and_no_socket(server: ServerHandle, path: Path) -> None:
    port = server.tcp_port
    server.stop()
    assert (server.is_alive(), path.exists()) == (False, False)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port or 0), timeout=5).close()


def test_a_second_daemon_is_refused_while_the_first_answers(server: ServerHandle, path: Path) -> None:
    with pytest.raises(GreenrunError, match="Another daemon answers at"):
        bind_unix(path)
    assert ask(path, "GET", "/v1/jobs").status_code == 200


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
        thread.join(30)
    assert statuses == [200] * 24
