"""Roots where Redis answers, and writes nothing: no memory, a replica, a slot on its way. Pure.

What it refuses is not done, not even in part: the script counts the call last, and cannot.
A root rests after that, or each request would ask in vain; the others go on.
"""


class Refusals:
    """By root: until when it rests (ns), and why."""

    def __init__(self, rest: int) -> None:
        self._rest = rest
        self._found: dict[str, tuple[int, str]] = {}

    def __len__(self) -> int:
        return len(self._found)

    def note(self, root: str, why: str, now: int) -> None:
        """Note what a call met; `why` empty: it was written."""
        if why:
            self._found[root] = now + self._rest, why
        else:
            self._found.pop(root, None)

    def of(self, root: str, now: int) -> str:
        """Return why a root rests, empty if it does not."""
        until, why = self._found.get(root, (0, ""))
        return why if now < until else ""
