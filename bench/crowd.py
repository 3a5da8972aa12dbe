"""Many keys, made at once: rows of one transaction, where `pdp keys create` makes one each.

    python -m bench.crowd DATA_DIR PARENT_KEY_ID

changes all keys below a parent at once, when it is sent a line.
"""

import asyncio
import secrets
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from pdp.control.plane import ControlPlane, open_control
from pdp.secret import hash_secret, last_four_of, make_secret, prefix_of
from pdp.settings import Settings
from pdp.store import changes
from pdp.store import keys as store
from pdp.store.schema import api_keys
from pdp.store.schema import secrets as secrets_table
from tests.stack import Stack

LEAN: dict[str, Any] = {}
FAT: dict[str, Any] = {
    "policy": {
        "version": "2024-01-01",
        "statements": [
            {
                "effect": "Allow",
                "actions": ["chat:*", "embeddings:create"],
                "resources": [f"model:gpt-{index}*", f"model:claude-{index}*", "model:gpt-4o"],
                "condition": {"max_tokens_under": 100_000 + index},
            }
            for index in range(10)
        ],
    },
    "rate_limits": {"per_minute": 10**6, "per_hour": 10**7},
    "budget_limits": {"daily": 10.0, "monthly": 100.0},
    "token_limits": {"daily": 10**9, "per_request_max": 10**6},
}
"""Ten statements and six limits. Every key's are its own: the names of its models differ."""


async def crowd(stack: Stack, parent: str, count: int, authored: dict[str, Any]) -> list[str]:
    """Make keys below a parent; return their raw secrets."""
    async with open_control(Settings(data_dir=stack.data_dir)) as plane:
        return await _insert(plane, parent, count, authored)


async def _insert(
    plane: ControlPlane, parent: str, count: int, authored: dict[str, Any]
) -> list[str]:
    now, raw_keys, keys, hashes = time.time_ns(), [], [], []
    async with plane.database.writing() as connection:
        row = (await store.get_keys(connection, [parent]))[parent]
        version = await changes.bump(connection)
        for index in range(count):
            raw = make_secret("prod", secrets.token_bytes(20))
            key_id = "key_" + secrets.token_hex(12)
            raw_keys.append(raw)
            keys.append(_key(row, key_id, version, now, _own(authored, index)))
            hashes.append(
                {
                    "hash": hash_secret(raw, plane.pepper),
                    "key_id": key_id,
                    "prefix": prefix_of(raw),
                    "last_four": last_four_of(raw),
                    "created_at": now,
                }
            )
        await connection.execute(sa.insert(api_keys), keys)
        await connection.execute(sa.insert(secrets_table), hashes)
    return raw_keys


def _own(authored: dict[str, Any], index: int) -> dict[str, Any]:
    """Return the document with something that no other key has."""
    text = msgspec.json.encode(authored).replace(b"claude-", b"claude-%d-" % index)
    own: dict[str, Any] = msgspec.json.decode(text)
    return own


def _key(
    parent: store.KeyRow, key_id: str, version: int, now: int, authored: dict[str, Any]
) -> dict[str, Any]:
    return {
        "id": key_id,
        "organization_id": parent.organization_id,
        "version": version,
        "status": "active",
        "key_type": "user",
        "name": key_id,
        "team_id": parent.team_id,
        "parent_key_id": parent.id,
        "granted_by": parent.id,
        "permissions_apply_to": "self",
        "environment": "prod",
        "document": msgspec.json.encode(authored).decode(),
        "created_at": now,
    }


async def touch(data_dir: Path, parent: str) -> None:
    """Wait for a line, then say in one transaction that every key below a parent has changed."""
    async with open_control(Settings(data_dir=data_dir)) as plane:
        async with plane.database.reading() as connection:
            query = sa.select(api_keys.c.id).where(api_keys.c.parent_key_id == parent)
            key_ids = list((await connection.execute(query)).scalars())
        print(len(key_ids), flush=True)
        sys.stdin.readline()
        async with plane.database.writing() as connection:
            await changes.note(connection, await changes.bump(connection), key_ids)


if __name__ == "__main__":
    asyncio.run(touch(Path(sys.argv[1]), sys.argv[2]))
