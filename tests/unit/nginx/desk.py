"""An engine with open holds, and the usage lines of their requests."""

from typing import Any

from adapters.http.reference import reference_of
from pdp.model import Decision, Request
from tests.unit.nginx.lines import line
from tests.wire.harness import Desk, record


class Office(Desk):
    """Allows requests of one key, and tells what became of them."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(record("root", budget_limits={"total": 9000.0}), **parts)

    def allow(self, number: int, **changes: Any) -> bytes:
        """Allow a request; return the line that NGINX writes at its end."""
        request = Request(
            f"r{number}", "root", "chat:completions", "gpt-4o", prompt_tokens=10, adapter="nginx"
        )
        decision = self.engine.check(request)
        assert isinstance(decision, Decision)
        assert decision.allowed, decision
        return line(ref=reference_of(request, decision, 4096), **changes)

    @property
    def accepted(self) -> int:
        """How many usages were counted."""
        return self.stats.reports.get("accepted", 0)
