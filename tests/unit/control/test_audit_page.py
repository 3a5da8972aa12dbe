"""A page of the audit log looks at a bounded number of entries, along the rarest."""

import pytest

from pdp.control.audit import audit_log
from pdp.store.audit import AuditFilter
from pdp.store.sight import Sight
from tests.unit.control.desk import NOON, Desk, held, settled

ORG = Sight("org")


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> int:
    """A page looks at seven rows or so."""
    monkeypatch.setattr("pdp.store.audit.FAR", 7)
    return 7


async def walk(desk: Desk, sight: Sight, wanted: AuditFilter) -> tuple[list[str], list[int]]:
    """Return the decisions of all pages, and how many each page has."""
    found: list[str] = []
    sizes: list[int] = []
    cursor = None
    while not sizes or cursor:
        page = await audit_log(desk.database, sight, wanted, cursor)
        found += [entry["decision_id"] for entry in page["logs"]]
        sizes.append(len(page["logs"]))
        cursor = page["next_cursor"]
    return found, sizes


async def test_a_question_with_few_answers_gets_short_pages_and_all_of_them(
    desk: Desk, near: int
) -> None:
    # Every second one is of one model, every third of one provider, some at the same instant.
    places = [
        held(
            f"d{number:02}",
            at=NOON + number // 2,
            model="gpt-4o" if number % 2 else "o3",
            provider="openai" if number % 3 else "other",
        )
        for number in range(60)
    ]
    await desk.take(*places)
    expected = [f"d{number:02}" for number in range(59, -1, -1) if number % 2 and not number % 3]
    for limit in (1, 3, 1000):
        wanted = AuditFilter(model="gpt-4o", provider="other", limit=limit)
        found, sizes = await walk(desk, ORG, wanted)
        assert found == expected
        assert max(sizes) <= min(limit, near)
        assert len(sizes) >= 20 // near


async def test_the_way_is_along_what_is_rarest(desk: Desk, near: int) -> None:
    records = [held(f"d{number:02}", at=NOON + number) for number in range(40)]
    await desk.take(*records, settled(records[0], model="o3"), settled(records[20]))
    # Six filters that nearly everything fits, and one that two rows do: one page has it all.
    wanted = AuditFilter(
        key_id="leaf", status="success", provider="openai", action="chat.completions.create"
    )
    assert await walk(desk, ORG, wanted) == (["d20", "d00"], [2])
    assert await walk(desk, ORG, AuditFilter(model="o3", key_id="leaf")) == (["d00"], [1])


async def test_one_filter_alone_needs_no_short_pages(desk: Desk, near: int) -> None:
    await desk.take(*(held(f"d{number:02}", at=NOON + number) for number in range(40)))
    found, sizes = await walk(desk, ORG, AuditFilter(key_id="leaf", limit=30))
    assert (len(found), sizes) == (40, [30, 10])
