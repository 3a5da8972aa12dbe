"""A small chain of keys, and requests on it, for tests of counters."""

from collections.abc import Awaitable
from typing import Any, TypeVar

from msgspec.structs import replace

from pdp.ids import IdSource
from pdp.model import KeyRecord, LimitStatus, Moved
from pdp.ports import Counters
from pdp.problems import Problems
from pdp.quota.calendar import Calendar
from pdp.quota.compile import compile_scope
from pdp.quota.hold import BudgetGuard, Hold, Reserve, Settlement, Verdict, Window
from pdp.quota.plan import plan_of
from pdp.quota.scope import Scope
from pdp.quota.windows import ChainWindows

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
NOON = 1_795_435_200 * SECOND
"""2026-11-23T12:00:00Z, a Monday."""

USD = 1_000_000_000
TTL = 600 * SECOND

T = TypeVar("T")


async def answer(value: T | Awaitable[T]) -> T:
    """Wait for what a backend may have to wait for."""
    return await value if isinstance(value, Awaitable) else value


def scope(key_id: str, calendar: Calendar, **fields: Any) -> Scope:
    """Compile the limits of a key."""
    problems = Problems()
    compiled = compile_scope(
        KeyRecord(id=key_id, name=key_id.title(), version=1, organization_id="org", **fields),
        calendar,
        problems,
    )
    problems.raise_if_any()
    return compiled


class World:
    """A leaf below a team below a root, in one timezone, with the limits given for each."""

    def __init__(
        self,
        counters: Counters,
        ids: IdSource,
        timezone: str = "UTC",
        suffix: str = "",
        **limits: dict[str, Any],
    ) -> None:
        self.counters = counters
        self.calendar = Calendar(timezone)
        names = ("leaf", "team", "root")
        self.scopes = tuple(scope(name, self.calendar, **limits.get(name, {})) for name in names)
        self.scope_of = {each.key_id: each for each in self.scopes}
        self.windows = ChainWindows(names, self.calendar)
        self.ids = ids
        self._suffix = suffix
        self.now = NOON

    def move(self, timezone: str) -> None:
        """Change the timezone now, as the control plane has it done."""
        day, month = self.calendar.day(self.now)[0], self.calendar.month(self.now)[0]
        self.calendar = Calendar(timezone, Moved(self.now // SECOND, day, month))
        self.scopes = tuple(replace(each, calendar=self.calendar) for each in self.scopes)
        self.scope_of = {each.key_id: each for each in self.scopes}
        self.windows = ChainWindows([each.key_id for each in self.scopes], self.calendar)

    def hold(
        self, cost: int | None = 0, tokens: int = 0, request_id: str = "", key: str = "leaf"
    ) -> Hold:
        """Make a hold of the leaf, now."""
        made = self.ids()
        return Hold(
            "res_" + made + self._suffix,
            "dec_" + made,
            key,
            request_id or "req_" + made,
            0,
            "chat:completions",
            "gpt-4o",
            "openai",
            cost,
            (cost or 0) // 2,
            tokens,
            tokens // 2,
            self.windows.at(self.now),
            self.now,
            self.now + TTL,
        )

    async def reserve(self, hold: Hold, *guards: BudgetGuard, dry_run: bool = False) -> Verdict:
        """Try a hold on the whole chain."""
        return await answer(
            self.counters.reserve(
                Reserve(hold, plan_of(self.scopes), guards, self.now, dry_run, self.scope_of)
            )
        )

    async def check(self, cost: int | None = 0, tokens: int = 0, request_id: str = "") -> Verdict:
        """Try a new hold on the whole chain."""
        return await self.reserve(self.hold(cost, tokens, request_id))

    async def status(self) -> tuple[LimitStatus, ...]:
        """Return every limit of the chain."""
        return await answer(self.counters.status(self.scopes, self.now))

    async def find_open(self, key_id: str, request_id: str) -> Hold | None:
        """Return the live hold of a request, where it is to be waited for too."""
        found = self.counters.find_open(key_id, request_id)
        return found or await answer(
            self.counters.recall(key_id, request_id, self.scopes, self.now)
        )

    async def withdraw(self, hold: Hold) -> bool:
        """Say that one who relies on a hold is gone; tell whether that was the last."""
        return await answer(self.counters.withdraw(hold.reservation_id)) is not None

    async def due(self, now: int) -> list[Hold]:
        """Return the holds whose time is over."""
        return list(await answer(self.counters.due(now)))

    async def extend(self, reservation_id: str, expires_at: int) -> bool:
        """Put the end of a hold off."""
        return await answer(self.counters.extend(reservation_id, expires_at))

    async def settle(
        self, hold: Hold, cost: int = 0, tokens: int = 0, *, expired: bool = False
    ) -> bool:
        """Settle a hold."""
        settled = await answer(
            self.counters.settle(
                Settlement(
                    hold.reservation_id,
                    hold.key_id,
                    hold.request_id,
                    cost,
                    tokens,
                    hold.windows,
                    self.now,
                    expired,
                )
            )
        )
        return settled is True

    async def charge(self, request_id: str, cost: int = 0, tokens: int = 0) -> bool:
        """Settle a usage of the leaf that was never checked."""
        windows: tuple[Window, ...] = self.windows.at(self.now)
        settled = await answer(
            self.counters.settle(
                Settlement("", "leaf", request_id, cost, tokens, windows, self.now)
            )
        )
        return settled is True

    async def fill(self, name: str, key_id: str | None = None) -> tuple[int, int]:
        """Return (spent, held) of the first limit with a name."""
        for status in await self.status():
            if status.name == name and key_id in (None, status.key_id):
                return status.spent, status.held
        raise AssertionError(f"no limit {name}")

    async def money(self, key_id: str = "root") -> tuple[tuple[int, int], ...]:
        """Return (spent, held) of day, month and total of a key."""
        await answer(self.counters.recall("", "", self.scopes, self.now))
        each = self.scope_of[key_id]
        return tuple(
            self.counters.spent(each, period, self.now) for period in ("day", "month", "total")
        )
