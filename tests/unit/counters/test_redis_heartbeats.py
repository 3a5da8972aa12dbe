"""A heartbeat beside another data plane that is about to expire the hold: one of them is told."""

from collections.abc import AsyncIterator

import msgspec
from structlog.testing import capture_logs

from adapters.envoy.allowed import REFERENCE
from adapters.envoy.service import AccessLog
from adapters.envoy.v1 import wire_pb2 as pb
from adapters.http.reference import Reference
from pdp.model import Usage
from pdp.records import Expired, Extended
from tests.contract.world import NOON, SECOND, TTL, answer
from tests.counting import Fleet
from tests.unit.counters.sites import Site, counted, site


async def sweep(at: Site, fleet: Fleet) -> int:
    """Expire what is over; return how many holds that were."""
    at.desk.clock.now = fleet.now
    await at.desk.engine.expire()
    return sum(isinstance(each, Expired) for each in at.plane.spool)


async def test_who_comes_after_the_claim_is_told_and_the_report_corrects_the_charge(
    fleet: Fleet,
) -> None:
    one, other = site(fleet, "spool1"), site(fleet, "spool2")
    hold = (await one.check()).reservation_id
    await other.check("joined")
    held = counted(fleet)[3]
    fleet.now = NOON + TTL + 6 * SECOND
    assert len(await answer(other.plane.counters.due(fleet.now))) == 2
    one.desk.clock.now = other.desk.clock.now = fleet.now
    assert await answer(one.desk.engine.extend(hold)) is False
    assert not any(isinstance(each, Extended) for each in one.plane.spool)
    assert one.desk.stats.heartbeats_late == 1
    assert await sweep(other, fleet) == 2
    assert await answer(one.desk.engine.extend(hold)) is False, "nor is it later"
    assert counted(fleet)[0] == held, "both are charged in full"
    assert (await one.report(Usage(reservation_id=hold, cost=5))).result == "accepted"
    assert counted(fleet)[0] == held // 2 + 5


async def test_who_comes_before_the_claim_keeps_the_hold(fleet: Fleet) -> None:
    one, other = site(fleet, "spool1"), site(fleet, "spool2")
    hold = (await one.check()).reservation_id
    await other.plane.roots.join(other.plane.roots.lane("root"))
    before = counted(fleet)
    fleet.now = one.desk.clock.now = NOON + TTL + 6 * SECOND
    assert await answer(one.desk.engine.extend(hold)) is True
    assert await sweep(other, fleet) == 0
    assert counted(fleet) == before


async def test_a_claim_that_came_to_nothing_leaves_the_hold_to_be_expired(fleet: Fleet) -> None:
    one, other = site(fleet, "spool1"), site(fleet, "spool2")
    hold = (await one.check()).reservation_id
    await other.plane.roots.join(other.plane.roots.lane("root"))
    fleet.now = NOON + TTL + 6 * SECOND
    assert len(await answer(other.plane.counters.due(fleet.now))) == 1
    fleet.now += 31 * SECOND  # It may have written it down before it died.
    one.desk.clock.now = fleet.now
    assert await answer(one.desk.engine.extend(hold)) is False
    assert await sweep(one, fleet) == 1
    assert counted(fleet)[3] == 0


async def test_envoys_stream_is_logged_that_outlives_its_hold(fleet: Fleet) -> None:
    one = site(fleet, "spool1")
    hold = (await one.check()).reservation_id
    fleet.now = NOON + TTL
    assert await sweep(one, fleet) == 1
    reference = msgspec.json.encode(Reference(hold, "leaf", "r", 0, 0, True)).decode()

    async def entries() -> AsyncIterator[pb.StreamAccessLogsMessage]:
        message = pb.StreamAccessLogsMessage()
        common = message.http_logs.log_entry.add().common_properties
        common.intermediate_log_entry = True
        found = common.metadata.filter_metadata["envoy.filters.http.ext_authz"]
        found.fields[REFERENCE].string_value = reference
        yield message

    with capture_logs() as logs:
        await AccessLog(one.desk.engine).stream(entries(), None)
    assert [each["reservation"] for each in logs] == [hold]
