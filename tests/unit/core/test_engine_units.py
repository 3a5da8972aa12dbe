"""The engine where tokens are not all that is paid for, and a report does not tell all."""

from typing import Any, ClassVar

from msgspec.structs import replace

from pdp.model import Request, TokenDetails, Units, Usage
from pdp.quota.cost import Fees, Price, Rates, fees_only, rates_of
from pdp.records import Settled
from tests.unit.core.test_engine_waiting import check, report
from tests.wire.harness import USD, Desk, record

MILLION = 1_000_000
MINUTE = Units(seconds=60)
GUESS: dict[str, Any] = {
    "usage_source": "estimated",
    "prompt_tokens": MILLION,
    "completion_tokens": MILLION,
}


class Prices:
    """`sound` has a price by the second, `text` rates, `both` rates and a fee for a request."""

    prices: ClassVar = {
        "sound": fees_only(Fees(second=USD * MILLION)),
        "text": Price(rates_of(USD, 2 * USD, input_image=0)),
        "both": Price(Rates(USD, 2 * USD, USD), (), Fees(request=3 * USD * MILLION)),
    }

    def knows(self, provider: str) -> bool:
        return True

    def provider_of(self, model: str) -> str:
        return "openai"

    def price(self, model: str, provider: str) -> Price | None:
        return self.prices.get(model) if provider == "openai" else None

    def price_at(self, model: str, provider: str, at: int) -> Price | None:
        return self.price(model, provider)


async def held(model: str, prompt: int = 0) -> tuple[Desk, str]:
    """Return a desk, and the reservation of a minute of sound."""
    desk = Desk(record("leaf", budget_limits={"total": 1_000}), prices=Prices())
    asked = Request("r", "leaf", "audio:transcribe", model, prompt_tokens=prompt, units=MINUTE)
    decision = await check(desk, replace(asked, max_output_tokens=0))
    return desk, decision.reservation_id


async def charged(desk: Desk, reservation_id: str, **fields: Any) -> tuple[int | None, int]:
    """Report; return the cost and the tokens that are written down."""
    usage = Usage(reservation_id=reservation_id, **{"status": "success", **fields})
    assert (await report(desk, usage)).result == "accepted"
    settled = desk.sink.records[-1]
    assert isinstance(settled, Settled)
    return settled.cost, settled.counted_tokens


async def test_seconds_say_nothing_of_tokens_where_each_request_has_a_fee_too() -> None:
    desk, reservation_id = await held("both", prompt=5 * MILLION)
    assert await charged(desk, reservation_id, units=MINUTE) == (8 * USD, 5 * MILLION)


async def test_seconds_say_nothing_of_tokens_whatever_the_hold_knows_of_its_price() -> None:
    desk, reservation_id = await held("text", prompt=5 * MILLION)
    [hold] = desk.counters._holds.live.values()
    desk.counters._holds.live[reservation_id] = replace(hold, price=None, units=None)
    assert await charged(desk, reservation_id, units=MINUTE) == (hold.cost, 5 * MILLION)
    desk, reservation_id = await held("both", prompt=5 * MILLION)
    told = await charged(desk, reservation_id, model="text", units=MINUTE)
    assert told == (8 * USD, 5 * MILLION)


async def test_an_estimate_of_tokens_counts_where_another_model_answered_that_has_some() -> None:
    desk, reservation_id = await held("sound")
    told = await charged(desk, reservation_id, model="text", **GUESS)
    assert told == (3 * USD, 2 * MILLION)
    desk, reservation_id = await held("sound")
    pictures = TokenDetails(input_image=MILLION)
    told = await charged(desk, reservation_id, model="text", details=pictures, **GUESS)
    assert told == (2 * USD, 2 * MILLION)
    desk, reservation_id = await held("sound")
    assert await charged(desk, reservation_id, details=pictures, **GUESS) == (60 * USD, 0)


async def test_what_cannot_be_priced_by_its_report_is_charged_as_it_was_held() -> None:
    desk, reservation_id = await held("sound")
    assert await charged(desk, reservation_id, provider="reseller", **GUESS) == (60 * USD, 0)
    for told in ({"usage_source": "provider"}, GUESS):
        desk, reservation_id = await held("sound")
        # The ledger does not know what it was for: it was filled from there.
        [hold] = desk.counters._holds.live.values()
        desk.counters._holds.live[reservation_id] = replace(hold, price=None, units=None)
        cost, _ = await charged(desk, reservation_id, **told)
        assert cost == 60 * USD
