"""Numbered checkpoints in the job's folder: each is written beside the last one and renamed, so it is whole."""

import shutil
from pathlib import Path

from greenrun.training.checkpoint_request import checkpoint_dir, is_run


class NumberedCheckpoints:
    """The checkpoints `greenrun-NAME-1`, `-2` and so on: each a file or a folder."""

    def __init__(self, name: str, ending: str = "") -> None:
        self._prefix = f"greenrun-{name}-"
        self._ending = ending

    def latest(self) -> Path | None:
        """Return the one to go on from; None in a first run, and outside greenrun."""
        found = self._whole() if is_run() else []
        return found[-1] if found else None

    def begin(self) -> Path:
        """Return the path to write the next one to."""
        folder = checkpoint_dir()
        latest = self.latest()
        number = self._number(latest) + 1 if latest else 1
        return folder / f"{self._prefix}{number}.part"

    def keep(self, part: Path) -> None:
        """Let what was written count, and delete those before it."""
        older = self._whole()
        part.replace(part.with_name(part.stem + self._ending))
        for path in older:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def _whole(self) -> list[Path]:
        found = [path for path in checkpoint_dir().glob(f"{self._prefix}*") if self._number(path)]
        return sorted(found, key=self._number)

    def _number(self, path: Path) -> int:
        """Return the number in a checkpoint's name; 0 for what is none, such as one that is half written."""
        text = path.name.removeprefix(self._prefix).removesuffix(self._ending)
        return int(text) if text.isascii() and text.isdecimal() else 0
