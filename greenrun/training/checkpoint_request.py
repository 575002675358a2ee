"""Turn greenrun's request to checkpoint into a flag that a training loop looks at where its state is whole.

Standard library only, and nothing else of greenrun, so that this file can be copied into any environment.
"""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, NoReturn, Self

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "GREENRUN_CHECKPOINT_DIR"  # set for every run
SIGNAL = "GREENRUN_CHECKPOINT_SIGNAL"  # set for runs of interruptible jobs, as is the next
EXIT_CODE = "GREENRUN_CHECKPOINT_EXIT_CODE"
DEFAULT_SIGNAL = "USR1"
DEFAULT_EXIT_CODE = 85

_Handler = Callable[[int, FrameType | None], object] | int | None


class _Catcher:
    """The one handler of this process: how many contexts want it, and whether greenrun has asked.

    The handler only sets an attribute. It runs between any two steps of the main thread, so it must take no lock: the
    main thread may hold it.
    """

    def __init__(self) -> None:
        self.requested = False
        self._guard = threading.Lock()
        self._contexts = 0
        self._caught: int | None = None
        self._before: _Handler = None

    def enter(self) -> None:
        """Catch the signal, if there is one and no other context does; raise RuntimeError outside the main thread."""
        number = signal_number()
        with self._guard:
            if number is not None and self._caught is None:
                self._catch(number)
            self._contexts += 1

    def leave(self) -> None:
        """Put the former handler back when the last context is left; another thread than the main one cannot."""
        with self._guard:
            self._contexts -= 1
            if self._contexts or self._caught is None or threading.current_thread() is not threading.main_thread():
                return
            if self._before is not None:  # None was not installed from Python, and cannot be put back from here
                signal.signal(self._caught, self._before)
                self._caught = None

    def _catch(self, number: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                "greenrun.training.checkpointing() was entered in another thread than the main one, which alone can "
                "catch signals in Python, so nothing was done; enter it in the main thread first"
            )
        self._before = signal.signal(number, self._note)
        self._caught = number

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True


class Checkpointing:
    """Says whether greenrun has asked this run to checkpoint; False for ever outside greenrun."""

    @property
    def requested(self) -> bool:
        """Whether the run is to save its state and end with `exit_code`, within the job's grace period."""
        return _catcher.requested

    @property
    def exit_code(self) -> int:
        """What the program is to end with when it has saved its state."""
        return exit_code()

    def exit(self) -> NoReturn:
        """End the program as one that has saved its state and is to be continued later: raise SystemExit."""
        raise SystemExit(self.exit_code)

    def __enter__(self) -> Self:
        _catcher.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _catcher.leave()


def checkpointing() -> Checkpointing:
    """Return a context in which the checkpoint signal sets `requested` instead of ending the program.

    Enter it in the main thread, before anything slow: until then the signal ends the program. Contexts may be nested,
    and other threads may enter one while the main thread is in one. A request stands until the process ends. Outside
    greenrun no signal is caught.
    """
    return Checkpointing()


def checkpoint_dir(elsewhere: str = "checkpoints") -> "Path":
    """Return the folder that all runs of this job share; outside greenrun `elsewhere`, which is made if need be."""
    from pathlib import Path  # most of what this module would cost to import

    given = os.environ.get(FOLDER)
    folder = Path(given or elsewhere)
    if not given:
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def is_run() -> bool:
    """Whether this program is a run of greenrun's."""
    return bool(os.environ.get(FOLDER))


def signal_number() -> int | None:
    """Return the signal that asks this run to checkpoint; None outside greenrun."""
    name = os.environ.get(SIGNAL) or (DEFAULT_SIGNAL if is_run() else None)
    found = getattr(signal, f"SIG{name.upper().removeprefix('SIG')}", None) if name else None
    return int(found) if found is not None else None


def exit_code() -> int:
    """Return the exit code that says: saved, continue me later."""
    text = os.environ.get(EXIT_CODE, "")
    return int(text) if text.isascii() and text.isdecimal() else DEFAULT_EXIT_CODE


_catcher = _Catcher()
