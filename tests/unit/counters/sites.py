"""Data planes with their engines: counters in one Redis, records that are to be shipped."""

import asyncio
from typing import Any

import pytest
from msgspec import Struct

from pdp.model import Decision, Reported, Request, Usage
from pdp.options import Options
from pdp.quota.hold import Absent, Hold
from tests.contract.world import answer
from tests.counting import Fleet, Plane
from tests.unit.control.desk import Desk as Ledger
from tests.wire.harness import Desk, ListSink, record

KEYS = record("root"), record("leaf", parent_key_id="root")


class Site(Struct):
    """A data plane. What its engine writes down is its spool."""

    name: str
    plane: Plane
    desk: Desk

    async def check(self, request_id: str = "r") -> Decision:
        """Ask for a request of the leaf."""
        request = Request(request_id, "leaf", "chat:completions", model="gpt-4o")
        return await answer(self.desk.engine.check(request))

    async def report(self, usage: Usage) -> Reported:
        """Report a usage."""
        return await answer(self.desk.engine.report(usage))


def site(fleet: Fleet, name: str) -> Site:
    """Return another data plane."""
    plane, sink = fleet.plane(name), ListSink()
    sink.records = plane.spool
    options = Options(roots_in_ids=True)
    desk = Desk(*KEYS, counters=plane.counters, sink=sink, options=options, boot=name)
    return Site(name, plane, desk)


def meet(patch: pytest.MonkeyPatch, *sites: Site) -> None:
    """Let reports that come to all at once find the same, before any of them is counted."""
    met = asyncio.Barrier(len(sites))

    def patched(each: Site) -> None:
        locate = each.plane.counters.locate

        async def found(*asked: Any) -> Hold | Absent:
            located = await locate(*asked)
            await met.wait()
            return located

        patch.setattr(each.plane.counters, "locate", found)

    for each in sites:
        patched(each)


async def ship(ledger: Ledger, at: Site, first: int = 0, end: int | None = None) -> None:
    """Let the ledger take some records of a data plane's spool."""
    records = at.plane.spool[first:end]
    await ledger.take(*records, first=first, spool=at.name)


def counted(fleet: Fleet, key_id: str = "root") -> tuple[int, ...]:
    """Return what Redis has of a key: cost, tokens, requests, held cost and held tokens."""
    with fleet.server.client() as client:
        total = client.hgetall(f"pdp:{{root}}:t:{key_id}")
    return tuple(int(total.get(name, 0)) for name in (b"s", b"ts", b"r", b"h", b"th"))
