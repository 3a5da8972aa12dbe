"""Counters whose state is made up, for simulations."""

from collections.abc import Iterable

from pdp.counters.account import Account
from pdp.counters.memory import MemoryCounters


class PretendedCounters(MemoryCounters):
    """Memory counters that begin with some accounts."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        super().__init__()
        self._accounts = {account.key_id: account for account in accounts}
