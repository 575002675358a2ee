"""Set up the logs: one line per change of state on stderr, for people or as JSON."""

import logging
import sys

import structlog


def configure_logs(form: str, level: str) -> None:
    """Log to stderr as `console` or `json`, from `level` up; tracebacks omit local variables: they may be secrets."""
    threshold = getattr(logging, level.upper())
    logging.basicConfig(
        level=max(threshold, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs whole URLs, which may contain keys
    shared: list[structlog.types.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if form == "json":
        last: list[structlog.types.Processor] = [
            structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str),
        ]  # fmt: skip
    else:
        plain = structlog.dev.plain_traceback
        last = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
