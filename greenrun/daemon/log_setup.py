"""Set up the logs: one line per change of state on stderr, for people or as JSON, whoever logs in this process."""

import logging
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import structlog
from structlog.types import EventDict, Processor

from greenrun.core.formatting import logged_number

REPEAT_S = 60.0  # how often a line that is the same as before is written
MOST_KNOWN = 500  # different ones that are kept in mind
_VOLATILE = frozenset({"timestamp", "took_ms"})

log = structlog.get_logger("greenrun.daemon.log_setup")


class Repeats:
    """Lets a warning or error through once a minute, however often it comes, with how often it has since."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, int, EventDict]] = {}  # when it was written, how often since, what it was
        self._lock = threading.Lock()

    def __call__(self, _: object, method: str, event: EventDict) -> EventDict:
        """Pass a line on, or drop it (a processor of structlog)."""
        if event.get("level", method) not in ("warning", "error", "critical"):
            return event
        key, now_s = _key(event), time.monotonic()
        with self._lock:
            known = self._known.get(key)
            if known is not None and now_s - known[0] < REPEAT_S:
                self._known[key] = (known[0], known[1] + 1, known[2])
                raise structlog.DropEvent
            self._known.pop(key, None)
            if len(self._known) >= MOST_KNOWN:
                self._known.pop(next(iter(self._known)))
            shown = {name: value for name, value in event.items() if name not in ("exc_info", "timestamp", "level")}
            self._known[key] = (now_s, 0, shown)
        return {**event, "times": known[1]} if known is not None and known[1] else event

    def due(self) -> list[tuple[EventDict, int]]:
        """Return what was held back and has not come again for so long that its number should be told, once."""
        now_s = time.monotonic()
        with self._lock:
            due = [key for key, (at_s, count, _) in self._known.items() if count and now_s - at_s >= REPEAT_S]
            found = [(self._known[key][2], self._known[key][1]) for key in due]
            for key in due:
                del self._known[key]
        return found


_REPEATS = Repeats()


def without_noise(_: object, method: str, event: EventDict) -> EventDict:
    """Cut numbers to the digits that people read (a processor of structlog)."""
    return {name: logged_number(value) if isinstance(value, float) else value for name, value in event.items()}


def configure_logs(form: str, level: str) -> None:
    """Log to stderr as `console` or `json`, from `level` up; tracebacks omit local variables: they may be secrets.

    What libraries log, warnings, and exceptions that nobody catches have the same form.
    """
    threshold = getattr(logging, level.upper())
    stamp: list[Processor] = [
        structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True), without_noise,
        _REPEATS,
    ]  # fmt: skip
    if form == "json":
        last: list[Processor] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    else:
        plain = structlog.dev.plain_traceback
        last = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    structlog.configure(
        processors=[*stamp, *last],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    _take_over(threshold)


def flush_repeats() -> tuple[()]:
    """Tell how often what was held back came, once it has ceased."""
    for event, count in _REPEATS.due():
        log.warning("repeated", what=event.get("event"), times=count, last=_detail(event))
    return ()


class _Forward(logging.Handler):
    """Hands what libraries log by `logging` to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record in greenrun's form."""
        try:
            logger = structlog.get_logger(record.name)
            more = {"exc_info": record.exc_info} if record.exc_info else {}
            logger.log(record.levelno, record.getMessage(), logger=record.name, **more)
        except Exception:  # noqa: BLE001 - as `logging` does: what cannot be logged must not end who logs it
            self.handleError(record)


def _take_over(threshold: int) -> None:
    root = logging.getLogger()
    root.handlers[:] = [_Forward()]
    root.setLevel(max(threshold, logging.WARNING))
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs whole URLs, which may contain keys
    warnings.showwarning = _show_warning
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(
        args.exc_type, args.exc_value, args.exc_traceback, where=args.thread.name if args.thread else "a thread"
    )
    sys.unraisablehook = lambda args: _uncaught(
        args.exc_type, args.exc_value, args.exc_traceback, where=args.err_msg or "a finalizer"
    )


def _show_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: object = None,
    line: str | None = None,
) -> None:  # fmt: skip
    log.warning("python warning", category=category.__name__, text=str(message), at=f"{filename}:{lineno}")


def _uncaught(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None, *, where: str = "main"
) -> None:
    if not issubclass(kind, KeyboardInterrupt | SystemExit):
        log.error("uncaught exception", where=where, exc_info=(kind, error, trace))


def _key(event: Mapping[str, Any]) -> str:
    """What makes a line the same as another: all of it but its time, and of an exception its kind and place."""
    parts = [f"{name}={value}" for name, value in sorted(event.items()) if name not in {*_VOLATILE, "exc_info"}]
    error = _error_of(event.get("exc_info"))
    if error is not None:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        parts += [type(error).__qualname__, str(trace.tb_lineno) if trace else ""]
    return "\n".join(parts)


def _error_of(info: object) -> BaseException | None:
    if isinstance(info, BaseException):
        return info
    if isinstance(info, tuple) and len(info) == 3 and isinstance(info[1], BaseException):
        return info[1]
    return sys.exc_info()[1] if info is True else None


def _detail(event: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in event.items() if name != "event")[:500]
