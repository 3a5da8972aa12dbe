"""Endpoints of the organization's own settings."""

from typing import Any

from pdp.control.organizations import get_settings, tag_of, update_settings
from pdp.rest.answer import Answer, etag_of
from pdp.rest.operation import Call


async def get(call: Call) -> Answer:
    """Return the settings."""
    return _shown(await get_settings(call.plane.database, call.actor))


async def update(call: Call) -> Answer:
    """Change the settings."""
    return _shown(
        await update_settings(call.plane.database, call.actor, call.body, call.now, call.if_match)
    )


def _shown(settings: dict[str, Any]) -> Answer:
    return Answer(settings, headers={"etag": etag_of(tag_of(settings))})
