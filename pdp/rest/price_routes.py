"""The operations on prices, for the table of operations."""

from typing import Final

from pdp.control import price_book
from pdp.rest import prices
from pdp.rest.openapi import examples
from pdp.rest.operation import Content, Operation
from pdp.rest.query import CURSOR, choice, text, whole

PRICE_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/prices",
        name="listPrices",
        summary="List your prices",
        description="Needs `manage_billing`, as all of prices. Oldest first, those to come and "
        "those that were included. `next_cursor` is null on the last page.",
        endpoint=prices.list_prices,
        answer="PriceList",
        tag="prices",
        parameters=(
            text("provider", "Of the price.", "openai"),
            text("model", "As the price says it.", "gpt-4o*"),
            choice("status", "Of the price as it is now.", price_book.STATUSES),
            whole("limit", "Prices of a page.", price_book.MOST, 100),
            CURSOR,
        ),
        answers=("forbidden",),
        examples={"prices": examples.PRICE_LIST},
    ),
    Operation(
        method="POST",
        path="/v1/prices",
        name="setPrice",
        summary="Set a price",
        description="From `effective_from` on, or from now; until `effective_until`, or for good. "
        "It goes before the file's and the built-in ones; a name goes before a pattern, a longer "
        "pattern before a shorter one, and of two for the same models that which began last. "
        "Requests that were checked before keep their price.",
        endpoint=prices.create,
        answer="Price",
        status=201,
        tag="prices",
        content=Content("NewPrice", examples.NEW_PRICE),
        answers=("forbidden", "conflict"),
        examples={"price": examples.PRICE},
        creates=True,
        versioned=True,
    ),
    Operation(
        method="GET",
        path="/v1/prices/lookup",
        name="lookUpPrice",
        summary="Look up the price that a model has now",
        description="Where it comes from, and when it changes.",
        endpoint=prices.lookup,
        long=True,
        answer="PriceOfModel",
        tag="prices",
        parameters=(
            text("model", "As a request names it; needed.", "gpt-4o"),
            text("provider", "Default: the one that the name implies.", "openai"),
        ),
        answers=("forbidden",),
        examples={"price": examples.PRICE_OF_MODEL},
    ),
    Operation(
        method="GET",
        path="/v1/prices/{id}",
        name="getPrice",
        summary="Look at a price",
        description="Also at one that has ended.",
        endpoint=prices.get,
        answer="Price",
        tag="prices",
        answers=("forbidden",),
        examples={"price": examples.PRICE},
        versioned=True,
    ),
    Operation(
        method="PUT",
        path="/v1/prices/{id}",
        name="replacePrice",
        summary="Change a price that is to come",
        description="The whole of it, also as a GET has it. Of one that has begun only "
        "`effective_until` can change; "
        "one that has ended stays as it was.",
        endpoint=prices.replace,
        answer="Price",
        tag="prices",
        content=Content("ChangedPrice", examples.NEW_PRICE),
        answers=("forbidden", "conflict"),
        examples={"price": examples.PRICE},
        guarded=True,
        versioned=True,
    ),
    Operation(
        method="DELETE",
        path="/v1/prices/{id}",
        name="removePrice",
        summary="End a price now, or take one back that is to come",
        description="What it stood before is in force again. The entry stays in the list. Again "
        "changes nothing.",
        endpoint=prices.remove,
        answer="Price",
        tag="prices",
        answers=("forbidden",),
        examples={"price": {**examples.PRICE, "status": "removed"}},
        guarded=True,
        versioned=True,
    ),
)
