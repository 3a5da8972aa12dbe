"""(a) Check in process: a three-key chain, ten statements, six limits.

    .venv/bin/python -m bench.engine [--seconds 1] [--rounds 5] [--out FILE]

No transport: the engine with its real key cache, counters and spool, and the reports
that settle what was held. Shows what a Check costs by what surrounds it (keys in the
cache, statements that cannot match), interleaved, so that ratios mean something on a
noisy machine.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench.figures import Figures, options
from pdp.data.keycache import KeyCache
from pdp.data.watch import CurrentPrices
from pdp.engine import Engine
from pdp.ids import IdSource
from pdp.model import Decision, KeyRecord, Request, Resolved, Usage
from pdp.options import Options
from pdp.quota.match import Match
from pdp.quota.price import ModelPrice, Price, PriceList, PriceTable, ProviderPrices, Rates
from pdp.secret import hash_secret, make_secret, pepper_of
from pdp.serve.sink import JournalSink
from pdp.spool.recover import recover
from pdp.stats import Stats

PEPPER = pepper_of("x" * 32)
GPT_4O = Price(Rates(prompt=2_500_000_000, completion=10_000_000_000, cached=1_250_000_000))
_TABLE = PriceTable(
    PriceList(
        (
            ProviderPrices(
                "openai",
                Match(starts_with=("gpt",)),
                (ModelPrice(Match(equals=("gpt-4o",)), GPT_4O),),
            ),
        )
    )
)
PRICES = CurrentPrices()
PRICES.swap(_TABLE, 0)


def policy(idle: int) -> dict[str, Any]:
    """Return a policy of ten statements that are looked at, and `idle` that cannot match."""
    looked_at = [
        {
            "effect": "Allow",
            "actions": ["chat:*"],
            "resources": [f"model:gpt-{name}"],
            "condition": {"max_tokens_under": 100_000},
        }
        for name in ("3*", "4", "4-*", "4o-mini", "4o")
    ] + [
        {
            "effect": "Deny",
            "actions": ["*"],
            "resources": ["provider:*"],
            "condition": {"not_in": ["openai", f"other-{index}"]},
        }
        for index in range(5)
    ]
    unmatched = [
        {"effect": "Allow", "actions": ["embeddings:create"], "resources": [f"model:text-{index}"]}
        for index in range(idle)
    ]
    return {"version": "2024-01-01", "statements": [*looked_at, *unmatched]}


def records(name: str, idle: int) -> tuple[KeyRecord, ...]:
    """Return a user key, its team and the root, with six limits in all."""
    common: dict[str, Any] = {"version": 1, "organization_id": "org"}
    return (
        KeyRecord(
            id=name, name=name, parent_key_id="team", granted_by="team", team_id="t",
            policy=policy(idle), token_limits={"daily": 10**15, "per_request_max": 10**6},
            rate_limits={"per_minute": 10**9, "burst": 10**9}, **common,
        ),
        KeyRecord(
            id="team", name="team", key_type="team", parent_key_id="root", granted_by="root",
            team_id="t", budget_limits={"daily": 9e6, "monthly": 9e6}, **common,
        ),
        KeyRecord(
            id="root", name="root", key_type="organization", budget_limits={"total": 9e6}, **common
        ),
    )  # fmt: skip


class Directory:
    """Resolves any of `count` keys."""

    def __init__(self, count: int, idle: int) -> None:
        self.secrets = [make_secret("prod", index.to_bytes(20, "big")) for index in range(count)]
        self._names = {
            hash_secret(raw, PEPPER): f"key_{index}" for index, raw in enumerate(self.secrets)
        }
        self._idle = idle

    async def by_hash(self, secret_hash: bytes) -> tuple[int, Resolved | None]:
        found = records(self._names[secret_hash], self._idle)
        chain = tuple(record.id for record in found)
        return 1, Resolved(
            key_id=chain[0],
            parents=chain,
            granters=chain,
            records=found,
            timezone="UTC",
            revision=1,
        )

    async def by_id(self, key_id: str) -> tuple[int, Resolved | None]:
        raise AssertionError(key_id)


class Desk:
    """An engine with its keys in the cache."""

    def __init__(
        self, folder: Path, keys: int, idle: int, clock: Callable[[], int] = time.time_ns
    ) -> None:
        directory = Directory(keys, idle)
        self.secrets = directory.secrets
        self.counters, self.journal = recover(folder, new_spool_id="bench", now=clock(), wait=0)
        cache = KeyCache(
            directory,
            partial(hash_secret, pepper=PEPPER),
            clock=time.monotonic_ns,
            size=keys,
            unknown_size=10,
            max_staleness=10**18,
        )
        cache.alive()
        self.cache = cache
        self.engine = Engine(
            keys=cache,
            counters=self.counters,
            prices=PRICES,
            sink=JournalSink(self.journal),
            clock=clock,
            ids=IdSource("bench"),
            options=Options(),
            stats=Stats(),
        )

    async def fill(self) -> None:
        """Look every key up once."""
        for raw in self.secrets:
            self.cache.alive()
            found = self.cache.lookup(raw)
            assert found is not None
            if not hasattr(found, "record"):
                await found
        self.cache.alive()

    def round(self, seconds: float) -> float:
        """Return the mean CPU µs of a Check; each is settled, outside the time."""
        spent, count, secrets = 0, 0, self.secrets
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            requests = [
                Request(f"r{count + i}", secrets[(count + i) % len(secrets)], "chat:completions",
                        "gpt-4o", "", "192.0.2.1", "bench/1", 100, 50)
                for i in range(100)
            ]  # fmt: skip
            # CPU time: what else runs on the machine does not count.
            start = time.thread_time_ns()
            answers = [self.engine.check(request) for request in requests]
            spent += time.thread_time_ns() - start
            count += len(requests)
            for answer in answers:
                assert isinstance(answer, Decision), answer
                assert answer.allowed, answer
                self.engine.report(
                    Usage(
                        reservation_id=answer.reservation_id, prompt_tokens=1, completion_tokens=1
                    )
                )
        return spent / count / 1000


async def run(seconds: float, rounds: int) -> Figures:
    """Measure every variant, one after another, `rounds` times."""
    figures = Figures("us")
    with tempfile.TemporaryDirectory() as name:
        variants = {
            "10 keys": (10, 0),
            "10 of 100,000 keys": (100_000, 0),
            "100,000 keys in turn": (100_000, 0),
            "10 keys, 500 idle statements": (10, 500),
        }
        desks = {}
        for index, (title, (keys, idle)) in enumerate(variants.items()):
            desks[title] = Desk(Path(name) / str(index), keys, idle)
            await desks[title].fill()
        few = desks["10 of 100,000 keys"]
        few.secrets = few.secrets[:10]
        for _ in range(rounds):
            for title, desk in desks.items():
                figures.add(title, desk.round(seconds))
    return figures


def main() -> None:
    chosen = options(seconds=1, rounds=5)
    figures = asyncio.run(run(chosen.seconds, chosen.rounds))
    figures.show("10 keys")
    figures.save(chosen.out, "engine")


if __name__ == "__main__":
    main()
