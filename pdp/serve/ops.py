"""The ops port: `/metrics`, `/livez`, `/readyz`."""

from collections.abc import Awaitable, Callable, Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route


def registry_of(collectors: Iterable[Collector]) -> CollectorRegistry:
    """Return a registry that asks collectors at each scrape, and never before."""
    registry = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        registry.register(collector)
    return registry


def ops_app(
    collected: Callable[[], Awaitable[CollectorRegistry]], unready: Callable[[], str]
) -> Starlette:
    """Return the application. `unready` says what is missing, or an empty string."""

    async def metrics(request: Request) -> Response:
        encoder, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encoder(await collected()), media_type=content_type)

    async def livez(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        missing = unready()
        return PlainTextResponse(f"{missing or 'ok'}\n", 503 if missing else 200)

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/livez", livez),
            Route("/readyz", readyz),
        ]
    )
