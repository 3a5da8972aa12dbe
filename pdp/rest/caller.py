"""Who calls: the key that a request presents, and the address that it comes from."""

from starlette.requests import Request

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


def address_of(request: Request, trusted_hops: int) -> str:
    """Return the client's address, empty if it cannot be known (a unix socket has none)."""
    peer = request.client.host if request.client else ""
    return client_address(peer, ",".join(request.headers.getlist("x-forwarded-for")), trusted_hops)
