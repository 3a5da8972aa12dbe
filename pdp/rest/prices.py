"""Endpoints of the operator's prices."""

import asyncio
from typing import Any

from pdp.control.price_book import PriceFilter
from pdp.control.price_lookup import look_up
from pdp.errors import InvalidDocument, Problem
from pdp.rest.answer import Answer, etag_of
from pdp.rest.operation import Call
from pdp.rest.preconditions import versions_of


async def list_prices(call: Call) -> Answer:
    """Return a page of the book."""
    given = {name: call.query[name] for name in _FILTERS if name in call.query}
    wanted = PriceFilter(call.now, **given)
    return Answer(await call.plane.prices.page(call.actor, wanted, call.query.get("cursor")))


async def create(call: Call) -> Answer:
    """Set a price."""
    made = await call.plane.prices.add(call.actor, call.body, call.now, call.once)
    headers = {"location": f"/v1/prices/{made['id']}", "etag": etag_of(made["version"])}
    return Answer(made, 201, headers)


async def get(call: Call) -> Answer:
    """Return one entry."""
    return _shown(await call.plane.prices.get(call.actor, call.key_id, call.now))


async def replace(call: Call) -> Answer:
    """Change a price that is to come, or the end of one that has begun."""
    return _shown(
        await call.plane.prices.change(
            call.actor, call.key_id, call.body, call.now, versions_of(call.if_match)
        )
    )


async def remove(call: Call) -> Answer:
    """End a price."""
    return _shown(
        await call.plane.prices.remove(
            call.actor, call.key_id, call.now, versions_of(call.if_match)
        )
    )


async def lookup(call: Call) -> Answer:
    """Return the price that a model has."""
    model, provider = call.query.get("model", ""), call.query.get("provider", "")
    if not model:
        raise InvalidDocument([Problem("model", "needed: name a model")])
    entries = await call.plane.prices.living_for(call.actor, call.now)
    # Aside: the list is made for it, which takes 40 ms.
    found = await asyncio.to_thread(look_up, model, provider, entries, call.file_prices, call.now)
    return Answer(found)


_FILTERS = ("provider", "model", "status", "limit")


def _shown(price: dict[str, Any]) -> Answer:
    return Answer(price, headers={"etag": etag_of(price["version"])})
