"""`pdp usage` and `pdp audit`."""

import asyncio
import csv
import io
import json
from typing import Any

import pytest

from pdp.control.ingest import ingest
from pdp.records import Record, encode
from pdp.store.database import Database
from pdp.store.sqlite import default_url
from tests.unit.cli.conftest import Pdp
from tests.unit.control.desk import NOON, SECOND, denied, held, settled


def take(pdp: Pdp, *records: Record) -> None:
    """Put records into the ledger, as the data plane does beside the commands."""

    async def work() -> None:
        database = Database(default_url(pdp.data_dir))
        try:
            await ingest(database, "spool", 0, list(map(encode, records)))
        finally:
            await database.close()

    asyncio.run(work())


@pytest.fixture
def key(pdp: Pdp, root: dict[str, str]) -> dict[str, Any]:
    """A key that has spent 0.25 USD, holds 3 USD, and was denied once."""
    made = pdp.create(name="[b]Mobile[/b]", user_id="u")
    chain, organization = (made["id"], root["key_id"]), root["organization_id"]
    whose: dict[str, Any] = {"organization_id": organization, "team_id": "", "user_id": "u"}
    first, second = (
        held(name, cost, chain=chain, at=NOON + at * SECOND, **whose)
        for name, cost, at in (("d1", 10**9, 1), ("d2", 3 * 10**9, 2))
    )
    no = denied("d3", key_id=made["id"], organization_id=organization, key_name="[b]Mobile[/b]")
    take(pdp, first, settled(first, 250_000_000), second, no)
    return made


# -- Usage


def test_usage_shows_spent_and_held_of_every_key(
    pdp: Pdp, key: dict[str, Any], root: dict[str, str]
) -> None:
    found = {row["api_key_id"]: row for row in pdp("usage", "--json").json()["usage"]}
    assert list(found) == [root["key_id"], key["id"]]
    for row in found.values():
        assert (row["requests"], row["spent_usd"], row["held_usd"]) == (2, 0.25, 3.0)
    table = pdp("usage").out
    lines = table.splitlines()
    (index,) = [index for index, line in enumerate(lines) if key["id"] in line]
    assert [word for at, word in enumerate(lines[index - 1].split()) if at not in (1, 2, 3)] == [
        *("[b]Mobile[/b]", "0.250000", "3.000000"),
    ]


@pytest.mark.parametrize(
    ("group", "value"),
    [("day", "2026-11-23"), ("model", "gpt-4o"), ("provider", "openai"), ("user", "u")],
)
def test_usage_by_group(pdp: Pdp, key: dict[str, Any], group: str, value: str) -> None:
    (row,) = pdp("usage", "--group-by", group, "--json").json()["usage"]
    assert row == {
        group: value,
        "requests": 1,
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "cached_tokens": 1,
        "cost_usd": 0.25,
    }
    days = ("--start", "2026-11-23", "--end", "2026-11-23")
    assert pdp("usage", "--group-by", group, "--json", *days).json()["usage"] == [row]
    after = pdp("usage", "--group-by", group, "--json", "--start", "2026-11-24")
    assert after.json() == {"usage": []}
    table = pdp("usage", "--group-by", group).out
    assert value in table
    assert "0.250000" in table


def test_a_group_that_is_none_is_refused(pdp: Pdp, key: dict[str, Any]) -> None:
    line = pdp("usage", "--group-by", "colour").refusal()
    assert "group_by: `colour` is not one of day, model, provider, key, team, user" in line


def test_usage_of_one_key(pdp: Pdp, root: dict[str, str], key: dict[str, Any]) -> None:
    (row,) = pdp("usage", "--key-id", key["id"], "--json").json()["usage"]
    assert row["api_key_id"] == key["id"]
    assert pdp("usage", "--group-by", "day", "--key-id", root["key_id"], "--json").json() == {
        "usage": []
    }
    assert "there is no key `key_x`" in pdp("usage", "--key-id", "key_x").refusal()


def test_usage_by_key_and_by_team_of_nobody(pdp: Pdp, key: dict[str, Any]) -> None:
    (row,) = pdp("usage", "--group-by", "key", "--json").json()["usage"]
    assert (row["key"], row["key_name"]) == (key["id"], "[b]Mobile[/b]")
    lines = pdp("usage", "--group-by", "key").out.splitlines()
    (index,) = [index for index, line in enumerate(lines) if key["id"] in line]
    assert "[b]Mobile[/b]" in lines[index - 1]
    (row,) = pdp("usage", "--group-by", "team", "--json").json()["usage"]
    assert row["team"] is None


def test_days_go_with_groups(pdp: Pdp, key: dict[str, Any]) -> None:
    done = pdp("usage", "--start", "2026-11-23")
    assert done.status == 2
    assert "--group-by" in done.err
    line = pdp("usage", "--group-by", "day", "--end", "sunday").refusal()
    assert "end: `sunday` is no day: write it like `2030-12-31`" in line


# -- Audit


