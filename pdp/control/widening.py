"""In what a change lets a key do more than before. Pure.

What cannot be compared (two policies) counts as more: narrower is only what surely is.
"""

from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct

from pdp.errors import Forbidden
from pdp.policy.permissions import RIGHTS
from pdp.problems import Problems
from pdp.quota.calendar import Calendar
from pdp.quota.compile import compile_scope
from pdp.store.keys import KeyRow

_LISTS: Final = ("models", "providers", "actions")
_UTC: Final = Calendar("UTC")
_LENIENCE: Final = {False: 0, None: 1, True: 2}
"""What a limit does without Redis, the tighter the lower; None may be either."""


class Widening(Struct, frozen=True):
    """The fields that let through more: rights and prohibitions, and limits."""

    rights: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()


def widening_of(before: KeyRow, after: KeyRow) -> Widening:
    """Return what `after` lets through that `before` did not."""
    return Widening(tuple(_rights(before, after)), tuple(_limits(before, after)))


def check_narrower(before: KeyRow, after: KeyRow) -> None:
    """Raise `Forbidden` where a change of a key by itself is more than narrower."""
    widening = widening_of(before, after)
    wider = [*widening.rights, *widening.limits]
    if before.document.metadata != after.document.metadata:
        wider.append("metadata")  # Conditions ask for it.
    if wider:
        raise Forbidden(f"a key cannot widen itself: {', '.join(wider)}")


def _rights(before: KeyRow, after: KeyRow) -> Iterable[str]:
    old, new = before.document, after.document
    if old.access == "read_only" != new.access:
        yield "access"
    yield from _permissions(old.permissions or {}, new.permissions or {})
    if old.policy is not None and old.policy != new.policy:
        yield "policy"
    if _is_on(old.ip_allowlist) and not _is_subset(new.ip_allowlist, old.ip_allowlist):
        yield "ip_allowlist"
    if before.permissions_apply_to == "subtree" != after.permissions_apply_to:
        yield "permissions_apply_to"
    if before.expires_at is not None and (
        after.expires_at is None or after.expires_at > before.expires_at
    ):
        yield "expires_at"


def _permissions(old: dict[str, Any], new: dict[str, Any]) -> Iterable[str]:
    for name in _LISTS:
        was, now = old.get(name), new.get(name)
        if was is not None and (now is None or not set(now) <= set(was)):
            yield f"permissions.{name}"
    for name in RIGHTS:
        if new.get(name) is True is not old.get(name):
            yield f"permissions.{name}"


def _is_on(allowlist: dict[str, Any] | None) -> bool:
    return allowlist is not None and allowlist.get("enabled") is True


def _is_subset(new: dict[str, Any] | None, old: dict[str, Any] | None) -> bool:
    if not _is_on(new):
        return False
    return set((new or {}).get("addresses") or ()) <= set((old or {}).get("addresses") or ())


def _limits(before: KeyRow, after: KeyRow) -> Iterable[str]:
    """A limit is kept if some limit of the same unit and period lets through no more."""
    kept = _sizes(after)
    for kind, name, amounts in _sizes(before):
        if not any(
            kind == other and all(new <= old for new, old in zip(sizes, amounts, strict=True))
            for other, _, sizes in kept
        ):
            yield name


def _sizes(row: KeyRow) -> list[tuple[tuple[str, object], str, tuple[int, ...]]]:
    """Return ((unit, period), name, amounts) of every limit: the lower, the tighter."""
    scope = compile_scope(row.record(), _UTC, Problems())
    limits = (*scope.per_request, *scope.budgets, *scope.tokens, *scope.requests)
    return [
        *(
            ((each.unit, each.period), each.name, (each.amount, _LENIENCE[each.is_lenient]))
            for each in limits
        ),
        *((("rate", each.period), each.name, (each.amount, each.capacity)) for each in scope.rates),
    ]
