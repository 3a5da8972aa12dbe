"""A price from the command that sets it to what a request is charged, through restarts."""

import json
import urllib.request
from typing import Any

from tests.stack import Stack, check, eventually, eventually_async, report

FILE = {"prices": [{"provider": "openai", "model": "gpt-4o", "prompt": 5, "completion": 5}]}


def over_rest(stack: Stack, body: dict[str, Any]) -> dict[str, Any]:
    """Set a price over REST, as the root key."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{stack.http_port}/v1/prices",
        json.dumps(body).encode(),
        {"authorization": f"Bearer {stack.root['api_key']}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


MILLION = {"estimated_prompt_tokens": 1_000_000, "max_output_tokens": 0}


async def test_a_price_is_in_force_at_once_and_what_was_checked_keeps_its_own(
    stack: Stack,
) -> None:
    prices = stack.folder / "prices.json"
    prices.write_text(json.dumps(FILE))
    stack.environment["PDP_PRICES_FILE"] = str(prices)
    rich = stack.create_key(budget_limits={"total": 100.0})
    poor = stack.create_key(budget_limits={"total": 3.0})
    stack.start()
    async with stack.channel() as channel:

        async def fits() -> bool:
            looked = await check(channel, poor["api_key"], dry_run=True, **MILLION)
            assert looked.reason in ("ok", "budget_exceeded"), looked.message
            return looked.reason == "ok"

        async def no_longer() -> bool:
            return not await fits()

        hold = await check(channel, rich["api_key"], request_id="r1", **MILLION)
        assert not await fits()
        words = ("openai", "gpt-4o", "--prompt", "1", "--completion", "1", "--json")
        cheap = stack.json("prices", "set", *words)
        await eventually_async(fits, "the command's price is in force")
        shown = stack.json("prices", "show", "gpt-4o", "--json")
        assert (shown["source"], shown["price_id"]) == ("override", cheap["id"])
        over_rest(stack, {"provider": "openai", "model": "gpt-4o", "per_request": "3.5"})
        await eventually_async(no_longer, "the admin API's price is in force")
        stack.kill("data")
        stack.wait_ready()
        done = await report(
            channel, {"reservation_id": hold.reservation_id, "prompt_tokens": 1_000_000}
        )
        assert done.accepted == 1, done
    (entry,) = eventually(
        lambda: [e for e in stack.audit() if e["request_id"] == "r1" and e["status"] == "success"],
        "a settled entry",
    )
    assert entry["cost_usd"] == 5.0
