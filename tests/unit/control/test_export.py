"""The audit log as NDJSON and CSV: all of it, in bounded pieces."""

import csv
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from pdp.control.audit import audit_log
from pdp.control.export import COLUMNS, PAGE, export_log, media_type_of
from pdp.errors import InvalidDocument, NotFound
from pdp.store.audit import AuditFilter
from pdp.store.database import Database
from pdp.store.sight import Sight
from tests.unit.control.desk import NOON, Desk, held, settled

ORG = Sight("org")
LEAF = AuditFilter(key_id="leaf")
MANY = 3 * PAGE + 7


async def chunks_of(
    desk: Desk, form: str, wanted: AuditFilter = LEAF, most: int | None = None
) -> list[bytes]:
    return [chunk async for chunk in await export_log(desk.database, ORG, wanted, form, most=most)]


async def fill(desk: Desk, count: int = MANY) -> list[str]:
    """Put entries into the log; return their decisions, newest first."""
    await desk.take(*(held(f"d{number:05}", at=NOON + number // 3) for number in range(count)))
    return [f"d{number:05}" for number in range(count - 1, -1, -1)]


def read_csv(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


async def test_ndjson_has_every_entry_once_as_the_log_shows_it(desk: Desk) -> None:
    expected = await fill(desk)
    entries = [json.loads(line) for line in b"".join(await chunks_of(desk, "ndjson")).splitlines()]
    assert [entry["decision_id"] for entry in entries] == expected
    page = await audit_log(desk.database, ORG, LEAF)
    assert entries[:100] == page["logs"]


@pytest.mark.parametrize("form", ["ndjson", "csv"])
async def test_a_cost_beyond_what_a_float_holds_is_a_number_with_every_digit(
    desk: Desk, form: str
) -> None:
    hold = held("d1")
    await desk.take(hold, settled(hold, 8_388_609 * 10**9 + 1))
    data = b"".join(await chunks_of(desk, form))
    assert (b'"cost_usd":' if form == "ndjson" else b",") + b"8388609.000000001," in data


async def test_csv_has_every_entry_once_with_its_columns(desk: Desk) -> None:
    expected = await fill(desk)
    data = b"".join(await chunks_of(desk, "csv"))
    assert data.startswith(",".join(COLUMNS).encode() + b"\r\n")
    assert data.count(b"\r\n") == data.count(b"\n") == MANY + 1
    assert [row["decision_id"] for row in read_csv(data)] == expected


async def test_a_row_of_csv_is_an_entry_taken_apart(desk: Desk) -> None:
    hold = held("d1", metadata={"app": 'says "hi", twice', "line": "one\r\ntwo"})
    await desk.take(hold, settled(hold, 5, 150, completion_tokens=200))
    (row,) = read_csv(b"".join(await chunks_of(desk, "csv")))
    (entry,) = (await audit_log(desk.database, ORG, LEAF))["logs"]
    assert tuple(row) == COLUMNS
    assert json.loads(row["metadata"]) == entry["metadata"]
    tokens = {name: int(row[f"{name}_tokens"]) for name in ("prompt", "completion", "total")}
    assert tokens == entry["tokens"] == {"prompt": 150, "completion": 200, "total": 350}
    assert row["cost_usd"] == "0.000000005"
    flat = {*COLUMNS} - {"metadata", "cost_usd", *(f"{name}_tokens" for name in tokens)}
    assert {name: row[name] for name in flat} == {name: str(entry[name]) for name in flat}
    assert {*entry} - {"tokens"} <= {*COLUMNS}


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r"])
async def test_what_a_spreadsheet_would_run_is_text(desk: Desk, first: str) -> None:
    evil = f'{first}HYPERLINK("http://x.example")'
    await desk.take(held("d1", user_agent=evil, key_name=evil, request_id=evil))
    data = b"".join(await chunks_of(desk, "csv"))
    (row,) = read_csv(data)
    for name in ("user_agent", "api_key_name", "request_id"):
        assert row[name] == f"'{evil}"
    (entry,) = [json.loads(chunk) for chunk in await chunks_of(desk, "ndjson")]
    assert entry["user_agent"] == evil  # JSON is read by programs: it stays as it is.


async def test_a_cost_that_nobody_knows_is_an_empty_cell(desk: Desk) -> None:
    hold = held("d1", cost=None)
    await desk.take(hold, settled(hold, None), held("d2", at=NOON + 1))
    pending, unknown = read_csv(b"".join(await chunks_of(desk, "csv")))
    assert unknown["cost_usd"] == pending["usage_source"] == ""
    assert pending["cost_usd"] == "0.000000000"


@pytest.mark.parametrize("form", ["ndjson", "csv"])
async def test_a_stream_comes_in_pieces_of_a_page(desk: Desk, form: str) -> None:
    await fill(desk)
    chunks = await chunks_of(desk, form)
    lines = [chunk.count(b"\n") for chunk in chunks]
    assert lines == [*([1] if form == "csv" else []), PAGE, PAGE, PAGE, 7]
    assert max(map(len, chunks)) < PAGE * 1000


class Watched(Database):
    """A database that knows how many of its transactions are open, and how many there were."""

    def __init__(self, of: Database) -> None:
        self._of = of
        self.open = self.opened = 0

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        self.open += 1
        self.opened += 1
        try:
            async with self._of.reading() as connection:
                yield connection
        finally:
            self.open -= 1


async def test_no_transaction_is_open_while_the_reader_takes_its_time(desk: Desk) -> None:
    await fill(desk)
    database = Watched(desk.database)
    stream = await export_log(database, ORG, LEAF, "ndjson")
    assert (database.open, database.opened) == (0, 1)
    pages = 0
    async for _ in stream:
        pages += 1
        assert database.open == 0
        assert database.opened == pages  # Nothing is read before it is wanted.
    assert pages == 4


async def test_what_is_written_meanwhile_does_not_disturb_a_stream(desk: Desk) -> None:
    expected = await fill(desk)
    found: list[str] = []
    number = 0
    async for chunk in await export_log(desk.database, ORG, LEAF, "ndjson"):
        found += [json.loads(line)["decision_id"] for line in chunk.splitlines()]
        number += 1
        await desk.take(held(f"new{number}", at=NOON * 2), spool=f"new{number}")
    assert found == expected


@pytest.mark.parametrize("most", [1, PAGE - 1, PAGE, PAGE + 1, MANY, MANY + 1])
async def test_a_stream_ends_where_it_is_told(desk: Desk, most: int) -> None:
    expected = await fill(desk)
    chunks = await chunks_of(desk, "ndjson", most=most)
    found = [json.loads(line)["decision_id"] for line in b"".join(chunks).splitlines()]
    assert found == expected[:most]


async def test_nothing_is_a_header_or_nothing(desk: Desk) -> None:
    nothing = AuditFilter(model="none")
    assert await chunks_of(desk, "ndjson", nothing) == []
    assert await chunks_of(desk, "csv", nothing) == [",".join(COLUMNS).encode() + b"\r\n"]


@pytest.mark.parametrize(
    ("form", "wanted", "error"),
    [
        ("xml", AuditFilter(), InvalidDocument),
        ("csv", AuditFilter(status="lost"), InvalidDocument),
        ("csv", AuditFilter(key_id="nobody"), NotFound),
    ],
)
async def test_what_is_wrong_is_told_before_the_stream_begins(
    desk: Desk, form: str, wanted: AuditFilter, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await export_log(desk.database, ORG, wanted, form)


def test_formats_have_media_types() -> None:
    assert media_type_of("ndjson") == "application/x-ndjson"
    assert media_type_of("csv") == "text/csv; charset=utf-8"
    with pytest.raises(InvalidDocument, match="format: `xml` is not one of ndjson, csv"):
        media_type_of("xml")
