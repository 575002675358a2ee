"""Bind the sockets and serve both apps from one thread with one event loop."""

import asyncio
import errno
import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio._backends._asyncio  # noqa: F401 - by name at the first request, when no descriptor may be left to read it
import structlog
import uvicorn
import uvicorn.lifespan.off
from fastapi import FastAPI

from greenrun.api.identity import PeerProtocol
from greenrun.api.serving.connections import BoundedProtocol
from greenrun.api.serving.unix_socket import BACKLOG, Listener, bind_unix, place_of, remove_own
from greenrun.core.errors import ConfigError, GreenrunError
from greenrun.host_shortage import lacking
from greenrun.poll_in_parts import PollInParts

_STOP_S = 5.0
_START_S = 10.0
_ROOM_S = 1.0  # how long it may take to close what is idle
_NEW_S = 2.0  # who connected this recently is about to ask
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_log = structlog.get_logger("greenrun.api")


def bind_tcp(address: str, *, loopback_only: bool = True, setting: str = "metrics") -> socket.socket:
    """Return a listening socket at `HOST:PORT` (port 0: any free one); raise ConfigError when it cannot be had."""
    host, port = _split(address)
    if loopback_only and host not in _LOOPBACK:
        raise ConfigError(
            f"{address} is not a loopback address, and metrics are served there only: use 127.0.0.1:{port}."
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = Listener(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as exc:
        listener.close()
        why = "is in use" if exc.errno == errno.EADDRINUSE else f"cannot be had ({exc})"
        raise ConfigError(f"{address} {why}: set [api] {setting} to another address, or to an empty one.") from exc
    return listener


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{address!r} is not an address: write it as 127.0.0.1:9753.")
    return host.strip("[]"), int(port)


class ServerHandle:
    """The running servers, in one thread with one event loop.

    `tcp_port` is that of the metrics, `others_port` that of `[api] tcp`; None when off.
    """

    def __init__(self, app: FastAPI, uds_socket: socket.socket) -> None:
        self._app = app
        self.path = Path(uds_socket.getsockname())
        self._place = place_of(self.path)
        self._group = uds_socket.group if isinstance(uds_socket, Listener) else None
        self.tcp_port: int | None = None
        self.others_port: int | None = None
        self._unix = _Server(app, PeerProtocol, uds_socket)
        self._servers = [self._unix]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changing = threading.Lock()  # held by whoever binds or removes the socket
        self._is_stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="greenrun-api", daemon=True)

    def is_alive(self) -> bool:
        """Whether the serving thread still runs."""
        return self._thread.is_alive()

    def reopen_unix(self) -> bool:
        """Bind the unix socket anew if it was removed or replaced; False if it is in place, or this server stops.

        What was asked on the former one has some seconds to be answered. Raise GreenrunError when it cannot be had,
        because another daemon answers there, for instance.
        """
        with self._changing:
            if self._is_stopping or place_of(self.path) == self._place:
                return False
            if not self.is_alive():
                raise GreenrunError("The API has ended, as the log says: restart greenrun.")
            listener = bind_unix(self.path, self._group)
            self._place = place_of(self.path)
            former, self._unix = self._unix, _Server(self._app, PeerProtocol, listener)
            self._servers = [*(server for server in self._servers if server is not former), self._unix]
            former.should_exit = True  # nobody can find its socket any more
            self._begin(self._unix)
            return True

    def stop(self) -> None:
        """Stop accepting, let answers finish for some seconds, and remove the unix socket if it is this one's."""
        with self._changing:
            self._is_stopping = True  # whoever looks at the socket from now on finds it removed on purpose
            remove_own(self.path, self._place)
            for server in self._servers:
                server.should_exit = True
        self._thread.join(2 * _STOP_S)

    def drop_idle(self) -> int:
        """Close the connections of all who ask nothing now, for want of descriptors; return how many were closed."""
        if self._loop is None or not self.is_alive():
            return 0
        with suppress(TimeoutError):
            return int(asyncio.run_coroutine_threadsafe(self._drop_idle(), self._loop).result(_ROOM_S))
        return 0

    async def _drop_idle(self) -> int:
        before_s = asyncio.get_running_loop().time() - _NEW_S
        open_ones = [one for server in self._servers for one in server.server_state.connections]
        dropped: int = sum(isinstance(one, BoundedProtocol) and one.drop_if_idle(before_s) for one in open_ones)
        closed = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(closed.set_result, None)  # behind what closes them
        await closed
        return dropped

    def serve_metrics(self, app: FastAPI, listener: socket.socket, protocol: type[BoundedProtocol]) -> None:
        """Serve this app on a TCP socket as well; to be called before the start."""
        self.tcp_port = listener.getsockname()[1]
        self._servers.append(_Server(app, protocol, listener))

    def serve_others(self, app: FastAPI, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Serve this app on a second TCP socket, by TLS where there is a context; to be called before the start."""
        self.others_port = listener.getsockname()[1]
        self._servers.append(_Server(app, BoundedProtocol, listener, tls))

    def start(self) -> None:
        """Start to serve, and return once all answer; raise GreenrunError."""
        self._thread.start()
        for server in self._servers:
            server.wait_until_it_answers()

    def _begin(self, server: "_Server") -> None:
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._add(server), self._loop).result(_START_S)
        server.wait_until_it_answers()

    async def _add(self, server: "_Server") -> None:
        self._tasks.add(asyncio.get_running_loop().create_task(server.serve(sockets=[server.listener])))

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_tell)
        for server in self._servers:
            await self._add(server)
        while self._tasks:
            done, _ = await asyncio.wait(set(self._tasks), return_when=asyncio.FIRST_COMPLETED)
            self._tasks -= done
            for task in done:
                task.result()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=_new_loop) as runner:
                runner.run(self._serve())
        except Exception:  # noqa: BLE001 - a thread's top: without this line nobody would hear of it
            _log.exception("the API stopped; jobs go on, but nobody can ask for them: restart the daemon")
        finally:
            for server in self._servers:
                with suppress(OSError):
                    server.listener.close()


class _Loop(asyncio.SelectorEventLoop):
    """A loop that waits for the beginning of TLS no longer than for a request's head."""

    async def create_server(self, *args: Any, **more: Any) -> asyncio.Server:
        if more.get("ssl"):
            more["ssl_handshake_timeout"] = BoundedProtocol.head_s
        return await super().create_server(*args, **more)


def _new_loop() -> asyncio.AbstractEventLoop:
    return _Loop(PollInParts())  # which takes no descriptor, and connections are few


def _tell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what went wrong in the loop, and in a line of its own that no connection can be accepted now."""
    error = context.get("exception")
    if isinstance(error, OSError) and (what := lacking(error)):
        _log.warning("callers wait", error=f"no connection can be accepted, because this machine is short of {what}")
    else:
        loop.default_exception_handler(context)


def serve_in_thread(
    app: FastAPI,
    uds_socket: socket.socket,
    metrics_app: FastAPI,
    tcp_socket: socket.socket | None,
    *,
    tcp_protocol: type[BoundedProtocol] = BoundedProtocol,
    others: tuple[socket.socket, ssl.SSLContext | None] | None = None,
) -> ServerHandle:
    """Serve `app` on the unix socket and `metrics_app` on the TCP sockets; return once all answer.

    The sockets are listening ones, and are closed when the server stops; that for `others` may have a TLS context.
    `tcp_protocol` limits the connections for the metrics.
    """
    handle = ServerHandle(app, uds_socket)
    if tcp_socket is not None:
        handle.serve_metrics(metrics_app, tcp_socket, tcp_protocol)
    if others is not None:
        handle.serve_others(metrics_app, *others)
    handle.start()
    return handle


class _Server(uvicorn.Server):
    """A uvicorn server that says when it answers. (Signals are the daemon's: outside the main thread it sets none.)"""

    def __init__(
        self,
        app: FastAPI,
        protocol: type[BoundedProtocol],
        listener: socket.socket,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(_config(app, protocol, tls))
        self.listener = listener
        if isinstance(listener, Listener):
            listener.most = protocol.most + 1  # the one more makes room for itself
        self._answers = threading.Event()

    def wait_until_it_answers(self) -> None:
        """Return once it does; raise GreenrunError."""
        if not self._answers.wait(_START_S):
            raise GreenrunError("The API did not start; the log has the reason.")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._answers.set()


class _Config(uvicorn.Config):
    """Settings of uvicorn with a TLS context that is made, and renewed, elsewhere."""

    tls: ssl.SSLContext | None = None

    def load(self) -> None:
        super().load()
        self.ssl = self.tls


def _config(app: FastAPI, protocol: type[BoundedProtocol], tls: ssl.SSLContext | None) -> uvicorn.Config:
    config = _Config(
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
    config.tls = tls
    return config
