"""A log that grows, and is rotated: every line of it once, in files old and new.

Rules:
- A file is known by its inode and its first bytes; a name says nothing.
- Rotation by rename: the old file is read to its end, and watched until something is in the new
  one and the old one has been quiet for `RETIRE` seconds: NGINX writes there until it has
  reopened its log, which somebody may have forgotten to tell it.
- Rotation by copy and truncation: the rest of what was not read yet is read from the copy.
- What lies in the folder when a log is followed for the first time is old, but for the log.
- Each file that appears later and is no copy is read from its beginning.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import structlog

from adapters.nginx.usage.logfile import LogFile, Truncated
from adapters.nginx.usage.place import Place, Places, is_alike
from adapters.nginx.usage.siblings import Sibling, siblings_of

_log = structlog.get_logger(__name__)

RETIRE: Final = 60.0
"""Seconds for which a rotated file has to be quiet until it is read no more."""

_ENOUGH: Final = 500
"""Lines after which no further file is read in one go."""


class Follower:
    """Reads on from `places`; blocks, and is for one thread. `clock` is in s."""

    def __init__(self, path: Path, places: Places | None, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._files: list[LogFile] = []
        self._done: dict[int, Place] = {}
        self._current: int | None = None
        self._changed_at: int | None = None
        self._again = False
        self._restored = places

    def read(self) -> list[bytes]:
        """Return the next lines, some of each file; none: there are no more at the moment.

        Call `begin` before. Raises `OSError`; then it can be tried again.
        """
        self._look()
        lines: list[bytes] = []
        for file in list(self._files):
            if len(lines) < _ENOUGH:
                lines += self._read(file)
        return lines

    def _read(self, file: LogFile) -> list[bytes]:
        """Return the next lines of a file, and let it go if nobody writes to it any more."""
        lines: list[bytes] = []
        while not lines:
            before = file.offset
            try:
                lines = file.read()
            except Truncated:
                self._cut_off(file)
                break
            if file.offset == before:  # Else it is within a line that is too long.
                self._note_quiet(file)
                break
            file.quiet_since = None
        return lines

    def places(self) -> Places:
        """Return how far everything was read."""
        return Places(str(self._path), [*self._done.values(), *(f.place for f in self._files)])

    def close(self) -> None:
        """Close all files."""
        for file in self._files:
            file.close()
        self._files = []

    # -- The beginning

    def begin(self) -> None:
        """Find the files that were read before, or what is old already. Raises `OSError`.

        Then it can be tried again: nothing is left of the first time.
        """
        self.close()
        self._done = {}
        siblings = siblings_of(self._path)
        if self._restored is None:
            for each in siblings:
                if each.path != self._path and each.head:
                    self._done[each.inode] = _place_of(each)
        else:
            for place in self._restored.files:
                self._restore(place, siblings)

    def _restore(self, place: Place, siblings: list[Sibling]) -> None:
        """Go on with a file where it was left; its content may be in a copy by now."""
        known = self._known()
        same = [each for each in siblings if each.inode == place.inode and _is(place, each)]
        if place.done:
            if same:
                self._done[place.inode] = place
            self._note_copies([place.start], siblings)
            return
        copies = [each for each in siblings if each.inode not in known and _is(place, each)]
        found = same or sorted(copies, key=lambda each: -each.size)[:1]
        for each in found:
            self._open(each, min(place.offset, each.size), skipping=place.skipping)
        if not found and place.offset:
            _log.warning("a usage log is gone that may not have been read to its end")
        if not same:
            self._note_copies([place.start], siblings)

    # -- What changes

    def _look(self) -> None:
        """See whether files have come; the folder's time tells, or the log's inode."""
        changed_at = self._path.parent.stat().st_mtime_ns
        current = _inode_of(self._path)
        unsure = any(not file.start for file in self._files)
        same = changed_at == self._changed_at and current == self._current
        if same and not unsure and not self._again:
            return
        # If looking fails, or a file moves meanwhile, it is to be done again.
        self._changed_at, self._current, self._again = None, current, False
        self._find(siblings_of(self._path))
        self._changed_at = changed_at

    def _find(self, siblings: list[Sibling]) -> None:
        """Follow files that are new."""
        self._tidy(siblings)
        known = self._known()
        # In this order: what is a copy of another is the smaller one, and never the log.
        for each in sorted(siblings, key=lambda each: (each.path != self._path, -each.size)):
            if each.inode not in known and not self._is_copy(each):
                self._open(each, 0)
        # The log itself is read last.
        self._files.sort(key=lambda file: file.inode == self._current)

    def _tidy(self, siblings: list[Sibling]) -> None:
        """Forget files that are gone; their inodes may have come to others."""
        self._note_copies([place.start for place in self._done.values()], siblings)
        present = {each.inode: each for each in siblings}
        for inode, place in list(self._done.items()):
            if inode not in present or not _is(place, present[inode]):
                del self._done[inode]

    def _note_copies(self, starts: list[bytes], siblings: list[Sibling]) -> None:
        """Note that there is nothing to read in copies of what was read."""
        known = self._known()
        for each in siblings:
            if each.inode not in known and each.path != self._path and _is_any(starts, each):
                self._done[each.inode] = _place_of(each)

    def _known(self) -> set[int]:
        return {file.inode for file in self._files} | self._done.keys()

    def _is_copy(self, sibling: Sibling) -> bool:
        """Tell whether a file is a copy of one that is read."""
        # A file may have been truncated since.
        starts = [start for file in self._files for start in (file.start, file.head())]
        return sibling.path != self._path and _is_any(starts, sibling)

    def _cut_off(self, file: LogFile) -> None:
        """Begin a truncated file again; what was not read of it is in its copy, if anywhere."""
        place = file.place
        siblings, known = siblings_of(self._path), self._known()
        copies = [each for each in siblings if each.inode not in known and _is(place, each)]
        copy = max(copies, key=lambda each: each.size, default=None)
        if copy is not None:
            if not self._open(copy, min(place.offset, copy.size), skipping=place.skipping):
                return  # It was renamed a moment ago: the next read comes here again.
        elif place.offset:
            _log.warning("a usage log was truncated: what was not read of it is lost")
        file.begin_again()
        self._note_copies([place.start], siblings)
        self._find(siblings)

    def _open(self, sibling: Sibling, offset: int, *, skipping: bool = False) -> bool:
        """Follow a file; False if it is not there any more under its name."""
        try:
            file = LogFile(sibling.path, offset, skipping=skipping)
        except FileNotFoundError:
            self._again = True
            return False
        if file.inode != sibling.inode:
            self._again = True
            file.close()
            return False
        self._files.append(file)
        return True

    # -- The end

    def _note_quiet(self, file: LogFile) -> None:
        """Let a rotated file go when nobody has written to it for long."""
        if file.inode == self._current or not self._is_reopened():
            file.quiet_since = None
            return
        now = self._clock()
        if file.quiet_since is None:
            file.quiet_since = now
        elif now - file.quiet_since >= RETIRE:
            self._files.remove(file)
            if file.offset:
                self._done[file.inode] = _done(file.place)
            file.close()

    def _is_reopened(self) -> bool:
        """Tell whether NGINX writes to the log that there is now."""
        return any(file.inode == self._current and file.offset for file in self._files)


def _is(place: Place, sibling: Sibling) -> bool:
    return place.is_of(sibling.head)


def _is_any(starts: Iterable[bytes], sibling: Sibling) -> bool:
    return any(is_alike(start, sibling.head) for start in starts)


def _done(place: Place) -> Place:
    return Place(place.inode, place.offset, place.start, done=True)


def _place_of(sibling: Sibling) -> Place:
    """Return the place of a file that is not to be read: at its end."""
    return Place(sibling.inode, sibling.size, sibling.head, done=True)


def _inode_of(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
