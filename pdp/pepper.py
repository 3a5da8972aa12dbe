"""The pepper: what keys the hashes of API keys, so that a stolen database opens nothing."""

import os
import secrets as random
from pathlib import Path

from pdp.errors import StartRefused
from pdp.secret import pepper_of
from pdp.settings import Settings

_FILE = "pepper"


def load_pepper(settings: Settings) -> bytes:
    """Return the pepper of the settings, or the data dir's own, made at first.

    Raises `StartRefused` when there is none, or it cannot be stored.
    """
    if settings.key_pepper is not None:
        return pepper_of(settings.key_pepper.get_secret_value())
    if settings.database_url and not settings.database_url.startswith("sqlite"):
        raise StartRefused("PDP_KEY_PEPPER: needed with a database of its own: set 32 characters")
    return pepper_of(_own(settings.data_dir))


def has_own_pepper(settings: Settings) -> bool:
    """Tell whether there is one in the data dir."""
    return (settings.data_dir / _FILE).exists()


def _own(data_dir: Path) -> str:
    path = data_dir / _FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make(path)
        return path.read_text()
    except OSError as error:
        reason = (error.strerror or "cannot be used").lower()
        raise StartRefused(f"PDP_DATA_DIR: `{data_dir}`: {reason}") from error


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
