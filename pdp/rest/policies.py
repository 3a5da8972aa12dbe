"""Endpoints for authors of policies."""

from pdp.control import policies
from pdp.rest.answer import Answer
from pdp.rest.operation import Call


async def validate(call: Call) -> Answer:
    """Say what is wrong with a document."""
    return Answer(policies.validate(call.body, call.now))


async def simulate(call: Call) -> Answer:
    """Decide a request that nobody made."""
    plane = call.plane
    return Answer(
        await policies.simulate_key(
            plane.database, plane.keys, call.actor, call.body, call.now, call.rules
        )
    )
