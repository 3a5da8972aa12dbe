"""The IP allowlist of a key: `{"enabled": true, "addresses": ["203.0.113.0/24"]}`."""

from msgspec import Struct

from pdp.cursor import Cursor
from pdp.policy.address import AddressSet, Network, parse_address, read_networks
from pdp.problems import Problems


class Allowlist(Struct, frozen=True):
    """Who may call. Not enabled: anybody. Enabled and empty: nobody."""

    enabled: bool
    addresses: AddressSet

    def admits(self, client_ip: str) -> bool:
        """Tell whether a client may call; one without a readable address may not."""
        if not self.enabled:
            return True
        address = parse_address(client_ip)
        return address is not None and self.addresses.holds(address)


def parse_ip_allowlist(document: object, at: str, problems: Problems) -> Allowlist | None:
    """Return the allowlist, or None and what is wrong with it in `problems`."""
    before = len(problems)
    fields = Cursor(document, at, problems).fields(("enabled", "addresses"), ("enabled",))
    if fields is None:
        return None
    enabled = fields["enabled"].flag() if "enabled" in fields else None
    networks: tuple[Network, ...] | None = ()
    if "addresses" in fields:
        networks = read_networks(fields["addresses"], may_be_empty=True)
    if enabled is None or networks is None or len(problems) > before:
        return None
    return Allowlist(enabled, AddressSet(networks))
