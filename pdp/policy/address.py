"""Client addresses and sets of networks, IPv4 and IPv6.

IPv4-mapped IPv6 (`::ffff:192.0.2.1`, RFC 4291 section 2.5.5.2) is the IPv4
address, on both sides. An IPv6 network never holds an IPv4 address, not even `::/0`.
"""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from pdp.cursor import Cursor
from pdp.wording import shown

Network = tuple[int, int, int]
"""(bits of the address family: 32 or 128, bits that are free, the fixed bits as a number)."""

_MAPPED: Final = 0xFFFF << 32
_MAPPED_PREFIX: Final = 96


@lru_cache(maxsize=4096)
def parse_address(text: str) -> tuple[int, int] | None:
    """Return (32 or 128, the address as a number); None if it is no plain address."""
    if "%" in text:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    number = int(address)
    if address.version == 4:
        return 32, number
    if number >> 32 == _MAPPED >> 32:
        return 32, number & 0xFFFFFFFF
    return 128, number


def parse_network(text: str) -> Network | None:
    """Return the network of a CIDR or an address, host bits dropped; None if it is neither."""
    if "%" in text:
        return None
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return None
    return _network(network)


def _network(network: IPv4Network | IPv6Network) -> Network:
    width, prefix, number = network.max_prefixlen, network.prefixlen, int(network.network_address)
    if width == 128 and prefix >= _MAPPED_PREFIX and number >> 32 == _MAPPED >> 32:
        width, prefix, number = 32, prefix - _MAPPED_PREFIX, number & 0xFFFFFFFF
    free = width - prefix
    return width, free, number >> free


class AddressSet:
    """Immutable set of networks; a look-up costs one step for each prefix length in it."""

    __slots__ = ("_by_width",)

    def __init__(self, networks: Iterable[Network]) -> None:
        grouped: dict[int, dict[int, set[int]]] = {32: {}, 128: {}}
        for width, free, fixed in networks:
            grouped[width].setdefault(free, set()).add(fixed)
        self._by_width = {width: tuple(group.items()) for width, group in grouped.items()}

    def holds(self, address: tuple[int, int]) -> bool:
        """Tell whether an address of `parse_address` is in one of the networks."""
        width, number = address
        return any(number >> free in fixed for free, fixed in self._by_width[width])


def read_networks(cursor: Cursor, *, may_be_empty: bool) -> tuple[Network, ...] | None:
    """Read a list of CIDRs and addresses."""
    items = cursor.items(may_be_empty=may_be_empty)
    if items is None:
        return None
    found = tuple(network for item in items if (network := _read_network(item)) is not None)
    return found if len(found) == len(items) else None


def _read_network(cursor: Cursor) -> Network | None:
    text = cursor.text()
    if text is None:
        return None
    network = parse_network(text)
    if network is None:
        cursor.fault(f"{shown(text)} is no IP address or CIDR: write it like `203.0.113.0/24`")
    return network
