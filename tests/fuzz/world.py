"""A whole data plane in process, but for its sockets: what the drivers feed and look into."""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from msgspec import Struct

from adapters.envoy.service import AccessLog, Authorization
from adapters.http.ask import HttpOptions
from adapters.nginx.service import NginxService
from pdp.counters.account import Bucket
from pdp.counters.memory import MemoryCounters
from pdp.data.keycache import KeyCache
from pdp.errors import Unavailable
from pdp.key import CompiledKey
from pdp.model import Resolved
from pdp.records import Record, decode, encode
from pdp.secret import hash_secret, make_secret, pepper_of
from pdp.serve.decision_service import DecisionService
from pdp.serve.rpc import settled
from tests.fuzz.oracle import expect
from tests.wire.harness import NOON, Desk, Keys, record

SECOND: Final = 1_000_000_000
PEPPER: Final = pepper_of("a pepper of thirty-two characters")
DEFAULT_OUTPUT: Final = 4096
ENDS_AT: Final = NOON + 300 * SECOND

_CHILD: Final = {"parent_key_id": "root", "granted_by": "root"}
RECORDS: Final = (
    record(
        "root",
        key_type="organization",
        budget_limits={"monthly": 40.0},
        token_limits={"total": 60_000_000},
    ),
    record("team", key_type="team", budget_limits={"daily": 2.0}, **_CHILD),
    record("open", **_CHILD),
    record(
        "tight",
        parent_key_id="team",
        granted_by="root",
        budget_limits={"daily": 0.03, "total": 0.06},
        token_limits={"daily": 40_000, "per_request_max": 20_000},
        rate_limits={"per_minute": 12, "per_second": 4, "burst": 6},
        max_requests=14,
    ),
    record(
        "listed",
        permissions={"models": ["gpt-4o", "gpt-4o-mini", "claude-3-5-sonnet-20241022"]},
        **_CHILD,
    ),
    record(
        "barred",
        policy={
            "version": "2024-01-01",
            "statements": [
                {"effect": "Allow", "actions": ["chat:*"], "resources": ["model:*"]},
                {"effect": "Deny", "actions": ["*"], "resources": ["model:o1*", "model:*-mini"]},
            ],
        },
        **_CHILD,
    ),
    record(
        "thrifty",
        policy={
            "version": "2024-01-01",
            "statements": [
                {
                    "effect": "Allow",
                    "actions": ["*"],
                    "resources": ["*"],
                    "condition": {"daily_budget_under": 0.03},
                }
            ],
        },
        **_CHILD,
    ),
    record("reader", access="read_only", **_CHILD),
    record("office", ip_allowlist={"enabled": True, "addresses": ["203.0.113.0/24"]}, **_CHILD),
    record("ending", expires_at=ENDS_AT, **_CHILD),
    record("revoked", status="revoked", **_CHILD),
    record("suspended", status="suspended", **_CHILD),
    record("expired", expires_at=NOON - 1, **_CHILD),
)


def _secret(name: str) -> str:
    return make_secret("prod", hashlib.sha256(name.encode()).digest()[:20])


SECRETS: Final = {each.id: _secret(each.id) for each in RECORDS}
NAMES: Final = {secret: name for name, secret in SECRETS.items()}
STRANGER: Final = _secret("nobody")
"""Well-formed, and nobody's."""


class Directory(Keys):
    """The control plane as the key cache sees it; `down`: it does not answer."""

    def __init__(self) -> None:
        super().__init__(*RECORDS)
        self.down = False
        self._ids = {hash_secret(secret, PEPPER): name for secret, name in NAMES.items()}

    async def by_hash(self, secret_hash: bytes) -> tuple[int, Resolved | None]:
        return await self.resolve(self._ids.get(secret_hash, ""))

    async def resolve(self, key_id: str) -> tuple[int, Resolved | None]:
        if self.down:
            raise Unavailable("the control plane is down")
        return 1, self._resolved(key_id) if key_id in self.records else None


class _Resolver:
    def __init__(self, directory: Directory) -> None:
        self.by_hash = directory.by_hash
        self.by_id = directory.resolve


class Sink:
    """Keeps records in the form that they have on disk."""

    owing = False

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def append(self, record: Record) -> None:
        self.written.append(encode(record))

    def since(self, mark: int) -> list[Record]:
        return [decode(each) for each in self.written[mark:]]


class Aborted(Exception):
    """What `abort` raises: the RPC ends with an error status."""


class Context:
    """A call whose caller is there. Servicers end a call by `abort`."""

    def __init__(self) -> None:
        self.code: Any = None
        self.details = ""

    async def abort(self, code: Any, details: str) -> None:
        self.code, self.details = code, details
        raise Aborted(details)

    def cancelled(self) -> bool:
        return False

    def time_remaining(self) -> float | None:
        return None


Figures = Mapping[str, tuple[Any, ...]]


