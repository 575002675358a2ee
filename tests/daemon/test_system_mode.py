"""The daemon of a whole machine: where it is found, and who may connect to it."""

import grp
import os
import stat
from contextlib import closing
from pathlib import Path

import pytest

from greenrun import paths
from greenrun.api.serving.server import serve_in_thread
from greenrun.api.serving.unix_socket import bind_unix
from greenrun.config import load_config
from greenrun.config.server_mode import Mode, ServerSettings
from greenrun.core.errors import ConfigError
from greenrun.daemon.system_mode import group_of
from tests.api.fakes import World

OWN_GROUP = os.getgid()


def settings(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "greenrun.toml"
    file.write_text(text)
    return file


def test_its_places_are_those_of_a_service_and_the_command_line_finds_the_same(tmp_path: Path) -> None:
    file = settings(tmp_path, '[server]\nmode = "system"\n')
    config = load_config(file, {})
    assert (config.paths.state, config.api.socket) == (paths.SYSTEM_STATE, paths.SYSTEM_SOCKET)
    assert (paths.find_state(file), paths.find_socket(config=file)) == (paths.SYSTEM_STATE, paths.SYSTEM_SOCKET)


def test_places_that_are_stated_hold_in_system_mode_too(tmp_path: Path) -> None:
    file = settings(tmp_path, '[server]\nmode = "system"\n[paths]\nstate = "s"\n[api]\nsocket = "r/g.sock"\n')
    config = load_config(file, {})
    assert (config.paths.state, config.api.socket) == (tmp_path / "s", tmp_path / "r" / "g.sock")
    assert (paths.find_state(file), paths.find_socket(config=file)) == (tmp_path / "s", tmp_path / "r" / "g.sock")


def test_the_mode_may_be_a_variable_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENRUN_SERVER__MODE", "system")
    file = settings(tmp_path, "")
    assert load_config(file).server.is_system
    assert paths.find_socket(config=file) == load_config(file).api.socket == paths.SYSTEM_SOCKET


def test_another_mode_is_refused_by_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"server\.mode"):
        load_config(settings(tmp_path, '[server]\nmode = "root"\n'), {})


def test_nobody_but_the_user_may_connect_in_user_mode(tmp_path: Path) -> None:
    assert group_of(ServerSettings()) is None
    with closing(bind_unix(tmp_path / "r" / "s")):
        assert stat.S_IMODE((tmp_path / "r" / "s").stat().st_mode) == 0o600


def test_a_group_may_connect_in_system_mode_also_once_the_socket_was_bound_anew(tmp_path: Path) -> None:
    group = grp.getgrgid(OWN_GROUP).gr_name
    path = tmp_path / "r" / "s"
    world = World()
    listener = bind_unix(path, group_of(ServerSettings(mode=Mode.SYSTEM, group=group)))
    handle = serve_in_thread(world.app, listener, world.app, None)
    try:
        path.unlink()
        assert handle.reopen_unix()
        found = path.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o660, OWN_GROUP)
    finally:
        handle.stop()


def test_a_group_that_does_not_exist_is_told_with_what_makes_it() -> None:
    with pytest.raises(ConfigError, match="groupadd --system no-such-group"):
        group_of(ServerSettings(mode=Mode.SYSTEM, group="no-such-group"))
