"""A denial as an LLM provider would say it."""

import msgspec

from pdp.model import Decision
from pdp.reasons import REASONS


def denial_of(decision: Decision, param: str | None) -> tuple[int, dict[str, str], bytes]:
    """Return (status, headers, OpenAI-shaped body) of a denial."""
    error = {
        "message": decision.message,
        "type": REASONS[decision.reason].error_type,
        "param": param,
        "code": decision.reason,
    }
    headers = {"content-type": "application/json", **decision.response_headers}
    return decision.http_status, headers, msgspec.json.encode({"error": error})
