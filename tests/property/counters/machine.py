"""Counters against a model that keeps lists and adds them up. A backend adds its own rules.

All is asked of one data plane, the host; where there is another one, retries come to that, too.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule
from msgspec.structs import replace

from pdp.counters.memory import EXPIRED_KEPT
from pdp.ids import IdSource
from pdp.quota.hold import Admitted, Hold, Outcome, Refused, Reserve, Settlement, Window
from pdp.quota.limit import Rate
from pdp.quota.plan import plan_of
from pdp.quota.scope import Scope
from pdp.records import Expired, Extended, Facts, Held, Record, Settled, encode
from tests.contract.world import HOUR, NOON, SECOND, TTL, World

LEAF = {"budget_limits": {"daily": 30e-9}, "max_requests": 15}
OTHER = {"token_limits": {"monthly": 80, "per_request_max": 12}}
ROOT = {
    "budget_limits": {"daily": 50e-9, "monthly": 100e-9},
    "token_limits": {"total": 150},
    "rate_limits": {"per_minute": 6, "burst": 9},
}

# Sums that touch the limits, over the edges of a day and a month.
COSTS = st.integers(0, 12)
TOKENS = st.integers(0, 14)
STEPS = st.sampled_from((0, 1, SECOND, 10 * SECOND, 11 * HOUR, 25 * HOUR, -1, -30 * SECOND))
REQUESTS = st.sampled_from(("r1", "r2", "r3"))

Period = Literal["day", "month", "total"]
Who = Literal["host", "guest"]
WHO = st.sampled_from(("host", "guest"))


class Entry:
    """What the model knows of one hold or usage."""

    def __init__(self, hold: Hold, path: tuple[str, ...]) -> None:
        self.hold = hold
        self.path = path
        self.state = "held"
        self.cost = hold.cost or 0
        self.tokens = hold.tokens
        self.expires_at = hold.expires_at
        self.expired_at = 0
        self.is_claimed = False
        self.relying = Counter(host=1)

    def start(self, key_id: str, period: Period) -> int:
        window = next(each for each in self.hold.windows if each.key_id == key_id)
        return {"day": window.day, "month": window.month, "total": 0}[period]


class Machine(RuleBasedStateMachine):
    """Two leaves below one root."""

    holds: Bundle[Entry] = Bundle("holds")
    suffix = ""
    claims = False
    """Whether a hold that was due is put off no more, settled or not."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []
        self.counters = self.make_counters()
        self.ids = IdSource("boot")
        self.worlds = {
            name: World(self.counters, self.ids, suffix=self.suffix, leaf=limits, root=ROOT)
            for name, limits in (("leaf", LEAF), ("other", OTHER))
        }
        self.scopes: dict[str, tuple[Scope, ...]] = {}
        for name, world in self.worlds.items():
            leaf, _, root = world.scopes
            self.scopes[name] = (_renamed(leaf, name), root)
        self.now = NOON + 11 * HOUR
        self.settled: set[tuple[str, str]] = set()
        self.records: list[bytes] = []

    # -- What a backend is

    @abstractmethod
    def make_counters(self) -> Any:
        """Return new counters."""

    def counters_of(self, who: Who) -> Any:
        """Return the counters of a data plane."""
        return self.counters

    @abstractmethod
    def wait(self, *found: Any) -> list[Any]:
        """Return answers, all at once where they have to be waited for."""

    def do(self, found: Any) -> Any:
        """Return an answer."""
        return self.wait(found)[0]

    # -- What happens

    @rule(step=STEPS)
    def time_passes(self, step: int) -> None:
        self.now += step

    @rule(
        target=holds,
        key=st.sampled_from(("leaf", "other")),
        cost=COSTS,
        tokens=TOKENS,
        request=st.one_of(st.just(""), REQUESTS),
        dry_run=st.sampled_from((False, False, False, True)),
    )
    def check(self, key: str, cost: int, tokens: int, request: str, dry_run: bool) -> Any:
        if request and self._retry("host", key, request):
            return multiple()
        entry = Entry(self._hold(key, cost, tokens, request), (key, "root"))
        before = self._seen_by(self.counters)
        reserve = Reserve(entry.hold, plan_of(self.scopes[key]), (), self.now, dry_run)
        verdict = self.do(self.counters.reserve(reserve))
        room = self._room(entry)
        if isinstance(verdict, Refused):
            # Rates are not in the model: they have properties of their own.
            assert room is isinstance(verdict.limit, Rate)
            assert self._seen_by(self.counters) == before
            return multiple()
        assert isinstance(verdict, Admitted)
        assert room, "NO-OVERSPEND"
        if dry_run:
            assert self._seen_by(self.counters) == before
            return multiple()
        self.entries.append(entry)
        self._write(Held(self.now, _facts(entry.hold), entry.hold, verdict.rates))
        return entry

    @rule(entry=holds, cost=COSTS, tokens=TOKENS, by_request=st.booleans())
    def report(self, entry: Entry, cost: int, tokens: int, by_request: bool) -> None:
        hold = entry.hold
        named = "" if by_request else hold.reservation_id
        found = self.do(self.counters.locate(named, hold.key_id, hold.request_id, self.now))
        if not isinstance(found, Hold):
            late = entry.state == "expired" and entry.expired_at <= self.now - EXPIRED_KEPT
            assert found == "settled"
            assert entry.state == "settled" or late or by_request
            if late:
                assert not self._settle(entry, cost, tokens, expired=False)
            return
        entry = next(e for e in self.entries if e.hold.reservation_id == found.reservation_id)
        assert entry.state in ("held", "expired")
        assert self._settle(entry, cost, tokens, expired=False)
        entry.state, entry.cost, entry.tokens = "settled", cost, tokens
        self.settled.add((hold.key_id, hold.request_id))
        assert not self._settle(entry, cost + 1, tokens, expired=False)

    @rule(entry=holds, who=WHO)
    def check_again(self, entry: Entry, who: Who) -> None:
        found = self._retry(who, entry.hold.key_id, entry.hold.request_id)
        assert found or entry.state != "held"

    @rule(entry=holds, who=WHO)
    def caller_is_gone(self, entry: Entry, who: Who) -> None:
        if not entry.relying[who]:
            return
        entry.relying[who] -= 1
        found = self.do(self.counters_of(who).withdraw(entry.hold.reservation_id))
        is_last = entry.state == "held" and not entry.relying.total()
        assert (found is not None) is is_last
        if is_last:
            assert found.reservation_id == entry.hold.reservation_id
            assert self._settle(entry, 0, 0, expired=False)
            entry.state, entry.cost, entry.tokens = "settled", 0, 0
            self.settled.add((entry.hold.key_id, entry.hold.request_id))

    @rule(
        key=st.sampled_from(("leaf", "other")),
        request=st.sampled_from(("r1", "r9")),
        cost=st.integers(0, 2),
        tokens=st.integers(0, 2),
    )
    def report_without_check(self, key: str, request: str, cost: int, tokens: int) -> None:
        found = self.do(self.counters.locate("", key, request, self.now))
        if isinstance(found, Hold):
            return
        assert found == ("settled" if (key, request) in self.settled else "new")
        hold = self._hold(key, cost, tokens, request)
        settlement = Settlement("", key, request, cost, tokens, hold.windows, self.now)
        assert (self.do(self.counters.settle(settlement)) is True) is (found == "new")
        if found == "settled":
            return
        entry = Entry(hold, (key, "root"))
        entry.state = "settled"
        self.entries.append(entry)
        self.settled.add((key, request))
        self._write(_settled(self.now, hold, "", cost, tokens))

    @rule(entry=holds, seconds=st.integers(0, 2000))
    def heartbeat(self, entry: Entry, seconds: int) -> None:
        expires_at = self.now + seconds * SECOND
        alive = self.do(self.counters.extend(entry.hold.reservation_id, expires_at))
        assert alive is (entry.state == "held" and not entry.is_claimed)
        if alive:
            entry.expires_at = max(entry.expires_at, expires_at)
            self._write(Extended(self.now, entry.hold.reservation_id, expires_at))

    @rule(part=st.sampled_from((1, 2)), wait=st.sampled_from((0, TTL - 1, TTL)))
    def sweep(self, part: int, wait: int) -> None:
        self.now += wait
        due = self.do(self.counters.due(self.now))
        expected = {
            entry.hold.reservation_id
            for entry in self.entries
            if entry.state == "held" and entry.expires_at <= self.now
        }
        assert {hold.reservation_id for hold in due} == expected
        for place, hold in enumerate(due):
            entry = next(e for e in self.entries if e.hold.reservation_id == hold.reservation_id)
            if place >= len(due) // part:
                entry.is_claimed = self.claims
                continue
            cost, tokens = entry.cost // 2, entry.tokens // 2
            assert self._settle(entry, cost, tokens, expired=True)
            entry.state, entry.cost, entry.tokens = "expired", cost, tokens
            entry.expired_at = self.now
            self.settled.add((hold.key_id, hold.request_id))

    # -- What always holds

    @invariant()
    def spend_is_the_sum_of_what_happened(self) -> None:
        for key in ("leaf", "other"):
            self.do(self.counters.recall("", "", self.scopes[key], self.now))
            for scope in self.scopes[key]:
                for period in ("day", "month", "total"):
                    found = self.counters.spent(scope, period, self.now)
                    assert found == self._sums(scope, period)[:2]

    # -- How it is known

    def _sums(self, scope: Scope, period: Period) -> tuple[int, int, int, int, int]:
        """Return money spent, held; tokens spent, held; requests."""
        start = {
            "day": scope.calendar.day(self.now)[0],
            "month": scope.calendar.month(self.now)[0],
            "total": 0,
        }[period]
        here = [
            entry
            for entry in self.entries
            if scope.key_id in entry.path and entry.start(scope.key_id, period) == start
        ]
        held = [entry for entry in here if entry.state == "held"]
        spent = [entry for entry in here if entry.state != "held"]
        return (
            sum(entry.cost for entry in spent),
            sum(entry.cost for entry in held),
            sum(entry.tokens for entry in spent),
            sum(entry.tokens for entry in held),
            len(here),
        )

    def _room(self, entry: Entry) -> bool:
        """Tell whether every limit but the rates has room for one more entry."""
        for scope in self.scopes[entry.hold.key_id]:
            for limit in (*scope.per_request, *scope.budgets, *scope.tokens, *scope.requests):
                if limit.period == "request":
                    used, asked = 0, entry.tokens
                else:
                    sums = self._sums(scope, limit.period)
                    used, asked = {
                        "nano_usd": (sums[0] + sums[1], entry.cost),
                        "tokens": (sums[2] + sums[3], entry.tokens),
                        "requests": (sums[4], 1),
                    }[limit.unit]
                if used + asked > limit.amount:
                    return False
        return True

    def _seen_by(self, counters: Any) -> list[object]:
        """Return all that can be observed."""
        ids = [
            f"res_boot-0{self.suffix}",
            *(entry.hold.reservation_id for entry in self.entries),
        ]
        requests = {(entry.hold.key_id, entry.hold.request_id) for entry in self.entries}
        return self.wait(
            *(counters.status(self.scopes[key], self.now) for key in sorted(self.scopes)),
            *(counters.locate(each, "", "", self.now) for each in ids),
            *(counters.locate("", *each, self.now) for each in sorted(requests)),
        )

    def _retry(self, who: Who, key_id: str, request_id: str) -> bool:
        """Ask for the live hold of a request, and rely on it; tell whether there is one."""
        counters = self.counters_of(who)
        found = counters.find_open(key_id, request_id) or self.do(
            counters.recall(key_id, request_id, self.scopes[key_id], self.now)
        )
        if found is None:
            return False
        entry = next(e for e in self.entries if e.hold.reservation_id == found.reservation_id)
        assert entry.state == "held"
        entry.relying[who] += 1
        return True

    def forget_who_relies(self, *, host_has_all: bool = False) -> None:
        """Note that the host begins anew: of all its callers it knows that there was one.

        `host_has_all`: what it has spooled is its own, whoever had relied on it.
        """
        for entry in self.entries:
            if host_has_all or entry.relying["host"]:
                entry.relying["host"] = 1

    def _hold(self, key: str, cost: int, tokens: int, request: str) -> Hold:
        world = self.worlds[key]
        world.now = self.now
        template = world.hold(cost, tokens, request, key)
        calendar = world.calendar
        day, month = calendar.day(self.now)[0], calendar.month(self.now)[0]
        windows = tuple(Window(each, day, month) for each in (key, "root"))
        return _with_windows(template, windows)

    def _settle(self, entry: Entry, cost: int, tokens: int, *, expired: bool) -> bool:
        hold = entry.hold
        names = hold.reservation_id, hold.key_id, hold.request_id
        told = None if expired else Outcome(cost, tokens)
        settlement = Settlement(*names, cost, tokens, hold.windows, self.now, expired, told)
        answered: bool | Outcome = self.do(self.counters.settle(settlement))
        settled = answered is True
        if isinstance(answered, Outcome):
            assert (answered.cost, answered.tokens) == (entry.cost, entry.tokens)
        if settled and expired:
            self._write(Expired(self.now, hold.decision_id, *names, cost, tokens, hold.windows))
        elif settled:
            self._write(_settled(self.now, hold, hold.reservation_id, cost, tokens))
        return settled

    def _write(self, record: Record) -> None:
        self.records.append(encode(record))


def _renamed(scope: Scope, key_id: str) -> Scope:
    def own(limits: Iterable[Any]) -> tuple[Any, ...]:
        return tuple(replace(limit, key_id=key_id) for limit in limits)

    return replace(
        scope,
        key_id=key_id,
        per_request=own(scope.per_request),
        budgets=own(scope.budgets),
        tokens=own(scope.tokens),
        requests=own(scope.requests),
        rates=own(scope.rates),
    )


def _with_windows(hold: Hold, windows: tuple[Window, ...]) -> Hold:
    return replace(hold, windows=windows)


def _facts(hold: Hold) -> Facts:
    return Facts(
        hold.decision_id, hold.request_id, hold.key_id, "", "", "", "", "", "", "", "", "", {}
    )


def _settled(now: int, hold: Hold, reservation_id: str, cost: int, tokens: int) -> Settled:
    return Settled(
        now,
        _facts(hold),
        reservation_id,
        "success",
        200,
        0,
        tokens,
        0,
        tokens,
        cost,
        0,
        None,
        "provider",
        hold.windows,
    )
