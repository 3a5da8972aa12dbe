"""The ports of the data plane: what the engine needs, and from whom it does not care.

A method that may have to wait returns `T | Awaitable[T]`: an implementation that
knows the answer returns it at once, and no coroutine is made for it.
"""

from collections.abc import Awaitable, Sequence
from typing import Literal, Protocol

from pdp.key import CompiledKey
from pdp.model import LimitStatus
from pdp.quota.hold import Absent, Hold, Outcome, Reserve, Settlement, Verdict
from pdp.quota.price import Price
from pdp.quota.scope import Scope
from pdp.records import Record


class Clock(Protocol):
    """Tells the time."""

    def __call__(self) -> int:
        """Return ns, since the Unix epoch where nothing else is said."""
        ...


class Ids(Protocol):
    """Makes ids for decisions and holds."""

    def __call__(self) -> str:
        """Return a new one, unique over restarts."""
        ...


class Counters(Protocol):
    """Spend, holds and rates of every key, exact under concurrency.

    Invariant NO-OVERSPEND: at every scope, at every instant, spent + held <=
    limit at admission. Every method is all-or-nothing. Raises `Unavailable`
    when the backend cannot answer.
    """

    def find_open(self, key_id: str, request_id: str) -> Hold | None:
        """Return the live hold of a request, for a Check that is retried.

        Whoever is given a hold, here, by `recall` or as `Open`, relies on it like the caller
        it was made for. A backend that would have to wait leaves this to `reserve` and `recall`.
        """
        ...

    def recall(
        self, key_id: str, request_id: str, scopes: Sequence[Scope], now: int
    ) -> Hold | None | Awaitable[Hold | None]:
        """Before a denial that does not come from here: return the live hold of the request.

        Brings the last-known spend of `scopes` (a chain, leaf first) up to date.
        """
        ...

    def reserve(self, op: Reserve) -> Verdict | Awaitable[Verdict]:
        """Admit and hold, or refuse and move nothing.

        `Open` is the answer where the request has a live hold that `find_open` has not told of.
        A backend that makes its caller wait gives the hold back when that wait is
        cancelled: nobody would write the hold down.
        """
        ...

    def withdraw(self, reservation_id: str) -> Hold | None | Awaitable[Hold | None]:
        """Note that one of those who rely on a hold is gone; return it if that was the last.

        Then it is given to nobody any more, and the caller settles it at nothing.
        """
        ...

    def locate(
        self, reservation_id: str, key_id: str, request_id: str, now: int
    ) -> Hold | Absent | Awaitable[Hold | Absent]:
        """Return the hold that a report at `now` settles, or why there is none.

        An expired one waits for its correction for a time. `reservation_id` goes before
        the others.
        """
        ...

    def settle(self, op: Settlement) -> bool | Outcome | Awaitable[bool | Outcome]:
        """Settle; False if somebody settled it before and nothing moved.

        Where another report was charged another amount, and it is known, that one's outcome.
        """
        ...

    def extend(self, reservation_id: str, expires_at: int) -> bool | Awaitable[bool]:
        """Let a live hold expire later; False if there is none, or it was `due` already."""
        ...

    def due(self, now: int, most: int = 1000) -> Sequence[Hold] | Awaitable[Sequence[Hold]]:
        """Return up to `most` live holds whose time is over; each is settled next."""
        ...

    def spent(
        self, scope: Scope, period: Literal["day", "month", "total"], now: int
    ) -> tuple[int, int]:
        """Return (spent, held) in nano-USD of the current window, as last known."""
        ...

    def status(
        self, scopes: Sequence[Scope], now: int
    ) -> tuple[LimitStatus, ...] | Awaitable[tuple[LimitStatus, ...]]:
        """Return every limit and rate of the scopes as it stands, leaf first."""
        ...


class KeySource(Protocol):
    """Compiled keys by secret or id. Raises `Unavailable` when it cannot know."""

    def lookup(self, api_key: str) -> CompiledKey | None | Awaitable[CompiledKey | None]:
        """Return the key of a raw secret; None if there is certainly none."""
        ...

    def by_id(self, key_id: str) -> CompiledKey | None | Awaitable[CompiledKey | None]:
        """Return a key by its id; None if there is certainly none."""
        ...


class Prices(Protocol):
    """Prices as last received."""

    def knows(self, provider: str) -> bool:
        """Tell whether there is such a provider."""
        ...

    def provider_of(self, model: str) -> str:
        """Return the provider that a model name implies, else `unknown`."""
        ...

    def price(self, model: str, provider: str) -> Price | None:
        """Return the price of a model at a provider; None if it is not known."""
        ...

    def price_at(self, model: str, provider: str, at: int) -> Price | None:
        """Return the price that was in force at `at` (ns), as far back as is remembered."""
        ...


class UsageSink(Protocol):
    """Where records go to become the ledger. Survives the process, not always the machine."""

    @property
    def owing(self) -> bool:
        """Tell whether records wait to be written that were kept when they could not be."""
        ...

    def append(self, record: Record) -> None:
        """Write one record before anybody is answered: before returning, or with others of a
        batch before the batch is answered. Raises `SpoolFailed`; it may have been kept.
        """
        ...
