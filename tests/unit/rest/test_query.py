"""Query parameters are read strictly, and all that is wrong is told at once."""

from typing import Any
from urllib.parse import quote

import pytest

from pdp.errors import InvalidDocument
from pdp.rest.query import choice, flag, instant, read_query, span, text, whole

KNOWN = (
    choice("status", "", ("active", "revoked")),
    text("team_id", "", "t"),
    span("older_than", ""),
    whole("limit", "", 1000, 1000),
    flag("cascade", ""),
    instant("start", ""),
)


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("", {}),
        ("status=active&limit=1000", {"status": "active", "limit": 1000}),
        ("older_than=90d", {"older_than": 90 * 86_400}),
        ("older_than=3600", {"older_than": 3600}),
        ("older_than=2w", {"older_than": 14 * 86_400}),
        ("cascade=true", {"cascade": True}),
        ("cascade=False", {"cascade": False}),
        ("start=1970-01-01T00:00:01Z", {"start": 1_000_000_000}),
        ("start=1970-01-01T02:00:00+02:00", {"start": 0}),
        (f"team_id={quote('Zoë & Söhne')}", {"team_id": "Zoë & Söhne"}),
    ],
)
def test_values(query: str, values: dict[str, Any]) -> None:
    assert read_query(query, KNOWN) == values


@pytest.mark.parametrize(
    ("query", "locations"),
    [
        ("x=1", ["x"]),
        ("status=gone&x=1&limit=0", ["status", "x", "limit"]),
        ("limit=1&limit=1", ["limit"]),
        ("limit=1.0", ["limit"]),
        ("limit=%D9%A1", ["limit"]),
        ("limit=", ["limit"]),
        ("limit", ["limit"]),
        ("cascade=1", ["cascade"]),
        ("older_than=d", ["older_than"]),
        ("older_than=-1d", ["older_than"]),
        ("older_than=999999999w", ["older_than"]),
        ("start=today", ["start"]),
        ("start=1969-12-31T23:59:59Z", ["start"]),
        ("start=9999-12-31T23:59:59Z", ["start"]),
        ("team_id=", ["team_id"]),
        ("team_id=a%00b", ["team_id"]),
        ("team_id=a%0d%0ab", ["team_id"]),
        (f"team_id={'x' * 513}", ["team_id"]),
        ("team_id=%ff", ["query"]),
        ("&".join(["limit=1"] * 65), ["query"]),
        ("a%0d%0ab=1", ["a??b"]),
        ("=1", ["query"]),
    ],
)
def test_faults(query: str, locations: list[str]) -> None:
    with pytest.raises(InvalidDocument) as caught:
        read_query(query, KNOWN)
    assert [problem.location for problem in caught.value.problems] == locations
