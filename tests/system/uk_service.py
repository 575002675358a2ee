"""The UK's carbon intensity service on this machine: half hours around now, the cleanest in eight hours."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from greenrun.clock import utc_now

HALF_HOUR = timedelta(minutes=30)
CLEANEST_IN = timedelta(hours=8)
AHEAD, BACK = 96, 48


def half_hours(begun: datetime, now: datetime) -> list[dict[str, Any]]:
    """A day back and two ahead; what is over has an actual value."""
    first = now.replace(minute=now.minute // 30 * 30, second=0, microsecond=0) - BACK * HALF_HOUR
    rows = []
    for number in range(BACK + AHEAD):
        start = first + number * HALF_HOUR
        value = round(60 + 20 * abs(start - begun - CLEANEST_IN) / timedelta(hours=1))
        intensity = {"forecast": value, "actual": value if start + HALF_HOUR <= now else None, "index": "moderate"}
        rows.append(
            {"from": f"{start:%Y-%m-%dT%H:%MZ}", "to": f"{start + HALF_HOUR:%Y-%m-%dT%H:%MZ}", "intensity": intensity}
        )
    return rows


@contextmanager
def serving() -> Iterator[str]:
    """Serve it while the block runs; yield its address."""
    begun = utc_now()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            first, _, last = self.path.removeprefix("/intensity/").partition("/")
            start = datetime.strptime(first, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)
            until = start + AHEAD * HALF_HOUR if last.startswith("fw") else datetime.fromisoformat(last)
            rows = half_hours(begun, utc_now())
            wanted = [row for row in rows if start - HALF_HOUR < datetime.fromisoformat(row["from"]) < until]
            body = json.dumps({"data": wanted}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
