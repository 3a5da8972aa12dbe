"""The decision tables, over the wire: the same answers as in process, on both transports."""

from pathlib import Path
from typing import Literal

from pdp.control.policy_table import Case
from pdp.counters.memory import MemoryCounters
from pdp.form import request_fault
from pdp.options import Options
from pdp.quota.scope import Scope
from pdp.serve.transport import Transport
from pdp.v1 import policy_decision_pb2 as pb
from tests.cases.table import load_cases, name_of, spend_of
from tests.wire.harness import Desk, serving

CASES = [case for case in load_cases() if not request_fault(case.asked.request)]
"""A request that is malformed in itself is refused before any policy is asked."""


class TableCounters(MemoryCounters):
    """Counters that have spent what the table says."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self._spend = spend_of(case)

    def spent(
        self, scope: Scope, period: Literal["day", "month", "total"], now: int
    ) -> tuple[int, int]:
        return self._spend.get((scope.key_id, period), 0), 0


def test_hardly_any_case_is_left_out() -> None:
    assert len(CASES) > 0.9 * len(load_cases())


async def test_every_table_holds_over_the_wire(transport: Transport, tmp_path: Path) -> None:
    wrong = []
    for number, case in enumerate(CASES):
        desk = Desk(
            *case.sample.records.values(),
            options=Options(unknown_price="allow"),
            counters=TableCounters(case),
        )
        desk.clock.now = case.asked.at
        ask = case.asked.request
        folder = tmp_path / str(number)
        folder.mkdir()
        async with serving(desk, transport, folder) as stub:
            answer = await stub.Check(
                pb.CheckRequest(
                    api_key=case.key_id,
                    action=ask.action,
                    model=ask.model,
                    provider=ask.provider,
                    client_ip=ask.client_ip,
                    max_output_tokens=ask.max_output_tokens,
                    metadata=ask.metadata,
                )
            )
        expect = case.expected
        got = (answer.decision == pb.DECISION_ALLOW, answer.reason, answer.matched_statement)
        if got != (
            expect.decision == "allow",
            expect.reason or "ok",
            expect.statement or "",
        ) or any(part not in answer.message for part in expect.message):
            wrong.append((name_of(case), got, answer.message))
    assert not wrong
