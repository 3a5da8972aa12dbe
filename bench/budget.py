"""The time budget of one Check: CPU µs of each step, the best of several runs.

    .venv/bin/python -m bench.budget

Steps are timed by themselves, with warm caches: their sum is a floor. What the transport
costs is the CPU of the echo in bench.wire.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adapters.envoy.service import Authorization
from adapters.envoy.v1 import wire_pb2
from adapters.http.ask import HttpOptions
from bench.engine import Desk
from bench.stand import check_body, ext_authz_body
from pdp import decide
from pdp.case import facts_of
from pdp.form import request_fault
from pdp.key import CompiledKey
from pdp.model import Decision, Request
from pdp.policy.chain import Attributes
from pdp.quota.hold import Admitted, Reserve, Settlement
from pdp.records import Held
from pdp.refusal import key_denial
from pdp.serve.child import calm_collector
from pdp.serve.decision_service import DecisionService
from pdp.serve.load import Load
from pdp.serve.permission import permission
from pdp.serve.rpc import encoded
from pdp.v1 import policy_decision_pb2 as pb

_CALLS, _RUNS = 4000, 5
_HEADER = 5
"""Bytes before a gRPC message."""


def timed(
    what: str, step: Callable[[], object], between: Callable[[], object] = lambda: None
) -> None:
    """Print the CPU µs of a step; `between` its runs, something else is done."""
    best = float("inf")
    for _ in range(_RUNS):
        start = time.thread_time_ns()
        for _ in range(_CALLS):
            step()
        best = min(best, (time.thread_time_ns() - start) / _CALLS / 1000)
        between()
    print(f"{best:8.2f} us  {what}", flush=True)


async def budget(folder: Path) -> None:
    """Take one Check apart."""
    calm_collector()
    desk = Desk(folder, 10, 0)
    await desk.fill()
    engine, counters, raw = desk.engine, desk.counters, desk.secrets[0]
    key = desk.cache.lookup(raw)
    assert isinstance(key, CompiledKey)
    wire = check_body(raw)[_HEADER:]
    asked = Request("r1", raw, "chat:completions", "gpt-4o", "", "192.0.2.1", "", 100, 50)
    now = time.time_ns()
    case = engine._case(asked, key, now, known=True)  # noqa: SLF001
    attributes = Attributes("chat:completions", "gpt-4o", "openai", "192.0.2.1", 50, {}, now)
    evaluation = key.chain.evaluate(attributes, lambda *_: 0)
    hold = engine._hold(case, evaluation)  # noqa: SLF001
    reserve = Reserve(hold, key.plan, (), now, dry_run=True, scope_of=key.scope_of)
    verdict = counters.reserve(reserve)
    assert isinstance(verdict, Admitted)
    record = Held(now, facts_of(case, hold.decision_id, "r1"), hold, verdict.rates)
    batch = [record] * 20
    decision = decide.allow(key, hold, verdict)
    service = DecisionService(engine, engine._stats, Load())  # noqa: SLF001
    timed("decode", lambda: pb.CheckRequest.FromString(wire))
    timed("key: hash, look up", lambda: desk.cache.lookup(raw))
    timed("key: alive", lambda: key_denial(key, now))
    timed("request: well-formed", lambda: request_fault(asked))
    timed("evaluate: 10 statements, 3 keys", lambda: key.chain.evaluate(attributes, lambda *_: 0))
    timed("price, hold", lambda: engine._hold(case, evaluation))  # noqa: SLF001
    timed("counters: 6 limits, 3 keys (dry)", lambda: counters.reserve(reserve))
    timed("spool: one record", lambda: desk.journal.append(record))
    timed("spool: 20 records at once, all", lambda: desk.journal.append(*batch))
    timed("decision and its headers", lambda: decide.allow(key, hold, verdict))
    timed("metrics", lambda: engine._stats.checked("allow", "ok", "grpc"))  # noqa: SLF001
    timed("encode", lambda: permission(decision))

    def settle() -> None:
        """Settle every hold, as reports would: else memory grows from step to step."""
        for each in counters.due(2 * now, _CALLS):
            counters.settle(Settlement(each.reservation_id, "", "", 0, 0, (), now))

    fields = asked_fields(asked)
    timed("engine.check, whole", lambda: engine.check(Request("", *fields)), settle)
    timed("Check, decoded to encoded", lambda: whole(service, wire), settle)
    envoy = ext_authz_body(raw)[_HEADER:]
    authorization = Authorization(engine, HttpOptions("envoy"), 4096, Load())
    timed(
        "ext_authz of 1 KB, decoded to encoded", lambda: whole_envoy(authorization, envoy), settle
    )
    assert isinstance(decision, Decision)


def asked_fields(asked: Request) -> tuple[Any, ...]:
    """Return the fields of a request after its id."""
    return tuple(getattr(asked, name) for name in Request.__struct_fields__[1:])


def whole(service: DecisionService, wire: bytes) -> bytes:
    """Answer a Check as the transport would."""
    found = service.check_now(pb.CheckRequest.FromString(wire))
    return encoded(found.message)  # type: ignore[union-attr]


def whole_envoy(authorization: Authorization, wire: bytes) -> bytes:
    """Answer Envoy's Check as the transport would."""
    found = authorization.check_now(wire_pb2.CheckRequest.FromString(wire))
    return encoded(found.message)  # type: ignore[union-attr]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(budget(Path(name)))
