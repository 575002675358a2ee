"""The whole daemon tells a command and a server what happened: while another hook hangs, and over a kill."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from tests.notifications.build import script
from tests.patience import HANGS_S, until
from tests.system.harness import Daemon

Payload = dict[str, Any]


class Server:
    """A server on this machine that notes what it is sent, and refuses it for as long as it is told to."""

    def __init__(self) -> None:
        self.refuses = False
        self.heard: list[Payload] = []
        self.refused: list[Payload] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                refuses = outer.refuses
                (outer.refused if refuses else outer.heard).append(payload)
                self.send_response(503 if refuses else 204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(HANGS_S)
        self._server.server_close()

    def told(self, job: int) -> list[Payload]:
        return [row for row in list(self.heard) if row["job"] and row["job"]["id"] == job]


@contextmanager
def served() -> Iterator[Server]:
    server = Server()
    try:
        yield server
    finally:
        server.close()


def test_hooks_are_told_while_one_hangs_and_after_a_kill(folder: Path) -> None:
    said = folder / "said"
    with served() as server:
        for name in ("says", "hangs"):
            (folder / name).mkdir()
        hooks = {
            "web": {"kind": "webhook", "events": ["ended"], "jobs": "all", "url": server.url},
            "says": {
                "kind": "command",
                "events": ["failed"],
                "command": list(script(folder / "says", f"cat >> {said}; echo >> {said}")),
            },
            "hangs": {
                "kind": "command",
                "events": ["started", "ended"],
                "jobs": "all",
                "timeout": "5m",
                "command": list(script(folder / "hangs", f"echo > {folder}/hanging; exec sleep 1000")),
            },
        }
        with Daemon(folder, {"notify": hooks}) as daemon:
            first = daemon.submit("--now", "--gpus", "0", "--name", "first", "--", "true")
            until(lambda: (folder / "hanging").exists(), "one hook hangs")
            failed = daemon.submit("--now", "--gpus", "0", "--name", "broken", "--notify", "failed", "--", "false")
            assert daemon.wait_for(failed)["state"] == "failed", "jobs go on"
            until(lambda: server.told(first) and server.told(failed), "the server is told of both")
            until(
                lambda: said.exists() and said.read_text().endswith("\n"), "the command is told of the one that asked"
            )
            (told,) = map(json.loads, said.read_text().splitlines())
            assert (told["type"], told["job"]["id"], told["job"]["name"]) == ("job.ended", failed, "broken")
            assert (told["job"]["outcome"], told["job"]["exit_code"]) == ("failed", 1)

            server.refuses = True
            later = daemon.submit("--now", "--gpus", "0", "--", "true")
            until(lambda: any(row["job"]["id"] == later for row in list(server.refused)), "it was refused")
            daemon.kill9()
            server.refuses = False
            daemon.start()
            until(lambda: server.told(later), "it is told after the restart", limit_s=HANGS_S)
            ids = {row["id"] for row in [*server.refused, *server.told(later)] if row["job"]["id"] == later}
            assert len(ids) == 1, "and can be known to be the same"
            assert len(server.told(first)) == 1, "what was told is not told again"
            assert daemon.terminate() == 0, "which waits for no hook"
