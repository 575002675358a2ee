"""Files are found where the conventions say, and everybody who asks finds the same."""

from pathlib import Path

import pytest

from greenrun import paths


def test_the_settings_file_is_the_named_one_then_the_user_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By argument, by variable, in the user's folder, in this order; a named one need not exist."""
    monkeypatch.setattr(paths, "SYSTEM_CONFIG", tmp_path / "absent")
    own = tmp_path / "greenrun" / "greenrun.toml"
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert paths.find_config(environ=environ) is None
    own.parent.mkdir()
    own.touch()
    assert paths.find_config(environ=environ) == own
    assert paths.find_config(environ=environ | {"GREENRUN_CONFIG": "/named"}) == Path("/named")
    assert paths.find_config("/given", environ | {"GREENRUN_CONFIG": "/named"}) == Path("/given")


def test_socket_and_state_are_what_the_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client finds the daemon's files without loading its settings: relative ones from the file's folder."""
    for name in ("GREENRUN_SOCKET", "GREENRUN_API__SOCKET", "GREENRUN_PATHS__STATE"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "greenrun.toml"
    file.write_text('[api]\nsocket = "run/g.sock"\n[paths]\nstate = "/var/lib/greenrun"\n')
    assert paths.find_socket(config=file) == tmp_path / "run" / "g.sock"
    assert paths.find_state(file) == Path("/var/lib/greenrun")
    monkeypatch.setenv("GREENRUN_API__SOCKET", "/run/other.sock")
    assert paths.find_socket(config=file) == Path("/run/other.sock")
    assert paths.find_socket("/given.sock", file) == Path("/given.sock")


def test_a_broken_settings_file_does_not_stop_the_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon tells what is wrong with it; the client tries the default socket."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    monkeypatch.delenv("GREENRUN_API__SOCKET", raising=False)
    file = tmp_path / "greenrun.toml"
    for raw in (b"\xff", b"= broken", b"api = 3"):
        file.write_bytes(raw)
        assert paths.find_socket(config=file) == Path("/run/user/7/greenrun/greenrun.sock")


@pytest.mark.parametrize(
    ("parent_mode", "own_mode", "shared"), [(0o1777, None, True), (0o755, None, False), (0o755, 0o1777, True)]
)
def test_locks_are_in_one_place_for_every_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parent_mode: int, own_mode: int | None, shared: bool
) -> None:
    """Whether a folder is open to all decides, not whether this user (root, say) could write to it."""
    folder = tmp_path / "lock" / "greenrun"
    (folder if own_mode else folder.parent).mkdir(parents=True)
    folder.parent.chmod(parent_mode)
    if own_mode:
        folder.chmod(own_mode)
    monkeypatch.setattr(paths, "SYSTEM_LOCKS", folder)
    assert paths.find_locks() == (folder if shared else paths.FALLBACK_LOCKS)
