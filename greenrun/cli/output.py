"""Write a command's output files: whole, or not at all."""

import os
from pathlib import Path
from tempfile import NamedTemporaryFile


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8, whole or not at all; what was there stays until all of the new is on disk."""
    with NamedTemporaryFile("wb", dir=path.absolute().parent, prefix=f".{path.name}.", delete=False) as new:
        try:
            new.write(content.encode() if isinstance(content, str) else content)
            new.flush()
            os.fchmod(new.fileno(), 0o666 & ~_umask())  # as any new file: what is private is up to the user
            os.fsync(new.fileno())
            Path(new.name).replace(path)
        except BaseException:
            Path(new.name).unlink(missing_ok=True)
            raise


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
