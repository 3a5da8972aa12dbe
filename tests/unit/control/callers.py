"""Keys that call the admin API, and what a Check with a secret is answered."""

from typing import Any

from pdp.compile import Compiler
from pdp.control.keys import Actor, Resource
from pdp.control.resolve import resolve
from pdp.policy.chain import Attributes
from pdp.refusal import key_denial
from pdp.secret import hash_secret
from tests.unit.control.desk import PEPPER, Desk

ADDRESS = "192.0.2.1"
RIGHTS = {"manage_keys": True, "view_all_usage": True, "manage_billing": True}


async def actor_of(desk: Desk, made: Resource) -> Actor:
    """Return a key that was made as the one who asks."""
    return await desk.keys.authenticate(made["api_key"], ADDRESS, desk.now)


async def manager(desk: Desk, **body: Any) -> Actor:
    """Make a key with all rights, organization-level unless the body says else."""
    permissions = {**RIGHTS, **body.pop("permissions", {})}
    made = await desk.create(**{"key_type": "organization", "permissions": permissions, **body})
    return await actor_of(desk, made)


async def made_by(desk: Desk, actor: Actor, **body: Any) -> Resource:
    """Make a key as somebody, a second after the one before."""
    desk.now += 1_000_000_000
    return await desk.keys.create(actor, {"name": "key", **body}, desk.now)


async def decided(
    desk: Desk, secret: str, model: str = "gpt-4o", action: str = "chat:completions"
) -> str:
    """Return the reason that a Check with a secret is answered, but for limits."""
    _, resolved = await resolve(desk.database, hash_secret(secret, PEPPER), "")
    if resolved is None:
        return "invalid_api_key"
    key = Compiler().compile(resolved)
    request = Attributes(action, model, "openai", ADDRESS, None, {}, desk.now)
    if denial := key_denial(key, desk.now):
        return denial.reason
    return key.chain.evaluate(request, lambda *_: 0).reason
