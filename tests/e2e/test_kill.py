"""Planes that are killed, stopped or cut off. What a kill leaves: tests/crash."""

import os
import signal
import time
from pathlib import Path

from tests.stack import Stack, check, eventually, eventually_async


async def test_the_supervisor_takes_its_children_with_it_and_the_next_start_takes_over(
    stack: Stack,
) -> None:
    key = stack.create_key(budget_limits={"total": 1.0})
    stack.start()
    pids = [stack.child_pid("data"), stack.child_pid("control")]
    hold = await stack.check(key["api_key"], max_output_tokens=1000)
    assert hold.reason == "ok"
    stack.kill_supervisor()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "no orphans")
    stack.start()
    look = await stack.check(key["api_key"], dry_run=True)
    assert look.limits[0].held == 10_000_000


async def test_the_control_plane_stopped_does_not_show_in_checks_of_known_keys(
    stack: Stack,
) -> None:
    key = stack.create_key()
    other = stack.create_key()
    stack.start()
    async with stack.channel() as channel:
        assert (await check(channel, key["api_key"])).reason == "ok"
        pid = stack.kill("control", signal.SIGSTOP)
        try:
            start = time.monotonic()
            for _ in range(50):
                assert (await check(channel, key["api_key"])).reason == "ok"
            assert time.monotonic() - start < 30, "no call waited its second for an answer"

            unknown = await check(channel, other["api_key"])
            assert (unknown.reason, unknown.http_status) == ("unavailable", 503)
            assert unknown.HasField("retry_after")
            assert stack.get("/readyz")[0] == 200
        finally:
            os.kill(pid, signal.SIGCONT)

        async def healed() -> bool:
            return (await check(channel, other["api_key"])).reason == "ok"

        await eventually_async(healed, "the other key is known")


async def test_a_key_revoked_while_cut_off_is_refused_after_the_stated_staleness(
    tmp_path: Path,
) -> None:
    stack = Stack(tmp_path, PDP_MAX_STALENESS="2")
    stack.init_by_copy()
    key = stack.create_key()
    stack.start()
    try:
        async with stack.channel() as channel:
            assert (await check(channel, key["api_key"])).reason == "ok"
            pid = stack.kill("control", signal.SIGSTOP)
            try:

                async def refused() -> bool:
                    return (await check(channel, key["api_key"])).reason == "unavailable"

                await eventually_async(refused, "a stale key is a 503")
            finally:
                os.kill(pid, signal.SIGCONT)

            async def back() -> bool:
                return (await check(channel, key["api_key"])).reason == "ok"

            await eventually_async(back, "the key is served again")
    finally:
        stack.stop()
