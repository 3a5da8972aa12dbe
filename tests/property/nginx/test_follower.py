"""A followed log against a model of who wrote what: no line lost, none twice, whatever happens.

The model knows of each line whether it was read, and whether that was saved: a kill may
bring back what was not saved, nothing else may come twice.
"""

import gzip
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from adapters.nginx.usage import logfile
from adapters.nginx.usage.follower import RETIRE, Follower
from adapters.nginx.usage.place import Places
from tests.examples import tries

LONGEST = 1000
"""Bytes of a line here: megabytes would only take longer."""

SIZES = st.sampled_from((0, 1, 300, 700, LONGEST - 100))


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logfile, "MAX_LINE", LONGEST)
        patch.setattr(logfile, "BLOCK", 2 * LONGEST)
        yield


class Machine(RuleBasedStateMachine):
    """One writer, one rotation at a time, a reader that is killed now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.log = self.folder / "usage.log"
        self.file = self.log.open("ab", buffering=0)
        self.older: list[tuple[Path, object]] = []
        self.now = 0.0
        self.number = 0
        self.partial = b""
        self.written: set[bytes] = set()
        self.expected: set[bytes] = set()
        self.read_lines: set[bytes] = set()
        self.repeatable: set[bytes] = set()
        self.fresh: set[bytes] = set()
        self.saved: Places | None = None
        self.follower = Follower(self.log, None, lambda: self.now)

    def teardown(self) -> None:
        try:
            self.end_line()
            self.read_all()
            lost = sorted(line[:50] for line in self.expected - self.read_lines)
            assert not lost, lost
        finally:
            self.follower.close()
            self.file.close()
            shutil.rmtree(self.folder)

    # -- The writer

    def make(self, size: int) -> bytes:
        self.number += 1
        return b"%d " % self.number + b"x" * size

    @initialize(size=SIZES, rotated=st.booleans())
    def was_there_before(self, size: int, rotated: bool) -> None:
        """Lines that were written before anybody followed; what was rotated by then is old."""
        if rotated:
            (self.folder / "usage.log.old").write_bytes(b"old " + b"x" * size + b"\n")
        self.write(1, size)
        self.follow()

    def follow(self) -> None:
        """Start as the tail does: what is old is written down before anything is read."""
        self.follower = Follower(self.log, self.saved, lambda: self.now)
        self.follower.begin()
        self.saved = self.follower.places()

    @rule(count=st.integers(1, 4), size=SIZES)
    def write(self, count: int, size: int) -> None:
        self.end_line()
        for _ in range(count):
            line = self.make(size)
            self.file.write(line + b"\n")
            self.expected.add(line)
            self.written.add(line)

    @precondition(lambda self: not self.partial)
    @rule(size=SIZES)
    def begin_line(self, size: int) -> None:
        self.partial = self.make(size)
        self.file.write(self.partial)

    @precondition(lambda self: bool(self.partial))
    @rule()
    def end_line(self) -> None:
        if self.partial:
            self.file.write(b" end\n")
            self.expected.add(self.partial + b" end")
            self.written.add(self.partial + b" end")
            self.partial = b""

    @rule(size=st.sampled_from((LONGEST + 1, 3 * LONGEST, 5 * LONGEST)))
    def write_a_line_that_is_too_long(self, size: int) -> None:
        self.end_line()
        self.file.write(self.make(size) + b"\n")

    # -- Rotation

    def shift(self) -> Path:
        """Move usage.log.1 to usage.log.2 and so on; return the name that is free then."""
        names = [self.folder / f"usage.log.{number}" for number in range(1, 40)]
        for older, newer in reversed(list(zip(names[1:], names, strict=False))):
            if newer.exists():
                newer.rename(older)
        return names[0]

    @rule(late=st.integers(0, 2), reads=st.booleans())
    def rename(self, late: int, reads: bool) -> None:
        """As NGINX does at USR1: it writes to the old file for a while."""
        self.end_line()
        self.log.rename(self.shift())
        if reads:
            self.read()
        if late:
            self.write(late, 40)
        if reads:
            self.log.touch()
            self.read()
            if late:
                self.write(late, 40)
        self.file.close()
        self.file = self.log.open("ab", buffering=0)

    @rule(reads=st.booleans())
    def copy_and_truncate(self, reads: bool) -> None:
        self.end_line()
        shutil.copy2(self.log, self.shift())
        if reads:
            self.read()
        self.file.truncate(0)

    @rule()
    def copy(self) -> None:
        """A copy that somebody makes, to look at it."""
        self.end_line()
        if not (self.folder / "usage.log.bak").exists():
            shutil.copy2(self.log, self.folder / "usage.log.bak")

    @rule()
    def pack(self) -> None:
        """What is packed was read: it is done a rotation later."""
        last = self.folder / "usage.log.2"
        if last.exists():
            self.read_all()
            (self.folder / "usage.log.2.gz").write_bytes(gzip.compress(last.read_bytes()))
            last.unlink()

    @rule()
    def truncate(self) -> None:
        """What nobody has read by then is gone, unless there is a copy."""
        self.end_line()
        self.expected &= self.read_lines | self.elsewhere()
        self.file.truncate(0)

    def elsewhere(self) -> set[bytes]:
        """Return the lines of rotated files."""
        found: set[bytes] = set()
        for path in self.folder.glob("usage.log.*[0-9]"):
            found.update(path.read_bytes().split(b"\n"))
        return found

    # -- The reader

    @rule()
    def read(self) -> None:
        self.step()

    def step(self) -> bool:
        """Read once; tell whether there was something."""
        lines = self.follower.read()
        for line in lines:
            if 0 < len(line) <= LONGEST:  # Else it comes to nothing.
                self.note(line)
        return bool(lines)

    def note(self, line: bytes) -> None:
        assert line in self.written, line[:50]
        assert line not in self.read_lines or line in self.repeatable, line[:50]
        self.repeatable.discard(line)
        self.read_lines.add(line)
        self.fresh.add(line)

    @rule()
    def read_all(self) -> None:
        quiet = 0
        while quiet < 2:
            quiet = 0 if self.step() else quiet + 1

    @rule()
    def save(self) -> None:
        self.saved = self.follower.places()
        self.fresh.clear()

    @rule()
    def kill(self) -> None:
        self.follower.close()
        self.repeatable |= self.fresh
        self.fresh = set()
        self.follow()

    @rule()
    def time_passes(self) -> None:
        self.now += RETIRE


Machine.TestCase.settings = tries(40, 30)
TestFollower = Machine.TestCase
