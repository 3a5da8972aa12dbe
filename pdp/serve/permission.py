"""The answer to a Check that may pass, encoded; protos/pdp/v1 has its fields by their numbers."""

from functools import lru_cache
from typing import Final

from pdp.model import Decision
from pdp.serve.encoding import BYTE, Keys, bytes_of, sized

_names: Final = Keys()


def permission(decision: Decision) -> bytes:
    """Return the encoded CheckResponse of a permission that is no dry run."""
    who = _whose(
        decision.key_id,
        decision.key_name,
        decision.organization_id,
        decision.team_id,
        decision.user_id,
        decision.policy_revision,
        decision.matched_statement,
    )
    # decision: DECISION_ALLOW, reason: "ok", http_status: 200, ..., reservation_id, decision_id.
    text = (
        f"\x08\x01\x12\x02ok\x20\xc8\x01{who}\x52{sized(bytes_of(decision.reservation_id))}"
        f"\x82\x01{sized(bytes_of(decision.decision_id))}"
    )
    for name, value in decision.response_headers.items():
        key = _names[name]
        length = len(key) + 2 + len(value)
        if length < 128 and value.isascii():
            text += f"\x7a{BYTE[length]}{key}\x12{BYTE[len(value)]}{value}"
        else:
            text += "\x7a" + sized(f"{key}\x12{sized(bytes_of(value))}")
    return text.encode("latin-1")


@lru_cache(maxsize=1024)
def _whose(
    key_id: str,
    key_name: str,
    organization_id: str,
    team_id: str,
    user_id: str,
    policy_revision: str,
    matched_statement: str,
) -> str:
    """Return what the answers to one key have in common."""
    fields = {
        "\x2a": key_id,
        "\x32": key_name,
        "\x3a": organization_id,
        "\x42": team_id,
        "\x4a": user_id,
        "\x6a": policy_revision,
        "\x72": matched_statement,
    }
    return "".join(tag + sized(bytes_of(text)) for tag, text in fields.items() if text)
