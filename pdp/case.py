"""One request while it is being decided, and what is written down about it."""

from zlib import crc32

from msgspec import Struct

from pdp.key import CompiledKey
from pdp.model import Request
from pdp.records import Facts


class Case(Struct, frozen=True, gc=False):
    """A request with its key. `provider` is derived where not given, `metadata` merged."""

    request: Request
    key: CompiledKey
    now: int
    provider: str
    metadata: dict[str, str]


def facts_of(case: Case, decision_id: str, request_id: str) -> Facts:
    """Return the audit facts of a case."""
    request, record = case.request, case.key.record
    return Facts(
        decision_id,
        request_id,
        record.id,
        record.name,
        record.organization_id,
        record.team_id,
        record.user_id,
        request.action[:64],
        request.model[:256],
        case.provider[:256],
        request.client_ip[:64],
        request.user_agent[:512],
        case.metadata,
    )


def fingerprint_of(request: Request) -> int:
    """Return a number that tells a retried Check from another request under the same id.

    It guards against mistakes, not malice: whoever picks request ids is trusted.
    """
    metadata = sorted(request.metadata.items()) if request.metadata else ""
    text = (
        f"{request.action}\n{request.model}\n{request.provider}\n{request.client_ip}\n"
        f"{request.prompt_tokens}\n{request.max_output_tokens}\n{request.choices}\n{metadata}"
    )
    if request.units is not None:
        text += repr(request.units)
    return crc32(text.encode())
