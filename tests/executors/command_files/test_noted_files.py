"""Files that a job reads are noted at submission; at its start those that are gone or have another content are told."""

import os
from pathlib import Path

from greenrun.executors.command_files.noted_files import changed, gone, noted


def test_a_file_that_stays_as_it_is_has_not_changed(tmp_path: Path) -> None:
    script = tmp_path / "a.py"
    script.write_text("print(1)\n")
    files = noted([str(script), str(tmp_path / "none"), str(tmp_path)])
    assert (list(files), gone(files), changed(files)) == ([str(script)], [], [])


def test_a_file_is_compared_by_content_and_not_by_its_time_alone(tmp_path: Path) -> None:
    script = tmp_path / "a.py"
    script.write_text("print(1)\n")
    files = noted([str(script)])
    script.write_text("print(1)\n")
    os.utime(script, (1, 1))
    assert changed(files) == []
    script.write_text("print(2)\n")
    os.utime(script, (2, 2))
    assert changed(files) == [str(script)]
    script.write_text("print(10)\n")
    assert changed(files) == [str(script)]


def test_a_large_file_is_compared_by_size_and_time(tmp_path: Path) -> None:
    program = tmp_path / "a"
    program.write_bytes(b"x" * (2 << 20))
    files = noted([str(program)])
    assert changed(files) == []
    os.utime(program, (1, 1))
    assert changed(files) == [str(program)]


def test_a_file_that_was_removed_is_gone_and_not_changed(tmp_path: Path) -> None:
    script = tmp_path / "a.py"
    script.write_text("print(1)\n")
    files = noted([str(script)])
    script.unlink()
    assert (gone(files), changed(files)) == ([str(script)], [])


def test_a_note_of_an_unknown_form_tells_nothing(tmp_path: Path) -> None:
    assert (changed({str(tmp_path / "none"): ""}), gone({str(tmp_path): ""})) == ([], [])
