"""A key ready to decide: everything that can be computed beforehand, is.

`compile_key` (pdp/compile.py) makes it from a `Resolved`.
"""

from msgspec import Struct

from pdp.model import KeyRecord
from pdp.policy.chain import Chain
from pdp.quota.scope import Scope


class CompiledKey(Struct, frozen=True):
    """One secret of one key with its chains, compiled.

    `chain` decides what it may do, `scopes` (leaf first) how much.
    `secret_expires_at` is in ns; `revision` is the change number it was read at.
    """

    record: KeyRecord
    chain: Chain
    scopes: tuple[Scope, ...]
    ancestors: tuple[str, ...]
    metadata: dict[str, str]
    revision: int
    revision_text: str
    limited_by_budget: bool
    secret_expires_at: int | None = None
    secret_revoked: bool = False
