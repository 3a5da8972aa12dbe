"""What is paid for beside plain tokens, over gRPC: held at the dearest, charged by its kind."""

from pathlib import Path
from typing import Any, ClassVar

import pytest

from pdp.quota.cost import Fees, Price, Rates, fees_only, rates_of
from pdp.serve.transport import Transport
from pdp.v1 import policy_decision_pb2 as pb
from tests.wire.harness import USD, Desk, record, serving

LIMIT = 1_000 * USD


class Prices:
    """`kinds` has a rate for each kind of token, `sound` a price by the second, `flat` a fee."""

    prices: ClassVar = {
        "kinds": Price(
            rates_of(
                USD,
                2 * USD,
                USD // 2,
                cache_write=3 * USD,
                cache_write_1h=4 * USD,
                input_audio=5 * USD,
                output_audio=7 * USD,
                reasoning=6 * USD,
            )
        ),
        "sound": fees_only(Fees(second=USD * 1_000_000)),
        "drawn": fees_only(Fees(image=USD * 1_000_000, second=USD * 1_000_000)),
        "flat": Price(Rates(0, 0, 0), (), Fees(request=3 * USD * 1_000_000)),
    }

    def knows(self, provider: str) -> bool:
        return True

    def provider_of(self, model: str) -> str:
        return "openai"

    def price(self, model: str, provider: str) -> Price | None:
        return self.prices.get(model)

    def price_at(self, model: str, provider: str, at: int) -> Price | None:
        return self.price(model, provider)


def asked(model: str, **fields: Any) -> pb.CheckRequest:
    return pb.CheckRequest(
        api_key="leaf",
        action="audio:transcribe",
        model=model,
        **{"max_output_tokens": 0, **fields},
    )


def usage(reservation_id: str, **fields: Any) -> pb.ReportRequest:
    told = pb.Usage(reservation_id=reservation_id, **{"status": "success", **fields})
    return pb.ReportRequest(usages=[told])


async def budget(stub: Any) -> tuple[int, int]:
    look = await stub.Check(asked("flat", dry_run=True))
    return look.limits[0].spent, look.limits[0].held


def desk() -> Desk:
    return Desk(record("leaf", budget_limits={"total": 1_000}), prices=Prices())


MILLION = 1_000_000


async def test_each_kind_is_charged_and_none_costs_more_than_was_held(
    transport: Transport, tmp_path: Path
) -> None:
    async with serving(desk(), transport, tmp_path) as stub:
        hold = await stub.Check(
            asked("kinds", estimated_prompt_tokens=10 * MILLION, max_output_tokens=4 * MILLION)
        )
        assert await budget(stub) == (0, (10 * 5 + 4 * 7) * USD)
        details = pb.TokenDetails(
            cache_write_tokens=3 * MILLION,
            cache_write_1h_tokens=MILLION,
            input_audio_tokens=2 * MILLION,
            cached_audio_tokens=MILLION,
            output_audio_tokens=MILLION,
            reasoning_tokens=MILLION,
        )
        counts = {
            "prompt_tokens": 10 * MILLION,
            "completion_tokens": 4 * MILLION,
            "cached_tokens": 3 * MILLION,
        }
        done = await stub.Report(usage(hold.reservation_id, details=details, **counts))
        assert done.accepted == 1, done
        # Plain 3, cached 2 and 1 of sound, written 2 and 1 for an hour, heard 1; said 2, spoken 1,
        # thought 1.
        prompt = 3 + 2 * 0.5 + 5 + 2 * 3 + 4 + 5
        assert await budget(stub) == (int((prompt + 2 * 2 + 7 + 6) * USD), 0)


async def test_seconds_are_held_and_charged_as_told_else_as_held(
    transport: Transport, tmp_path: Path
) -> None:
    async with serving(desk(), transport, tmp_path) as stub:
        first = await stub.Check(asked("sound", units=pb.Units(audio_seconds=60)))
        second = await stub.Check(asked("sound", units=pb.Units(audio_seconds=60)))
        assert await budget(stub) == (0, 120 * USD)
        await stub.Report(usage(first.reservation_id, units=pb.Units(audio_seconds=9)))
        await stub.Report(usage(second.reservation_id, usage_source="provider"))
        assert await budget(stub) == (69 * USD, 0)
        unknown = await stub.Check(asked("sound"))
        assert unknown.reason == "price_unknown"


