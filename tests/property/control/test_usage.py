"""Usage by every group is that of an oracle, and of the audit log's entries, to the nano-dollar."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from pdp.control.audit import audit_log
from pdp.control.usage import GROUPS, usage_by_group
from pdp.quota.calendar import Calendar
from pdp.quota.hold import Window
from pdp.records import Held, Record
from pdp.store.sight import Sight
from tests.examples import tries
from tests.store import Store
from tests.unit.control.desk import Desk, denied, expired, held, opened_desk, settled, unchecked

ZONES = ("UTC", "America/New_York", "Europe/Berlin", "Pacific/Auckland", "America/Havana")
DAYS = ("2026-03-08", "2026-03-29", "2026-04-05", "2026-09-27", "2026-10-25", "2026-11-01")
"""Around these the clocks of the zones go forward or back; Havana's do so at midnight."""
OWNERS = (("user", "a", "u"), ("application", "b", ""), ("", "", ""))
MODELS = ("gpt-4o", "gpt-4o-mini", "")
PROVIDERS = ("openai", "azure", "")
LIVES = (
    ("held",),
    ("held", "settled"),
    ("held", "settled", "settled"),
    ("held", "settled", "expired"),
    ("held", "expired"),
    ("held", "expired", "settled"),
    ("held", "expired", "settled", "settled", "expired"),
    ("unchecked",),
    ("unchecked", "unchecked"),
    ("denied",),
)
NANO = st.integers(0, 10**13)
"""Up to 10,000 USD: sums stay where a float of dollars still has every nano-dollar."""


class Request(Struct, frozen=True):
    """What becomes of one request: what was checked, and then each report's say."""

    owner: int
    hours: int
    day: str
    life: tuple[str, ...]
    model: str
    provider: str
    held: int
    reports: tuple[tuple[str, str, int | None, int], ...]

    @property
    def at(self) -> int:
        start = datetime.fromisoformat(self.day).replace(tzinfo=UTC)
        return int((start + timedelta(hours=self.hours, minutes=30)).timestamp()) * 10**9


REPORT = st.tuples(
    st.sampled_from(MODELS), st.sampled_from(PROVIDERS), st.none() | NANO, st.integers(0, 9)
)
REQUESTS = st.lists(
    st.builds(
        Request,
        st.integers(0, 2),
        st.integers(-14, 38),
        st.sampled_from(DAYS),
        st.sampled_from(LIVES),
        st.sampled_from(MODELS[:2]),
        st.sampled_from(PROVIDERS[:2]),
        NANO,
        st.tuples(REPORT, REPORT),
    ),
    max_size=8,
)


def records_of(request: Request, number: int, chain: tuple[str, ...], zone: str) -> list[Record]:
    """Return the records that the life of a request leaves."""
    _, team, user = OWNERS[request.owner]
    hold = held(f"d{number}", request.held, 10, chain, request.at, team_id=team, user_id=user)
    facts = replace(hold.facts, model=request.model, provider=request.provider)
    calendar = Calendar(zone)
    day, month = calendar.day(request.at)[0], calendar.month(request.at)[0]
    windows = tuple(Window(each, day, month) for each in chain)
    inner = replace(hold.hold, windows=windows, model=request.model, provider=request.provider)
    hold = Held(hold.at, facts, inner, ())
    reports = iter(request.reports)
    found: list[Record] = []
    for kind in request.life:
        match kind:
            case "settled":
                model, provider, cost, prompt = next(reports)
                found.append(settled(hold, cost, prompt, model=model, provider=provider))
            case "unchecked":
                model, provider, cost, prompt = next(reports)
                usage = unchecked(f"d{number}", cost, at=request.at, windows=windows)
                facts = replace(facts, model=model, provider=provider)
                found.append(replace(usage, facts=facts, prompt_tokens=prompt))
            case "expired":
                found.append(expired(hold, request.held, 10))
            case "denied":
                found.append(replace(denied(f"d{number}"), at=request.at, facts=facts))
            case _:
                found.append(hold)
    return found


Sums = dict[Any, list[int]]


