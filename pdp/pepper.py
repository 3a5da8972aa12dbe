"""The pepper: what keys the hashes of API keys, so that a stolen database opens nothing."""

import asyncio
import os
import secrets as random
import time
from pathlib import Path
from typing import Final

from pdp.datadir import make_data_dir, refusal
from pdp.errors import StartRefused
from pdp.secret import MIN_PEPPER, pepper_of
from pdp.settings import Settings

_FILE = "pepper"
_FIRST_START: Final = 30.0
"""Seconds that the control plane may take to make a pepper."""

_RESTORE: Final = "put back the pepper that the keys were made with"


def load_pepper(settings: Settings) -> bytes:
    """Return the pepper of the settings, or the data dir's own.

    Raises `StartRefused`, naming what is missing or wrong.
    """
    if settings.key_pepper is not None:
        return pepper_of(settings.key_pepper.reveal())
    check_has_own(settings)
    return pepper_of(_read(pepper_file(settings)))


def check_has_own(settings: Settings) -> None:
    """Raise `StartRefused` if the pepper must be a setting, and is none.

    Others may share a database that is no file of this machine, but not a data dir.
    """
    if settings.key_pepper is None and not settings.is_embedded:
        raise StartRefused(
            f"PDP_KEY_PEPPER: needed with PostgreSQL: set {MIN_PEPPER} random characters or more, "
            "the same on every plane"
        )


def make_pepper(settings: Settings) -> None:
    """Make the data dir's own pepper, if it is needed and not there.

    Only for who knows that no key was made with another one.
    """
    path = pepper_file(settings)
    if settings.key_pepper is not None or path.exists():
        return
    make_data_dir(settings.data_dir)
    try:
        _make(path)
    except OSError as error:
        raise refusal(path, error) from error


async def pepper_made(settings: Settings, stop: asyncio.Event) -> None:
    """Wait until there is a pepper: at the first start of all, the control plane is making it."""
    end = time.monotonic() + _FIRST_START
    while not (settings.key_pepper or has_own_pepper(settings) or stop.is_set()):
        if time.monotonic() > end:
            return
        await asyncio.sleep(0.02)


def has_own_pepper(settings: Settings) -> bool:
    """Tell whether there is one in the data dir."""
    return pepper_file(settings).exists()


def pepper_file(settings: Settings) -> Path:
    """Return where the data dir's own pepper is."""
    return settings.data_dir / _FILE


def _read(path: Path) -> str:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise StartRefused(
            f"PDP_DATA_DIR: there is no `{path}`: put back the pepper that the keys were made "
            "with, or set PDP_KEY_PEPPER to it"
        ) from error
    except OSError as error:
        raise refusal(path, error) from error
    except UnicodeDecodeError as error:
        raise StartRefused(f"PDP_DATA_DIR: `{path}` is not UTF-8: {_RESTORE}") from error
    if len(text.strip()) < MIN_PEPPER:
        raise StartRefused(
            f"PDP_DATA_DIR: `{path}` has fewer than {MIN_PEPPER} characters: {_RESTORE}"
        )
    return text


def _make(path: Path) -> None:
    """Write a new pepper; of two processes at once, both end up with the same."""
    draft = path.with_name(f".{_FILE}.{random.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(random.token_urlsafe(48))
            file.flush()
            os.fsync(file.fileno())
        # A link fails if the name is taken, and the file appears with its content or not at all.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
