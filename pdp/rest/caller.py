"""Who calls: the key that a request presents, and the address that it comes from."""

from starlette.requests import Request

from pdp.control.access import Origin
from pdp.credentials import CREDENTIAL_HEADERS, BadCredentials, api_key_of
from pdp.forwarded import client_address


def raw_key_of(request: Request) -> str:
    """Return the raw key, empty if there is none. Raises `BadCredentials`."""
    headers = {}
    for name in CREDENTIAL_HEADERS:
        values = set(request.headers.getlist(name))
        if len(values) > 1:
            raise BadCredentials(f"the request has two `{name}` headers that differ: send one")
        headers[name] = values.pop() if values else ""
    return api_key_of(headers, request.url.query)


def origin_of(request: Request, request_id: str, trusted_hops: int) -> Origin:
    """Return where a request comes from.

    The client's address is empty if it cannot be known (a unix socket has none).
    """
    peer = request.client.host if request.client else ""
    forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
    client_ip = client_address(peer, forwarded, trusted_hops)
    user_agent = request.headers.get("user-agent", "")
    # Whoever has put a key there by mistake has not put it into the log.
    return Origin(request_id, client_ip, "" if "vsk_" in user_agent else user_agent)
