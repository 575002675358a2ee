"""What the page in a browser costs the daemon: its first paint, and a page that stays open.

    .venv/bin/python benchmarks/page.py [--queued 1000] [--finished 10000] [--open-s 60] [--keep FOLDER]

A real daemon with 8 emulated GPUs, a forecast of two days, a store with that many finished jobs (as
report_of_jobs.py makes it) and that many queued ones. A browser's requests are made by a client that is signed in with
a ticket: the page, what it then asks for, and its event stream. Seconds are processor time of the daemon; the open
page is told beside the same daemon, for as long, without one. The bars are 1 s and 300 KiB for the first paint (besides
Plotly's script, which a browser keeps), and 0.3 % of a core for an open page.
"""

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from math import cos, pi
from pathlib import Path
from socket import socket
from subprocess import Popen
from sys import executable
from tempfile import TemporaryDirectory
from time import monotonic, sleep

import httpx
from report_of_jobs import DAY, HOUR, build, cpu_s, quiet, resident_mib

from greenrun.client import ApiClient, ClientError

MOST_S, MOST_KIB, MOST_SHARE = 1.0, 300.0, 0.003
SETTINGS = """
[paths]
state = "{folder}/state"
locks = "{folder}/locks"
[grid]
zone = "SYNTHETIC"
provider = "trace"
[provider.trace]
kind = "file"
path = "{folder}/grid.csv"
label = "synthetic"
[devices]
meter = "emulated"
[devices.emulated]
gpus = 8
[api]
socket = "{folder}/g.sock"
metrics = "127.0.0.1:{port}"
[log]
level = "warning"
"""
ASKED = re.compile(r'(?:src|href|data-source|data-fetch|data-plotly)="(/(?:assets|page)/[^"]+)"')


def main() -> None:
    """Make the store, and print what a page takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queued", type=int, default=1000)
    parser.add_argument("--finished", type=int, default=10_000)
    parser.add_argument("--open-s", type=float, default=60.0)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - 2 * DAY
        if not (folder / "state" / "greenrun.db").exists():
            build(folder / "state", options.finished, end - 73 * DAY, end)
        with serving(folder) as (pid, client, address):
            queue(client, options.queued)
            quiet(pid)
            measure(pid, client, address, options.open_s)


@contextmanager
def serving(folder: Path) -> Iterator[tuple[int, ApiClient, str]]:
    """Run a daemon there; yield its process id, a client of its socket, and the address of its page."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rows, now = ["start,g_per_kwh"], datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    for slot in range(-96, 200):
        start = now + slot * timedelta(minutes=30)
        rows.append(f"{start:%Y-%m-%dT%H:%M}Z,{200 + 80 * cos(slot / 24 * pi):.0f}")
    (folder / "grid.csv").write_text("\n".join(rows), encoding="utf-8")
    settings = folder / "page.toml"
    settings.write_text(SETTINGS.format(folder=folder, port=port), encoding="utf-8")
    client = ApiClient(folder / "g.sock", timeout_s=60)
    with Popen([executable, "-m", "greenrun.cli", "serve", "--config", str(settings)]) as process:
        try:
            while True:
                try:
                    client.health()
                    break
                except ClientError:
                    sleep(0.2)
            yield process.pid, client, f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def queue(client: ApiClient, count: int) -> None:
    """Let so many jobs wait, none of them within the hour."""
    job = {"command": ["sleep", "1"], "workdir": "/tmp", "duration_s": 7200, "max_delay_s": 8 * 86_400,
           "array": {"indices": list(range(count))}, "start_after": (datetime.now(UTC) + HOUR).isoformat()}  # fmt: skip
    client.offer_sweep(job)


def measure(pid: int, client: ApiClient, address: str, open_s: float) -> None:
    """Open the page as a browser does, and leave it open."""
    with httpx.Client(base_url=address, follow_redirects=True, timeout=60) as browser:
        browser.get("/sign-in", params={"ticket": client.ticket()["ticket"]}).raise_for_status()
        for what in ("first", "second"):
            began, size = cpu_s(pid), 0
            page = browser.get("/").raise_for_status()
            size += len(page.content)
            for target in sorted(set(ASKED.findall(page.text))):
                answer = browser.get(target.replace("&amp;", "&")).raise_for_status()
                size += 0 if "plotly" in target else int(answer.headers.get("content-length", len(answer.content)))
            print(
                f"{what} paint: {cpu_s(pid) - began:.2f} s of {MOST_S:.0f}, {size / 1024:.0f} KiB of {MOST_KIB:.0f} "
                f"besides Plotly's script; {resident_mib(pid, 'VmRSS'):.0f} MiB resident", flush=True,
            )  # fmt: skip
        alone = over(pid, open_s)
        seen = re.search(r'data-seen="([^"]+)"', page.text)
        with browser.stream("GET", "/page/stream", params={"seen": seen[1] if seen else ""}) as events:
            events.raise_for_status()
            with_page = over(pid, open_s)
        share = (with_page - alone) / open_s
        print(
            f"open for {open_s:.0f} s: {with_page:.2f} s with a page, {alone:.2f} s without: "
            f"{share:.2%} of a core, {share / MOST_SHARE:.2f} of the bar"
        )


def over(pid: int, wait_s: float) -> float:
    """Return what a process takes over some seconds."""
    began, until = cpu_s(pid), monotonic() + wait_s
    sleep(until - monotonic())
    return cpu_s(pid) - began


if __name__ == "__main__":
    main()
