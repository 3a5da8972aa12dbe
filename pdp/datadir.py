"""The data dir: made where it is missing, for its owner alone."""

from pathlib import Path

from pdp.errors import StartRefused


def make_data_dir(path: Path) -> None:
    """Make the folder unless it is there; what somebody else has made keeps its rights.

    Raises `StartRefused` with one line.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(path, error) from error


def refusal(path: Path, error: OSError) -> StartRefused:
    """Return what to raise where a file of the data dir cannot be used."""
    if isinstance(error, FileExistsError):
        reason = "is no folder: name another one"
    elif isinstance(error, PermissionError):
        reason = "permission denied: let the user that runs `pdp` write there, or name another one"
    else:
        reason = (error.strerror or "cannot be used").lower()
    return StartRefused(f"PDP_DATA_DIR: `{path}`: {reason}")
