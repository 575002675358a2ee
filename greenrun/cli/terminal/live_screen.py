"""A screen that is drawn again and again in place, until q or Ctrl-C, and leaves the terminal as it was."""

import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Generic, NamedTuple, TypeVar

from greenrun.cli.tables import BOLD, DIM, RED, REVERSE, has_styles, style
from greenrun.cli.terminal.width import padded, shortened, wrapped
from greenrun.core.errors import GreenrunError

Seen = TypeVar("Seen")

_QUIT, _RESIZED, _STOPPED, _LOOKED = b"q", b"r", b"z", b"l"
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # another screen without a cursor, and back (xterm's)
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_SIGNALS = {
    signal.SIGWINCH: _RESIZED,
    signal.SIGTSTP: _STOPPED,
    signal.SIGINT: _QUIT,
    signal.SIGTERM: _QUIT,
    signal.SIGHUP: _QUIT,
}


class Look(NamedTuple, Generic[Seen]):
    """What was seen last (None: nothing yet), and why it could not be seen since (None: it could)."""

    seen: Seen | None = None
    trouble: GreenrunError | None = None


Draw = Callable[[Look[Seen], int, int], Sequence[str]]


def can_be_live() -> bool:
    """Whether stdout is a terminal on which lines can be drawn in place."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def show_live(look: Callable[[], Seen], draw: Draw[Seen], every_s: float) -> None:
    """Look every `every_s` seconds and draw what was seen, also when the terminal is resized, until q or Ctrl-C.

    `draw` gets the size of the terminal and returns lines, which may have styles. It is told when `look` raises a
    GreenrunError; what was seen before stays.
    """
    with _Wakeups() as wakeups, _Screen() as screen:
        observer = _Observer(look, every_s, wakeups)
        observer.start()
        try:
            while True:
                width, height = screen.size()
                screen.draw(draw(observer.last(), width, height), height)
                woken = wakeups.wait(screen.keys)
                if _QUIT in woken:
                    return
                if _STOPPED in woken:
                    screen.stop()
        finally:
            observer.stop()


class _Screen:
    """A screen of its own without a cursor, and keys that come one by one, unseen, where stdin is a terminal."""

    def __enter__(self) -> "_Screen":
        self.keys = sys.stdin.fileno() if sys.stdin.isatty() else None
        self._modes = None if self.keys is None else termios.tcgetattr(self.keys)
        self._enter()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def size(self) -> tuple[int, int]:
        """Return its columns and lines as they are now, whatever COLUMNS and LINES said when it was smaller."""
        try:
            width, height = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            width, height = 0, 0
        return width or 80, height or 24

    def draw(self, lines: Sequence[str], height: int) -> None:
        """Draw lines over what was there; a line is cleared before, for then its last column is not lost."""
        shown = "\r\n".join(_CLEAR_LINE + line for line in lines[:height])
        rest = f"\r\n{_CLEAR_BELOW}" if len(lines) < height else ""
        sys.stdout.write(_HOME + shown + rest)
        sys.stdout.flush()

    def stop(self) -> None:
        """Leave the terminal to the shell until the user lets us go on."""
        self._leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._enter()

    def _enter(self) -> None:
        if self.keys is not None:
            tty.setcbreak(self.keys)
        sys.stdout.write(_ENTER)

    def _leave(self) -> None:
        with suppress(OSError):  # the terminal may be gone
            sys.stdout.write(_LEAVE)
            sys.stdout.flush()
        if self.keys is not None and self._modes is not None:
            with suppress(termios.error):
                termios.tcsetattr(self.keys, termios.TCSADRAIN, self._modes)


class _Wakeups:
    """A pipe that signals and the observer write to, so that one wait hears of all."""

    def __enter__(self) -> "_Wakeups":
        self._out, self._in = os.pipe()
        os.set_blocking(self._in, False)
        self._before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._in)
        os.close(self._out)

    def wake(self, why: bytes) -> None:
        with suppress(OSError):  # it is full of wakeups already, or all is over
            os.write(self._in, why)

    def wait(self, keys: int | None) -> bytes:
        """Wait for news; return which: the letters of the wakeups and the keys that quit."""
        ready, _, _ = select.select([self._out, *([] if keys is None else [keys])], [], [])
        woken = os.read(self._out, 1024) if self._out in ready else b""
        if keys is not None and keys in ready:
            typed = os.read(keys, 1024)
            woken += _QUIT if not typed or b"q" in typed.lower() else b""
        return woken

    def _on_signal(self, number: int, _: object) -> None:
        self.wake(_SIGNALS[signal.Signals(number)])


class _Observer(threading.Thread, Generic[Seen]):
    """Looks again and again beside the screen, which stays quick however long an answer takes."""

    def __init__(self, look: Callable[[], Seen], every_s: float, wakeups: _Wakeups) -> None:
        super().__init__(name="observer", daemon=True)
        self._look = look
        self._every_s = every_s
        self._wakeups = wakeups
        self._ended = threading.Event()
        self._last: Look[Seen] = Look()

    def run(self) -> None:
        began = monotonic()
        while not self._ended.is_set():
            try:
                self._last = Look(self._look())
            except GreenrunError as exc:
                self._last = Look(self._last.seen, exc)
            except Exception as exc:  # noqa: BLE001 - a thread's top: else the figures would stand still, untold
                trouble = GreenrunError(f"this look failed ({exc!r}), so what is shown is older; the next one is tried")
                self._last = Look(self._last.seen, trouble)
            self._wakeups.wake(_LOOKED)
            self._ended.wait(max(0.1, began + self._every_s - monotonic()))
            began = monotonic()

    def last(self) -> "Look[Seen]":
        """Return what was seen last."""
        return self._last

    def stop(self) -> None:
        """Look no more; an answer that is being waited for is left alone."""
        self._ended.set()


def page_of(head: str, lines: Sequence[str], look: Look[Any], width: int, height: int) -> list[str]:
    """Return lines below a head, with what troubles the look, and how many there is no room for."""
    shown = [style(padded(shortened(head, width), width), REVERSE)]
    warning = RED if has_styles() else BOLD
    if look.trouble is not None:
        shown += [style(line, warning) for line in wrapped(f"{look.trouble}", width)]
    room = height - len(shown)
    if len(lines) <= room:
        return [*shown, *lines]
    return [*shown, *lines[: room - 1], style(shortened(f"{len(lines) - room + 1} more", width), DIM)]
