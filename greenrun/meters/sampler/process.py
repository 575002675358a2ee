"""The main program of a sampler process: a driver call that hangs, hangs here and not in the daemon.

Started with one argument, a packed Request. It samples once a second on its own clock, and at once for each line on
standard input, the number of a poke, which has a `!` behind it if who uses the GPUs is urgent; it writes its readings
to standard output, and ends when standard input does.
"""

import os
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from time import monotonic

from greenrun.clock import suspended_s
from greenrun.core.energy.model import every_gpu
from greenrun.core.errors import MeterEnded, MeterError
from greenrun.core.formatting import duration_text
from greenrun.meters.arrangement import arranged, not_there
from greenrun.meters.backends import BACKENDS, Backend
from greenrun.meters.sampler.wire import Message, Request, pack, unpack_request
from greenrun.meters.settings import MeterSettings

PERIOD_S = 1.0
SUSPENDED_S = 1.0  # after a longer suspension of the machine, the meters are opened anew
RETRY_S = 0.02  # after a backend returned "retry soon"
REFUSED, ENDED = 3, 4  # exit codes


class Pokes:
    """Numbers read from standard input by a thread, so that its end is noticed even while the meter hangs."""

    def __init__(self) -> None:
        self.last = self.urgent = 0
        self._news = threading.Event()
        threading.Thread(target=self._listen, name="pokes", daemon=True).start()

    def wait(self, seconds: float) -> None:
        """Return after `seconds`, or at once when poked since the last call."""
        self._news.wait(max(0.0, seconds))
        self._news.clear()

    def _listen(self) -> None:
        with suppress(ConnectionResetError):  # the parent ended before it had heard all
            for line in sys.stdin.buffer:
                number = int(line.rstrip(b"!\n"))
                self.urgent = number if b"!" in line else self.urgent
                self.last = number
                self._news.set()
        os._exit(0)  # the parent is gone; nothing here needs an orderly end


def main(argument: str) -> int:
    """Sample the requested meter until standard input ends; return REFUSED if the meter refuses."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the parent's mask, which may block signals, is inherited
    request, pokes = unpack_request(argument), Pokes()  # notices the parent's end even while a driver is opened
    try:
        backend = open_backend(request)
    except MeterError as exc:
        _say(Message(refusal=str(exc)))
        return REFUSED
    serve(backend, pokes, settings=request.settings)
    return 0


def open_backend(request: Request) -> Backend:
    """Open the backend of a request; raise MeterError if it refuses."""
    return BACKENDS[request.kind](request.settings, request.runs_dir, request.state_dir)


def serve(backend: Backend, pokes: Pokes, period_s: float = PERIOD_S, settings: MeterSettings | None = None) -> None:
    """Send the hello message, then readings, until standard input ends or the reader is gone."""
    try:
        notes, devices = tuple(getattr(backend, "notes", ())), backend.devices
        if settings is not None and every_gpu(devices):
            notes, devices = (*notes, *not_there(devices, settings)), arranged(devices, settings)
        _say(Message(devices=devices, notes=notes, troubles=backend.troubles()))
        _sample_for_ever(backend, pokes, period_s)
    except MeterEnded as exc:
        _say(Message(trouble=str(exc)))
        os._exit(ENDED)  # without waiting for the listening thread
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)  # as at the end of standard input; flushing at a normal exit would fail again


def _sample_for_ever(backend: Backend, pokes: Pokes, period_s: float) -> None:
    answered, said_at, troubles, slept_s = 0, monotonic(), backend.troubles(), suspended_s()
    while True:
        _end_after_suspension(slept_s)
        poke = pokes.last
        message = _sample(backend, poke, is_urgent=pokes.urgent > answered)
        if message and backend.troubles() != troubles:
            troubles = backend.troubles()
            message = replace(message, troubles=troubles)
        is_late = monotonic() - said_at >= period_s
        if message or is_late:
            answered = poke if message else answered
            _say(message or Message(poke=answered))
            said_at = monotonic()
        pokes.wait(said_at + period_s - monotonic() if message else RETRY_S)


def _end_after_suspension(before_s: float) -> None:
    """Raise MeterEnded if the machine was suspended: steady seconds leave that out, and a driver may have lost all.

    The next process goes on with what counters tell; where there is none, what was used meanwhile is unknown.
    """
    slept_s = suspended_s() - before_s
    if slept_s > SUSPENDED_S:
        raise MeterEnded(f"The machine was suspended for {duration_text(slept_s)}, so its meters are opened anew.")


def _sample(backend: Backend, poke: int, *, is_urgent: bool) -> Message | None:
    try:
        readings = backend.sample()
    except MeterEnded:
        raise
    except MeterError as exc:
        return Message(trouble=str(exc), poke=poke, gpu_uses=backend.gpu_uses(is_urgent=is_urgent))
    if readings is None:
        return None
    uses = backend.gpu_uses(is_urgent=is_urgent)
    return Message(readings=tuple(readings), poke=poke, telemetry=backend.telemetry(), gpu_uses=uses)


def _say(message: Message) -> None:
    sys.stdout.buffer.write(pack(message))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    os._exit(main(sys.argv[1]))  # without waiting for the listening thread