class World:
    """One data plane. `logs` is where structlog puts its events while this is in use."""

    def __init__(self, logs: list[Any], trusted_hops: int = 0) -> None:
        self.logs = logs
        self.trusted_hops = trusted_hops
        self.directory = Directory()
        keys = KeyCache(
            _Resolver(self.directory),
            partial(hash_secret, pepper=PEPPER),
            clock=lambda: 0,
            size=100,
            unknown_size=100,
            max_staleness=SECOND,
        )
        keys.alive()
        self.sink = Sink()
        self.desk = Desk(keys=keys, sink=self.sink)
        self.counters: MemoryCounters = self.desk.counters
        engine = self.desk.engine
        self.decisions = DecisionService(engine, self.desk.stats, self.desk.load)
        options = HttpOptions("envoy", trusted_hops)
        self.authorization = Authorization(engine, options, DEFAULT_OUTPUT, self.desk.load)
        self.nginx = NginxService(
            engine, HttpOptions("nginx", trusted_hops), DEFAULT_OUTPUT, self.desk.load, None
        )
        self.access_log = AccessLog(engine)
        self.references: list[str] = []
        """References of permissions, as the access log brings them back."""
        self.callers: Counter[str] = Counter()
        """How many were given each hold: a retry is given that of the first Check."""
        self.favourite = "open"
        """The key that most inputs present, so that it comes to its limits."""

    @property
    def now(self) -> int:
        return self.desk.clock.now

    def compiled(self, key_id: str) -> CompiledKey:
        key = self.directory.by_id(key_id)
        assert key is not None
        return key

    async def wait(self, ns: int) -> None:
        """Let time pass, and what happens every second happen once."""
        self.desk.clock.now += ns
        if ns >= SECOND:
            while await self.desk.engine.expire():
                pass
            self.counters.prune(self.now)

    def figures(self) -> Figures:
        """Return every figure that a limit is compared with and that is not zero."""
        return figures_of(self.counters, self.now)

    def is_alive(self, key_id: str) -> bool:
        """Tell whether a key may be used at all."""
        dead = ("revoked", "suspended", "expired")
        return key_id not in dead and (key_id != "ending" or self.now < ENDS_AT)

    def live(self) -> dict[str, Any]:
        return self.counters._holds.live

    async def undo(self, reservation_id: str, undo: Callable[[], Any]) -> None:
        """Let a caller be gone, and check that his hold goes with its last caller."""
        self.callers[reservation_id] -= 1
        await settled(undo())
        kept, wanted = reservation_id in self.live(), self.callers[reservation_id] > 0
        expect(kept == wanted, "kept, and nobody got it" if kept else "taken from another caller")

    def check_books(self) -> None:
        """Check that what is held is the sum of the live holds, on every key of their chains."""
        held: dict[str, list[int]] = {}
        for hold in self.live().values():
            for window in hold.windows:
                sums = held.setdefault(window.key_id, [0, 0])
                sums[0] += hold.cost or 0
                sums[1] += hold.tokens
        for key_id, account in self.counters._accounts.items():
            total = account.total
            expected = held.get(key_id, [0, 0])
            expect(
                [total.held, total.tokens_held] == expected,
                f"{key_id} holds {total.held}, {total.tokens_held}, its requests {expected}",
            )
            expect(min(total.spent, total.tokens_spent) >= 0, f"{key_id} has spent less than 0")

    def check_no_overspend(self, key_id: str) -> None:
        """Check NO-OVERSPEND right after a permission of a key."""
        for limit in self.counters.status(self.compiled(key_id).plan.scopes, self.now):
            expect(
                limit.spent + limit.held <= limit.limit or limit.name.endswith("per_request_max"),
                f"{limit.name} of {limit.key_id}: {limit.spent} + {limit.held} > {limit.limit}",
            )

    def check_replay(self) -> None:
        """Check that the records alone lead to the same figures and holds."""
        again = MemoryCounters()
        for each in self.sink.since(0):
            again.apply(each)
        again.prune(self.now)
        expect(figures_of(again, self.now) == self.figures(), "replayed figures differ")
        expect(again._holds.live == self.live(), "replayed holds differ")
        expect(again._holds.expired == self.counters._holds.expired, "replayed expiries differ")

    def check_silence(
        self, data: bytes, answer: bytes, mark: int, public: Callable[[], bytes]
    ) -> None:
        """Check that no raw key came out by an answer, a log or a record.

        `public` is the part of the input that may be repeated: a key that a client writes
        into its user agent is not kept secret.
        """
        if b"vsk_" not in data:
            return
        out = b"\n".join((answer, repr(self.logs).encode(), *self.sink.written[mark:]))
        if b"vsk_" in out:
            open_ = public()
            for secret in (*NAMES, STRANGER):
                raw = secret.encode()
                expect(raw not in out or raw in open_, f"a raw key ({NAMES.get(secret)}) came out")


def figures_of(counters: MemoryCounters, now: int) -> Figures:
    """Return the figures of every account that has any. Old days are dropped at any time."""
    oldest = now // SECOND - 3 * 86_400
    found: dict[str, tuple[Any, ...]] = {}
    for key_id, account in counters._accounts.items():
        total = account.total
        if not (total.requests or total.spent or account.tats):
            continue
        days = [account.day, *(account.past_days or {}).values()]
        months = [account.month, *(account.past_months or {}).values()]
        found[key_id] = (
            total.requests,
            dict(account.tats),
            *_amounts(total),
            {each.start: _amounts(each) for each in days if each.start > oldest and _used(each)},
            {each.start: _amounts(each) for each in months if _used(each)},
        )
    return found


def _amounts(bucket: Bucket) -> tuple[int, int, int, int]:
    return bucket.spent, bucket.held, bucket.tokens_spent, bucket.tokens_held


def _used(bucket: Bucket) -> bool:
    return any(_amounts(bucket))


class Step(Struct, frozen=True):
    """One input. `wait` (ns) passes before it; `down`: the control plane does not answer then.

    `gone`: who asked is no longer there when the answer comes. `shedding`: too much is asked.
    """

    entry: str
    data: bytes
    wait: int = 0
    down: bool = False
    gone: bool = False
    shedding: bool = False
