"""Bind the sockets and serve both apps from one thread with one event loop."""

import asyncio
import errno
import os
import socket
import stat
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvicorn
from fastapi import FastAPI

from greenrun.api.connections import BoundedProtocol
from greenrun.api.identity import PeerProtocol
from greenrun.core.errors import ConfigError, GreenrunError

_STOP_S = 5.0
_START_S = 10.0
_BACKLOG = 128
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_log = structlog.get_logger("greenrun.api")


def bind_unix(path: Path) -> socket.socket:
    """Return a listening unix socket of mode 0600, its folder made with 0700; raise GreenrunError when a daemon has it.

    A socket that nobody answers is what a killed daemon left, and is replaced. A folder in which somebody else could
    put a socket of their own in its place is refused (ConfigError).
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _make_folder(path.absolute().parent)
        _refuse_open_folders(path.absolute().parent)
        _remove_stale(path)
        os.fchmod(listener.fileno(), 0o600)  # the bound file inherits it, so that it is never open to others
        listener.bind(str(path))
        listener.listen(_BACKLOG)
    except OSError as exc:
        listener.close()
        raise ConfigError(f"The socket {path} cannot be made ({exc}): set [api] socket to a path that can.") from exc
    except GreenrunError:
        listener.close()
        raise
    return listener


def _make_folder(folder: Path) -> None:
    """Make the folder and what it lies in, all with 0700: `parents=True` would leave those above to the umask."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    for place in reversed(missing):
        place.mkdir(mode=0o700, exist_ok=True)


def _refuse_open_folders(folder: Path) -> None:
    """Look at the socket's folder and, in a shared one like /tmp where anybody may make folders, at all up to that."""
    places = [folder, *folder.parents]
    shared = next((index for index, place in enumerate(places) if _is_shared(place.lstat())), 1)
    for place in places[: shared or 1]:
        why = _openness(place.lstat())
        if why:
            raise ConfigError(
                f"The folder {place} {why}, so others could put a socket of their own in the place of greenrun's: "
                "make it your own with mode 0700, or set [api] socket to a path in one that is."
            )


def _is_shared(found: os.stat_result) -> bool:
    return bool(found.st_mode & stat.S_ISVTX) and found.st_uid in (0, os.getuid())


def _openness(found: os.stat_result) -> str | None:
    if stat.S_ISLNK(found.st_mode):
        return "is a symbolic link"
    if found.st_uid not in (0, os.getuid()):
        return f"belongs to the user {found.st_uid}"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
        return "can be written by others"
    return None


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(
            f"{path} exists and is not a socket, so greenrun leaves it alone: set [api] socket to another."
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except (BlockingIOError, TimeoutError):
            raise _taken(path) from None  # its queue of callers is full: busy, but there
        else:
            raise _taken(path)


def _taken(path: Path) -> GreenrunError:
    return GreenrunError(f"Another daemon answers at {path}: use it, stop it, or set [api] socket to another path.")


def bind_tcp(address: str, *, loopback_only: bool = True) -> socket.socket:
    """Return a listening socket at `HOST:PORT` (port 0: any free one); raise ConfigError when it cannot be had."""
    host, port = _split(address)
    if loopback_only and host not in _LOOPBACK:
        raise ConfigError(
            f"{address} is not a loopback address, and metrics are served there only: use 127.0.0.1:{port}."
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as exc:
        listener.close()
        why = "is in use" if exc.errno == errno.EADDRINUSE else f"cannot be had ({exc})"
        raise ConfigError(f"{address} {why}: set [api] metrics to another address, or to an empty one.") from exc
    return listener


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{address!r} is not an address: write it as 127.0.0.1:9753.")
    return host.strip("[]"), int(port)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerHandle:
    """The running servers. `tcp_port` is the port of the metrics, None when they are off."""

    tcp_port: int | None
    _servers: tuple[uvicorn.Server, ...]
    _thread: threading.Thread
    _path: Path

    def is_alive(self) -> bool:
        """Whether the serving thread still runs."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stop accepting, let answers finish for some seconds, and remove the unix socket."""
        self._path.unlink(missing_ok=True)
        for server in self._servers:
            server.should_exit = True
        self._thread.join(2 * _STOP_S)


def serve_in_thread(
    app: FastAPI,
    uds_socket: socket.socket,
    metrics_app: FastAPI,
    tcp_socket: socket.socket | None,
    *,
    tcp_protocol: type[BoundedProtocol] = BoundedProtocol,
) -> ServerHandle:
    """Serve `app` on the unix socket and `metrics_app` on the TCP socket; return once both answer.

    Both sockets are listening ones, and are closed when the server stops. `tcp_protocol` limits the connections for
    the metrics.
    """
    pairs = [(_Server(_config(app, PeerProtocol)), uds_socket)]
    if tcp_socket is not None:
        pairs.append((_Server(_config(metrics_app, tcp_protocol)), tcp_socket))
    port = tcp_socket.getsockname()[1] if tcp_socket else None
    path = Path(uds_socket.getsockname())
    thread = threading.Thread(target=_run, args=(pairs,), name="greenrun-api", daemon=True)
    thread.start()
    for server, _ in pairs:
        if not server.answers.wait(_START_S):
            raise GreenrunError("The API did not start; the log has the reason.")
    return ServerHandle(tcp_port=port, _servers=tuple(server for server, _ in pairs), _thread=thread, _path=path)


class _Server(uvicorn.Server):
    """A uvicorn server that says when it answers. (Signals are the daemon's: outside the main thread it sets none.)"""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answers = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.answers.set()


def _config(app: FastAPI, protocol: type[BoundedProtocol]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # a header must never say who asks
        server_header=False,
        backlog=protocol.most,  # asyncio accepts that many in one go, before any can be dropped
        limit_concurrency=2 * protocol.most,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(_STOP_S),
    )


def _run(pairs: list[tuple[_Server, socket.socket]]) -> None:
    async def serve() -> None:
        await asyncio.gather(*(server.serve(sockets=[listener]) for server, listener in pairs))

    try:
        asyncio.run(serve())
    except Exception:  # noqa: BLE001 - a thread's top: without this line nobody would hear of it
        _log.exception("the API stopped; jobs go on, but nobody can ask for them: restart the daemon")
    finally:
        for _, listener in pairs:
            with suppress(OSError):
                listener.close()
