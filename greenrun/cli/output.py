"""Write a command's output files: whole, or not at all."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8, whole or not at all; what was there stays until all of the new is on disk."""
    with whole_file(path) as new:
        new.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file to write to, which is at `path` once the block has ended well, and else never was."""
    with NamedTemporaryFile("wb", dir=path.absolute().parent, prefix=f".{path.name}.", delete=False) as new:
        try:
            yield new
            new.flush()
            os.fchmod(new.fileno(), 0o666 & ~_umask())  # as any new file: what is private is up to the user
            os.fsync(new.fileno())
            Path(new.name).replace(path)
        except BaseException:
            Path(new.name).unlink(missing_ok=True)
            raise


@contextmanager
def data_sink(output: str | None) -> Iterator[Callable[[bytes], object]]:
    """Yield what writes pieces of data to the file that is named, whole or not at all, else prints them as they come.

    What is there and is no regular file, such as a pipe, gets them as they come too.
    """
    if output is None:
        sys.stdout.flush()
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    path = Path(output).expanduser().resolve()
    with path.open("wb") if path.exists() and not path.is_file() else whole_file(path) as file:
        yield file.write


def page_problems(path: str) -> list[str]:
    """Return what keeps an HTML page from being written to this path, or nothing."""
    folder, problems = Path(path).absolute().parent, []
    if Path(path).suffix.lower() != ".html":
        problems.append(f"'{path}' does not end in .html, and only .html is drawn; its charts can be saved as PNG")
    if not folder.is_dir():
        problems.append(f"{folder} is not a folder")
    elif Path(path).is_dir():
        problems.append(f"{path} is a folder, not a file")
    return problems


def _umask() -> int:
    mask = os.umask(0o077)  # it can be read only by setting it
    os.umask(mask)
    return mask