async def test_what_is_told_of_one_unit_leaves_the_others_as_they_were_held(
    transport: Transport, tmp_path: Path
) -> None:
    async with serving(desk(), transport, tmp_path) as stub:
        both = pb.Units(images=2, audio_seconds=60)
        hold = await stub.Check(asked("drawn", units=both))
        assert await budget(stub) == (0, 62 * USD)
        await stub.Report(usage(hold.reservation_id, units=pb.Units(audio_seconds=9)))
        assert await budget(stub) == (11 * USD, 0)


async def test_seconds_say_nothing_of_what_is_paid_for_by_the_token(
    transport: Transport, tmp_path: Path
) -> None:
    async with serving(desk(), transport, tmp_path) as stub:
        held = {"estimated_prompt_tokens": 3, "units": pb.Units(audio_seconds=60)}
        holds = [await stub.Check(asked("kinds", **held)) for _ in range(2)]
        charged = await budget(stub)
        seconds = pb.Units(audio_seconds=9)
        await stub.Report(usage(holds[0].reservation_id, units=seconds))
        await stub.Report(usage(holds[1].reservation_id, units=seconds, status="error"))
        assert await budget(stub) == (charged[1] // 2, 0)


@pytest.mark.parametrize("status", ["cancelled", "error", "success"])
async def test_what_came_before_the_client_hung_up_is_charged_by_the_piece_too(
    transport: Transport, tmp_path: Path, status: str
) -> None:
    async with serving(desk(), transport, tmp_path) as stub:
        hold = await stub.Check(asked("sound", units=pb.Units(audio_seconds=60)))
        guess = {"usage_source": "estimated", "prompt_tokens": 9, "completion_tokens": 9}
        await stub.Report(usage(hold.reservation_id, status=status, **guess))
        assert await budget(stub) == (60 * USD, 0)


async def test_a_fee_is_for_what_was_served(transport: Transport, tmp_path: Path) -> None:
    async with serving(desk(), transport, tmp_path) as stub:
        holds = [await stub.Check(asked("flat")) for _ in range(3)]
        await stub.Report(usage(holds[0].reservation_id, usage_source="provider"))
        await stub.Report(usage(holds[1].reservation_id, status="error"))
        own = await stub.Report(usage(holds[2].reservation_id, cost_usd="0.5", prompt_tokens=9))
        assert own.accepted == 1
        assert await budget(stub) == (3 * USD + USD // 2, 0)


@pytest.mark.parametrize(
    ("details", "field"),
    [
        ({"cache_write_tokens": -1}, "details.cache_write_tokens"),
        ({"cache_write_tokens": 11}, "details: more than prompt_tokens"),
        ({"cache_write_1h_tokens": 1}, "details.cache_write_1h_tokens"),
        ({"cached_audio_tokens": 1}, "details.cached_audio_tokens"),
        ({"output_audio_tokens": 4, "reasoning_tokens": 2}, "details: more than completion_tokens"),
        ({"reasoning_tokens": 2**62}, "details.reasoning_tokens"),
    ],
)
async def test_details_that_do_not_fit_fail_their_usage_alone(
    transport: Transport, tmp_path: Path, details: dict[str, int], field: str
) -> None:
    async with serving(desk(), transport, tmp_path) as stub:
        bad = pb.Usage(
            key_id="leaf",
            request_id="bad",
            status="success",
            prompt_tokens=10,
            completion_tokens=5,
            details=pb.TokenDetails(**details),
        )
        good = pb.Usage(
            key_id="leaf", request_id="good", model="kinds", status="success", prompt_tokens=1
        )
        done = await stub.Report(pb.ReportRequest(usages=[bad, good]))
        assert done.accepted == 1
        (error,) = done.errors
        assert (error.code, error.request_id) == ("invalid_argument", "bad")
        assert error.message.startswith(field)
