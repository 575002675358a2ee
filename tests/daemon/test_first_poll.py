"""The first poll of the sources: what fails in one is that source's, and what fails in the store stops the start."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from greenrun.config import load_config
from greenrun.core.errors import StorageFull
from greenrun.daemon.daemon import Daemon


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with one source that has not started yet."""
    file = tmp_path / "greenrun.toml"
    file.write_text(
        "[paths]\nstate = 'state'\nlocks = 'locks'\n[api]\nsocket = 's'\nmetrics = ''\n[devices]\nmeter = 'none'\n"
        "cpu_meter = 'none'\n[grid]\nzone = 'GB'\nprovider = ['spare']\n[provider.spare]\nkind = 'static'\n"
        "g_per_kwh = 100\nzone = 'GB'\n",
        encoding="utf-8",
    )
    with ExitStack() as parts:
        yield Daemon(load_config(file, {}), parts)


@pytest.mark.parametrize("failure", [RuntimeError("boom"), SystemExit(7), KeyboardInterrupt()])
def test_a_failure_of_one_source_is_counted_and_the_start_goes_on(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(daemon._engine, "fetch", fail)
    daemon._poll_once()
    assert daemon._ticker.failures == 1


def test_a_full_disk_stops_the_start(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StorageFull("there is no room")

    monkeypatch.setattr(daemon._engine, "fetch", fail)
    with pytest.raises(StorageFull, match="there is no room"):
        daemon.start()
