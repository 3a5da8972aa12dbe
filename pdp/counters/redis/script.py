"""The script that Redis runs: the files in `lua`, in the order of their names, as one."""

from functools import cache
from hashlib import sha1
from importlib.resources import files


@cache
def source() -> str:
    """Return the text of the script."""
    folder = files(__package__) / "lua"
    parts = sorted(folder.iterdir(), key=lambda each: each.name)
    return "\n".join(part.read_text("utf-8") for part in parts if part.name.endswith(".lua"))


@cache
def digest() -> str:
    """Return the name under which Redis keeps it."""
    return sha1(source().encode(), usedforsecurity=False).hexdigest()
