"""What Redis has told of accounts: for budget conditions, and for the limits of a denial."""

from collections.abc import Sequence
from typing import Any, Final, Literal

from pdp.counters.account import Account
from pdp.counters.redis.answers import spend_of
from pdp.counters.redis.asks import window_start
from pdp.quota.hold import Reserve
from pdp.quota.scope import Scope

Period = Literal["day", "month", "total"]
_PERIODS: Final[tuple[Period, ...]] = ("day", "month", "total")
_MOST: Final = 50_000


class View:
    """Last-known spend by key and window, and the accounts that were read last."""

    def __init__(self) -> None:
        self._spend: dict[tuple[str, str, int], tuple[int, int]] = {}
        self._accounts: dict[str, tuple[int, Account, int]] = {}

    def see(self, op: Reserve, answer: Sequence[Any]) -> None:
        """Note what the answer to a reservation tells."""
        code = answer[0]
        if op.guards and code in (b"a", b"r", b"g"):
            for guard, found in zip(op.guards, answer[2], strict=True):
                scope = op.scope_of[guard.key_id]
                name = guard.key_id, guard.period, window_start(scope, guard.period, op.now)
                self._keep(self._spend, name, spend_of(found))

    def know(self, scope: Scope, account: Account, asked_at: int, told_at: int) -> None:
        """Note a whole account: asked for at `asked_at`, told at `told_at` by Redis' clock."""
        for period in _PERIODS:
            bucket = account.bucket(period)
            name = scope.key_id, period, bucket.start
            self._keep(self._spend, name, (bucket.spent, bucket.held))
        self._keep(self._accounts, scope.key_id, (asked_at, account, told_at))

    def spent(self, scope: Scope, period: Period, now: int) -> tuple[int, int]:
        """Return (spent, held) in the window around `now` (ns)."""
        return self._spend.get((scope.key_id, period, window_start(scope, period, now)), (0, 0))

    def know_refused(self, op: Reserve, accounts: Sequence[Account], told_at: int) -> None:
        """Note the part of accounts that a refusal rests on: all that has limits."""
        for account in accounts:
            self._keep(self._accounts, account.key_id, (op.now, account, told_at))

    def moved(self) -> None:
        """Forget accounts: something is about to move."""
        self._accounts.clear()

    def accounts(self, scopes: Sequence[Scope], now: int) -> list[tuple[Account, int]] | None:
        """Return the accounts that were just read for a caller of `now`, and when; else None."""
        found = [self._accounts.get(scope.key_id) for scope in scopes]
        known = [each for each in found if each is not None and each[0] == now]
        if len(known) < len(found):
            return None
        self._accounts.clear()
        return [(account, at) for _, account, at in known]

    def _keep(self, among: dict[Any, Any], name: Any, value: Any) -> None:
        if len(among) >= _MOST and name not in among:
            del among[next(iter(among))]
        among[name] = value
