"""`pdp serve` as its operator meets it."""

import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from pdp.v1 import policy_decision_pb2 as pb
from tests.e2e.conftest import fill
from tests.stack import Stack, check, eventually, eventually_async, report, stops_within_a_second


def _with_status(stack: Stack, status: str) -> list[dict[str, Any]]:
    wanted = (entry for entry in stack.audit() if entry["request_id"])
    return [entry for entry in wanted if entry["status"] == status]


@pytest.mark.parametrize("transport", ["native", "grpcio"])
async def test_a_request_is_decided_reported_and_found_in_the_ledger(
    stack: Stack, transport: str
) -> None:
    stack.environment["PDP_GRPC_TRANSPORT"] = transport
    key = stack.create_key(name="App", budget_limits={"monthly": 10.0}, metadata={"app": "web"})
    stack.start()
    async with stack.channel() as channel:
        hold = await check(
            channel,
            key["api_key"],
            request_id="r1",
            estimated_prompt_tokens=150,
            client_ip="203.0.113.42",
            user_agent="openai-python/1.3.0",
        )
        assert hold.reason == "ok", hold.message
        eventually(
            lambda: [e for e in stack.audit() if e["status"] == "pending"], "a pending entry"
        )
        done = await report(
            channel,
            {
                "reservation_id": hold.reservation_id,
                "prompt_tokens": 150,
                "completion_tokens": 200,
                "latency_ms": 245,
            },
        )
        assert done.accepted == 1
        (entry,) = eventually(lambda: _with_status(stack, "success"), "a settled entry")
        denied = await check(channel, key["api_key"], action="chat:completions", model="")
        assert denied.reason == "invalid_request"
    assert entry["api_key_id"] == key["id"]
    assert entry["api_key_name"] == "App"
    assert entry["request_id"] == "r1"
    assert entry["action"] == "chat.completions.create"
    assert (entry["model"], entry["provider"]) == ("gpt-4o", "openai")
    assert entry["latency_ms"] == 245
    assert entry["tokens"] == {"prompt": 150, "completion": 200, "total": 350}
    assert entry["cost_usd"] == pytest.approx(0.002375)
    assert entry["metadata"] == {"app": "web"}
    assert (entry["ip_address"], entry["user_agent"]) == ("203.0.113.42", "openai-python/1.3.0")
    assert entry["usage_source"] == "provider"
    assert stack.stop() == 0


async def test_health_and_readiness_follow_the_control_plane_once(stack: Stack) -> None:
    stack.start()
    async with stack.channel() as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "pdp.v1.PolicyDecisionService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert stack.get("/livez") == (200, "ok\n")
    assert stack.get("/readyz") == (200, "ok\n")
    stack.kill("control")
    assert stack.get("/readyz")[0] == 200
    eventually(lambda: "plane died" in stack.log(), "the log says so")


def _libraries(pid: int) -> set[str]:
    """Return the installed packages of which a process has loaded compiled code."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return set(re.findall(r"site-packages/([^/\s]+)/", maps))


def test_it_describes_its_service_and_loads_what_a_plane_needs(stack: Stack) -> None:
    stack.start()
    in_data, in_control = (_libraries(stack.child_pid(each)) for each in ("data", "control"))
    assert {"msgspec", "grpc"} <= in_data & in_control
    assert "sqlalchemy" in in_control
    # Nothing of pydantic in the data plane: 10 MB. In the control plane prices come with it.
    assert not in_data & {"sqlalchemy", "pydantic_core"}
    with grpc.insecure_channel(f"127.0.0.1:{stack.grpc_port}") as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert "pdp.v1.PolicyDecisionService" in database.get_services()
        service = DescriptorPool(database).FindServiceByName("pdp.v1.PolicyDecisionService")
        assert [method.name for method in service.methods] == ["Check", "Report"]


async def test_metrics_count_without_naming_anybody(stack: Stack) -> None:
    key = stack.create_key(name="Secret Project", metadata={"who": "alice"})
    stack.start()
    async with stack.channel() as channel:
        hold = await check(channel, key["api_key"])
        await check(channel, key["api_key"], model="m" * 300)
        await report(channel, {"reservation_id": hold.reservation_id, "prompt_tokens": 7})
    status, text = stack.get("/metrics")
    assert status == 200
    for line in (
        'pdp_checks_total{adapter="grpc",decision="allow",reason="ok"} 1.0',
        'pdp_checks_total{adapter="grpc",decision="deny",reason="invalid_request"} 1.0',
        'pdp_reports_total{result="accepted"} 1.0',
        'pdp_tokens_total{kind="prompt",provider="openai"} 7.0',
        "pdp_check_duration_seconds_count 2.0",
        'pdp_cache_access_total{cache="keys",result="miss"} 1.0',
        "pdp_holds_expired_total 0.0",
        "pdp_spool_records",
        "pdp_revocation_age_seconds",
        'transport="native"',
    ):
        assert line in text
    assert 'grpc_service="pdp.v1.PolicyDecisionService"' in text
    for secret in (key["id"], "Secret Project", "alice", key["api_key"]):
        assert secret not in text


async def test_a_disk_that_fills_up_while_serving_loses_nothing(small_disk: Path) -> None:
    stack = Stack(small_disk.parent)
    stack.environment["PDP_HOLD_TTL"] = "1000"
    (stack.data_dir).mkdir()
    (stack.data_dir / "spool").symlink_to(small_disk)
    try:
        stack.init()
        key = stack.create_key(budget_limits={"total": 100.0})
        stack.start()
        async with stack.channel() as channel:
            before = [await check(channel, key["api_key"]) for _ in range(3)]
            ballast = small_disk / "ballast"
            fill(ballast)
            during = [await check(channel, key["api_key"]) for _ in range(20)]
            assert {answer.reason for answer in during} == {"ok"}
            usage = {"reservation_id": before[0].reservation_id, "prompt_tokens": 100}
            refused = await report(channel, usage)
            assert [error.code for error in refused.errors] == ["unavailable"]
            ballast.unlink()

            async def taken() -> bool:
                return (await report(channel, usage)).duplicates == 1

            await eventually_async(taken, "the report is safe")
            eventually(lambda: len(_with_status(stack, "pending")) == 22, "all holds are entries")
            (settled,) = _with_status(stack, "success")
            assert settled["tokens"]["prompt"] == 100
            look = await check(channel, key["api_key"], dry_run=True)
        (total,) = look.limits
        row = next(r for r in stack.json("usage")["usage"] if r["api_key_id"] == key["id"])
        assert (row["spent_usd"], row["held_usd"]) == (total.spent / 1e9, total.held / 1e9)
    finally:
        stack.stop()


async def test_a_revoked_key_stops_within_a_second(stack: Stack) -> None:
    stack.start()
    async with stack.channel() as channel:
        await stops_within_a_second(stack, channel)


async def test_a_key_made_while_serving_works_though_it_was_unknown(stack: Stack) -> None:
    stack.start()
    async with stack.channel() as channel:
        junk = await check(channel, "vsk_prod_" + "a" * 40)
        assert (junk.reason, junk.http_status) == ("invalid_api_key", 401)
        key = stack.create_key()

        async def allowed() -> bool:
            return (await check(channel, key["api_key"])).decision == pb.DECISION_ALLOW

        await eventually_async(allowed, "the new key works")