def test_audit_shows_the_newest_first(pdp: Pdp, key: dict[str, Any]) -> None:
    found = pdp("audit", "--json").json()
    assert set(found) == {"logs", "next_cursor"}
    stamps = [entry["timestamp"] for entry in found["logs"]]
    assert stamps == sorted(stamps, reverse=True)
    assert len(stamps) == 5  # Two changes by the administrator, three requests.
    statuses = {entry["decision_id"]: entry["status"] for entry in found["logs"]}
    assert statuses["d1"] == "success"
    assert statuses["d2"] == "pending"
    assert statuses["d3"] == "denied"


@pytest.mark.parametrize("limit", [1, 3, 5, 100])
def test_a_limit_keeps_the_newest(pdp: Pdp, key: dict[str, Any], limit: int) -> None:
    whole = pdp("audit", "--json").json()["logs"]
    found = pdp("audit", "--json", "--limit", str(limit)).json()
    assert found["logs"] == whole[:limit]
    assert (found["next_cursor"] is None) == (limit >= len(whole))


def test_audit_shows_what_it_is_asked_for(pdp: Pdp, key: dict[str, Any]) -> None:
    mine = pdp("audit", "--json", "--key-id", key["id"]).json()["logs"]
    assert {entry["api_key_id"] for entry in mine} == {key["id"]}
    assert len(mine) == 3
    (entry,) = pdp("audit", "--json", "--status", "denied").json()["logs"]
    assert (entry["decision_id"], entry["reason"]) == ("d3", "budget_exceeded")


def test_audit_shows_people_a_table(pdp: Pdp, key: dict[str, Any]) -> None:
    table = pdp("audit").out
    lines = table.splitlines()
    (index,) = [at for at, line in enumerate(lines) if "success" in line and "chat" in line]
    assert lines[index].split() == [
        *("2026-11-23", "12:00:01", key["id"].title(), "chat.completions.create"),
        *("success", "7", "0.250000"),
    ]
    assert lines[index + 1].split() == ["gpt-4o"]
    (line,) = [line for line in lines if "budget_exceeded" in line]
    assert "[b]Mobile[/b]" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--status", "lost"), "status: `lost` is not one of pending, success, error, denied"),
        (("--action", "chat"), "action: `chat` is not one of chat:completions, chat:stream"),
        (("--start", "monday"), "start: `monday` is no time: use RFC 3339"),
        (("--end", "2026-11-31"), "end: `2026-11-31` is no time: use RFC 3339"),
        (("--end", "9999-12-31"), "end: `9999-12-31` is no time: use RFC 3339"),
        (("--format", "xml"), "format: `xml` is not one of ndjson, csv"),
        (("--key-id", "nobody"), "there is no key `nobody`"),
    ],
)
def test_a_question_that_is_none_is_refused(
    pdp: Pdp, root: dict[str, str], arguments: tuple[str, ...], words: str
) -> None:
    assert words in pdp("audit", *arguments).refusal()


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--model", "gpt-4o", "--status", "success"), ["d1"]),
        (("--provider", "openai", "--end", "2026-11-23T12:00:02Z"), ["d1", "d3"]),
        (("--start", "2026-11-23T13:00:01+01:00", "--action", "chat.completions.create"), "d2 d1"),
        (("--start", "2026-11-23", "--end", "2026-11-23", "--model", "gpt-4o"), "d2 d1 d3"),
        (("--start", "2026-11-24", "--model", "gpt-4o"), []),
        (("--end", "2026-11-22", "--model", "gpt-4o"), []),
        (("--request-id", "req_d2"), ["d2"]),
        (("--model", "none"), []),
    ],
)
def test_audit_is_asked_by_what_requests_are(
    pdp: Pdp, key: dict[str, Any], arguments: tuple[str, ...], found: str | list[str]
) -> None:
    logs = pdp("audit", "--json", *arguments).json()["logs"]
    expected = found.split() if isinstance(found, str) else found
    assert [entry["decision_id"] for entry in logs] == expected


def test_audit_streams_ndjson_and_csv(pdp: Pdp, key: dict[str, Any]) -> None:
    whole = pdp("audit", "--json").json()["logs"]
    lines = pdp("audit", "--format", "ndjson").out.splitlines()
    assert [json.loads(line) for line in lines] == whole
    table = list(csv.DictReader(io.StringIO(pdp("audit", "--format", "csv", "--limit", "2").out)))
    assert [row["decision_id"] for row in table] == [each["decision_id"] for each in whole[:2]]


def test_each_organization_has_its_own_log_and_usage(pdp: Pdp, key: dict[str, Any]) -> None:
    there = ("--organization-id", "org2")
    other = pdp("init", *there, "--json").json()
    (entry,) = pdp("audit", *there, "--json").json()["logs"]
    assert entry["api_key_id"] == other["key_id"]
    (row,) = pdp("usage", *there, "--json").json()["usage"]
    assert (row["api_key_id"], row["requests"]) == (other["key_id"], 0)
