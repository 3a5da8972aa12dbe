"""Schemas of policies, statements and conditions."""

from typing import Final

from pdp.policy.document import VERSION
from pdp.rest.openapi.schema import Schema, closed, instant, listed, one_of, text

_PATTERN: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 256}
_NAMES: Final = listed(_PATTERN)
_TYPED: Final = closed({"model": _NAMES, "provider": _NAMES})
_USD: Final[Schema] = {"type": "number", "minimum": 0, "maximum": 9_000_000}
_CLOCK: Final[Schema] = {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"}
_NETWORKS: Final = listed({"type": "string"}, "Addresses and CIDRs.")
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_CONDITION: Final = closed(
    {
        "time_between": closed(
            {
                "start": _CLOCK,
                "end": _CLOCK,
                "timezone": {"type": "string", "description": "An IANA name."},
                "days": listed(one_of(_DAYS), least=1),
            },
            ["start", "end", "timezone"],
        ),
        "in": {"anyOf": [_NAMES, _TYPED]},
        "not_in": {"anyOf": [_NAMES, _TYPED]},
        **{
            f"{period}_budget_{side}": _USD
            for period in ("daily", "monthly", "total")
            for side in ("under", "over")
        },
        "ip_in": _NETWORKS,
        "not_ip_in": _NETWORKS,
        "before": instant(),
        "after": instant(),
        "max_tokens_under": {"type": "integer", "minimum": 1},
        "metadata_equals": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    description="All of them must hold.",
)

POLICY_SCHEMAS: Final[dict[str, Schema]] = {
    "Policy": closed(
        {
            "version": one_of([VERSION]),
            "statements": listed(
                closed(
                    {
                        "sid": text(256),
                        "effect": one_of(["Allow", "Deny"]),
                        "actions": listed(_PATTERN, least=1),
                        "resources": listed(
                            {
                                "type": "string",
                                "maxLength": 256,
                                "pattern": r"^(\*|(model|provider):.+)$",
                            },
                            "`*`, `model:<glob>` or `provider:<glob>`.",
                            least=1,
                        ),
                        "condition": _CONDITION,
                    },
                    ["effect", "actions", "resources"],
                )
            ),
        },
        ["version", "statements"],
        "An IAM document: a Deny beats an Allow, an Allow beats the implicit deny.",
    )
}
