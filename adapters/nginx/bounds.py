"""What the connections of NGINX may take together: their number, their bodies, their time."""

from typing import Protocol

from msgspec import Struct


class Bounds(Struct, frozen=True):
    """Sizes in bytes, times in seconds.

    NGINX keeps idle connections for 60 s: `idle` is longer, so that it is NGINX who ends
    them, and no request meets a connection that is being closed.
    """

    max_body: int = 8 * 1024 * 1024
    max_head: int = 64 * 1024
    most_buffered: int = 256 * 1024 * 1024
    connections: int = 2048
    idle: float = 300.0
    receiving: float = 30.0
    lingering: float = 2.0


class Bounded(Protocol):
    """A connection, as far as its bounds go.

    `since` is when it began what it does; `deadline` how long that may take, None: any time.
    """

    since: float

    @property
    def deadline(self) -> float | None:
        """Seconds."""
        ...

    @property
    def idle(self) -> bool:
        """Whether it waits for a request."""
        ...

    def abort(self) -> None:
        """End it at once."""
        ...

    def finish(self) -> None:
        """End it once what it does is done."""
        ...


class House:
    """The connections of one port."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.buffered = 0
        self.closing = False
        self.connections: set[Bounded] = set()

    def enter(self, connection: Bounded) -> bool:
        """Take a connection in, for which the one that idles longest may have to go.

        False: there is no room.
        """
        if len(self.connections) >= self.bounds.connections:
            idle = [one for one in self.connections if one.idle]
            if not idle:
                return False
            oldest = min(idle, key=lambda one: one.since)
            self.leave(oldest)  # It hears of its end only later.
            oldest.abort()
        self.connections.add(connection)
        return True

    def leave(self, connection: Bounded) -> None:
        """Note that a connection is gone."""
        self.connections.discard(connection)

    def buffer(self, size: int) -> bool:
        """Make room for a part of a body, or tell that there is none."""
        if self.buffered + size > self.bounds.most_buffered:
            return False
        self.buffered += size
        return True

    def release(self, size: int) -> None:
        """Note that a body is let go."""
        self.buffered -= size

    def sweep(self, now: float) -> None:
        """End the connections that take too long; `now` is the loop's time."""
        for connection in tuple(self.connections):
            deadline = connection.deadline
            if deadline is not None and now - connection.since > deadline:
                connection.abort()
