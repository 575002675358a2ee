"""A start tells in the audit trail what has changed of settings, secrets and devices since the last one."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from greenrun.config import Config, load_config
from greenrun.core.energy.model import Device
from greenrun.daemon.known_values import note_changes, settings_values
from greenrun.daemon.main_loop import read_again
from greenrun.store import Store

NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)
GPU = Device(id="GPU-1", index=0, model="H100", source="nvml")
SETTINGS = """
[grid]
zone = "US-CAL-CISO"
provider = "maps"
[provider.maps]
kind = "electricity_maps"
key_file = "{folder}/maps.key"
[planner]
tick = "{tick}"
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "greenrun.db") as opened:
        yield opened


def config(folder: Path, key: str, tick: str = "5s") -> Config:
    (folder / "maps.key").write_text(key)
    (folder / "maps.key").chmod(0o600)
    (folder / "greenrun.toml").write_text(SETTINGS.format(folder=folder, tick=tick))
    return load_config(folder / "greenrun.toml", environ={})


def test_the_first_start_tells_nothing_and_the_next_ones_what_has_changed(store: Store, tmp_path: Path) -> None:
    note_changes(store.trail, config(tmp_path, "first-secret-key"), [GPU], NOW)
    assert store.jobs.events() == []
    note_changes(store.trail, config(tmp_path, "another-secret-key-1", tick="7s"), [], NOW)
    settings, devices = store.jobs.events()
    key = "provider.maps.key_file (content)"
    assert (settings.kind, settings.detail["file"]) == ("settings_changed", str(tmp_path / "greenrun.toml"))
    assert (settings.before, settings.after) == (
        {"planner.tick": "5s", key: "changed"},
        {"planner.tick": "7s", key: "changed"},
    )
    assert (devices.kind, devices.before, devices.after) == ("devices_changed", {"GPU-1": "H100 (gpu)"}, {})


def test_no_secret_is_kept(tmp_path: Path) -> None:
    told = json.dumps(settings_values(config(tmp_path, "first-secret-key")))
    assert "planner.tick" in told
    assert "first-secret-key" not in told


def test_a_key_in_an_address_tells_by_a_digest_that_it_has_changed(tmp_path: Path) -> None:
    def values(key: str) -> dict[str, str]:
        (tmp_path / "greenrun.toml").write_text(
            f'[provider.own]\nkind = "json"\nzone = "GB"\nurl = "https://grid.example/rates?key={key}"\n'
        )
        return settings_values(load_config(tmp_path / "greenrun.toml", environ={}))

    one, other = values("sesame-open-1"), values("sesame-open-2")
    assert "sesame" not in json.dumps(one)
    assert [name for name in one if one[name] != other[name]] == ["provider.own.url (key)"]


HOOKS = """
[notify.chat]
kind = "webhook"
url = "https://chat.example/T0/{key}"
events = ["late"]
[notify.page]
kind = "command"
command = ["/usr/bin/page", "--token", "{key}"]
events = ["late"]
"""


def test_what_hooks_may_hold_of_keys_is_kept_as_a_digest_alone(tmp_path: Path) -> None:
    def values(key: str) -> dict[str, str]:
        (tmp_path / "greenrun.toml").write_text(HOOKS.format(key=key))
        return settings_values(load_config(tmp_path / "greenrun.toml", environ={}))

    one, other = values("sesame-1"), values("sesame-2")
    assert "sesame" not in json.dumps(one)
    assert (one["notify.chat.url"], one["notify.page.command"]) == ('"https://chat.example/***"', '"/usr/bin/page ***"')
    assert [name for name in one if one[name] != other[name]] == ["notify.chat.url (key)", "notify.page.command (key)"]


def test_settings_in_which_a_key_alone_is_another_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "greenrun.toml"
    path.write_text(HOOKS.format(key="sesame-1"))
    before = load_config(path, environ={})
    assert read_again(before) is None
    path.write_text(HOOKS.format(key="sesame-2"))
    assert read_again(before) is not None
