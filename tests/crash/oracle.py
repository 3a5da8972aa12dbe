"""What must be in counters and ledger, from what clients were told. Integers: nano-USD, tokens."""

from collections.abc import Iterable, Mapping

from msgspec import Struct


class Key(Struct, frozen=True):
    """A key that requests are made with; `ancestors` are ids from itself up to the root."""

    id: str
    secret: str
    ancestors: tuple[str, ...]


class Asked(Struct):
    """One request: what was held for it, and what it must have become.

    `reservation_id` is empty where it was never checked; `status` is `pending` until
    somebody was told that its report is taken.
    """

    key: Key
    request_id: str
    reservation_id: str = ""
    held_cost: int = 0
    held_tokens: int = 0
    status: str = "pending"
    cost: int = 0
    tokens: int = 0


class Sums(Struct):
    """What one key has with all below it."""

    spent: int = 0
    held: int = 0
    tokens_spent: int = 0
    tokens_held: int = 0
    requests: int = 0


def sums_of(asked: Iterable[Asked]) -> Mapping[str, Sums]:
    """Return the sums of every key that something was counted on."""
    found: dict[str, Sums] = {}
    for each in asked:
        live = each.status == "pending"
        for key_id in each.key.ancestors:
            sums = found.setdefault(key_id, Sums())
            sums.requests += 1
            if live:
                sums.held += each.held_cost
                sums.tokens_held += each.held_tokens
            else:
                sums.spent += each.cost
                sums.tokens_spent += each.tokens
    return found


def run_out(asked: Iterable[Asked]) -> None:
    """Charge what nobody reported as a hold that ran out: in full."""
    for each in asked:
        if each.status == "pending":
            each.status, each.cost, each.tokens = "expired", each.held_cost, each.held_tokens
