"""Usage lines into a real server: over UDP, in a file, and through kill -9 and rotation."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from pdp.v1 import policy_decision_pb2 as pb
from tests.stack import Stack, check, eventually
from tests.unit.nginx.lines import line


async def allowed(stack: Stack, api_key: str, numbers: range) -> list[bytes]:
    """Let requests through; return the lines that NGINX writes at their ends."""
    lines = []
    async with stack.channel() as channel:
        for number in numbers:
            answer = await check(
                channel,
                api_key,
                request_id=f"r{number}",
                estimated_prompt_tokens=10,
                max_output_tokens=50,
            )
            assert answer.decision == pb.DECISION_ALLOW, answer
            reference = [answer.reservation_id, answer.key_id, f"r{number}", 10, 50, False]
            lines.append(line(ref=json.dumps(reference)))
    return lines


def counted(stack: Stack, what: str) -> float:
    """Return a counter of the data plane, 0 if it is not there."""
    found = [each for each in stack.get("/metrics")[1].splitlines() if each.startswith(what)]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


def statuses(stack: Stack) -> dict[str, tuple[str, float]]:
    return {
        entry["request_id"]: (entry["status"], entry["cost_usd"])
        for entry in stack.audit(1000)
        if entry["request_id"].startswith("r")
    }


COST = pytest.approx((7 * 2.5 + 4 * 1.25 + 7 * 10) / 1e6)


def test_lines_are_settled_whichever_way_they_come(tmp_path: Path, stack: Stack) -> None:
    log = tmp_path / "usage.log"
    stack.environment["PDP_NGINX_USAGE_FILE"] = str(log)
    key = stack.create_key(budget_limits={"total": 100.0})
    stack.start()
    lines = asyncio.run(allowed(stack, key["api_key"], range(40)))
    with socket.socket(type=socket.SOCK_DGRAM) as udp:
        for each in lines[:20]:
            udp.sendto(b"<190>Nov 28 12:00:00 pdp: " + each, ("127.0.0.1", stack.usage_port))
        udp.sendto(b"hello", ("127.0.0.1", stack.usage_port))
    log.write_bytes(b"\n".join(lines[15:]) + b"\n")  # Some come both ways.

    def settled() -> dict[str, Any] | None:
        found = statuses(stack)
        return found if [status for status, _ in found.values()] == ["success"] * 40 else None

    assert all(cost == COST for _, cost in eventually(settled, "all are settled").values())
    lines_of = 'pdp_nginx_usage_lines_total{channel="%s",result="%s"}'
    assert counted(stack, lines_of % ("udp", "taken")) == 20
    assert counted(stack, lines_of % ("udp", "malformed")) == 1
    assert counted(stack, lines_of % ("udp", "dropped")) == 0
    assert counted(stack, lines_of % ("file", "taken")) == 25
    assert counted(stack, 'pdp_reports_total{result="accepted"}') == 40
    assert counted(stack, 'pdp_reports_total{result="duplicate"}') == 5


def test_the_file_loses_nothing_while_the_data_plane_is_killed_and_the_log_rotated(
    tmp_path: Path, stack: Stack
) -> None:
    log = tmp_path / "usage.log"
    stack.environment["PDP_NGINX_USAGE_FILE"] = str(log)
    key = stack.create_key(budget_limits={"total": 100.0})
    stack.start()
    lines = asyncio.run(allowed(stack, key["api_key"], range(150)))

    def write(some: list[bytes]) -> None:
        with log.open("ab") as file:
            file.write(b"".join(each + b"\n" for each in some))

    write(lines[:50])
    accepted = 'pdp_reports_total{result="accepted"}'
    eventually(lambda: counted(stack, accepted) >= 10, "lines are taken")
    stack.kill("data")
    write(lines[50:100])
    log.rename(log.with_name("usage.log.1"))
    write(lines[100:])

    def settled() -> bool:
        return [status for status, _ in statuses(stack).values()] == ["success"] * 150

    eventually(settled, "all are settled")
    assert stack.stop() == 0
    places = json.loads((stack.data_dir / "nginx-usage.json").read_bytes())
    assert [each["offset"] for each in places["files"]][-1] == log.stat().st_size
    usage = stack.json("usage")
    own = [row for row in usage["usage"] if row["api_key_id"] == key["id"]]
    assert [row["requests"] for row in own] == [150], usage
