"""Where a request comes from. Pure."""

from ipaddress import ip_address


def client_address(peer: str, forwarded_for: str, trusted_hops: int) -> str:
    """Return the client's address, empty if it cannot be trusted.

    With no trusted hops it is the peer of the connection. With n, n proxies
    stand before Envoy, each of which appended who called it to X-Forwarded-For:
    the n-th entry from the right. What stands further left is hearsay.
    """
    if trusted_hops == 0:
        return peer
    hops = [hop.strip() for hop in forwarded_for.split(",")] if forwarded_for else []
    return _address(hops[-trusted_hops]) if len(hops) >= trusted_hops else ""


def _address(hop: str) -> str:
    """Return the address of a hop without its port; empty if it is none."""
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        return str(ip_address(hop))
    except ValueError:
        return ""
