"""Nothing is unpickled, and so executed, that another user could have written."""

import os
import pickle
from pathlib import Path

import pytest

from greenrun.submitit import own_pickles
from greenrun.submitit.own_pickles import NotOwn, dumps, make_folder, read_pickle, write_pickle


class Bomb:
    """What tells that it was unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (os.environ["GREENRUN_TEST_BOMB"],)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a pickle that would leave a trace."""
    monkeypatch.setenv("GREENRUN_TEST_BOMB", str(tmp_path / "executed"))
    made = make_folder(tmp_path / "deep" / "down")
    write_pickle(made, "bomb.pkl", pickle.dumps(Bomb()))
    return made


def has_gone_off(folder: Path) -> bool:
    """Whether it was unpickled."""
    return (folder.parents[2] / "executed").exists()


def test_what_is_written_is_read_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    for value in ({"a": [1, 2]}, "again"):
        write_pickle(folder, "0.pkl", dumps(value))
        assert read_pickle(folder, "0.pkl") == value
    assert [path.name for path in folder.iterdir()] == ["0.pkl"]
    assert [(path.stat().st_mode & 0o777) for path in (folder, folder / "0.pkl")] == [0o700, 0o600]
    assert make_folder(tmp_path) != folder


def test_what_is_ones_own_is_unpickled(folder: Path) -> None:
    read_pickle(folder, "bomb.pkl")
    assert has_gone_off(folder)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_not_unpickled(folder: Path, mode: int) -> None:
    (folder / "bomb.pkl").chmod(mode)
    with pytest.raises(NotOwn, match="chmod go-w"):
        read_pickle(folder, "bomb.pkl")
    assert not has_gone_off(folder)


@pytest.mark.parametrize("mode", [0o770, 0o703, 0o1777])
def test_nothing_is_unpickled_from_or_written_to_a_folder_that_others_may_write_to(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    with pytest.raises(NotOwn, match="chmod go-w"):
        read_pickle(folder, "bomb.pkl")
    with pytest.raises(NotOwn, match="chmod go-w"):
        write_pickle(folder, "other.pkl", b"")
    assert not has_gone_off(folder)


def test_what_belongs_to_another_user_is_not_unpickled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = os.stat_result((0o100600, 1, 1, 1, 12345, 0, 1, 0, 0, 0))
    with pytest.raises(NotOwn, match="belongs to the user 12345"):
        own_pickles._check(found, folder)


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_what_is_no_plain_file_is_not_followed_nor_waited_for(folder: Path, kind: str) -> None:
    place = folder / "other.pkl"
    {"link": lambda: place.symlink_to("bomb.pkl"), "fifo": lambda: os.mkfifo(place), "folder": place.mkdir}[kind]()
    with pytest.raises(OSError):
        read_pickle(folder, "other.pkl")
    assert not has_gone_off(folder)


def test_a_link_to_a_folder_is_not_followed(folder: Path) -> None:
    (folder.parent / "link").symlink_to(folder)
    with pytest.raises(OSError):
        read_pickle(folder.parent / "link", "bomb.pkl")
    assert not has_gone_off(folder)


def test_where_there_is_none_it_is_not_found(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_pickle(folder, "none.pkl")
