"""Endpoints of the organization's own settings."""

from pdp.control.organizations import get_settings, update_settings
from pdp.rest.answer import Answer
from pdp.rest.operation import Call


async def get(call: Call) -> Answer:
    """Return the settings."""
    return Answer(await get_settings(call.plane.database, call.actor))


async def update(call: Call) -> Answer:
    """Change the settings."""
    return Answer(await update_settings(call.plane.database, call.actor, call.body, call.now))
