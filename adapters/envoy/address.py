"""Where a request comes from. Pure."""


def client_address(peer: str, forwarded_for: str, trusted_hops: int) -> str:
    """Return the client's address, empty if it cannot be trusted.

    With no trusted hops it is the peer of the connection. With n, n proxies
    stand before Envoy, each of which appended who called it to X-Forwarded-For:
    the n-th entry from the right. What stands further left is hearsay.
    """
    if trusted_hops == 0:
        return peer
    hops = [hop.strip() for hop in forwarded_for.split(",")] if forwarded_for else []
    return _without_port(hops[-trusted_hops]) if len(hops) >= trusted_hops else ""


def _without_port(hop: str) -> str:
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
