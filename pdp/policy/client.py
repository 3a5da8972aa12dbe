"""Conditions on what the client is and sends: address, size, metadata."""

from msgspec import Struct

from pdp.cursor import Cursor
from pdp.policy.address import AddressSet, parse_address, read_networks
from pdp.policy.attributes import Attributes


class AddressIn(Struct, frozen=True):
    """`ip_in`, or `not_ip_in` when negated."""

    addresses: AddressSet
    negated: bool

    @property
    def words(self) -> str:
        """What it takes, for messages: not which addresses, for whoever has the key reads them."""
        return "not_ip_in" if self.negated else "ip_in"

    def holds(self, request: Attributes) -> bool | None:
        """Compare; None: the client's address is not known or not readable."""
        address = parse_address(request.client_ip)
        if address is None:
            return None
        return self.addresses.holds(address) is not self.negated


class MaxTokensUnder(Struct, frozen=True):
    """`max_tokens_under`: what the client asked for is below `amount`."""

    amount: int

    @property
    def words(self) -> str:
        """What it takes, for messages."""
        return f"max_tokens_under {self.amount}"

    def holds(self, request: Attributes) -> bool | None:
        """Compare; None: the client did not ask for any bound."""
        return None if request.max_tokens is None else request.max_tokens < self.amount


class MetadataEquals(Struct, frozen=True):
    """`metadata_equals`: every (name, value) is in the request's metadata."""

    pairs: tuple[tuple[str, str], ...]

    @property
    def words(self) -> str:
        """What it takes, for messages: not which values, for they may be somebody else's."""
        return "metadata_equals"

    def holds(self, request: Attributes) -> bool | None:
        """Compare; False if a value differs, else None if a name is absent."""
        values = [(request.metadata.get(name), value) for name, value in self.pairs]
        if any(actual is not None and actual != value for actual, value in values):
            return False
        return None if any(actual is None for actual, _ in values) else True


def read_ip_in(cursor: Cursor) -> AddressIn | None:
    """Read a list of CIDRs and addresses."""
    networks = read_networks(cursor, may_be_empty=False)
    return None if networks is None else AddressIn(AddressSet(networks), negated=False)


def read_not_ip_in(cursor: Cursor) -> AddressIn | None:
    """Read a list of CIDRs and addresses."""
    networks = read_networks(cursor, may_be_empty=False)
    return None if networks is None else AddressIn(AddressSet(networks), negated=True)


def read_max_tokens_under(cursor: Cursor) -> MaxTokensUnder | None:
    """Read an integer of 1 or more."""
    amount = cursor.whole(1)
    return None if amount is None else MaxTokensUnder(amount)


def read_metadata_equals(cursor: Cursor) -> MetadataEquals | None:
    """Read an object of strings, not empty."""
    pairs = cursor.pairs()
    if pairs is None:
        return None
    found = [(name, item.text()) for name, item in pairs]
    whole = tuple((name, text) for name, text in found if text is not None)
    return MetadataEquals(whole) if len(whole) == len(found) else None