def expected(requests: Sequence[Request], keys: Sequence[str], zone: str) -> dict[str, Sums]:
    """Return (requests, prompt, completion, cached, nano-USD) by group and value."""
    found: dict[str, Sums] = {group: defaultdict(lambda: [0] * 5) for group in GROUPS}
    for request in requests:
        if request.life[0] == "denied" or request.life == ("held",):
            continue
        model, provider, used = request.model, request.provider, [1, 0, 0, 0, request.held]
        if "settled" in request.life or "unchecked" in request.life:
            # The first report wins; what it leaves out is as it was checked.
            said_model, said_provider, cost, prompt = request.reports[0]
            checked = request.life[0] == "held"
            model, provider = said_model or model * checked, said_provider or provider * checked
            used = [1, prompt, 4, 1, cost or 0]
        _, team, user = OWNERS[request.owner]
        moment = datetime.fromtimestamp(request.at // 10**9, ZoneInfo(zone))
        values = {
            "day": moment.date().isoformat(),
            "model": model,
            "provider": provider,
            "key": keys[request.owner],
            "team": team,
            "user": user,
        }
        for group, value in values.items():
            _add(found[group], value or None, used)
    return found


def _add(sums: Sums, value: object, used: Sequence[int]) -> None:
    sums[value] = [a + b for a, b in zip(sums[value], used, strict=True)]


async def told(desk: Desk) -> dict[str, Sums]:
    """Return the same as the use case tells it."""
    found = {}
    for group in GROUPS:
        rows = (await usage_by_group(desk.database, Sight("org"), group))["usage"]
        found[group] = {row[group]: _sums_of(row) for row in rows}
        assert len(found[group]) == len(rows)
    return found


def _sums_of(row: Mapping[str, Any]) -> list[int]:
    names = ("requests", "prompt_tokens", "completion_tokens", "cached_tokens")
    return [*(row[name] for name in names), round(row["cost_usd"] * 1e9)]


async def from_log(desk: Desk, zone: str) -> dict[str, Sums]:
    """Return the same, added up from the entries of the log, as far as these tell it."""
    found: dict[str, Sums] = {group: defaultdict(lambda: [0] * 4) for group in GROUPS}
    columns = {"key": "api_key_id", "team": "team_id", "user": "user_id"}
    for entry in (await audit_log(desk.database, Sight("org")))["logs"]:
        if entry["status"] in ("pending", "denied") or entry["decision_id"].startswith("adm_"):
            continue
        tokens = entry["tokens"]
        cost = round((entry["cost_usd"] or 0) * 1e9)
        moment = datetime.fromisoformat(entry["timestamp"]).astimezone(ZoneInfo(zone))
        for group in GROUPS:
            value = entry.get(columns.get(group, group), moment.date().isoformat())
            sums = [1, tokens["prompt"], tokens["completion"], cost]
            found[group][value or None] = [
                a + b for a, b in zip(found[group][value or None], sums, strict=True)
            ]
    return found


async def compare(
    store: Store, zone: str, requests: Sequence[Request], order: Sequence[int], length: int
) -> None:
    async with store.empty() as url, opened_desk(url, timezone=zone) as desk:
        keys = []
        for key_type, team, user in OWNERS[:2]:
            made = await desk.create(key_type=key_type, team_id=team, user_id=user or None)
            keys.append(made["id"])
        keys.append(desk.root.key_id)
        lives = [
            records_of(each, number, tuple(dict.fromkeys((keys[each.owner], keys[2]))), zone)
            for number, each in enumerate(requests)
        ]
        # Lives run into each other; each goes on in its own order.
        turns = [*order, *(number for number in range(len(lives)) for _ in range(9))]
        spool = [lives[turn].pop(0) for turn in turns if turn < len(lives) and lives[turn]]
        for first in range(0, len(spool), length):
            await desk.take(*spool[first : first + length], first=first)
        found = await told(desk)
        assert found == expected(requests, keys, zone)
        shorter = {
            group: {value: [*sums[:3], sums[4]] for value, sums in by_value.items()}
            for group, by_value in found.items()
        }
        assert await from_log(desk, zone) == shorter


ORDERS = st.lists(st.integers(0, 7), max_size=30)


@tries(15)
@given(st.sampled_from(ZONES), REQUESTS, ORDERS, st.integers(1, 12))
def test_usage_is_that_of_the_oracle_and_of_the_log(
    sqlite_store: Store, zone: str, requests: list[Request], order: list[int], length: int
) -> None:
    asyncio.run(compare(sqlite_store, zone, requests, order, length))


@tries(6)
@given(st.sampled_from(ZONES), REQUESTS, ORDERS, st.integers(1, 12))
def test_usage_is_that_of_the_oracle_and_of_the_log_on_postgresql(
    postgresql_store: Store, zone: str, requests: list[Request], order: list[int], length: int
) -> None:
    asyncio.run(compare(postgresql_store, zone, requests, order, length))
