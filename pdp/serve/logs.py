"""Logs: one event a line on stderr, JSON unless a person is looking."""

import logging
import sys
from traceback import format_tb
from typing import Any

import structlog


def configure_logging(level: str, process: str, worker: int | None = None) -> None:
    """Set up structlog and the standard library's logging alike. Call once, first.

    `worker`: which of several data planes it is.
    Tracebacks never show local variables: one of them may be a raw API key.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[structlog.typing.Processor]
    if sys.stderr.isatty():
        last = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    else:
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for chatty in ("asyncio", "grpc", "uvicorn", "aiosqlite", "alembic", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(process=process)
    if worker is not None:
        structlog.contextvars.bind_contextvars(worker=worker)


def log_defect(log: Any, event: str, error: BaseException) -> None:
    """Log an error that nobody foresaw: its type and place, no values.

    Its message may hold the request, and that an API key.
    """
    log.error(event, error=type(error).__name__, where=format_tb(error.__traceback__)[-3:])
